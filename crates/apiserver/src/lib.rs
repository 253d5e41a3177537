//! The API server: connections, the stages of a request, handlers, and the seams that a binary fills in.
//!
//! Invariants
//! - A request goes through [`stage`]'s types in order; the last of them carries the `Permit` that storage demands.
//! - Who may not know whether something exists gets the same answer either way: 401 without credentials that hold, 403
//!   without access, and 404 for readers alone.
//! - Every failure inside the APIs is a `metav1.Status`; [`refusal`] is the one place where errors become responses.
//! - Nothing is kept per cluster: discovery and OpenAPI documents are held by content, seats while they are used.
//!
//! Read next: [`Stack`] (what a server is made of), [`stage`], [`handler`], [`server`], then [`auth`] for the seams.
#![forbid(unsafe_code)]

pub mod audit;
pub mod auth;
mod body;
mod gzip;
pub mod handler;
pub mod health;
mod lifecycle;
mod process;
mod query;
mod record;
pub mod refusal;
pub mod server;
mod services;
mod stack;
pub mod stage;
mod version;

pub use audit::{Audit, AuditFile, AuditLevel, AuditMode, AuditPolicy};
pub use body::{Body, BodyBudget, HeldBody, RequestBody};
pub use health::{Check, Health};
pub use lifecycle::{Lifecycle, Phase};
pub use process::{add_process_metrics, asked_to_end, runtime};
pub use query::Query;
pub use record::Record;
pub use refusal::Refusal;
pub use server::{Connection, Server, ServerOptions, Service, Timer, Tls, TlsError, TlsFiles, TlsMaterial};
pub use services::{Delegates, Elsewhere, Forwarder, ServiceApi, ServiceRoute, Services};
pub use stack::{Mounts, Page, Stack, StackConfig, StackOptions};
pub use version::VersionInfo;
