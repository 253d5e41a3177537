//! Second stage: which cluster the URL means.

use machinery::object::GroupResource;
use machinery::status::Status;
use permit::Scope;

use super::Target;
use crate::auth::{Resolution, Resolver};
use crate::refusal::{Refusal, Result};

/// A request whose place is known; nothing is known of its sender.
pub struct Resolved<'r> {
    pub(super) target: Target<'r>,
    pub(super) place: Place,
}

pub(super) enum Place {
    /// No cluster in the URL.
    Nowhere,
    Scope(Scope),
    /// Below `/services/`.
    Service,
    /// Served at another URL.
    Mount(String),
    /// There is no such cluster, or not here, or not now. Not said to those who may not know (law: existing and missing
    /// clusters look alike from outside).
    Missing(Missing),
}

/// Why a cluster is not to be had, and who may know.
pub(super) struct Missing {
    pub status: Status,
    /// The cluster itself, if it is there.
    pub cluster: Option<Scope>,
    /// The last cluster on the way, and the name that was looked for in it.
    pub nearest: Option<(Scope, String)>,
}

// === impl Resolved ===

impl<'r> Resolved<'r> {
    /// `is_peer`: another part of this control plane is asking; it is told where a cluster has gone. Without
    /// `serves_mounts` what is mounted is not to be had.
    pub fn new(target: Target<'r>, resolver: &dyn Resolver, is_peer: bool, serves_mounts: bool) -> Result<Self> {
        let place = match target.segment {
            _ if target.is_service => Place::Service,
            None => Place::Nowhere,
            Some(segment) => match resolver.resolve(segment, is_peer) {
                Resolution::Cluster(cluster) => Place::Scope(Scope::One(cluster)),
                Resolution::All => Place::Scope(Scope::All),
                Resolution::Mount { url } if serves_mounts => Place::Mount(url),
                // Syntax is the same to everybody.
                Resolution::Refused(status) if status.code == 400 => return Err(Refusal::from(status)),
                refused => Place::Missing(Missing::new(refused, segment, resolver)),
            },
        };
        Ok(Self { target, place })
    }

    pub fn scope(&self) -> Option<&Scope> {
        match &self.place {
            Place::Scope(scope) => Some(scope),
            _ => None,
        }
    }
}

// === impl Missing ===

impl Missing {
    fn new(why: Resolution, segment: &str, resolver: &dyn Resolver) -> Self {
        let (status, cluster) = match why {
            Resolution::Refused(status) => (status, None),
            Resolution::Unavailable { status, cluster } => (status, cluster.map(Scope::One)),
            Resolution::Mount { .. } | Resolution::Cluster(_) | Resolution::All => {
                (Status::service_unavailable("mounts are not served here"), None)
            }
        };
        Self {
            status,
            cluster,
            nearest: nearest(segment, resolver),
        }
    }
}

/// The cluster of the longest known beginning of a path, and what follows in the path.
fn nearest(segment: &str, resolver: &dyn Resolver) -> Option<(Scope, String)> {
    let mut known = segment;
    while let Some((parent, name)) = known.rsplit_once(':') {
        if let Resolution::Cluster(cluster) = resolver.resolve(parent, false) {
            return Some((Scope::One(cluster), name.to_owned()));
        }
        known = parent;
    }
    None
}

/// The kind of object whose absence a status tells of: who may get such a one, may hear of it.
pub(super) fn missing_object(status: &Status) -> GroupResource {
    let details = status.details.clone().unwrap_or_default();
    GroupResource::new(details.group, details.kind)
}
