//! An allocator that counts what is live. One test per binary: they would count each other's bytes.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use kv::{Kv, Op, Txn};

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

pub fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// Writes many keys at once, as no server does.
pub async fn put_all(kv: &dyn Kv, mut objects: impl Iterator<Item = (String, Vec<u8>)>) {
    loop {
        let ops: Vec<Op> = objects
            .by_ref()
            .take(100)
            .map(|(key, value)| Op::put(key, value))
            .collect();
        if ops.is_empty() {
            return;
        }
        kv.txn(Txn::unguarded(ops)).await.expect("written");
    }
}
