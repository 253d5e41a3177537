//! For tests only: the suite that every implementation of [`crate::Kv`] passes, and etcd processes to run it against.
//!
//! An implementation runs the suite with `kv::kv_suite!(tokio::test(start_paused = true), make())`, where `make` is an async
//! function that gives a [`suite::Subject`].

mod etcd;
pub mod suite;

pub use etcd::{EtcdProcess, etcd_binary};
