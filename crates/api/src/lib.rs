//! Every API that the server has, as data, and the words of kcp's wire format.
//!
//! Three kinds of things are here: the names that clients and controllers write and read ([`keys`], [`hashes`]), the
//! rules for shapes that several kinds share ([`conditions`], [`convert`], [`types`]), and the content that a fresh shard
//! starts with ([`builtin`], [`system`], [`exports`], [`bootstrap`], [`kubeconfig`]).
//!
//! Invariants
//! - Pure: no I/O at run time, no clock, no randomness. Data files are part of the binary (`data/README.md` says where
//!   they come from and how to make them again).
//! - An API is data: adding a resource means adding to `data/`, not a match arm.
//! - Nothing here panics on what a client sent. A data file that does not parse is a defect of the build, shown by the
//!   first test.
//!
//! Read next: [`keys`] for the vocabulary, [`builtin`] for what every logical cluster serves, [`bootstrap`] for what root
//! and the system clusters contain.
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod builtin;
pub mod conditions;
pub mod convert;
pub mod exports;
pub mod hashes;
pub mod keys;
pub mod kubeconfig;
pub mod replicated;
pub mod system;
pub mod types;

mod data;
mod describe;
