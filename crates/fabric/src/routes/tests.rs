use super::*;
use crate::wire::IndexEntry;

fn cluster(name: &str) -> Cluster {
    Cluster::parse(name).unwrap()
}

fn held(name: &str, epoch: u64) -> IndexEntry {
    let entry = ClusterEntry {
        name: name.to_owned(),
        epoch,
        ..ClusterEntry::default()
    };
    IndexEntry {
        entry: Some(Entry::Cluster(entry)),
    }
}

fn dropped(name: &str) -> IndexEntry {
    let entry = ClusterEntry {
        name: name.to_owned(),
        gone: true,
        ..ClusterEntry::default()
    };
    IndexEntry {
        entry: Some(Entry::Cluster(entry)),
    }
}

fn workspace(parent: &str, name: &str, cluster: &str) -> WorkspaceEntry {
    WorkspaceEntry {
        parent: parent.to_owned(),
        name: name.to_owned(),
        cluster: cluster.to_owned(),
        ..WorkspaceEntry::default()
    }
}

fn named(entry: WorkspaceEntry) -> IndexEntry {
    IndexEntry {
        entry: Some(Entry::Workspace(entry)),
    }
}

fn told(entries: Vec<IndexEntry>) -> IndexBatch {
    IndexBatch {
        entries,
        ..IndexBatch::default()
    }
}

fn anew(entries: Vec<IndexEntry>) -> IndexBatch {
    IndexBatch {
        begins_anew: true,
        complete: true,
        ..told(entries)
    }
}

/// root and team1 on one shard, org1 on another.
fn routes() -> (Routes, ShardId, ShardId) {
    let routes = Routes::new([1, 2]);
    let (alpha, beta) = (routes.shard("alpha").unwrap(), routes.shard("beta").unwrap());
    routes.apply(
        alpha,
        &anew(vec![
            held("root", 1),
            held("team1", 4),
            named(workspace("root", "org", "org1")),
        ]),
    );
    routes.apply(
        beta,
        &anew(vec![held("org1", 7), named(workspace("org1", "team", "team1"))]),
    );
    (routes, alpha, beta)
}

fn to(routes: &Routes, path: &str) -> Route {
    routes.resolve(&WorkspacePath::parse(path).unwrap())
}

#[test]
fn paths_lead_over_shards() {
    let (routes, alpha, beta) = routes();
    let at = |name: &str, shard, epoch| Route::Cluster {
        cluster: cluster(name),
        shard,
        epoch,
    };
    assert_eq!(to(&routes, "root"), at("root", alpha, 1));
    assert_eq!(to(&routes, "root:org"), at("org1", beta, 7));
    assert_eq!(to(&routes, "root:org:team"), at("team1", alpha, 4));
    assert_eq!(to(&routes, "org1:team"), at("team1", alpha, 4));
}

#[test]
fn gaps_name_the_shard_that_may_know_more() {
    let (routes, alpha, beta) = routes();
    let partial = |name: &str, shard, followed| Route::Partial {
        cluster: cluster(name),
        shard,
        followed,
    };
    assert_eq!(to(&routes, "root:nope:deeper"), partial("root", alpha, 0));
    assert_eq!(to(&routes, "root:org:nope"), partial("org1", beta, 1));
    // Scheduled, but its shard has not told yet.
    routes.apply(alpha, &told(vec![named(workspace("root", "new", "new1"))]));
    assert_eq!(to(&routes, "root:new"), partial("root", alpha, 0));
    assert_eq!(to(&routes, "nowhere"), Route::Unknown);
    assert_eq!(to(&routes, "nowhere:x"), Route::Unknown);
    routes.learn(Some((&cluster("root"), "new")), &cluster("new1"), beta, 9);
    assert!(matches!(to(&routes, "root:new"), Route::Cluster { epoch: 9, .. }));
}

#[test]
fn mounts_end_the_way_and_unavailable_workspaces_are_asked_for() {
    let (routes, alpha, _) = routes();
    let mount = WorkspaceEntry {
        mount_url: "https://elsewhere".to_owned(),
        ..workspace("root", "mounted", "")
    };
    let down = WorkspaceEntry {
        unavailable: true,
        ..workspace("root", "org", "org1")
    };
    routes.apply(alpha, &told(vec![named(mount.clone()), named(down)]));
    let expected = Route::Mount {
        url: "https://elsewhere".to_owned(),
        followed: 1,
    };
    assert_eq!(to(&routes, "root:mounted:what:ever"), expected);
    assert!(matches!(
        to(&routes, "root:org:team"),
        Route::Partial { followed: 0, .. }
    ));
    let gone = WorkspaceEntry { gone: true, ..mount };
    routes.apply(alpha, &told(vec![named(gone), named(workspace("root", "org", "org1"))]));
    assert!(matches!(to(&routes, "root:mounted"), Route::Partial { .. }));
    assert!(matches!(to(&routes, "root:org"), Route::Cluster { .. }));
}

#[test]
fn what_is_not_told_again_is_gone() {
    let (routes, alpha, beta) = routes();
    routes.apply(alpha, &anew(vec![held("root", 1), held("team2", 2)]));
    assert!(matches!(to(&routes, "root:org"), Route::Partial { .. }));
    assert!(
        matches!(to(&routes, "org1:team"), Route::Partial { .. }),
        "team1 is nowhere"
    );
    assert_eq!(
        to(&routes, "team2"),
        Route::Cluster {
            cluster: cluster("team2"),
            shard: alpha,
            epoch: 2
        }
    );
    assert_eq!(routes.counts(), [2, 1]);
    // Before everything was told nothing is taken back.
    let unfinished = IndexBatch {
        begins_anew: true,
        ..IndexBatch::default()
    };
    routes.apply(beta, &unfinished);
    assert!(matches!(to(&routes, "org1"), Route::Cluster { .. }));
}

