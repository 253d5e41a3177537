//! The shape of compiled-in kinds: what Kubernetes' Go types do to a body while it is decoded.
//!
//! Unknown members go (and are named for strict validation), wrong types are refused in Go's words, times become UTC,
//! nulls and empty optional lists and maps go as they do in one round through Go's encoder.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::json::DecodeError;
use machinery::metadata::shape_object_meta;
use machinery::strict::StrictErrors;
use machinery::time;
use serde_json::{Map, Value};

type NodeId = u32;

/// The shapes of a set of OpenAPI definitions, which may refer to each other and to themselves.
#[derive(Debug, Default)]
pub struct Shapes {
    nodes: Vec<Node>,
    /// Definitions by name.
    named: BTreeMap<Box<str>, NodeId>,
}

/// The shape of one kind. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shape {
    shapes: Arc<Shapes>,
    root: NodeId,
}

#[derive(Debug, Default)]
enum Node {
    /// Anything.
    #[default]
    Any,
    Text,
    /// Base64.
    Bytes,
    Integer(&'static str),
    Number,
    Boolean,
    /// `metav1.Time` (seconds) or `metav1.MicroTime`.
    Time {
        micros: bool,
    },
    List(NodeId),
    Map(NodeId),
    Struct(Struct),
    /// A struct where there is an object; else anything (`JSONSchemaPropsOrArray`).
    MaybeStruct(NodeId),
}

#[derive(Debug)]
struct Struct {
    /// Go's name, package included where errors print it: `v1.RoleRef`.
    name: Box<str>,
    /// Sorted by name.
    members: Box<[Member]>,
}

#[derive(Debug)]
struct Member {
    name: Box<str>,
    node: NodeId,
    /// Go encodes it even when it is empty.
    required: bool,
}

struct Walk<'a> {
    shapes: &'a Shapes,
    strict: &'a mut StrictErrors,
    /// Go's struct that is being read, and the members on the way (without list indexes), for texts.
    inside: &'a str,
    fields: Vec<&'a str>,
    /// The path with list indexes, for strict texts.
    path: String,
}

// === impl Shapes ===

impl Shapes {
    /// Reads `components.schemas` of an OpenAPI document.
    pub fn new(definitions: &Value) -> Arc<Self> {
        let mut shapes = Self::default();
        let map = definitions.as_object();
        for name in map.into_iter().flatten().map(|(name, _)| name) {
            let id = shapes.push(Node::Any);
            shapes.named.insert(name.as_str().into(), id);
        }
        for (name, schema) in map.into_iter().flatten() {
            let node = shapes.definition(name, schema);
            if let Some(id) = shapes.named.get(name.as_str()).copied() {
                shapes.set(id, node);
            }
        }
        Arc::new(shapes)
    }

    /// The shape of a definition; `None` if there is none of that name.
    pub fn of(self: &Arc<Self>, name: &str) -> Option<Shape> {
        let root = *self.named.get(name)?;
        Some(Shape {
            shapes: Arc::clone(self),
            root,
        })
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes in the definitions of a program")
    }

