//! What the embedded store costs on this machine: writes by concurrency, reads, opening.
//!
//! `cargo run --release -p kv --example embedded_figures -- <directory> [objects]`

use bytes::Bytes;
use env::Env;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use kv::{Kv, Op, RangeRequest, Txn};
use std::sync::Arc;
use std::time::Duration;

/// Processor time of this process so far. The kernel counts in hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|field| fields[*field].parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

fn key(number: u64) -> Bytes {
    // Spread like names, not ascending.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!(
        "/registry/apps/deployments/customresources/{:x}/default/object-{spread:016x}",
        spread % 1000
    )
    .into()
}

async fn writes(kv: &Arc<EmbeddedKv>, env: &Env, tasks: u64, total: u64, first: u64, bytes: usize) {
    let (start, busy) = (env.clock.monotonic(), processor_time());
    let all: Vec<_> = (0..tasks)
        .map(|task| {
            let kv = kv.clone();
            let value = Bytes::from(vec![b'x'; bytes]);
            env.spawn.spawn("writer", async move {
                for number in (task..total).step_by(tasks as usize) {
                    let op = Op::put(key(first + number), value.clone());
                    kv.txn(Txn::unguarded(vec![op])).await.expect("a write");
                }
            })
        })
        .collect();
    for task in all {
        task.join().await.expect("the task ends");
    }
    let (taken, busy) = (env.clock.monotonic() - start, processor_time() - busy);
    println!(
        "{total} puts of {bytes} B from {tasks} tasks: {:.0}/s, {:.1} µs of processor each",
        total as f64 / taken.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / total as f64
    );
}

async fn reads(kv: &Arc<EmbeddedKv>, env: &Env, objects: u64) {
    let (start, busy, count) = (env.clock.monotonic(), processor_time(), 20_000);
    for number in 0..count {
        kv.get(key(number * 7919 % objects))
            .await
            .expect("a read")
            .expect("the object");
    }
    let (taken, busy) = (env.clock.monotonic() - start, processor_time() - busy);
    println!(
        "gets: {:.0}/s, {:.1} µs of processor each",
        count as f64 / taken.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / count as f64
    );
    let start = env.clock.monotonic();
    let page = kv
        .range(RangeRequest::prefix("/registry/").limited(500))
        .await
        .expect("a list");
    println!(
        "a page of {} of {}: {:?}",
        page.kvs.len(),
        page.count,
        env.clock.monotonic() - start
    );
    let start = env.clock.monotonic();
    let all = kv
        .range(RangeRequest::prefix("/registry/").limited(100_000))
        .await
        .expect("a list");
    println!("a list of {}: {:?}", all.kvs.len(), env.clock.monotonic() - start);
}

fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4 / 1024
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a directory");
    let objects: u64 = arguments
        .next()
        .map_or(1_000_000, |objects| objects.parse().expect("a number"));
    let env = Env::real();
    let options = EmbeddedOptions::new(dir);
    let open = || async { Arc::new(EmbeddedKv::open(&env, options.clone()).await.expect("opens")) };
    let (start, busy) = (env.clock.monotonic(), processor_time());
    let kv = open().await;
    let (taken, busy) = (env.clock.monotonic() - start, processor_time() - busy);
    println!(
        "opened in {taken:?}, {busy:?} of processor, resident: {} MiB",
        resident_mib()
    );
    if objects == 0 {
        return;
    }
    if kv.revision().await.expect("a revision").0 == 1 {
        writes(&kv, &env, 1, 3_000, 0, 1500).await;
        writes(&kv, &env, 64, 100_000, 3_000, 1500).await;
        writes(&kv, &env, 256, objects.saturating_sub(103_000), 103_000, 1024).await;
    }
    println!("resident: {} MiB, {:?}", resident_mib(), kv.status().await);
    reads(&kv, &env, objects).await;
    kv.close().await;
    drop(kv);
    let (start, busy) = (env.clock.monotonic(), processor_time());
    let kv = open().await;
    let (taken, busy) = (env.clock.monotonic() - start, processor_time() - busy);
    println!(
        "opened in {taken:?}, {busy:?} of processor, resident: {} MiB",
        resident_mib()
    );
    reads(&kv, &env, objects).await;
    let start = env.clock.monotonic();
    writes(&kv, &env, 64, 50_000, 0, 1024).await;
    kv.compact(kv.revision().await.expect("a revision"))
        .await
        .expect("compacts");
    println!(
        "50,000 updates and compaction begun in {:?}",
        env.clock.monotonic() - start
    );
    writes(&kv, &env, 64, 50_000, 50_000, 1024).await;
    println!("{:?}", kv.status().await);
}
