//! Descriptions of kinds and fields, our own words (`data/descriptions.json`), put into the schemas when those are read.
//!
//! Kept apart from the schemas because those come from elsewhere and are made again by machine; these are written by hand.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Path of members (`spec.type.name`, empty for the kind itself) to text.
type Texts = BTreeMap<String, String>;

/// `<group>/<Kind>` to texts. The entry `*` is for all kinds.
static KINDS: LazyLock<BTreeMap<String, Texts>> = LazyLock::new(|| crate::data::parse("descriptions.json"));

/// Puts the texts of a kind into a schema without references. Array items are passed through, as `kubectl explain` does.
pub(crate) fn describe_schema(schema: &mut Value, group: &str, kind: &str) {
    for (path, text) in texts_of(group, kind) {
        let mut here = Some(&mut *schema);
        for member in members_of(path) {
            here = here.and_then(|schema| property_of(schema, member));
        }
        if let Some(Value::Object(found)) = here {
            found.insert("description".to_owned(), Value::String(text.clone()));
        }
    }
}

/// Puts the texts of a kind into named definitions, following references.
pub(crate) fn describe_definition(definitions: &mut Map<String, Value>, name: &str, group: &str, kind: &str) {
    for (path, text) in texts_of(group, kind) {
        describe_path(definitions, name, path, text);
    }
}

fn describe_path(definitions: &mut Map<String, Value>, name: &str, path: &str, text: &str) {
    let mut name = name.to_owned();
    let mut members = members_of(path).peekable();
    while let Some(member) = members.next() {
        let Some(property) = definitions
            .get_mut(&name)
            .and_then(|schema| property_of(schema, member))
        else {
            return;
        };
        if members.peek().is_some() {
            let Some(next) = reference_of(property) else { return };
            name = next;
        } else if let Value::Object(found) = property {
            found.insert("description".to_owned(), Value::String(text.to_owned()));
            return;
        }
    }
    if let Some(Value::Object(found)) = definitions.get_mut(&name) {
        found.insert("description".to_owned(), Value::String(text.to_owned()));
    }
}

fn texts_of(group: &str, kind: &str) -> impl Iterator<Item = (&'static String, &'static String)> {
    let own = KINDS.get(&format!("{group}/{kind}"));
    KINDS.get("*").into_iter().chain(own).flatten()
}

fn members_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|member| !member.is_empty())
}

fn property_of<'a>(schema: &'a mut Value, member: &str) -> Option<&'a mut Value> {
    let schema = if schema.get("items").is_some() {
        schema.get_mut("items")?
    } else {
        schema
    };
    schema.get_mut("properties")?.get_mut(member)
}

/// The name that a property refers to, directly, through `allOf` or as an array's items.
fn reference_of(property: &Value) -> Option<String> {
    let property = property.get("items").unwrap_or(property);
    let of = |schema: &Value| Some(schema.get("$ref")?.as_str()?.rsplit('/').next()?.to_owned());
    of(property).or_else(|| of(property.get("allOf")?.get(0)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{builtin, exports, system};

    /// Whether the text arrived, in one of the versions of the kind.
    fn arrived(schemas: &[&Value], path: &str) -> bool {
        schemas.iter().any(|schema| {
            let mut here = Some(*schema);
            for member in members_of(path) {
                here = here
                    .map(|s| s.get("items").unwrap_or(s))
                    .and_then(|s| match reference_of(s) {
                        Some(name) => builtin::definition(&name),
                        None => Some(s),
                    })
                    .and_then(|s| s.get("properties")?.get(member));
            }
            here.and_then(|s| s.get("description")).is_some()
        })
    }

    #[test]
    fn every_text_has_a_place() {
        for (kind, texts) in KINDS.iter().filter(|(kind, _)| *kind != "*") {
            let (group, name) = kind.split_once('/').unwrap();
            let mut schemas: Vec<&Value> = Vec::new();
            for crd in system::crds()
                .iter()
                .filter(|c| c["spec"]["group"] == group && c["spec"]["names"]["kind"] == name)
            {
                let versions = crd["spec"]["versions"].as_array().unwrap();
                schemas.extend(versions.iter().map(|v| &v["schema"]["openAPIV3Schema"]));
            }
            for ars in exports::schemas()
                .iter()
                .filter(|s| s["spec"]["group"] == group && s["spec"]["names"]["kind"] == name)
            {
                schemas.extend(ars["spec"]["versions"].as_array().unwrap().iter().map(|v| &v["schema"]));
            }
            for resource in builtin::resources()
                .iter()
                .filter(|r| r.group == group && r.kind == name)
            {
                schemas.push(builtin::definition(&resource.schema).unwrap());
            }
            assert!(!schemas.is_empty(), "{kind} is no kind");
            for path in texts.keys() {
                assert!(arrived(&schemas, path), "{kind}: no field {path}");
            }
        }
    }

    #[test]
    fn every_kind_has_a_text() {
        let kinds = builtin::resources().iter().map(|r| format!("{}/{}", r.group, r.kind));
        let objects = system::crds().iter().chain(exports::schemas());
        let own = objects.map(|o| {
            let text = |v: &Value| v.as_str().unwrap().to_owned();
            format!("{}/{}", text(&o["spec"]["group"]), text(&o["spec"]["names"]["kind"]))
        });
        for kind in kinds.chain(own) {
            assert!(KINDS.get(&kind).is_some_and(|texts| texts.contains_key("")), "{kind}");
        }
    }
}
