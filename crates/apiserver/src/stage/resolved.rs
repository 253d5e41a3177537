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
    /// There is no such cluster, or not here. Not said to those who may not know (law: existing and missing clusters look
    /// alike from outside): `nearest` is the cluster in which one may.
    Missing {
        status: Status,
        nearest: Option<Scope>,
    },
}

// === impl Resolved ===

impl<'r> Resolved<'r> {
    /// `is_peer`: another part of this control plane is asking; it is told where a cluster has gone.
    pub fn new(target: Target<'r>, resolver: &dyn Resolver, is_peer: bool) -> Result<Self> {
        let place = match target.segment {
            _ if target.is_service => Place::Service,
            None => Place::Nowhere,
            Some(segment) => match resolver.resolve(segment, is_peer) {
                Resolution::Cluster(cluster) => Place::Scope(Scope::One(cluster)),
                Resolution::All => Place::Scope(Scope::All),
                Resolution::Mount { url } => Place::Mount(url),
                // Syntax is the same to everybody.
                Resolution::Refused(status) if status.code == 400 => return Err(Refusal::from(status)),
                Resolution::Refused(status) => {
                    let nearest = nearest(segment, resolver);
                    Place::Missing { status, nearest }
                }
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

/// The cluster of the longest known beginning of a path.
fn nearest(segment: &str, resolver: &dyn Resolver) -> Option<Scope> {
    let mut known = segment;
    while let Some((parent, _)) = known.rsplit_once(':') {
        if let Resolution::Cluster(cluster) = resolver.resolve(parent, false) {
            return Some(Scope::One(cluster));
        }
        known = parent;
    }
    None
}

/// The object whose absence a status tells of: who may get that, may hear of it.
pub(super) fn missing_object(status: &Status) -> (GroupResource, String) {
    let details = status.details.clone().unwrap_or_default();
    (GroupResource::new(details.group, details.kind), details.name)
}
