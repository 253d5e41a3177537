//! API objects as JSON trees: accessors for `metadata`, group-version-kind-resource names, and the canonical encoding.
//!
//! A tree lives only between decode and encode of one request or one plan; caches hold canonical bytes (see the `storage`
//! crate). Canonical order: `apiVersion`, `kind`, `metadata`, then the other members sorted; inside, all maps sorted.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Group and resource (plural), e.g. `apps` / `deployments`. The core group is `""`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupResource {
    pub group: String,
    pub resource: String,
}

/// Group and version. Prints as `apiVersion` does: `v1`, `apps/v1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupVersion {
    pub group: String,
    pub version: String,
}

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupVersionKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// Accessors on an API object. Reading never fails: what is absent or of a wrong type reads as absent.
pub trait ObjectExt {
    fn api_version(&self) -> &str;
    fn kind(&self) -> &str;
    fn name(&self) -> &str;
    /// `""` for cluster-scoped objects.
    fn namespace(&self) -> &str;
    fn uid(&self) -> &str;
    fn resource_version(&self) -> &str;
    fn generation(&self) -> i64;
    fn meta(&self) -> Option<&Map<String, Value>>;
    /// `metadata`, made an empty map where it is absent or not a map.
    fn meta_mut(&mut self) -> &mut Map<String, Value>;
    fn label(&self, key: &str) -> Option<&str>;
    fn annotation(&self, key: &str) -> Option<&str>;
    fn set_label(&mut self, key: &str, value: &str);
    fn set_annotation(&mut self, key: &str, value: &str);
    /// Removes it, and the map with it when nothing is left. True if it was there.
    fn remove_label(&mut self, key: &str) -> bool;
    fn remove_annotation(&mut self, key: &str) -> bool;
    fn finalizers(&self) -> Vec<&str>;
    fn has_finalizer(&self, name: &str) -> bool;
    /// True if it was added.
    fn add_finalizer(&mut self, name: &str) -> bool;
    fn remove_finalizer(&mut self, name: &str) -> bool;
    fn deletion_timestamp(&self) -> Option<&str>;
    /// A string at a path of members, e.g. `&["spec", "type", "name"]`.
    fn str_at(&self, path: &[&str]) -> Option<&str>;
    fn at(&self, path: &[&str]) -> Option<&Value>;
    /// Sets a member, making the maps on the way.
    fn set_at(&mut self, path: &[&str], value: Value);
    /// Removes a member; absent is no error.
    fn remove_at(&mut self, path: &[&str]) -> Option<Value>;
}

// === impl names ===

impl GroupResource {
    pub fn new(group: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
        }
    }
}

/// `pods`, `deployments.apps`.
impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

impl GroupVersion {
    pub fn new(group: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
        }
    }

    /// Splits an `apiVersion`. Anything is accepted: without a slash it is a version of the core group.
    pub fn parse(api_version: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version),
            None => Self::new("", api_version),
        }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

impl GroupVersionKind {
    pub fn new(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    pub fn of(object: &Value) -> Self {
        let gv = GroupVersion::parse(object.api_version());
        Self {
            group: gv.group,
            version: gv.version,
            kind: object.kind().to_owned(),
        }
    }
}

/// As Go prints it: `apps/v1, Kind=Deployment`.
impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            write!(f, "{}, Kind={}", self.version, self.kind)
        } else {
            write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
        }
    }
}

// === impl ObjectExt for Value ===

fn meta_str<'a>(object: &'a Value, key: &str) -> &'a str {
    object
        .meta()
        .and_then(|m| m.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn meta_map_get<'a>(object: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    object.meta()?.get(map)?.get(key)?.as_str()
}

fn meta_map_set(object: &mut Value, map: &str, key: &str, value: &str) {
    let entry = object
        .meta_mut()
        .entry(map)
        .or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    if let Value::Object(members) = entry {
        members.insert(key.to_owned(), Value::String(value.to_owned()));
    }
}

fn meta_map_remove(object: &mut Value, map: &str, key: &str) -> bool {
    if object.meta().is_none() {
        return false;
    }
    let meta = object.meta_mut();
    let Some(Value::Object(members)) = meta.get_mut(map) else {
        return false;
    };
    let removed = members.remove(key).is_some();
    if members.is_empty() {
        meta.remove(map);
    }
    removed
}

