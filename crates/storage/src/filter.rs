//! Which objects a request sees: its own conditions and those of its permit.

use machinery::selector::{LabelSelector, Operator};
use permit::{Permit, Scope, Verb};

use crate::interest::Place;
use crate::objects::{Span, label_hash};
use crate::request::FieldPredicate;
use crate::{Entry, ResourceKey, StorageError};

/// The conditions on an object, those of the permit included.
#[derive(Clone)]
pub(crate) struct Filter {
    scope: Scope,
    namespace: String,
    /// Empty: any.
    name: String,
    labels: LabelSelector,
    pub fields: Option<FieldPredicate>,
}

/// Verbs whose permits may read: a patch or a deletion needs what is there. Creating does not.
const READING: [Verb; 7] = [
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Update,
    Verb::Patch,
    Verb::Delete,
    Verb::DeleteCollection,
];

/// Checks that a permit covers the access by `verb`, or by another verb that implies reading.
pub(crate) fn may_read(permit: &Permit, verb: Verb, resource: &ResourceKey, scope: &Scope) -> Result<(), StorageError> {
    may(permit, verb, &READING, resource, scope)
}

/// Checks that a permit covers the access by `verb` or by one of `others`.
pub(crate) fn may(
    permit: &Permit,
    verb: Verb,
    others: &[Verb],
    resource: &ResourceKey,
    scope: &Scope,
) -> Result<(), StorageError> {
    let check = |verb: Verb| permit.check(verb, &resource.group, &resource.resource, scope);
    match check(verb) {
        Ok(()) => Ok(()),
        Err(_) if others.iter().any(|verb| check(*verb).is_ok()) => Ok(()),
        Err(outside) => Err(outside.into()),
    }
}

// === impl Filter ===

impl Filter {
    pub(crate) fn new(
        permit: &Permit,
        scope: &Scope,
        namespace: &str,
        name: &str,
        labels: &LabelSelector,
        fields: Option<FieldPredicate>,
    ) -> Self {
        Self {
            scope: scope.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: permit.selector().and(labels),
            fields,
        }
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.matches_key_and_labels(entry) && self.fields.as_ref().is_none_or(|fields| fields(entry))
    }

    /// What can be told without reading the body: safe to ask under a lock.
    pub(crate) fn matches_key_and_labels(&self, entry: &Entry) -> bool {
        self.scope
            .cluster()
            .is_none_or(|cluster| cluster.as_str() == entry.cluster_name())
            && (self.namespace.is_empty() || self.namespace == entry.namespace())
            && (self.name.is_empty() || self.name == entry.name())
            && entry.labels_match(&self.labels)
    }

    /// Every object of the span is seen, so that the rest of a list can be counted.
    pub(crate) fn is_whole_span(&self) -> bool {
        let is_span = self.scope != Scope::All || self.namespace.is_empty();
        is_span && self.name.is_empty() && self.labels.is_everything() && self.fields.is_none()
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.labels.is_nothing()
    }

    /// The part of the key space in which all matching objects are.
    pub(crate) fn span(&self) -> Span {
        Span::under(&self.prefix())
    }

    fn prefix(&self) -> Vec<u8> {
        match &self.scope {
            Scope::All => Vec::new(),
            Scope::One(cluster) if self.namespace.is_empty() => format!("{cluster}/").into_bytes(),
            Scope::One(cluster) => format!("{cluster}/{}/", self.namespace).into_bytes(),
        }
    }

    /// The hash of a label that is indexed and that every matching object has.
    pub(crate) fn indexed_label(&self, indexed: &[Box<str>]) -> Option<u64> {
        let is_indexed = |key: &str| indexed.iter().any(|prefix| key.starts_with(&**prefix));
        self.equalities()
            .find(|(key, _)| is_indexed(key))
            .map(|(key, value)| label_hash(key, value))
    }

    fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels
            .requirements()
            .iter()
            .filter_map(|requirement| match (requirement.operator, &*requirement.values) {
                (Operator::In, [value]) => Some((requirement.key.as_str(), value.as_str())),
                _ => None,
            })
    }

    /// Where a watcher with these conditions waits. Of several equalities the last is taken: the permit's own come first, and
    /// what a request adds is narrower.
    pub(crate) fn place(&self) -> Place {
        let mut prefix = self.prefix();
        // A path holds the namespace before the name, so the name alone tells nothing over all namespaces.
        if !self.name.is_empty() && self.scope != Scope::All {
            prefix.extend_from_slice(self.name.as_bytes());
        }
        let label = self.equalities().last().map(|(key, value)| (key.into(), value.into()));
        Place {
            prefix: prefix.into(),
            label,
        }
    }
}
