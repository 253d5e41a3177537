//! What the programs allocate with: jemalloc, and giving back what it keeps for a thread. How it behaves is set where it is built,
//! in `.cargo/config.toml`.
//!
//! Each program makes [`Jemalloc`] its allocator itself: tests have others, which count.
// But for jemalloc's controls, which are a function of C.
#![deny(unsafe_code)]

mod thread_cache;

pub use thread_cache::give_back;
pub use tikv_jemallocator::Jemalloc;
