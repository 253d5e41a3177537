use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::user::AUTHENTICATED;

use super::*;

/// Facts made of literals: (subject, verb, resource or path, cluster) tuples are the RBAC.
#[derive(Default)]
struct World {
    clusters: BTreeMap<String, ClusterFacts>,
    rules: Vec<(&'static str, &'static str, &'static str, &'static str)>,
    bound: Option<BoundFrom>,
}

impl Facts for World {
    fn cluster(&self, cluster: &Cluster) -> Option<ClusterFacts> {
        self.clusters.get(cluster.as_str()).cloned()
    }

    fn rbac_allows(&self, user: &User, access: &Access, bindings_in: &Cluster) -> bool {
        let target = if access.is_resource {
            &access.resource
        } else {
            &access.path
        };
        self.rules.iter().any(|(subject, verb, what, cluster)| {
            (user.name == *subject || user.in_group(subject))
                && (*verb == "*" || access.verb == *verb)
                && (*what == "*" || target == what)
                && bindings_in.as_str() == *cluster
        })
    }

    fn bound_from(&self, _: &Cluster, _: &str, _: &str) -> Option<BoundFrom> {
        self.bound.clone()
    }
}

fn cluster(name: &str) -> Cluster {
    Cluster::parse(name).unwrap()
}

fn world(phase: Phase) -> World {
    let mut world = World::default();
    world.clusters.insert(
        "ws".to_owned(),
        ClusterFacts {
            phase,
            ..ClusterFacts::default()
        },
    );
    world
}

fn get(resource: &str, cluster_name: &str) -> Access {
    Access {
        scope: Some(Scope::One(cluster(cluster_name))),
        verb: "get".to_owned(),
        is_resource: true,
        resource: resource.to_owned(),
        version: "v1".to_owned(),
        ..Access::default()
    }
}

fn alice() -> User {
    User::new("alice", &[AUTHENTICATED])
}

fn allowed(user: &User, access: &Access, world: &World) -> bool {
    authorize(user, access, &["/livez".to_owned()], world).allowed
}

#[test]
fn rbac_counts_only_after_entry() {
    let mut world = world(Phase::Ready);
    world.rules.push(("alice", "get", "configmaps", "ws"));
    assert!(
        !allowed(&alice(), &get("configmaps", "ws"), &world),
        "no access verb on /"
    );
    world.rules.push(("alice", "access", "/", "ws"));
    assert!(allowed(&alice(), &get("configmaps", "ws"), &world));
    assert!(!allowed(&alice(), &get("secrets", "ws"), &world));
}

#[test]
fn unknown_clusters_are_denied() {
    let mut world = world(Phase::Ready);
    world.rules.push((AUTHENTICATED, "*", "*", "system:admin"));
    assert!(!allowed(&alice(), &get("configmaps", "nope"), &world));
}

#[test]
fn nobody_enters_before_initializing() {
    for (phase, enters) in [
        (Phase::None, false),
        (Phase::Scheduling, false),
        (Phase::Initializing, true),
        (Phase::Ready, true),
    ] {
        let mut world = world(phase);
        world.rules.push(("alice", "*", "*", "ws"));
        assert_eq!(allowed(&alice(), &get("configmaps", "ws"), &world), enters, "{phase:?}");
    }
}

#[test]
fn system_clusters_are_for_masters_alone() {
    let mut world = World::default();
    world.rules.push(("alice", "*", "*", "system:admin"));
    assert!(!allowed(&alice(), &get("configmaps", "system:admin"), &world));
    let master = User::new("root", &[MASTERS]);
    assert!(allowed(&master, &get("configmaps", "system:admin"), &world));
}

#[test]
fn metrics_are_read_where_root_is_not() {
    let mut world = world(Phase::Ready);
    world
        .rules
        .push(("system:monitoring", "get", "/metrics", "system:admin"));
    let metrics = |scope: Option<Scope>| Access {
        scope,
        verb: "get".to_owned(),
        path: "/metrics".to_owned(),
        ..Access::default()
    };
    let scraper = User::new("prometheus", &["system:monitoring", AUTHENTICATED]);
    let at = |name: &str| Some(Scope::One(cluster(name)));
    assert!(allowed(&scraper, &metrics(at("root")), &world));
    assert!(allowed(&scraper, &metrics(None), &world));
    assert!(!allowed(&alice(), &metrics(at("root")), &world));
    // A path of that name within a workspace is the workspace's business.
    assert!(!allowed(&scraper, &metrics(at("ws")), &world));
    assert!(!allowed(&scraper, &metrics(at("elsewhere")), &world));
}

