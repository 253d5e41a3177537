//! Prometheus families and their text form (exposition format 0.0.4).

mod family;
mod process;
mod request;
mod server;
mod value;

pub use family::{Family, Registry, Sample};
pub use process::process_samples;
pub use request::{RequestLabels, RequestSeries, RequestTable};
pub use server::{Metrics, WorkqueueFamilies, admission_durations};
pub use value::{Counter, Gauge, Histogram};

/// The content type of [`Registry::encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Label value of everything about resources whose names tenants choose.
pub const TENANT_DEFINED: &str = "tenant-defined";

/// Label value of what came after a family's bound of series was reached.
pub const OVERFLOW: &str = "overflow";
