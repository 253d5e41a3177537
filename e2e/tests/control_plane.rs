//! A control plane of several processes looks like one server: `kcp up`, with everything through the front-proxy.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Client, Etcd, Kubectl, Server, Shard};

const CONFIG: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: config, namespace: default}
data: {key: one}
";

fn serves_with_one_shard(mut server: Server) {
    let team = server.create_workspace("root", "team");
    team.create(CONFIG).ok();
    let deep = server.create_workspace("root:team", "deep");
    deep.create(CONFIG).ok();
    assert_eq!(deep.run("get configmap config -o jsonpath={.data.key}").ok(), "one");
    assert!(team.run("api-resources").ok().contains("workspaces"));

    // Gone in its parent is gone behind the proxy, and the same name can be used again at once.
    server.kubectl().run("delete workspace team --timeout=60s").ok();
    let raw = |path: &str| format!("get --raw /clusters/{path}/api/v1/configmaps");
    let gone = team.run(&raw("root:team")).refused();
    let never = team.run(&raw("root:never")).refused();
    assert_eq!(gone.replace("team", "never"), never);
    let again = server.create_workspace("root", "team");
    assert!(!again.run("get configmaps -o name").ok().contains("configmap/config"));

    // The proxy starts again by itself, and so does the shard; nothing acknowledged is lost.
    again.create(CONFIG).ok();
    for part in ["front-proxy", "root/kcp"] {
        server.signal(part, "KILL");
        server.wait_until("it serves again", |_| again.run("get configmap config").succeeded());
    }
}

#[test]
fn one_shard_behind_a_proxy_is_as_without() {
    serves_with_one_shard(Server::up(1, &[]));
}

#[test]
fn one_shard_behind_a_proxy_is_as_without_on_an_etcd() {
    let etcd = [Etcd::start()];
    serves_with_one_shard(Server::up_on(&etcd));
}

#[test]
fn strangers_learn_nothing_at_the_proxy() {
    let server = Server::up(1, &[]);
    server.create_workspace("root", "team");
    // Without credentials that hold: known and unknown paths look alike.
    let kubectl = server.kubectl();
    let nobody = |path: &str| {
        let asked = kubectl.run(&format!("get --raw /clusters/{path}/api --token=wrong"));
        asked.refused()
    };
    let known = nobody("root:team");
    assert!(known.contains("logged in"), "{known}");
    assert_eq!(known, nobody("root:nope"));
    // All clusters at once are for nobody.
    let all = kubectl.run("get --raw /clusters/*/api").refused();
    assert!(
        all.contains("workspace access not permitted") || all.contains("orbidden"),
        "{all}"
    );
}

const SHARD_OF: &str = r"-o jsonpath={.metadata.annotations.core\.kcp\.io/shard}";

fn schedules_over_shards(mut server: Server) {
    let root = server.kubectl();
    let far = server.create_workspace_on("shard-1", "root", "far");
    assert_eq!(root.run(&format!("get workspace far {SHARD_OF}")).ok(), "shard-1");
    far.create(CONFIG).ok();
    assert_eq!(far.run("get configmap config -o jsonpath={.data.key}").ok(), "one");
    assert!(far.run("api-resources").ok().contains("workspaces"));

    // The same name again, there or elsewhere, begins with nothing.
    for shard in ["shard-1", "root"] {
        root.run("delete workspace far --timeout=60s").ok();
        let again = server.create_workspace_on(shard, "root", "far");
        assert_eq!(root.run(&format!("get workspace far {SHARD_OF}")).ok(), shard);
        assert!(!again.run("get configmaps -o name").ok().contains("configmap/config"));
        again.create(CONFIG).ok();
    }

    // Load decides where nobody says anything.
    for name in ["a", "b", "c", "d", "e", "f"] {
        server.create_workspace("root", name);
    }
    let on = |shard: &str| {
        let all = root.run("get workspaces -o yaml").ok();
        all.matches(&format!("core.kcp.io/shard: {shard}")).count()
    };
    assert!(
        on("root") >= 2 && on("shard-1") >= 2,
        "{} and {}",
        on("root"),
        on("shard-1")
    );

    // Closed for new work; what fits nowhere says so, and goes on when something fits.
    root.run("annotate shard shard-1 experimental.core.kcp.io/unschedulable=true")
        .ok();
    let nowhere = "apiVersion: tenancy.kcp.io/v1alpha1
kind: Workspace
metadata: {name: nowhere}
spec: {location: {selector: {matchLabels: {name: shard-1}}}}
";
    root.create(nowhere).ok();
    root.run("wait --for=condition=WorkspaceScheduled=false workspace/nowhere --timeout=60s")
        .ok();
    root.run("annotate shard shard-1 experimental.core.kcp.io/unschedulable-")
        .ok();
    root.run("wait --for=jsonpath={.status.phase}=Ready workspace/nowhere --timeout=60s")
        .ok();
    server.wait_until("it is served", |server| {
        server.workspace("root:nowhere").run("get ns").succeeded()
    });
}

