use permit::Scope;

use super::*;

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Rule {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Rule {
        verbs: strings(verbs),
        api_groups: strings(groups),
        resources: strings(resources),
        ..Rule::default()
    }
}

fn access(verb: &str, resource: &str, subresource: &str, name: &str) -> Access {
    Access {
        scope: Some(Scope::All),
        verb: verb.to_owned(),
        is_resource: true,
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name: name.to_owned(),
        ..Access::default()
    }
}

#[test]
fn subresources_are_granted_by_name() {
    let pods = rule(&["get"], &[""], &["pods"]);
    assert!(pods.allows(&access("get", "pods", "", "x")));
    assert!(!pods.allows(&access("get", "pods", "status", "x")));
    assert!(rule(&["get"], &[""], &["*/status"]).allows(&access("get", "pods", "status", "x")));
    assert!(!rule(&["get"], &[""], &["*/status"]).allows(&access("get", "pods", "", "x")));
    assert!(rule(&["*"], &["*"], &["*"]).allows(&access("patch", "pods", "status", "x")));
}

#[test]
fn names_narrow_and_do_not_list() {
    let named = Rule {
        resource_names: vec!["x".to_owned()],
        ..rule(&["get", "list"], &[""], &["pods"])
    };
    assert!(named.allows(&access("get", "pods", "", "x")));
    assert!(!named.allows(&access("get", "pods", "", "y")));
    assert!(!named.allows(&access("list", "pods", "", "")));
}

#[test]
fn urls_end_in_a_star_only() {
    let urls = Rule {
        verbs: vec!["get".to_owned()],
        non_resource_urls: vec!["/healthz/*".to_owned()],
        ..Rule::default()
    };
    let get = |path: &str| Access {
        verb: "get".to_owned(),
        path: path.to_owned(),
        ..Access::default()
    };
    assert!(urls.allows(&get("/healthz/x")));
    assert!(!urls.allows(&get("/healthz")));
}

#[test]
fn nobody_grants_more_than_they_have() {
    let owned = [
        rule(&["get", "list"], &[""], &["pods", "secrets"]),
        rule(&["create"], &[""], &["pods"]),
    ];
    assert!(covers(&owned, &[rule(&["get", "create"], &[""], &["pods"])]).is_empty());
    let missing = covers(&owned, &[rule(&["get", "create"], &[""], &["secrets"])]);
    assert_eq!(missing, [rule(&["create"], &[""], &["secrets"])]);
    assert!(!covers(&owned, &[rule(&["*"], &["*"], &["*"])]).is_empty());
}

#[test]
fn a_star_is_only_covered_by_a_star() {
    let urls = |url: &str| Rule {
        verbs: vec!["get".to_owned()],
        non_resource_urls: vec![url.to_owned()],
        ..Rule::default()
    };
    let is_covered = |own: &str, wanted: &str| covers(&[urls(own)], &[urls(wanted)]).is_empty();
    assert!(is_covered("/healthz", "/healthz"));
    assert!(is_covered("/healthz/*", "/healthz/*"));
    assert!(is_covered("/h*", "/healthz/*"));
    assert!(!is_covered("/healthz", "/healthz*"));
    assert!(!is_covered("/healthz/*", "/healthz*"));
}

#[test]
fn a_name_is_never_all_names() {
    let named = |name: &str| Rule {
        resource_names: vec![name.to_owned()],
        ..rule(&["get"], &[""], &["secrets"])
    };
    assert!(covers(&[named("x")], &[named("x")]).is_empty());
    assert!(!covers(&[named("*")], &[named("x")]).is_empty());
    assert!(!covers(&[named("x")], &[rule(&["get"], &[""], &["secrets"])]).is_empty());
}

fn cluster(name: &str) -> permit::Cluster {
    permit::Cluster::parse(name).unwrap()
}