#[test]
fn only_the_holder_can_let_go() {
    let (routes, _, beta) = routes();
    routes.apply(beta, &told(vec![dropped("root")]));
    assert!(matches!(to(&routes, "root"), Route::Cluster { .. }));
    routes.forget(&cluster("org1"), beta);
    assert_eq!(to(&routes, "org1"), Route::Unknown);
}

#[test]
fn an_old_epoch_is_fenced_off() {
    let (routes, alpha, beta) = routes();
    let ended = |epoch: u64| {
        let mut entry = dropped("home1");
        if let Some(Entry::Cluster(cluster)) = &mut entry.entry {
            cluster.epoch = epoch;
        }
        entry
    };
    let is_there = || matches!(to(&routes, "home1"), Route::Cluster { epoch: 9, .. });
    // A name that is used again: what is told of the cluster before, late or once more, concerns it no longer.
    routes.apply(beta, &told(vec![held("home1", 3), ended(5), held("home1", 9)]));
    routes.apply(beta, &told(vec![held("home1", 3)]));
    assert!(is_there());
    routes.apply(beta, &told(vec![ended(5)]));
    assert!(is_there());
    // Epochs are counted by each shard; the end of another's cluster is not the end of this one.
    routes.apply(alpha, &told(vec![ended(100)]));
    assert!(is_there());
    // An older store that is put back tells everything anew, with the epochs that it has.
    routes.apply(beta, &anew(vec![held("home1", 2)]));
    assert!(matches!(to(&routes, "home1"), Route::Cluster { epoch: 2, .. }));
    routes.apply(beta, &told(vec![ended(4)]));
    assert!(!matches!(to(&routes, "home1"), Route::Cluster { .. }));
}

#[test]
fn a_number_that_is_used_again_has_no_names() {
    let (routes, alpha, beta) = routes();
    // The cluster goes before the name in it is told to be gone.
    routes.apply(beta, &told(vec![dropped("org1")]));
    let gone = WorkspaceEntry {
        gone: true,
        ..workspace("root", "org", "")
    };
    routes.apply(alpha, &told(vec![named(gone)]));
    routes.apply(beta, &told(vec![held("fresh1", 1)]));
    assert!(matches!(to(&routes, "fresh1:team"), Route::Partial { followed: 0, .. }));
    let gone = WorkspaceEntry {
        gone: true,
        ..workspace("org1", "team", "")
    };
    routes.apply(beta, &told(vec![named(gone)]));
    let before = routes.state.read().clusters.len();
    routes.apply(beta, &told(vec![held("fresh2", 1)]));
    assert_eq!(routes.state.read().clusters.len(), before, "the number is used again");
    assert_eq!(to(&routes, "org1"), Route::Unknown);
}

#[test]
fn nonsense_is_left_out() {
    let (routes, alpha, _) = routes();
    routes.apply(
        alpha,
        &told(vec![
            held("Not A Name", 1),
            named(workspace("", "x", "y1")),
            named(workspace("root", "self", "root")),
            IndexEntry { entry: None },
        ]),
    );
    assert!(matches!(to(&routes, "root:self:self:self:org"), Route::Cluster { .. }));
}

#[test]
fn every_cluster_is_counted_where_it_is() {
    let (routes, alpha, beta) = routes();
    assert_eq!(routes.counts(), [2, 1]);
    assert_eq!(routes.holder(&cluster("org1")), Some(beta));
    // It moves, and its old shard says so afterwards.
    routes.apply(alpha, &told(vec![held("org1", 8)]));
    routes.apply(beta, &told(vec![dropped("org1")]));
    assert_eq!(
        (routes.holder(&cluster("org1")), routes.counts()),
        (Some(alpha), vec![3, 0])
    );
    routes.apply(alpha, &anew(vec![held("root", 1)]));
    assert_eq!(routes.counts(), [1, 0], "what is not told again is gone");
    assert_eq!(routes.holder(&cluster("team1")), None);
}

#[test]
fn shards_are_known_by_what_root_says_of_them() {
    let (routes, alpha, _) = routes();
    let beta = ShardEntry {
        name: "beta".to_owned(),
        base_url: "https://beta".to_owned(),
        labels: [("region".to_owned(), "eu".to_owned())].into(),
        unschedulable: true,
        ..ShardEntry::default()
    };
    let facts = |name: &str| routes.facts(routes.find_shard(name).unwrap()).unwrap();
    assert!(!facts("beta").is_registered, "it has told its index, and no more");
    let entry = |shard: ShardEntry| IndexEntry {
        entry: Some(Entry::Shard(shard)),
    };
    routes.apply(alpha, &told(vec![entry(beta.clone())]));
    let known = facts("beta");
    assert!(known.is_registered && known.is_unschedulable);
    assert_eq!(known.labels.get("region").map(String::as_str), Some("eu"));
    let gone = ShardEntry { gone: true, ..beta };
    routes.apply(alpha, &told(vec![entry(gone)]));
    assert!(!facts("beta").is_registered);
    assert_eq!(
        facts("beta").base_url,
        "https://beta",
        "what it holds can still be reached"
    );
    assert!(!routes.is_only("alpha") && Routes::new([1, 2]).is_only("alpha"));
}
