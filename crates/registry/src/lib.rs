//! Resources as data, and what every API does with objects: defaulting, validation, ownership, finalizers, storage.
//!
//! A [`ResourceDef`] describes a resource, whether compiled in, installed as a CRD or bound from an export; a [`Surface`]
//! says which of them exist in a cluster; a [`Backend`] holds the objects. [`Registry`] is the backend over `storage`.
//!
//! Invariants
//! - One pipeline serves every resource; what differs between resources is data of the `ResourceDef` or its [`Strategy`].
//! - Definitions with equal content exist once ([`DefinitionCache`]); nothing here is kept per cluster.
//! - Nothing reaches storage without the request's `Permit`.
//!
//! Read next: [`ResourceDef`], [`Strategy`], then `store/` (the pipelines), [`builtin`] (Kubernetes' own kinds),
//! [`represent`] (objects as bytes for clients).
#![forbid(unsafe_code)]

mod admission;
mod backend;
pub mod builtin;
mod cache;
mod convert;
mod custom;
mod def;
mod from_crd;
pub mod represent;
mod rules;
mod shape;
mod store;
mod strategy;
mod surface;
#[cfg(test)]
mod testing;

pub use admission::{Admission, AdmissionChain, Attributes};
pub use backend::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Target, WatchEvent};
pub use cache::DefinitionCache;
pub use convert::Converter;
pub use custom::CustomResources;
pub use def::{Column, Names, Origin, ResourceDef, Scale, SchemaBundle, Subresource, VersionDef};
pub use from_crd::{CustomDefinition, CustomVersion, storage_version_hash};
pub use shape::{Shape, Shapes};
pub use store::{Registry, Step, Together};
pub use strategy::{Strategy, StrategyContext};
pub use surface::{Resolved, Surface};
