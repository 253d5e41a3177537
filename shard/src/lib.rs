//! One shard: the wiring of store, registry, rules, controllers and server into a process.
//!
//! Invariants
//! - Nothing here decides: rules are in `tenancy`, plans in `controllers`, pipelines in `registry`; this crate connects.
//! - [`Permit::internal`](permit::Permit::internal) is used by [`facts`], [`fabric`], [`effects`] and [`bootstrap`] alone.
//!
//! Read next: [`start`], top-down; [`stack`], the way of a request.
#![forbid(unsafe_code)]

pub mod account_signer;
pub mod accounts;
pub mod admin;
pub mod admission;
pub mod authentication;
pub mod authorizer;
pub mod bootstrap;
pub mod catalog;
pub mod definitions;
pub mod delegated;
pub mod effects;
pub mod fabric;
pub mod facts;
pub mod foreign;
pub mod front;
pub mod home;
pub mod issue;
pub mod join;
pub mod measured;
pub mod metrics;
pub mod neighbours;
pub mod object_limit;
pub mod options;
pub mod owners;
pub mod pki;
pub mod remote;
pub mod replicate;
pub mod shard;
pub mod stack;
pub mod standing;
pub mod start;
pub mod surface;
pub mod up;
pub mod views;
pub mod workspace_issuers;
