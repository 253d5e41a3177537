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
