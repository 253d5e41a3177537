//! A whole shard, over TLS, in the hands of people who mean it no good: who may not know whether something exists, cannot
//! find out; identities cannot be forged; nothing that is sent harms anybody but its sender.
//!
//! One server for all tests, since it is the same server for all tenants. Read next: `world/mod.rs`, then a test.

mod claims;
mod closing;
mod existence;
mod faults;
mod identity;
mod input;
mod metrics;
mod views;
mod world;
