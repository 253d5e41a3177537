//! From a schema to a type, as kube-openapi's `schemaconv` reads the extensions.
//!
//! What a schema leaves open is deduced from values; what it contradicts itself in (a keyed list without keys) is atomic,
//! for an object must always be writable, whatever its schema.

use serde_json::Value;

use super::{Definitions, Field, List, MapType, PatchMeta, Relation, Scalar, Strategy, Type, TypeRef, meta};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

struct Builder<'a> {
    definitions: &'a Definitions,
}

/// The type of a whole object.
pub(super) fn root(schema: Option<&Value>, definitions: &Definitions) -> TypeRef {
    let mut ty = match schema {
        Some(schema) => definition(follow(schema, definitions), definitions),
        None => Type {
            map: Some(MapType {
                element: Some(TypeRef::Deduced),
                ..MapType::default()
            }),
            ..Type::default()
        },
    };
    let mut map = ty.map.take().unwrap_or_else(|| MapType {
        element: Some(TypeRef::Deduced),
        ..MapType::default()
    });
    add_identity(&mut map);
    TypeRef::inline(Type {
        map: Some(map),
        ..Type::default()
    })
}

/// The type of a named definition.
pub(super) fn definition(schema: &Value, definitions: &Definitions) -> Type {
    Builder { definitions }.ty(schema, false)
}

fn add_identity(map: &mut MapType) {
    map.set_field(Field::new("apiVersion", meta::scalar(Scalar::String)));
    map.set_field(Field::new("kind", meta::scalar(Scalar::String)));
    map.set_field(Field::new("metadata", TypeRef::ObjectMeta));
}

/// The schema itself, or what it refers to.
fn follow<'a>(schema: &'a Value, definitions: &'a Definitions) -> &'a Value {
    reference(schema)
        .and_then(|name| definitions.find(name))
        .and_then(|index| definitions.entries.get(index))
        .map_or(schema, |entry| &entry.schema)
}

/// The name a schema refers to: of its `$ref`, also where that stands alone in an `allOf`.
fn reference(schema: &Value) -> Option<&str> {
    let target =
        schema.get("$ref").or_else(
            || match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                Some([only]) => only.get("$ref"),
                _ => None,
            },
        )?;
    target.as_str().map(|path| path.rsplit('/').next().unwrap_or(path))
}

// === impl Builder ===

impl Builder<'_> {
    fn reference(&self, schema: &Value, preserve: bool) -> TypeRef {
        let Some(name) = reference(schema) else {
            return TypeRef::inline(self.ty(schema, preserve));
        };
        if name.ends_with("apis.meta.v1.ObjectMeta") {
            return TypeRef::ObjectMeta;
        }
        if name.ends_with("api.resource.Quantity") {
            return meta::scalar(Scalar::Untyped);
        }
        if name.ends_with("pkg.runtime.RawExtension") {
            return TypeRef::Opaque;
        }
        match self.definitions.find(name) {
            Some(index) => TypeRef::Named(index, map_atomic(schema)),
            None => TypeRef::Deduced,
        }
    }

    fn ty(&self, schema: &Value, preserve: bool) -> Type {
        let preserve = preserve || flag(schema, PRESERVE);
        let scalar = |scalar| Type {
            scalar: Some(scalar),
            ..Type::default()
        };
        match type_name(schema) {
            "object" => Type {
                map: Some(self.map(schema, preserve)),
                ..Type::default()
            },
            "array" => Type {
                list: Some(self.list(schema, preserve)),
                ..Type::default()
            },
            "integer" | "number" => scalar(Scalar::Numeric),
            "boolean" => scalar(Scalar::Boolean),
            "string" => match schema.get("format").and_then(Value::as_str) {
                None | Some("" | "byte") => scalar(Scalar::String),
                Some(_) => scalar(Scalar::Untyped),
            },
            // Any type, unless the extension says it is a scalar of either kind.
            _ if flag(schema, "x-kubernetes-int-or-string") => scalar(Scalar::Untyped),
            _ => Type {
                scalar: Some(Scalar::Untyped),
                list: Some(self.list(schema, preserve)),
                map: Some(self.map(schema, preserve)),
            },
        }
    }

    fn map(&self, schema: &Value, preserve: bool) -> MapType {
        let mut map = MapType {
            atomic: map_atomic(schema).unwrap_or(false),
            ..MapType::default()
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            map.set_field(Field {
                default: property.get("default").filter(|default| !default.is_null()).cloned(),
                patch: patch_meta(property),
                ..Field::new(name, self.reference(property, preserve))
            });
        }
        map.element = match schema.get("additionalProperties") {
            Some(Value::Bool(allowed)) => allowed.then_some(TypeRef::Deduced),
            Some(members @ Value::Object(_)) => Some(self.reference(members, preserve)),
            _ => (preserve || map.fields.is_empty()).then_some(TypeRef::Deduced),
        };
        if flag(schema, "x-kubernetes-embedded-resource") {
            add_identity(&mut map);
        }
        map
    }

    fn list(&self, schema: &Value, preserve: bool) -> List {
        let element = match schema.get("items") {
            Some(items @ Value::Object(_)) => self.reference(items, preserve),
            _ => TypeRef::Opaque,
        };
        List {
            element,
            relation: relation(schema),
        }
    }
}

fn type_name(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        // OpenAPI 3.1 style; more than one type is any type.
        Some(Value::Array(names)) => match names.as_slice() {
            [Value::String(only)] => only,
            _ => "",
        },
        _ => "",
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn map_atomic(schema: &Value) -> Option<bool> {
    match schema.get("x-kubernetes-map-type").and_then(Value::as_str) {
        Some("atomic") => Some(true),
        Some("granular") => Some(false),
        _ => None,
    }
}

/// The list type, or what the patch strategy implies where there is none.
fn relation(schema: &Value) -> Relation {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => return Relation::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys: Vec<Box<str>> = keys
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(Into::into)
                .collect();
            return if keys.is_empty() {
                Relation::Atomic
            } else {
                Relation::Keyed(keys)
            };
        }
        Some(_) => return Relation::Atomic,
        None => {}
    }
    let patch = patch_meta(schema);
    match (patch.strategy, patch.merge_key) {
        (Strategy::Merge, Some(key)) => Relation::Keyed(vec![key]),
        (Strategy::Merge, None) => Relation::Set,
        _ => Relation::Atomic,
    }
}

fn patch_meta(schema: &Value) -> PatchMeta {
    let mut meta = PatchMeta::default();
    let strategies = schema
        .get("x-kubernetes-patch-strategy")
        .and_then(Value::as_str)
        .unwrap_or_default();
    for strategy in strategies.split(',') {
        match strategy {
            "merge" => meta.strategy = Strategy::Merge,
            "replace" => meta.strategy = Strategy::Replace,
            "retainKeys" => meta.retain_keys = true,
            _ => {}
        }
    }
    meta.merge_key = schema
        .get("x-kubernetes-patch-merge-key")
        .and_then(Value::as_str)
        .map(Into::into);
    meta
}
