//! Resources as data, and what every API does with objects: defaulting, validation, ownership, finalizers, storage.
//!
//! A [`ResourceDef`] describes a resource, whether compiled in, installed as a CRD or bound from an export; a [`Surface`]
//! says which of them exist in a cluster; a [`Backend`] holds the objects. [`Registry`] is the backend over `storage`.
//!
//! Invariants
//! - One pipeline serves every resource; what differs between resources is data of the `ResourceDef` or its [`Strategy`].
//! - Definitions with equal content exist once; nothing here is kept per cluster.
//! - Nothing reaches storage without the request's `Permit`.
#![forbid(unsafe_code)]

mod admission;
mod backend;
mod def;
mod strategy;
mod surface;

pub use admission::{Admission, AdmissionChain, Attributes};
pub use backend::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Target, WatchEvent};
pub use def::{Column, Names, Origin, ResourceDef, Scale, SchemaBundle, Subresource, VersionDef};
pub use strategy::{Strategy, StrategyContext};
pub use surface::{Resolved, Surface};
