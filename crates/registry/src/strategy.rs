//! What is particular to a resource: the rules of its compiled-in kind, or of custom resources in general.

use machinery::field::FieldError;
use machinery::names::{self, NameFn};
use machinery::object::ObjectExt;
use machinery::user::User;
use permit::Cluster;
use serde_json::{Map, Value};

use crate::{ResourceDef, Subresource, VersionDef};

/// What a strategy may know. Strategies are pure.
pub struct StrategyContext<'a> {
    pub def: &'a ResourceDef,
    pub version: usize,
    pub subresource: Subresource,
    pub cluster: &'a Cluster,
    pub user: &'a User,
    /// RFC 3339, seconds.
    pub now: &'a str,
}

/// Follows Kubernetes' `rest.RESTCreateStrategy` and `RESTUpdateStrategy`.
///
/// The order of a write: [`Strategy::default`], ownership of fields, mutating admission, `prepare_for_…`, validation,
/// validating admission. So what defaulting sets is owned by the writer, and what admission and preparation set is not,
/// as in Kubernetes.
pub trait Strategy: Send + Sync {
    /// What decoding sets where the client said nothing.
    fn default(&self, _ctx: &StrategyContext<'_>, _object: &mut Value) {}

    /// Clears what clients may not set, sets what the server does.
    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, _object: &mut Value) {}

    /// Keeps what an update may not change; bumps `generation` where the kind has one.
    fn prepare_for_update(&self, _ctx: &StrategyContext<'_>, _object: &mut Value, _old: &Value) {}

    /// What names may look like.
    fn name_rule(&self) -> NameFn {
        names::subdomain_name
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_update(&self, _ctx: &StrategyContext<'_>, _object: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// All that is wrong, after what was found in metadata. Rules over the whole object (CEL) need to know of that: they
    /// run only on objects that are otherwise well-formed.
    fn validate_after(
        &self,
        ctx: &StrategyContext<'_>,
        mut errors: Vec<FieldError>,
        object: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        errors.extend(match old {
            None => self.validate(ctx, object),
            Some(old) => self.validate_update(ctx, object, old),
        });
        errors
    }

    /// Texts for `Warning` headers. `old` is absent on create.
    fn warnings(&self, _ctx: &StrategyContext<'_>, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// An update without resourceVersion takes whatever is there.
    fn allows_unconditional_update(&self) -> bool {
        true
    }

    /// A PUT of an absent object creates it.
    fn allows_create_on_update(&self) -> bool {
        false
    }

    /// Fields that this subresource may not own (server-side apply's reset fields), as member paths.
    fn reset_fields(&self, _version: &VersionDef, _subresource: Subresource) -> &'static [&'static [&'static str]] {
        &[]
    }

    /// Values of the field selectors this kind supports beyond metadata.name and metadata.namespace: the label, and where
    /// the value stands in the stored object.
    fn selectable_fields(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[]
    }

    /// Time to live in seconds, for kinds that expire (events).
    fn ttl_seconds(&self) -> Option<u64> {
        None
    }

    /// Finalizing a delete is held back although `metadata.finalizers` is empty (namespaces: `spec.finalizers`).
    fn holds_deletion(&self, _object: &Value) -> bool {
        false
    }

    /// The first delete of an object: what happens to it apart from the deletion mark (a finalizer, a phase).
    fn begin_deletion(&self, _ctx: &StrategyContext<'_>, _object: &mut Value) {}

    /// Creating an object of this kind opens its cluster for writes, deleting it closes it for good.
    fn fences_cluster(&self) -> bool {
        false
    }

    /// A delete answers the deleted object, not a `Status`.
    fn returns_deleted(&self) -> bool {
        false
    }

    /// The deletion mark has a `deletionGracePeriodSeconds` beside it.
    fn marks_grace(&self) -> bool {
        true
    }

    /// The garbage collector looks after dependents: `orphan` and `foregroundDeletion` may be asked for.
    fn is_garbage_collected(&self) -> bool {
        true
    }
}

/// Sets a member to what it was, absent included.
pub(crate) fn keep(object: &mut Value, old: &Value, path: &[&str]) {
    match old.at(path) {
        Some(value) => object.set_at(path, value.clone()),
        None => {
            object.remove_at(path);
        }
    }
}

/// `generation` grows by one when anything but metadata and status changed.
pub(crate) fn bump_generation_on_spec_change(object: &mut Value, old: &Value) {
    if object.get("spec") != old.get("spec") {
        object
            .meta_mut()
            .insert("generation".to_owned(), (old.generation() + 1).into());
    }
}

/// Whether two objects differ in nothing but the members named.
pub(crate) fn same_but(a: &Value, b: &Value, ignored: &[&str]) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    let within = |one: &Map<String, Value>, other: &Map<String, Value>| {
        one.iter()
            .filter(|(name, _)| !ignored.contains(&name.as_str()))
            .all(|(name, value)| other.get(name) == Some(value))
    };
    within(a, b) && within(b, a)
}
