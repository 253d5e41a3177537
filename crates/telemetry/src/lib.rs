//! What operators see: logs, traces, and metrics under Kubernetes' names.
//!
//! Invariants
//! - Label sets are fixed when a family is made. A cluster is never a label; resources that tenants define share one label
//!   value ([`metrics::TENANT_DEFINED`]), so the number of series does not grow with the number of clusters.
//! - Every family has an upper bound of series; what would exceed it is counted in one series labelled
//!   [`metrics::OVERFLOW`].
//! - The hot path holds handles: observing is a few atomic additions, resolving a request's handles one look-up.
//! - Nothing is exported over the network unless [`trace::TraceOptions::endpoint`] is set.
//!
//! Read next: [`Metrics`] (all families of the server), [`log::init`], [`trace`].
#![forbid(unsafe_code)]

pub mod log;
pub mod metrics;
pub mod trace;

pub use metrics::{Counter, Family, Gauge, Histogram, Metrics, RequestLabels, RequestSeries};
