//! Stores that are full, fail, are slow or gone, as clients see them: an answer in time that says what is wrong, nothing
//! changed, reads where they can be, and everything goes on by itself afterwards.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use env::{Disk, DiskFile, Env};
use kv::testing::EtcdProcess;

use crate::world::{Client, World, config_map, eventually};

/// The disk of the operating system, with a switch.
#[derive(Clone, Default)]
struct Switched(Arc<AtomicU8>);

struct SwitchedFile {
    file: Box<dyn DiskFile>,
    disk: Switched,
}

const WELL: u8 = 0;
const FULL: u8 = 1;
const FAILING: u8 = 2;
const SLOW: u8 = 3;

/// What a slow disk takes to sync.
const SLOWNESS: Duration = Duration::from_secs(3);

/// No answer may take longer than the client asked for, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(15);

// === impl Switched ===

impl Switched {
    fn turn(&self, to: u8) {
        self.0.store(to, Ordering::SeqCst);
    }

    fn is(&self, state: u8) -> bool {
        self.0.load(Ordering::SeqCst) == state
    }

    fn check(&self) -> io::Result<()> {
        match () {
            () if self.is(FULL) => Err(io::ErrorKind::StorageFull.into()),
            () if self.is(FAILING) => Err(io::Error::other("the disk fails")),
            () => Ok(()),
        }
    }

    fn env(&self) -> Env {
        Env {
            disk: Arc::new(self.clone()),
            ..Env::real()
        }
    }
}

impl Disk for Switched {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = env::disk::RealDisk.open(path)?;
        let disk = self.clone();
        Ok(Box::new(SwitchedFile { file, disk }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        env::disk::RealDisk.create_dir_all(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        env::disk::RealDisk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        env::disk::RealDisk.rename(from, to)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        env::disk::RealDisk.read(path)
    }

    fn write_atomic(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.check()?;
        env::disk::RealDisk.write_atomic(path, contents)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        env::disk::RealDisk.list(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        match self.is(FULL) {
            true => Ok(0),
            false => env::disk::RealDisk.free_space(path),
        }
    }
}

// === impl SwitchedFile ===

impl DiskFile for SwitchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.check()?;
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.check()?;
        if self.disk.is(SLOW) {
            thread::sleep(SLOWNESS);
        }
        self.file.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}

fn maps(world: &World) -> String {
    format!("/clusters/{}/api/v1/namespaces/default/configmaps", world.alpha)
}

/// Names of the ConfigMaps, from the cache where the store cannot be asked.
async fn names(who: &Client, world: &World, query: &str) -> Vec<String> {
    let answer = who.get(&format!("{}{query}", maps(world))).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    let list = answer.json();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// That writes are taken again, without anybody's doing.
async fn recovers(who: &Client, world: &World, name: &str) {
    eventually("writes are taken again", async || {
        let answer = who.send("POST", &maps(world), &config_map(name)).await;
        matches!(answer.code, 201 | 409).then_some(())
    })
    .await;
    eventually("it is ready again", async || {
        (who.get("/readyz").await.code == 200).then_some(())
    })
    .await;
    // The controllers, too.
    world.workspace("root", &format!("after-{name}")).await;
}

#[test]
fn a_full_or_failing_disk_refuses_writes_and_serves_reads() {
    let disk = Switched::default();
    let world = World::start_with(&disk.env(), &[]);
    world.run(async {
        let alice = world.person("alice");
        let before = names(&alice, &world, "").await;
        let mut changed = config_map("there");
        changed["data"]["k"] = "changed".into();
        for (state, said) in [(FULL, "the store is full"), (FAILING, "the store is unavailable")] {
            disk.turn(state);
            let writes = [
                ("POST", maps(&world), config_map("refused")),
                ("PUT", format!("{}/there", maps(&world)), changed.clone()),
                (
                    "PATCH",
                    format!("{}/there", maps(&world)),
                    serde_json::json!({"data": {"k": "changed"}}),
                ),
            ];
            // How the first write after the fault fails depends on who finds out; the second is told.
            let _first = alice.send("POST", &maps(&world), &config_map("refused")).await;
            for (method, path, body) in &writes {
                let answer = alice.send(method, path, body).await;
                assert_eq!(answer.code, 503, "{said}: {method}: {}", answer.text());
                assert_eq!(answer.reason(), "ServiceUnavailable");
                assert!(answer.text().contains(said), "{method}: {}", answer.text());
                assert!(answer.headers.contains_key("retry-after"), "{method}");
            }
            assert_eq!(names(&alice, &world, "").await, before);
            assert_eq!(
                alice.get(&format!("{}/there", maps(&world))).await.json()["data"]["k"],
                "v"
            );
            assert_eq!(alice.get("/livez").await.code, 200);
            disk.turn(WELL);
            recovers(&alice, &world, &format!("state{state}")).await;
            let path = format!("{}/state{state}", maps(&world));
            assert_eq!(alice.send("DELETE", &path, &serde_json::json!({})).await.code, 200);
        }
        assert_eq!(names(&alice, &world, "").await, before);
    });
}

#[test]
fn a_slow_disk_delays_writes_up_to_what_the_client_allows() {
    let disk = Switched::default();
    let world = World::start_with(&disk.env(), &[]);
    world.run(async {
        let alice = world.person("alice");
        disk.turn(SLOW);
        let begun = Instant::now();
        let answer = alice
            .send(
                "POST",
                &format!("{}?timeout=1s", maps(&world)),
                &config_map("impatient"),
            )
            .await;
        assert_eq!(
            (answer.code, answer.reason()),
            (504, "Timeout".to_owned()),
            "{}",
            answer.text()
        );
        assert!(begun.elapsed() < SLOWNESS, "{:?}", begun.elapsed());
        // Reads do not wait behind writes.
        let begun = Instant::now();
        assert_eq!(alice.get(&format!("{}/there", maps(&world))).await.code, 200);
        assert!(begun.elapsed() < SLOWNESS, "{:?}", begun.elapsed());
        let answer = alice.send("POST", &maps(&world), &config_map("patient")).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        disk.turn(WELL);
        recovers(&alice, &world, "afterwards").await;
    });
}

/// Whether every thread of a process is stopped, which a signal only asks for.
fn stands_still(id: u32) -> Option<()> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
    let mut states = threads.flatten().map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    });
    states.all(|is_stopped| is_stopped).then_some(())
}

