//! Who may touch what, as a value: [`Permit`]. Storage takes one with every call and applies it itself.
//!
//! Invariants
//! - Pure and small, so that it can be read in one sitting. No I/O, no tokio.
//! - A [`Permit`] is made by the authorizer alone ([`Permit::granted`]); internal components use [`Permit::internal`].
//!   `xtask tidy` pins the files that may name either.
//! - The default of everything is to deny: a permit covers exactly the clusters, resources and verbs it names, and its
//!   selector is applied to every object read, watched or written.
#![forbid(unsafe_code)]

mod access;
mod cluster;
mod verb;

pub use access::{Access, Decision};
pub use cluster::{Cluster, ClusterParseError, Scope};
use machinery::object::GroupResource;
use machinery::selector::LabelSelector;
pub use verb::{Verb, Verbs};

/// Which resources a permit covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resources {
    /// One group-resource, whatever its version or identity.
    One(GroupResource),
    /// All of them: only for internal components and for deletion of a whole cluster.
    All,
}

/// The right to perform some verbs on some resources of some clusters, made by the authorizer.
///
/// Law 5: it cannot be made up. Its two constructors are pinned to a few files by `xtask tidy`; nothing else makes one, for
/// its fields are its own, and there is no default and no conversion:
/// ```compile_fail,E0451
/// use machinery::selector::LabelSelector;
/// use permit::{Permit, Resources, Scope, Verbs};
/// let forged = Permit { scope: Scope::All, resources: Resources::All, verbs: Verbs::ALL, selector: LabelSelector::everything() };
/// ```
/// ```compile_fail,E0277
/// fn forge<T: Default>() -> T { T::default() }
/// let forged: permit::Permit = forge();
/// ```
/// ```compile_fail,E0616
/// fn widen(mut permit: permit::Permit) { permit.scope = permit::Scope::All; }
/// ```
#[derive(Clone, Debug)]
pub struct Permit {
    scope: Scope,
    resources: Resources,
    verbs: Verbs,
    selector: LabelSelector,
}

/// An access outside a permit: a defect of the caller, answered as 403 and logged.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{verb} on {resource} in {cluster} is outside the permit")]
pub struct OutsidePermit {
    pub verb: Verb,
    pub resource: String,
    pub cluster: String,
}

// === impl Permit ===

impl Permit {
    /// What the authorizer decided for one request. `selector` narrows every object touched (empty: no narrowing).
    pub fn granted(scope: Scope, resources: Resources, verbs: Verbs, selector: LabelSelector) -> Self {
        Self {
            scope,
            resources,
            verbs,
            selector,
        }
    }

    /// For the listed internal components (controllers' driver, bootstrap): everything within `scope`.
    pub fn internal(scope: Scope) -> Self {
        Self {
            scope,
            resources: Resources::All,
            verbs: Verbs::ALL,
            selector: LabelSelector::everything(),
        }
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    pub fn selector(&self) -> &LabelSelector {
        &self.selector
    }

    /// A permit for less: the same clusters and resources, fewer verbs, a further selector.
    #[must_use]
    pub fn narrowed(&self, verbs: Verbs, selector: &LabelSelector) -> Self {
        Self {
            scope: self.scope.clone(),
            resources: self.resources.clone(),
            verbs: self.verbs.intersection(verbs),
            selector: self.selector.and(selector),
        }
    }

    /// Checked by storage before anything else. `scope` is what the access would touch.
    pub fn check(&self, verb: Verb, group: &str, resource: &str, scope: &Scope) -> Result<(), OutsidePermit> {
        let resource_ok = match &self.resources {
            Resources::All => true,
            Resources::One(of) => of.group == group && of.resource == resource,
        };
        if resource_ok && self.verbs.contains(verb) && self.scope.covers(scope) {
            return Ok(());
        }
        Err(OutsidePermit {
            verb,
            resource: format!("{resource}.{group}"),
            cluster: scope.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Scope {
        Scope::One(Cluster::parse(name).unwrap())
    }

    #[test]
    fn covers_exactly_what_it_names() {
        let permit = Permit::granted(
            one("abc"),
            Resources::One(GroupResource::new("", "configmaps")),
            Verbs::of(&[Verb::Get, Verb::List]),
            LabelSelector::everything(),
        );
        assert!(permit.check(Verb::Get, "", "configmaps", &one("abc")).is_ok());
        assert!(permit.check(Verb::Create, "", "configmaps", &one("abc")).is_err());
        assert!(permit.check(Verb::Get, "", "secrets", &one("abc")).is_err());
        assert!(permit.check(Verb::Get, "", "configmaps", &one("abd")).is_err());
        assert!(permit.check(Verb::List, "", "configmaps", &Scope::All).is_err());
    }

    #[test]
    fn narrowing_never_widens() {
        let permit = Permit::granted(
            one("abc"),
            Resources::All,
            Verbs::of(&[Verb::Get]),
            LabelSelector::everything(),
        );
        let narrowed = permit.narrowed(Verbs::ALL, &LabelSelector::everything());
        assert!(narrowed.check(Verb::Delete, "", "secrets", &one("abc")).is_err());
    }
}
