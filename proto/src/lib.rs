//! The messages and services that kcp's processes speak among themselves: gRPC, typed and versioned by package.
//!
//! The only generated code of the project. Fields are only ever added; what changes meaning gets a new package, so that
//! processes of neighbouring versions understand each other.
//!
//! Read next: `proto/kcp/fabric/v1/*.proto`, then crate `fabric`, which serves and calls them.
#![forbid(unsafe_code)]

/// `kcp.fabric.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod fabric {
    pub mod v1 {
        tonic::include_proto!("kcp.fabric.v1");
    }
}
