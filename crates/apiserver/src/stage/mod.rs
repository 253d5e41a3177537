//! The way of a request, as types. Each stage is made from the one before and from nothing else, so that none can be
//! skipped or reordered: [`Target`] → [`Resolved`] → [`Authenticated`] → [`Permitted`].

mod authenticated;
pub mod fairness;
mod permitted;
mod resolved;
mod target;

pub use authenticated::{Authenticated, Impersonator, Load};
pub use fairness::{Fairness, FairnessOptions};
pub(crate) use permitted::forbidden_status;
pub use permitted::{Api, Permitted, PermittedPath, PermittedResource};
pub use resolved::Resolved;
pub use target::{RequestInfo, ResourceInfo, Target, decode_path, path_segment_error, split_cluster};
