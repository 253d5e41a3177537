//! What the front-proxy's index of all shards' workspaces takes, as the allocator counts it.
#![allow(missing_docs, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use fabric::wire::index_entry::Entry;
use fabric::wire::{ClusterEntry, IndexBatch, IndexEntry, WorkspaceEntry};
use fabric::{Route, Routes};
use tenancy::WorkspacePath;

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

fn told(entries: Vec<Entry>) -> IndexBatch {
    IndexBatch {
        entries: entries
            .into_iter()
            .map(|entry| IndexEntry { entry: Some(entry) })
            .collect(),
        ..IndexBatch::default()
    }
}

fn held(name: &str) -> Entry {
    Entry::Cluster(ClusterEntry {
        name: name.to_owned(),
        epoch: 1,
        ..ClusterEntry::default()
    })
}

#[test]
fn a_workspace_costs_the_index_at_most_128_bytes() {
    const COUNT: usize = 100_000;
    let before = LIVE.load(Ordering::Relaxed);
    let routes = Routes::new([3, 4]);
    let shards = [routes.shard("alpha").unwrap(), routes.shard("beta").unwrap()];
    routes.apply(shards[0], &told(vec![held("root")]));
    for number in 0..COUNT {
        // Names as kcp gives them; the workspace is in root, and its cluster on either shard.
        let cluster = format!("2x8kq0c7v4n{number:05}");
        let workspace = WorkspaceEntry {
            parent: "root".to_owned(),
            name: format!("workspace-{number}"),
            cluster: cluster.clone(),
            ..WorkspaceEntry::default()
        };
        routes.apply(shards[0], &told(vec![Entry::Workspace(workspace)]));
        routes.apply(shards[number % 2], &told(vec![held(&cluster)]));
    }
    let live = LIVE.load(Ordering::Relaxed) - before;
    let path = WorkspacePath::parse("root:workspace-77777").unwrap();
    assert!(matches!(routes.resolve(&path), Route::Cluster { .. }));
    let each = live as f64 / COUNT as f64;
    println!("{each:.1} bytes a workspace in an index of {COUNT}");
    assert!(each <= 128.0, "{each} bytes");
}
