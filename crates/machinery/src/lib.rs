//! The machinery of Kubernetes' API conventions, as pure functions over JSON: no I/O, no clock, no tokio.
//!
//! What is here is what every API server of the Kubernetes family agrees on: the `Status` object and its reasons, field
//! errors and their texts, label and field selectors, patches and server-side apply, structural schemas with CEL rules,
//! tables, discovery and OpenAPI documents. Nothing here knows of tenancy.
//!
//! Invariants
//! - Pure: every function's result depends on its arguments alone. Time, where needed, is an argument.
//! - No function here panics on data that came from a client.
//! - An API object is a [`serde_json::Value`] (an object) only between decode and encode; see [`object`].
//!
//! Read next: [`object`], [`status`], [`field`], then the module of the behaviour you look for.
#![forbid(unsafe_code)]

pub mod apply;
pub mod cel;
pub mod discovery;
pub mod field;
pub mod ids;
pub mod json;
pub mod jsonpath;
pub mod metadata;
pub mod names;
pub mod object;
pub mod options;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strict;
pub mod table;
pub mod text;
pub mod time;
pub mod user;
pub mod yaml;