#[test]
fn a_workspace_on_another_shard_is_like_any_other() {
    schedules_over_shards(Server::up(2, &[]));
}

#[test]
fn a_workspace_on_another_shard_is_like_any_other_on_etcds() {
    let etcds = [Etcd::start(), Etcd::start()];
    schedules_over_shards(Server::up_on(&etcds));
}

fn loses_a_frozen_shard(mut server: Server) {
    let root = server.kubectl();
    let far = server.create_workspace_on("shard-1", "root", "far");
    far.create(CONFIG).ok();
    server.create_workspace_on("shard-1", "root", "doomed");

    server.signal("shard-1/kcp", "STOP");
    server.wait_until("the lost part says so", |_| {
        let asked = far.run("get configmap config --request-timeout=5s");
        !asked.succeeded() && asked.refused().contains("cannot be reached")
    });
    // What is new goes where somebody lives, and what is deleted waits, with a reason.
    let near = server.create_workspace("root", "near");
    near.create(CONFIG).ok();
    assert_eq!(root.run(&format!("get workspace near {SHARD_OF}")).ok(), "root");
    root.run("delete workspace doomed --wait=false").ok();
    let reason = "{.status.conditions[?(@.type==\"WorkspaceContentDeleted\")].reason}";
    root.run(&format!(
        "wait --for=jsonpath={reason}=ShardUnavailable workspace/doomed --timeout=60s"
    ))
    .ok();
    root.run("wait --for=jsonpath={.status.phase}=Deleting workspace/doomed --timeout=60s")
        .ok();

    server.signal("shard-1/kcp", "CONT");
    root.run("wait --for=delete workspace/doomed --timeout=60s").ok();
    server.wait_until("it serves again", |_| far.run("get configmap config").succeeded());
    server.create_workspace_on("shard-1", "root", "doomed");
}

#[test]
fn a_frozen_shard_takes_its_own_part_with_it_and_no_more() {
    loses_a_frozen_shard(Server::up(2, &[]));
}

#[test]
fn a_frozen_shard_takes_its_own_part_with_it_and_no_more_on_etcds() {
    let etcds = [Etcd::start(), Etcd::start()];
    loses_a_frozen_shard(Server::up_on(&etcds));
}

#[test]
fn a_frozen_etcd_takes_its_own_part_with_it_and_no_more() {
    let etcds = [Etcd::start(), Etcd::start()];
    let mut server = Server::up_on(&etcds);
    let far = server.create_workspace_on("shard-1", "root", "far");
    far.create(CONFIG).ok();
    etcds[1].signal("STOP");
    // What cannot be written is said within the time that the client gives.
    let began = Instant::now();
    far.run("create configmap lost --request-timeout=5s").refused();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let near = server.create_workspace_on("root", "root", "near");
    near.create(CONFIG).ok();
    assert_eq!(near.run("get configmap config -o jsonpath={.data.key}").ok(), "one");

    etcds[1].signal("CONT");
    server.wait_until("it writes again", |_| {
        far.run("create configmap later --request-timeout=5s").succeeded()
            || far.run("get configmap later --request-timeout=5s").succeeded()
    });
    assert_eq!(far.run("get configmap config -o jsonpath={.data.key}").ok(), "one");
    server.create_workspace_on("shard-1", "root:far", "below");
}

