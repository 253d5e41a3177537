//! Two replicas of one shard over one etcd: both serve what is true now, and one of them runs the controllers, until it dies
//! or is stopped for longer than its lease lasts. One that is started again goes on at once.

use std::time::{Duration, Instant};

use e2e::{Etcd, Kubectl, Server};

/// For how long the controllers' lease outlives a replica that died.
const LEASE_TTL: Duration = Duration::from_secs(15);

/// Updates that each of two clients makes.
const UPDATES: usize = 8;

fn replica(etcd: &Etcd) -> Server {
    let servers = format!("--etcd-servers={}", etcd.url());
    // Replicas have the address in common that clients know them by; here every client picks one of them.
    let address = "https://shard.example:6443";
    let flags = [
        servers,
        format!("--shard-base-url={address}"),
        format!("--shard-external-url={address}"),
        format!("--shard-virtual-workspace-url={address}"),
    ];
    Server::start_with(&flags.each_ref().map(String::as_str))
}

fn config(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata: {{count: \"0\"}}\n")
}

/// Counts up, again and again when somebody else was faster.
fn count_up(kubectl: &Kubectl) {
    for _ in 0..UPDATES {
        loop {
            let read = kubectl.run("get configmap counter -o yaml").ok();
            let count = read
                .lines()
                .find_map(|line| {
                    line.trim()
                        .strip_prefix("count: \"")?
                        .strip_suffix('"')?
                        .parse::<usize>()
                        .ok()
                })
                .expect("a count");
            let written = read.replace(&format!("count: \"{count}\""), &format!("count: \"{}\"", count + 1));
            let answer = kubectl.run_with(&["replace", "-f", "-"], &written);
            if answer.succeeded() {
                break;
            }
            assert!(
                answer.errors.contains("the object has been modified"),
                "{}",
                answer.errors
            );
        }
    }
}

#[test]
fn replicas_agree_and_one_takes_over_from_the_other() {
    let etcd = Etcd::start();
    let first = replica(&etcd);
    let second = replica(&etcd);

    // What one has acknowledged, the other shows at once: reads ask the store how far it is.
    let one = first.create_workspace("root", "team");
    let two = second.workspace("root:team");
    for round in 0..5 {
        one.create(&config(&format!("by-one-{round}"))).ok();
        two.run(&format!("get configmap by-one-{round}")).ok();
        two.create(&config(&format!("by-two-{round}"))).ok();
        let listed = one.run("get configmaps -o name").ok();
        assert!(listed.contains(&format!("configmap/by-two-{round}")), "{listed}");
        two.run(&format!("delete configmap by-one-{round}")).ok();
        let gone = one.run(&format!("get configmap by-one-{round}")).refused();
        assert!(gone.contains("NotFound"), "{gone}");
    }

    // A watch at one shows what happens at the other.
    one.create(&config("watched")).ok();
    let watching = {
        let two = two.clone();
        std::thread::spawn(move || {
            two.run("wait --for=jsonpath={.data.count}=1 configmap/watched --timeout=60s")
                .ok()
        })
    };
    one.run("patch configmap watched --type=merge -p {\"data\":{\"count\":\"1\"}}")
        .ok();
    watching.join().expect("the change is seen");

    // No update is lost between them.
    one.create(&config("counter")).ok();
    std::thread::scope(|clients| {
        clients.spawn(|| count_up(&one));
        clients.spawn(|| count_up(&two));
    });
    let count = one.run("get configmap counter -o jsonpath={.data.count}").ok();
    assert_eq!(count, (2 * UPDATES).to_string());

    // The first runs the controllers, having been there first. When it dies, the second does.
    first.kill();
    second.create_workspace("root", "after-the-kill");

    // A third comes, and the second is stopped for longer than its lease: the third takes over, and the second does no harm
    // when it goes on.
    let third = replica(&etcd);
    second.pause();
    let made = third.create_workspace("root", "during-the-pause");
    made.create(&config("made")).ok();
    second.go_on();
    second.workspace("root:during-the-pause").run("get configmap made").ok();
    let again = second.create_workspace("root:during-the-pause", "below");
    again.create(&config("made")).ok();
    third
        .workspace("root:during-the-pause:below")
        .run("get configmap made")
        .ok();
    let phases = third
        .kubectl()
        .run("get workspaces -o jsonpath={.items[*].status.phase}")
        .ok();
    assert_eq!(phases, "Ready Ready Ready");
    third
        .kubectl()
        .run("delete workspace during-the-pause --timeout=60s")
        .ok();
    let gone = second
        .workspace("root:during-the-pause")
        .run("get configmaps")
        .refused();
    assert!(gone.contains("NotFound") || gone.contains("Forbidden"), "{gone}");

    // One that ends in order gives the lease back: the next need not wait for its end.
    assert!(third.terminate().success());
    let begun = Instant::now();
    second.create_workspace("root", "after-the-end");
    let waited = begun.elapsed();
    assert!(waited < LEASE_TTL, "a workspace took {waited:?} after the change-over");
}

#[test]
fn a_shard_that_was_killed_runs_the_controllers_again_as_soon_as_it_is_back() {
    // What was left of the lease at the kill is more than two thirds of it: who waits for its end is later than this.
    const BOUND: Duration = Duration::from_secs(9);
    let etcd = Etcd::start();
    let mut server = Server::start_on(&etcd);
    for round in 0..2 {
        server.create_workspace("root", &format!("before-{round}"));
        let killed = Instant::now();
        server.kill_and_restart();
        server.create_workspace("root", &format!("after-{round}"));
        let took = killed.elapsed();
        assert!(took < BOUND, "a workspace was Ready {took:?} after the kill");
    }
}
