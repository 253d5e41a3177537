//! Law 1 on a whole shard. Alone in its program, because it counts the program's memory.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use serde_json::Value;
use sim::client::Outcome;
use sim::image::{self, ADMIN, Image, WORKSPACES};
use sim::run::runtime;
use sim::scene::Scene;
use sim::server::ServerOptions;

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a shard with empty workspaces costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    bytes: isize,
    tasks: usize,
    watchers: usize,
    series: usize,
}

/// With little memory for caches that have a bound, so that they are full and what grows is the clusters'. A server that
/// has just started holds nothing of how they came to be.
async fn cost(scene: &mut Scene) -> Cost {
    let options = ServerOptions {
        log_bytes: 4 << 10,
        cache_bytes: 64 << 10,
        ..ServerOptions::default()
    };
    // What the world itself holds is not the server's: the disk, and the history.
    let before = LIVE.load(Ordering::Relaxed);
    let disk_before = scene.host.disk().used() as isize;
    let reaper = scene.start(options).await.unwrap();
    scene.settle().await.unwrap();
    let server = scene.site.server().unwrap();
    let history = scene.history.lock().bytes() as isize;
    let disk = 2 * (scene.host.disk().used() as isize - disk_before);
    let cost = Cost {
        bytes: LIVE.load(Ordering::Relaxed) - before - history - disk,
        tasks: scene.host.tasks(),
        watchers: server.shard.store.stats().watchers,
        series: server.stack.metrics.registry.encode().lines().count(),
    };
    drop((server, reaper));
    cost
}

async fn make(image: &Image, from: usize, to: usize) -> Image {
    let mut scene = Scene::new(1, image);
    let reaper = scene.start(ServerOptions::default()).await.unwrap();
    let mut client = scene.client("admin", ADMIN);
    let url = format!("/clusters/root{WORKSPACES}");
    for index in from..to {
        let made = client.call("POST", &url, &image::workspace(&format!("w{index}"))).await;
        assert!(matches!(made, Outcome::Answered(answer) if answer.code == 201));
    }
    scene.settle().await.unwrap();
    finish(&scene, reaper, image).await
}

async fn delete(image: &Image, from: usize, to: usize) -> Image {
    let mut scene = Scene::new(1, image);
    let reaper = scene.start(ServerOptions::default()).await.unwrap();
    let mut client = scene.client("admin", ADMIN);
    for index in from..to {
        let url = format!("/clusters/root{WORKSPACES}/w{index}");
        let gone = client.call("DELETE", &url, &Value::Null).await;
        assert!(matches!(gone, Outcome::Answered(answer) if answer.code == 200));
    }
    scene.settle().await.unwrap();
    finish(&scene, reaper, image).await
}

async fn finish(scene: &Scene, reaper: sim::keeper::Reaper, image: &Image) -> Image {
    let server = scene.site.server().unwrap();
    // History takes memory until it is compacted, whoever's it is.
    let store = &server.shard.store;
    store.compact_to(store.revision()).await.unwrap();
    scene.site.sleep_ms(5_000).await;
    server.stop().await;
    drop(reaper);
    Image {
        disk: scene.host.disk().image(),
        ..image.clone()
    }
}

#[test]
fn law_1_an_idle_workspace_costs_bytes_and_gives_them_back() {
    const MANY: usize = 40;
    let rt = runtime();
    let image = rt.block_on(Image::make()).unwrap();
    let few = rt.block_on(make(&image, 0, 4));
    let many = rt.block_on(make(&few, 4, 4 + MANY));
    let again = rt.block_on(delete(&many, 4, 4 + MANY));
    let mut costs = Vec::new();
    for image in [&few, &many, &again] {
        costs.push(runtime().block_on(async { cost(&mut Scene::new(1, image)).await }));
    }
    let [few, many, again] = costs[..] else { unreachable!() };
    let each = (many.bytes - few.bytes) / MANY as isize;
    eprintln!("{few:?}\n{many:?}\n{again:?}\n{each} bytes for each workspace");
    assert!(each < 40 << 10, "{each} bytes for each workspace");
    assert_eq!(many.tasks, few.tasks, "no task is a cluster's");
    assert_eq!(many.watchers, few.watchers, "nor a watcher");
    assert_eq!(many.series, few.series, "nor a series of a metric");
    let left = (again.bytes - few.bytes) / MANY as isize;
    assert!(left < 1 << 10, "{left} bytes are left of each deleted workspace");
}