#[test]
fn an_etcd_that_hangs_or_is_gone_is_said_in_time_and_found_again() {
    let mut etcd = EtcdProcess::start();
    let world = World::start_with(&Env::real(), &[format!("--etcd-servers={}", etcd.endpoint())]);
    let signal = |etcd: &EtcdProcess, name: &str| {
        let sent = Command::new("kill").args([name, &etcd.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name} can be sent");
    };
    world.run(async {
        let alice = world.person("alice");
        let before = names(&alice, &world, "").await;
        for state in ["hangs", "gone"] {
            match state {
                "hangs" => {
                    signal(&etcd, "-STOP");
                    eventually("all of it stands still", async || stands_still(etcd.id())).await;
                }
                _ => etcd.kill(),
            }
            let begun = Instant::now();
            let answer = alice
                .send("POST", &format!("{}?timeout=3s", maps(&world)), &config_map(state))
                .await;
            assert!(matches!(answer.code, 503 | 504), "{state}: {}", answer.text());
            assert!(
                answer.is_status() && begun.elapsed() < PATIENCE,
                "{state}: {:?}",
                begun.elapsed()
            );
            // A read that asks for no more than what is known is served, whatever the store does.
            assert_eq!(names(&alice, &world, "?resourceVersion=0").await, before, "{state}");
            let path = format!("{}/there?resourceVersion=0", maps(&world));
            assert_eq!(alice.get(&path).await.code, 200, "{state}");
            // One that asks for the newest is told within its time.
            let begun = Instant::now();
            let answer = alice.get(&format!("{}?timeout=3s", maps(&world))).await;
            assert!(
                matches!(answer.code, 503 | 504) && answer.is_status(),
                "{state}: {}",
                answer.text()
            );
            assert!(begun.elapsed() < PATIENCE, "{state}: {:?}", begun.elapsed());
            let begun = Instant::now();
            assert_eq!(alice.get("/readyz").await.code, 500, "{state}");
            assert!(begun.elapsed() < PATIENCE, "{state}: {:?}", begun.elapsed());
            match state {
                "hangs" => signal(&etcd, "-CONT"),
                _ => etcd.restart(),
            }
            recovers(&alice, &world, &format!("after-{state}")).await;
            for name in [format!("after-{state}"), state.to_owned()] {
                // The write whose outcome was unknown may have happened.
                let path = format!("{}/{name}", maps(&world));
                let answer = alice.send("DELETE", &path, &serde_json::json!({})).await;
                assert!(matches!(answer.code, 200 | 404), "{}", answer.text());
            }
            assert_eq!(names(&alice, &world, "").await, before);
        }
    });
}