#[test]
fn a_shard_starts_again_with_root_down() {
    let mut server = Server::up(2, &[]);
    let far = server.create_workspace_on("shard-1", "root", "far");
    far.create(CONFIG).ok();
    server.signal("root/kcp", "STOP");
    server.signal("shard-1/kcp", "KILL");
    server.wait_until("it serves without root", |_| {
        far.run("get configmap config --request-timeout=5s").succeeded()
    });
    far.create("apiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n")
        .ok();
    // Workspaces are made, too: what it needs of root, it has.
    let deep = server.create_workspace("root:far", "deep");
    deep.create(CONFIG).ok();
    assert!(deep.run("api-resources").ok().contains("workspaces"));
    server.signal("root/kcp", "CONT");
    server.wait_until("root goes on", |server| server.kubectl().run("get shards").succeeded());
    // It finds its way back to root, which counts its starts.
    let starts = r"get shard shard-1 -o jsonpath={.metadata.annotations.internal\.kcp\.io/shard-starts}";
    server.wait_until("it is registered again", |server| {
        server.kubectl().run(starts).ok() == "2"
    });
    server.create_workspace_on("shard-1", "root", "later");
}

fn spans_the_shards(server: &Server) {
    let root = server.kubectl();
    let levels = [
        ("shard-1", "one"),
        ("root", "two"),
        ("shard-1", "three"),
        ("root", "four"),
    ];
    let mut clusters = Vec::new();
    for round in ["first", "second"] {
        let mut parent = "root".to_owned();
        for (shard, name) in levels {
            let below = server.create_workspace_on(shard, &parent, name);
            let above = server.workspace(&parent);
            assert_eq!(above.run(&format!("get workspace {name} {SHARD_OF}")).ok(), shard);
            assert!(
                !below.run("get configmaps -o name").ok().contains("configmap/config"),
                "{round}"
            );
            below.create(CONFIG).ok();
            clusters.push(
                above
                    .run(&format!("get workspace {name} -o jsonpath={{.spec.cluster}}"))
                    .ok(),
            );
            parent = format!("{parent}:{name}");
        }
        let deepest = server.workspace(&parent);
        assert_eq!(deepest.run("get configmap config -o jsonpath={.data.key}").ok(), "one");
        assert!(deepest.run("api-resources").ok().contains("workspaces"));
        // All of it goes with its uppermost, on every shard.
        root.run("delete workspace one --timeout=60s").ok();
        // As if it had never been.
        let raw = |path: &str| {
            root.run(&format!("get --raw /clusters/{path}/api/v1/configmaps"))
                .refused()
        };
        assert_eq!(raw(&parent).replace(&parent, "root:never"), raw("root:never"));
        for cluster in clusters.drain(..) {
            assert_eq!(raw(&cluster).replace(&cluster, "never-there"), raw("never-there"));
        }
    }
}

#[test]
fn a_tree_spans_the_shards() {
    spans_the_shards(&Server::up(2, &[]));
}

#[test]
fn a_tree_spans_the_shards_on_etcds() {
    let etcds = [Etcd::start(), Etcd::start()];
    spans_the_shards(&Server::up_on(&etcds));
}

/// One more shard, told of by being started: it is scheduled to and routed to. Returns it, and kubectl in a workspace on it.
fn adds_a_shard(server: &mut Server, flags: &[&str]) -> (Shard, Kubectl) {
    let root = server.kubectl();
    let before = server.create_workspace("root", "before");
    let process_ids = ["front-proxy", "root/kcp"].map(|part| server.process_id(part));
    let third = server.start_shard("third", flags);
    server.wait_until("it is registered", |_| root.run("get shard third").succeeded());
    let far = server.create_workspace_on("third", "root:before", "far");
    far.create(CONFIG).ok();
    assert_eq!(before.run(&format!("get workspace far {SHARD_OF}")).ok(), "third");
    // Nothing that ran was restarted for it.
    assert_eq!(
        ["front-proxy", "root/kcp"].map(|part| server.process_id(part)),
        process_ids
    );

    // Closed for new work it keeps what it has, and gets nothing more: of five, load would give it some.
    root.run("annotate shard third experimental.core.kcp.io/unschedulable=true")
        .ok();
    for name in ["a", "b", "c", "d", "e"] {
        let above = server.workspace("root:before");
        server.create_workspace("root:before", name);
        assert_eq!(above.run(&format!("get workspace {name} {SHARD_OF}")).ok(), "root");
    }
    far.run("get configmap config").ok();
    root.run("annotate shard third experimental.core.kcp.io/unschedulable-")
        .ok();
    server.create_workspace_on("third", "root:before", "farther");
    (third, far)
}