fn place(
    of: &str,
    namespace: &str,
    name: &str,
) -> (permit::Cluster, compact_str::CompactString, compact_str::CompactString) {
    (cluster(of), namespace.into(), name.into())
}

fn binding(subjects: &[(&str, &str)], role: (&str, &str)) -> serde_json::Value {
    let subjects: Vec<_> = subjects
        .iter()
        .map(|(kind, name)| serde_json::json!({"kind": kind, "name": name, "namespace": "ns"}))
        .collect();
    serde_json::json!({"metadata": {"namespace": "ns"}, "subjects": subjects, "roleRef": {"kind": role.0, "name": role.1}})
}

fn role_of(verb: &str) -> serde_json::Value {
    serde_json::json!({"rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]})
}

/// The verbs that a user has, and how many bindings were looked at to find them.
fn verbs(index: &RbacIndex, user: &User, of: &str, namespace: &str) -> (Vec<String>, usize) {
    let mut out = Vec::new();
    let looked_at = index.visit(
        user,
        &cluster(of),
        &cluster("system:admin"),
        namespace,
        &mut |_, rules| {
            out.extend(rules.iter().flat_map(|rule| rule.verbs.iter().cloned()));
            true
        },
    );
    out.sort();
    (out, looked_at)
}

#[test]
fn a_decision_looks_at_the_users_own_bindings_alone() {
    let mut index = RbacIndex::default();
    index.put_role(place("system:admin", "", "reader"), Some(&role_of("get")));
    for n in 0..1000 {
        let others = binding(
            &[("User", &format!("other-{n}")), ("Group", "strangers")],
            ("ClusterRole", "reader"),
        );
        index.put_binding(place("one", "", &format!("b-{n}")), None, Some(&others));
        let elsewhere = binding(&[("User", "alice")], ("ClusterRole", "reader"));
        index.put_binding(place(&format!("cluster-{n}"), "", "b"), None, Some(&elsewhere));
    }
    let own = binding(&[("Group", "team"), ("User", "alice")], ("ClusterRole", "reader"));
    index.put_binding(place("one", "", "own"), None, Some(&own));
    let alice = User::new("alice", &["team", "system:authenticated"]);
    let (verbs, looked_at) = verbs(&index, &alice, "one", "ns");
    assert_eq!(verbs, ["get"], "a binding that names her twice counts once");
    assert!(looked_at <= 2, "{looked_at} bindings were looked at");
}

#[test]
fn bindings_hold_in_their_namespace_and_follow_changes() {
    let mut index = RbacIndex::default();
    index.put_role(place("system:admin", "", "shared"), Some(&role_of("list")));
    index.put_role(place("one", "", "shared"), Some(&role_of("get")));
    index.put_role(place("one", "ns", "local"), Some(&role_of("watch")));
    let account = User::new("system:serviceaccount:ns:ci", &["system:serviceaccounts"]);
    let first = binding(&[("ServiceAccount", "ci")], ("Role", "local"));
    index.put_binding(place("one", "ns", "b"), None, Some(&first));
    assert_eq!(verbs(&index, &account, "one", "ns").0, ["watch"]);
    assert_eq!(verbs(&index, &account, "one", "other").0, [""; 0]);
    assert_eq!(verbs(&index, &account, "two", "ns").0, [""; 0]);
    // Changed: other subjects, another role; the cluster's own role goes before the one that all have.
    let second = binding(&[("Group", "system:serviceaccounts")], ("ClusterRole", "shared"));
    index.put_binding(place("one", "ns", "b"), Some(&first), Some(&second));
    assert_eq!(verbs(&index, &account, "one", "ns").0, ["get"]);
    index.put_role(place("one", "", "shared"), None);
    assert_eq!(verbs(&index, &account, "one", "ns").0, ["list"]);
    index.put_binding(place("one", "ns", "b"), Some(&second), None);
    assert_eq!(verbs(&index, &account, "one", "ns"), (Vec::new(), 0));
}
