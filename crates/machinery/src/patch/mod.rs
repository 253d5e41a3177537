//! Patches: JSON patch, JSON merge patch, strategic merge patch, as Kubernetes applies them.
//!
//! All three work on trees. Apply patches are in [`crate::apply`].

pub mod json;
pub mod merge;
pub mod strategic;
