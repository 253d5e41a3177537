//! Servers and stores that die, or are asked to end, under load: what was acknowledged is there afterwards, and everything goes on by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use e2e::{Etcd, Kubectl, Server};

/// How long writes may take to be acknowledged again on a busy machine.
const BOUND: Duration = Duration::from_secs(120);

/// Rounds of each loop; more by `KCP_CRASH_ROUNDS`.
fn rounds() -> usize {
    std::env::var("KCP_CRASH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

/// Creates ConfigMaps until told to stop, and remembers those that were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Acknowledged>,
    thread: Option<JoinHandle<()>>,
}

/// Names of objects, and a bell that rings for each.
#[derive(Default)]
struct Acknowledged {
    names: Mutex<Vec<String>>,
    more: Condvar,
}

// === impl Writer ===

impl Writer {
    fn start(kubectl: Kubectl, prefix: String) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<Acknowledged>::default());
        let (stopped, noted) = (stop.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("{prefix}-{number}");
                let document = format!(
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata: {{number: \"{number}\"}}\n"
                );
                if kubectl
                    .run_with(&["create", "--validate=false", "-f", "-"], &document)
                    .succeeded()
                {
                    noted.names.lock().expect("no writer panicked").push(name);
                    noted.more.notify_all();
                }
            }
        });
        Self {
            stop,
            acknowledged,
            thread: Some(thread),
        }
    }

    /// How many writes are acknowledged by now.
    fn count(&self) -> usize {
        self.acknowledged.names.lock().expect("no writer panicked").len()
    }

    /// Waits until so many writes are acknowledged.
    fn wait_for(&self, count: usize) {
        let names = self.acknowledged.names.lock().expect("no writer panicked");
        let (_names, timeout) = self
            .acknowledged
            .more
            .wait_timeout_while(names, BOUND, |names| names.len() < count)
            .expect("no writer panicked");
        assert!(!timeout.timed_out(), "writes are not acknowledged any more");
    }

    fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no writer panicked");
        }
        std::mem::take(&mut self.acknowledged.names.lock().expect("no writer panicked"))
    }
}

fn all_there(kubectl: &Kubectl, acknowledged: &[String]) {
    let found = kubectl.run("get configmaps -n default -o name").ok();
    let missing: Vec<&String> = acknowledged
        .iter()
        .filter(|name| !found.lines().any(|line| line == format!("configmap/{name}")))
        .collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
}

#[test]
fn killed_servers_lose_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    let inside = server.create_workspace("root", "load");
    let mut acknowledged = Vec::new();
    for round in 0..rounds() {
        let writer = Writer::start(inside.clone(), format!("r{round}"));
        writer.wait_for(5);
        server.kill_and_restart();
        acknowledged.extend(writer.finish());
        all_there(&inside, &acknowledged);
    }
    // The controllers go on, too: a workspace is made after all that.
    server.create_workspace("root", "afterwards");
}

#[test]
fn servers_asked_to_end_under_load_finish_what_they_took_and_close_watches() {
    /// A watch and requests that last need no longer to end.
    const END_MAX: Duration = Duration::from_secs(30);
    let mut server = Server::start();
    let inside = server.create_workspace("root", "load");
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        let writers: Vec<Writer> = (0..3)
            .map(|writer| Writer::start(inside.clone(), format!("r{round}-{writer}")))
            .collect();
        let watching = {
            let inside = inside.clone();
            let watch =
                "--request-timeout=0 get --raw /clusters/root:load/api/v1/namespaces/default/configmaps?watch=1";
            std::thread::spawn(move || inside.run(watch))
        };
        writers.iter().for_each(|writer| writer.wait_for(5));
        let (status, took) = server.end();
        assert!(status.success(), "{status}");
        assert!(took < END_MAX, "it took {took:?} to end");
        // A clean end of the stream, not a connection that broke: clients watch on from where they were.
        let watched = watching.join().expect("the watch ends").ok();
        assert!(watched.contains("\"type\":\"ADDED\""), "{watched}");
        for writer in writers {
            acknowledged.extend(writer.finish());
        }
        server.start_again();
        all_there(&inside, &acknowledged);
    }
    server.create_workspace("root", "afterwards");
}

#[test]
fn watches_from_before_the_compaction_are_told_so_over_a_whole_shard() {
    let mut server = Server::start_with(&["--etcd-compaction-interval=1s"]);
    let inside = server.create_workspace("root", "old");
    let document = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first, namespace: default}\n";
    inside.create(document).ok();
    let version = inside
        .run("get configmap first -o jsonpath={.metadata.resourceVersion}")
        .ok();
    let mut number = 0;
    for place in ["/clusters/root:old", "/clusters/*"] {
        let path = format!("{place}/api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion={version}");
        server.wait_until("the history is compacted", |server| {
            // Something is written all the time: what nothing follows is not old.
            number += 1;
            inside
                .create(&document.replace("first", &format!("next-{number}")))
                .ok();
            let masters = server.kubectl().at(server.url());
            let answer = masters.run_with(&["--context", "shard-base", "get", "--raw", &path], "");
            let said = format!("{}{}", answer.output, answer.errors);
            assert!(answer.succeeded() || said.contains("too old"), "{said}");
            said.contains("\"code\":410") && said.contains("\"reason\":\"Expired\"")
        });
    }
    // What is new is still watched.
    let newest = inside
        .run(&format!(
            "get configmap next-{number} -o jsonpath={{.metadata.resourceVersion}}"
        ))
        .ok();
    let path = format!("/clusters/*/api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion={newest}");
    let masters = server.kubectl().at(server.url());
    let watched = masters
        .run_with(&["--context", "shard-base", "get", "--raw", &path], "")
        .ok();
    assert!(!watched.contains("410"), "{watched}");
}

#[test]
fn a_killed_etcd_loses_nothing_that_was_acknowledged() {
    let mut etcd = Etcd::start();
    let server = Server::start_on(&etcd);
    let inside = server.create_workspace("root", "load");
    let mut acknowledged = Vec::new();
    for round in 0..rounds() {
        let writer = Writer::start(inside.clone(), format!("r{round}"));
        writer.wait_for(5);
        let before = writer.count();
        etcd.kill_and_restart();
        // The server finds it again without a hand.
        writer.wait_for(before + 5);
        acknowledged.extend(writer.finish());
        all_there(&inside, &acknowledged);
    }
    server.create_workspace("root", "afterwards");
}
