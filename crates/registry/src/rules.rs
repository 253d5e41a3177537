//! Rules of metadata that only compiled-in kinds have.

use machinery::field::{FieldError, Path};
use machinery::names;
use machinery::object::ObjectExt;
use serde_json::Value;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// A finalizer is a qualified name, with a domain unless it is a standard one.
pub(crate) fn check_finalizer_name(name: &str, path: &Path) -> Vec<FieldError> {
    let texts = names::qualified_name(name);
    let mut errors: Vec<_> = texts
        .iter()
        .map(|why| FieldError::invalid(path, &name.into(), why.as_str()))
        .collect();
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, &name.into(), why));
    }
    errors
}

/// The finalizers of a compiled-in kind's new object.
pub(crate) fn check_finalizer_names(object: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata").child("finalizers");
    let list = object.finalizers();
    list.iter()
        .enumerate()
        .flat_map(|(index, name)| check_finalizer_name(name, &path.index(index)))
        .collect()
}

/// What a custom resource's new finalizers are warned about instead.
pub(crate) fn finalizer_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let known = old.map(ObjectExt::finalizers).unwrap_or_default();
    let mut added: Vec<&str> = object
        .finalizers()
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect();
    added.sort_unstable();
    added.dedup();
    let mut texts = Vec::new();
    for name in added {
        texts.extend(
            names::qualified_name(name)
                .iter()
                .map(|why| format!("metadata.finalizers: {name:?}: {why}")),
        );
        if name.contains('/') || STANDARD_FINALIZERS.contains(&name) {
            continue;
        }
        let including = if name.contains('.') {
            " including a path (/)"
        } else {
            ""
        };
        texts.push(format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{including} to avoid accidental \
             conflicts with other finalizer writers"
        ));
    }
    texts
}