    fn set(&mut self, id: NodeId, node: Node) {
        if let Some(place) = self.nodes.get_mut(id as usize) {
            *place = node;
        }
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id as usize).unwrap_or(&Node::Any)
    }

    fn definition(&mut self, name: &str, schema: &Value) -> Node {
        let short = name.rsplit('.').next().unwrap_or(name);
        match short {
            "Time" => Node::Time { micros: false },
            "MicroTime" => Node::Time { micros: true },
            "Quantity" | "IntOrString" | "RawExtension" | "JSON" | "FieldsV1" | "Patch" => Node::Any,
            "JSONSchemaPropsOrStringArray" => Node::Any,
            "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" => {
                let props = name.replace(short, "JSONSchemaProps");
                self.named
                    .get(props.as_str())
                    .map_or(Node::Any, |id| Node::MaybeStruct(*id))
            }
            _ => self.inline(schema, short),
        }
    }

    fn id_of(&mut self, schema: &Value) -> NodeId {
        let only = schema
            .get("allOf")
            .and_then(Value::as_array)
            .and_then(|list| list.first());
        let target = schema.get("$ref").or_else(|| only?.get("$ref")).and_then(Value::as_str);
        if let Some(id) = target.and_then(|path| self.named.get(path.rsplit('/').next()?)) {
            return *id;
        }
        let node = self.inline(schema, "");
        self.push(node)
    }

    fn inline(&mut self, schema: &Value, name: &str) -> Node {
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        match (text("type"), text("format")) {
            ("string", "byte") => Node::Bytes,
            ("string", _) => Node::Text,
            ("integer", "int64") => Node::Integer("int64"),
            ("integer", _) => Node::Integer("int32"),
            ("number", _) => Node::Number,
            ("boolean", _) => Node::Boolean,
            ("array", _) => match schema.get("items") {
                Some(items) => Node::List(self.id_of(items)),
                None => Node::Any,
            },
            ("object", _) => match (schema.get("additionalProperties"), schema.get("properties")) {
                (Some(additional @ Value::Object(_)), _) => Node::Map(self.id_of(additional)),
                (_, Some(Value::Object(members))) => Node::Struct(self.members(members, schema, name)),
                _ if name.is_empty() => Node::Any,
                _ => Node::Struct(Struct {
                    name: name.into(),
                    members: Box::default(),
                }),
            },
            _ => Node::Any,
        }
    }

    fn members(&mut self, members: &Map<String, Value>, schema: &Value, name: &str) -> Struct {
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mut list: Vec<Member> = members
            .iter()
            .map(|(name, schema)| Member {
                name: name.as_str().into(),
                node: self.id_of(schema),
                required: required.iter().any(|r| r == name.as_str()),
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Struct {
            name: name.into(),
            members: list.into(),
        }
    }

    fn go_type(&self, id: NodeId) -> String {
        match self.node(id) {
            Node::Any => "interface {}".to_owned(),
            Node::Text => "string".to_owned(),
            Node::Bytes => "[]uint8".to_owned(),
            Node::Integer(name) => (*name).to_owned(),
            Node::Number => "float64".to_owned(),
            Node::Boolean => "bool".to_owned(),
            Node::Time { micros: false } => "v1.Time".to_owned(),
            Node::Time { micros: true } => "v1.MicroTime".to_owned(),
            Node::List(item) => format!("[]{}", self.go_type(*item)),
            Node::Map(item) => format!("map[string]{}", self.go_type(*item)),
            Node::Struct(shape) => format!("v1.{}", shape.name),
            Node::MaybeStruct(id) => self.go_type(*id),
        }
    }
}

// === impl Shape ===

impl Shape {
    /// Makes an object fit. `metadata` has a shape of its own. Errors are those of Go's decoder.
    pub fn fit(&self, object: &mut Value, strict: &mut StrictErrors) -> Result<(), DecodeError> {
        shape_object_meta(object, strict)?;
        let mut walk = Walk {
            shapes: &self.shapes,
            strict,
            inside: "",
            fields: Vec::new(),
            path: String::new(),
        };
        walk.value(object, self.root)
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn value(&mut self, value: &mut Value, id: NodeId) -> Result<(), DecodeError> {
        let shapes = self.shapes;
        match (shapes.node(id), value) {
            (Node::Any, _) | (Node::Text, Value::String(_)) | (Node::Boolean, Value::Bool(_)) => Ok(()),
            (Node::Number, Value::Number(_)) => Ok(()),
            (Node::Integer(name), Value::Number(number)) => match number.as_i64() {
                Some(n) if *name == "int64" || i32::try_from(n).is_ok() => Ok(()),
                _ => Err(self.wrong(&format!("number {number}"), id)),
            },
            (Node::Bytes, Value::String(text)) => check_base64(text),
            (Node::Time { micros }, Value::String(text)) => {
                let nanos = time::parse_rfc3339(text).map_err(|error| DecodeError(error.to_string()))?;
                *text = if *micros {
                    time::format_micros(nanos)
                } else {
                    time::format_seconds(nanos)
                };
                Ok(())
            }
            (Node::List(item), Value::Array(items)) => {
                let before = self.path.len();
                for (index, value) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    self.value(value, *item)?;
                    self.path.truncate(before);
                }
                Ok(())
            }
            (Node::Map(item), Value::Object(members)) => {
                for (key, value) in members.iter_mut() {
                    if value.is_null() && matches!(shapes.node(*item), Node::Text) {
                        *value = Value::String(String::new());
                    }
                    self.below(key, |walk| walk.value(value, *item))?;
                }
                Ok(())
            }
            (Node::Struct(shape), Value::Object(members)) => self.members(members, shape),
            (Node::MaybeStruct(target), value @ Value::Object(_)) => self.value(value, *target),
            (Node::MaybeStruct(_), _) => Ok(()),
            // Go reads null as the zero value; only inside lists and maps does one get here.
            (_, Value::Null) => Ok(()),
            (_, other) => Err(self.wrong(go_name(other), id)),
        }
    }

    fn members(&mut self, members: &mut Map<String, Value>, shape: &'a Struct) -> Result<(), DecodeError> {
        let root = self.path.is_empty();
        let find = |name: &str| shape.members.binary_search_by(|m| (*m.name).cmp(name)).ok();
        members.retain(|name, value| {
            let known = find(name).is_some();
            if !known {
                let path = if root {
                    name.clone()
                } else {
                    format!("{}.{name}", self.path)
                };
                self.strict.unknown(&path);
            }
            known && !value.is_null()
        });
        let outside = std::mem::replace(&mut self.inside, &shape.name);
        for (name, value) in members.iter_mut() {
            let member = find(name).and_then(|at| shape.members.get(at));
            let Some(member) = member.filter(|_| !(root && name == "metadata")) else {
                continue;
            };
            self.fields.push(&member.name);
            self.below(name, |walk| walk.value(value, member.node))?;
            self.fields.pop();
        }
        self.inside = outside;
        members.retain(|name, value| {
            let member = find(name).and_then(|at| shape.members.get(at));
            let droppable = member.is_some_and(|m| !m.required && self.is_collection(m.node));
            !(droppable && is_empty(value))
        });
        Ok(())
    }

    fn is_collection(&self, id: NodeId) -> bool {
        matches!(self.shapes.node(id), Node::List(_) | Node::Map(_))
    }

    fn below(&mut self, name: &str, run: impl FnOnce(&mut Self) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        run(self)?;
        self.path.truncate(before);
        Ok(())
    }

    fn wrong(&self, found: &str, id: NodeId) -> DecodeError {
        let (inside, fields, wanted) = (self.inside, self.fields.join("."), self.shapes.go_type(id));
        DecodeError(format!(
            "json: cannot unmarshal {found} into Go struct field {inside}.{fields} of type {wanted}"
        ))
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_base64(text: &str) -> Result<(), DecodeError> {
    use base64::DecodeError as Error;
    // Most values are short: the bytes themselves are not needed, only that they can be had.
    let at = match STANDARD.decode(text) {
        Ok(_) => return Ok(()),
        Err(Error::InvalidByte(at, _) | Error::InvalidLastSymbol(at, _)) => at,
        Err(Error::InvalidLength(_) | Error::InvalidPadding) => text.len() / 4 * 4,
    };
    Err(DecodeError(format!("illegal base64 data at input byte {at}")))
}

pub(crate) fn base64_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests;