impl ObjectExt for Value {
    fn api_version(&self) -> &str {
        self.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    fn name(&self) -> &str {
        meta_str(self, "name")
    }

    fn namespace(&self) -> &str {
        meta_str(self, "namespace")
    }

    fn uid(&self) -> &str {
        meta_str(self, "uid")
    }

    fn resource_version(&self) -> &str {
        meta_str(self, "resourceVersion")
    }

    fn generation(&self) -> i64 {
        self.meta()
            .and_then(|m| m.get("generation"))
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    fn meta(&self) -> Option<&Map<String, Value>> {
        self.get("metadata").and_then(Value::as_object)
    }

    fn meta_mut(&mut self) -> &mut Map<String, Value> {
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        let Value::Object(members) = self else {
            unreachable!("made an object above")
        };
        let meta = members.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if !meta.is_object() {
            *meta = Value::Object(Map::new());
        }
        match meta {
            Value::Object(map) => map,
            _ => unreachable!("made an object above"),
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        meta_map_get(self, "labels", key)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        meta_map_get(self, "annotations", key)
    }

    fn set_label(&mut self, key: &str, value: &str) {
        meta_map_set(self, "labels", key, value);
    }

    fn set_annotation(&mut self, key: &str, value: &str) {
        meta_map_set(self, "annotations", key, value);
    }

    fn remove_label(&mut self, key: &str) -> bool {
        meta_map_remove(self, "labels", key)
    }

    fn remove_annotation(&mut self, key: &str) -> bool {
        meta_map_remove(self, "annotations", key)
    }

    fn finalizers(&self) -> Vec<&str> {
        self.meta()
            .and_then(|m| m.get("finalizers"))
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }

    fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers().contains(&name)
    }

    fn add_finalizer(&mut self, name: &str) -> bool {
        if self.has_finalizer(name) {
            return false;
        }
        let list = self
            .meta_mut()
            .entry("finalizers")
            .or_insert_with(|| Value::Array(Vec::new()));
        if !list.is_array() {
            *list = Value::Array(Vec::new());
        }
        if let Value::Array(items) = list {
            items.push(Value::String(name.to_owned()));
        }
        true
    }

    fn remove_finalizer(&mut self, name: &str) -> bool {
        if !self.has_finalizer(name) {
            return false;
        }
        let meta = self.meta_mut();
        if let Some(Value::Array(items)) = meta.get_mut("finalizers") {
            items.retain(|item| item.as_str() != Some(name));
            if items.is_empty() {
                meta.remove("finalizers");
            }
        }
        true
    }

    fn deletion_timestamp(&self) -> Option<&str> {
        self.meta()?.get("deletionTimestamp")?.as_str()
    }

    fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, member| value.get(member))
    }

    fn set_at(&mut self, path: &[&str], value: Value) {
        let mut here = self;
        for member in path {
            if !here.is_object() {
                *here = Value::Object(Map::new());
            }
            let Value::Object(members) = here else {
                unreachable!("made an object above")
            };
            here = members.entry(*member).or_insert(Value::Null);
        }
        *here = value;
    }

    fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut here = self;
        for member in parents {
            here = here.get_mut(member)?;
        }
        here.as_object_mut()?.remove(*last)
    }
}

/// The canonical encoding: `apiVersion`, `kind`, `metadata` first, everything else sorted. Never fails: trees have only
/// string keys and finite numbers.
pub fn encode_canonical(object: &Value) -> Vec<u8> {
    let Value::Object(members) = object else {
        return serde_json::to_vec(object).unwrap_or_default();
    };
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    let first = ["apiVersion", "kind", "metadata"];
    let head = first.iter().filter_map(|key| members.get_key_value(*key));
    let tail = members.iter().filter(|(key, _)| !first.contains(&key.as_str()));
    for (index, (key, value)) in head.chain(tail).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json(&mut out, key);
        out.push(b':');
        write_json(&mut out, value);
    }
    out.push(b'}');
    out
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing to a Vec cannot fail, and a Value has no keys that are not strings.
    let _infallible = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_order_puts_identity_first() {
        let object =
            json!({"data": {"b": "2", "a": "1"}, "metadata": {"name": "x"}, "kind": "ConfigMap", "apiVersion": "v1"});
        assert_eq!(
            String::from_utf8(encode_canonical(&object)).unwrap(),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1","b":"2"}}"#
        );
    }

    #[test]
    fn last_label_takes_the_map_with_it() {
        let mut object = json!({"metadata": {"labels": {"a": "1"}}});
        assert!(object.remove_label("a"));
        assert!(!object.remove_label("a"));
        assert_eq!(object, json!({"metadata": {}}));
    }
}
