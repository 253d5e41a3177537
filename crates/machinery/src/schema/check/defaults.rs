//! That defaults are what the schema allows: pruned, valid, and passing the rules.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::field::{FieldError, Path};
use crate::schema::rules::Rules;
use crate::schema::structural::{Pool, Schema};
use crate::schema::{embedded, prune, validate};

/// Whether the place is inside `metadata`, `apiVersion` or `kind` of a resource, and its path there.
#[derive(Clone)]
enum Around {
    Nothing,
    Meta(Vec<String>),
}

pub(super) fn check_defaults(schema: &Value, path: &Path) -> Vec<FieldError> {
    let parsed = Pool::default().parse(schema);
    let mut errors = Vec::new();
    if parsed.has_defaults {
        walk(&parsed, true, &Around::Nothing, path, &mut errors);
    }
    errors
}

fn walk(schema: &Arc<Schema>, resource: bool, around: &Around, path: &Path, errors: &mut Vec<FieldError>) {
    let around = if schema.embedded { &Around::Nothing } else { around };
    if let Some(default) = &schema.default {
        check(schema, default, around, &path.child("default"), errors);
    }
    if let Some(items) = schema.items.as_ref().filter(|items| items.has_defaults) {
        walk(items, items.embedded, around, &path.child("items"), errors);
    }
    for (name, property) in schema.properties.iter().filter(|(_, property)| property.has_defaults) {
        let meta = resource && matches!(&**name, "metadata" | "apiVersion" | "kind");
        let below = match around {
            Around::Meta(names) => Around::Meta(names.iter().cloned().chain([name.as_ref().to_owned()]).collect()),
            Around::Nothing if meta => Around::Meta(vec![name.as_ref().to_owned()]),
            Around::Nothing => Around::Nothing,
        };
        walk(
            property,
            property.embedded,
            &below,
            &path.child("properties").key(name),
            errors,
        );
    }
}

fn check(schema: &Arc<Schema>, default: &Value, around: &Around, path: &Path, errors: &mut Vec<FieldError>) {
    match around {
        Around::Nothing => {
            let mut pruned = default.clone();
            prune::prune(&mut pruned, schema, false);
            if pruned != *default {
                errors.push(FieldError::invalid(path, default, "must not have unknown fields"));
            }
            let found = embedded::check_embedded(default, schema, path);
            if !found.is_empty() {
                errors.extend(found);
                return;
            }
        }
        Around::Meta(names) => {
            if let Some(error) = inside_metadata(default, names, path) {
                errors.push(error);
                return;
            }
        }
    }
    let found = validate::validate_value(default, None, schema, path);
    if !found.is_empty() {
        errors.extend(found);
        return;
    }
    let Some(rules) = Rules::compile(schema, schema.embedded) else {
        return;
    };
    // As an update that changes nothing, and as something new.
    let mut found = rules.evaluate(default, Some(default), path);
    if found.is_empty() {
        found = rules.evaluate(default, None, path);
    }
    errors.extend(found);
}

/// A default of a part of the metadata must make valid metadata.
fn inside_metadata(default: &Value, names: &[String], path: &Path) -> Option<FieldError> {
    let wrapped = names
        .iter()
        .rev()
        .fold(default.clone(), |inner, name| json!({ name.as_str(): inner }));
    let mut object = json!({"apiVersion": "validation/v1", "kind": "Validation"});
    if let (Value::Object(members), Value::Object(more)) = (&mut object, wrapped) {
        members.extend(more);
    }
    let schema = Schema {
        embedded: true,
        has_embedded: true,
        ..Schema::default()
    };
    let found = embedded::check_embedded(&object, &schema, &Path::root());
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    let joined = match texts.as_slice() {
        [] => return None,
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Some(FieldError::invalid(
        path,
        default,
        format!("must result in valid metadata: {joined}"),
    ))
}
