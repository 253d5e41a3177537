//! jemalloc's cache of a thread. It is emptied while the thread allocates; one that is idle keeps what it has, up to megabytes,
//! and with each small piece of it the pages around.
#![expect(unsafe_code, reason = "jemalloc's controls are a function of C")]

use std::ptr::null_mut;

/// Gives what is kept for this thread alone back to what all threads allocate from. Does nothing in a program with another allocator,
/// or for a thread without a cache.
pub fn give_back() {
    let name = c"thread.tcache.flush";
    // SAFETY: the name ends with a zero byte, and this control neither reads nor writes a value (jemalloc(3), "thread.tcache.flush").
    let _nothing_kept = unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
}
