//! Accesses and what an authorizer decides of them, as values.

use machinery::selector::LabelSelector;

use crate::Scope;

/// One access to be decided: an API request, or the attributes of a SubjectAccessReview.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// `None`: no cluster in the URL.
    pub scope: Option<Scope>,
    pub verb: String,
    /// False: `path` is what is accessed.
    pub is_resource: bool,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    /// Identity of the export of a bound resource, when the surface resolved one.
    pub identity: Option<String>,
    /// The access is reviewed on behalf of a component: checks that only concern entering a cluster are skipped.
    pub deep: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The selector narrows what may be seen; usually everything.
    Allow {
        reason: String,
        selector: LabelSelector,
    },
    Deny {
        reason: String,
    },
    NoOpinion {
        reason: String,
    },
    /// What it takes to decide cannot be had now: nothing is allowed, and nothing is said to be forbidden (503).
    Unavailable {
        reason: String,
    },
}

// === impl Decision ===

impl Decision {
    pub fn allow(reason: impl Into<String>) -> Self {
        Self::Allow {
            reason: reason.into(),
            selector: LabelSelector::everything(),
        }
    }

    pub fn deny(reason: impl Into<String>) -> Self {
        Self::Deny { reason: reason.into() }
    }

    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Self::NoOpinion { reason: reason.into() }
    }

    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}