#[test]
fn a_shard_is_added_to_a_running_control_plane() {
    let mut server = Server::up(1, &[]);
    let (mut third, far) = adds_a_shard(&mut server, &[]);

    // Its name belongs to its store.
    let copied = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("-r").arg(from).arg(to).status();
        assert!(status.is_ok_and(|status| status.success()), "the store can be copied");
    };
    third.kill();
    let backup = third.directory.with_extension("backup");
    copied(&third.directory, &backup);
    let old = third.directory.clone();
    std::fs::remove_dir_all(&old).expect("the store can be lost");
    let said = server.start_shard("third", &[]).last_words();
    assert!(said.contains("another shard is registered as"), "{said}");
    std::fs::remove_dir_all(&old).expect("the impostor's store can go");

    // It comes back with all that it had; with a store of before that, it does not.
    copied(&backup, &old);
    let mut third = server.start_shard("third", &[]);
    server.wait_until("it serves again", |_| far.run("get configmap config").succeeded());
    third.kill();
    std::fs::remove_dir_all(&old).expect("the store can be lost");
    copied(&backup, &old);
    let said = server.start_shard("third", &[]).last_words();
    assert!(said.contains("is an old one"), "{said}");
}

#[test]
fn a_shard_is_added_to_a_running_control_plane_on_etcds() {
    let etcds = [Etcd::start()];
    let own = Etcd::start();
    let mut server = Server::up_on(&etcds);
    let on = |etcd: &Etcd| format!("--etcd-servers={}", etcd.url());
    let (mut third, far) = adds_a_shard(&mut server, &[&on(&own)]);

    // Its name belongs to its store, which is not on this machine's disk: without its directory it comes back with all that
    // it had.
    third.kill();
    std::fs::remove_dir_all(&third.directory).expect("the directory can be lost");
    let other = Etcd::start();
    let said = server.start_shard("third", &[&on(&other)]).last_words();
    assert!(said.contains("another shard is registered as"), "{said}");
    std::fs::remove_dir_all(&third.directory).expect("the impostor's directory can go");
    let _third = server.start_shard("third", &[&on(&own)]);
    server.wait_until("it serves again", |_| far.run("get configmap config").succeeded());
}

#[test]
fn a_service_account_is_known_at_the_proxy_as_long_as_it_exists() {
    let mut server = Server::up(1, &[]);
    let team = server.create_workspace("root", "team");
    team.run("create serviceaccount robot").ok();
    team.run("create clusterrolebinding robot --clusterrole=cluster-admin --serviceaccount=default:robot")
        .ok();
    let token = team.run("create token robot").ok();
    let token = token.trim().to_owned();
    let asked = || team.run(&format!("get configmaps --token={token}"));
    asked().ok();
    team.run("delete serviceaccount robot").ok();
    server.wait_until("its token is refused", |_| !asked().succeeded());
    let why = asked().refused();
    assert!(why.contains("logged in"), "{why}");
    // Another one of that name is somebody else.
    team.run("create serviceaccount robot").ok();
    asked().refused();
}

#[test]
fn a_control_plane_that_is_asked_to_end_waits_for_nobody() {
    let mut server = Server::up(2, &[]);
    let team = server.create_workspace_on("shard-1", "root", "team");
    team.create(CONFIG).ok();
    let tokens = std::fs::read_to_string(server.directory().join("pki/tokens.csv")).expect("the tokens");
    let token = tokens.split(',').next().expect("a token");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = Client::new(server.port(), &server.directory().join("pki/server-ca.crt"), token);
    let watch = "/clusters/root:team/api/v1/namespaces/default/configmaps?watch=1";
    let begun = runtime.block_on(client.watch(watch, Duration::from_secs(10)));
    let mut watching = begun.expect("it is answered").expect("it begins");

    // The shards follow each other, the proxy both of them, and somebody watches.
    let (status, took) = server.end();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    // The watch is over, not cut.
    let mut told = 0;
    while runtime.block_on(watching.next()).expect("it is not cut").is_some() {
        told += 1;
    }
    assert_eq!(told, 2, "the map and the one that every namespace has");
    server.start_again();
    team.run("get configmap config").ok();
}