#[test]
fn wildcard_is_for_masters_alone() {
    let mut world = world(Phase::Ready);
    world.rules.push(("alice", "*", "*", "system:admin"));
    let access = Access {
        scope: Some(Scope::All),
        ..get("configmaps", "ws")
    };
    assert!(!allowed(&alice(), &access, &world));
}

#[test]
fn required_groups_deny_whatever_rbac_says() {
    let mut world = world(Phase::Ready);
    world.rules.push(("alice", "*", "*", "ws"));
    world.clusters.get_mut("ws").unwrap().required_groups = Some(Arc::from("a,b;c"));
    assert!(!allowed(&alice(), &get("configmaps", "ws"), &world));
    assert!(!allowed(&User::new("alice", &["a"]), &get("configmaps", "ws"), &world));
    assert!(allowed(
        &User::new("alice", &["a", "b"]),
        &get("configmaps", "ws"),
        &world
    ));
    assert!(allowed(&User::new("alice", &["c"]), &get("configmaps", "ws"), &world));
}

#[test]
fn status_of_bindings_is_closed() {
    let mut world = world(Phase::Ready);
    world.rules.push(("alice", "*", "*", "ws"));
    let access = Access {
        group: "apis.kcp.io".to_owned(),
        subresource: "status".to_owned(),
        ..get("apibindings", "ws")
    };
    assert!(!allowed(&alice(), &access, &world));
}

#[test]
fn maximal_permission_policy_limits_cluster_admins() {
    let mut world = world(Phase::Ready);
    world.rules.push(("alice", "*", "*", "ws"));
    world.bound = Some(BoundFrom {
        export_cluster: cluster("root"),
        has_local_policy: true,
    });
    assert!(!allowed(&alice(), &get("workspaces", "ws"), &world));
    world
        .rules
        .push(("apis.kcp.io:binding:system:authenticated", "get", "workspaces", "root"));
    assert!(allowed(&alice(), &get("workspaces", "ws"), &world));
}

#[test]
fn lifecycle_groups_pass_only_in_their_phases() {
    let user = User::new("controller", &["system:kcp:initializer:root:x"]);
    assert!(allowed(&user, &get("configmaps", "ws"), &world(Phase::Initializing)));
    assert!(!allowed(&user, &get("configmaps", "ws"), &world(Phase::Ready)));
}

#[test]
fn health_is_open_to_all() {
    let access = Access {
        path: "/livez".to_owned(),
        verb: "get".to_owned(),
        ..Access::default()
    };
    assert!(allowed(&User::anonymous(), &access, &World::default()));
    let deeper = Access {
        path: "/livez/ping".to_owned(),
        ..access.clone()
    };
    assert!(allowed(&User::anonymous(), &deeper, &World::default()));
    let other = Access {
        path: "/livezz".to_owned(),
        ..access
    };
    assert!(!allowed(&User::anonymous(), &other, &World::default()));
}

#[test]
fn deep_reviews_skip_entry_but_not_rbac() {
    let mut world = world(Phase::Ready);
    let access = Access {
        deep: true,
        ..get("apiexports", "ws")
    };
    assert!(!allowed(&alice(), &access, &world));
    world.rules.push(("alice", "get", "apiexports", "ws"));
    assert!(allowed(&alice(), &access, &world));
}

#[test]
fn every_step_is_noted_with_what_the_walk_came_to() {
    let mut world = world(Phase::Ready);
    world.rules.push(("alice", "access", "/", "ws"));
    let trail = |world: &World| {
        let verdict = authorize(&alice(), &get("configmaps", "ws"), &[], world);
        let steps = verdict.trail.into_iter().map(|step| (step.name, step.opinion));
        steps.collect::<Vec<_>>()
    };
    let outer = [
        "01-requiredgroups",
        "02-content",
        "03-systemcrd",
        "04-maxpermissionpolicy",
    ];
    let expected = |outcome| {
        let mut steps: Vec<_> = outer.iter().map(|name| (*name, outcome)).collect();
        steps.extend([("05-bootstrap", Opinion::None), ("05-local", outcome)]);
        steps
    };
    assert_eq!(trail(&world), expected(Opinion::None));
    world.rules.push(("alice", "get", "configmaps", "ws"));
    assert_eq!(trail(&world), expected(Opinion::Allow));
}
