//! `metadata.managedFields`: the list on the wire and the managers read from it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fieldset::FieldSet;

/// How a manager came by its paths. `Apply` sorts before `Update`, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// What tells managers apart. The version counts for updates only: who applies has one set, whatever version it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity<'a> {
    pub manager: &'a str,
    pub operation: Operation,
    pub version: &'a str,
    pub subresource: &'a str,
}

/// One manager and what it owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The entry as it stood on the wire, without `fieldsV1` if the set was changed.
    wire: Map<String, Value>,
    operation: Operation,
    set: FieldSet,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries(Vec<Entry>);

// === impl Operation ===

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

// === impl Entry ===

impl Entry {
    pub fn new(identity: Identity<'_>, api_version: &str, set: FieldSet) -> Self {
        let mut wire = Map::new();
        wire.insert("manager".to_owned(), identity.manager.into());
        wire.insert("operation".to_owned(), identity.operation.as_str().into());
        wire.insert("apiVersion".to_owned(), api_version.into());
        wire.insert("fieldsType".to_owned(), "FieldsV1".into());
        if !identity.subresource.is_empty() {
            wire.insert("subresource".to_owned(), identity.subresource.into());
        }
        Self {
            wire,
            operation: identity.operation,
            set,
        }
    }

    fn decode(position: usize, wire: Value) -> Result<Self, String> {
        let Value::Object(mut wire) = wire else {
            return Err(format!("managed fields entry {position} is not a map"));
        };
        wire.retain(|key, value| KNOWN.contains(&key.as_str()) && !value.is_null());
        let text = |key: &str| wire.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {position}")),
            other => {
                return Err(format!(
                    "invalid fieldsType {other:?} in managed fields entry {position}"
                ));
            }
        }
        let set = match wire.get("fieldsV1") {
            Some(fields) => FieldSet::from_value(fields).map_err(|error| format!("error decoding set: {error}"))?,
            None => FieldSet::new(),
        };
        Ok(Self { wire, operation, set })
    }

    fn text(&self, key: &str) -> &str {
        self.wire.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn identity(&self) -> Identity<'_> {
        let version = match self.operation {
            Operation::Apply => "",
            Operation::Update => self.api_version(),
        };
        Identity {
            manager: self.text("manager"),
            operation: self.operation,
            version,
            subresource: self.text("subresource"),
        }
    }

    pub fn api_version(&self) -> &str {
        self.text("apiVersion")
    }

    pub fn time(&self) -> Option<&str> {
        self.wire.get("time").and_then(Value::as_str)
    }

    pub fn set_time(&mut self, now: &str) {
        self.wire.insert("time".to_owned(), now.into());
    }

    pub fn set(&self) -> &FieldSet {
        &self.set
    }

    /// Changes the set; the closure says whether it did.
    pub fn change(&mut self, change: impl FnOnce(&mut FieldSet) -> bool) -> bool {
        let changed = change(&mut self.set);
        if changed {
            self.wire.remove("fieldsV1");
        }
        changed
    }

    fn names(&self) -> [&str; 3] {
        ["manager", "apiVersion", "subresource"].map(|name| self.text(name))
    }

    fn encode(self) -> Value {
        let mut wire = self.wire;
        if !wire.contains_key("fieldsV1") {
            wire.insert("fieldsV1".to_owned(), self.set.to_value());
        }
        Value::Object(wire)
    }

    fn is_ancient(&self) -> bool {
        self.text("manager") == ANCIENT && self.text("subresource").is_empty()
    }

    /// Takes all paths of another, and its time, which is the later. Becomes the entry of old changes thereby.
    fn take_in(&mut self, other: &mut Self) {
        self.wire.insert("manager".to_owned(), ANCIENT.into());
        self.wire.remove("subresource");
        let taken = std::mem::take(&mut other.set);
        self.change(|set| {
            set.extend(&taken);
            true
        });
        if other.seconds() >= self.seconds() {
            match other.time() {
                Some(time) => self.set_time(time),
                None => drop(self.wire.remove("time")),
            }
        }
    }

    /// Seconds since the epoch; 0 without a time, as entries without one sort first.
    fn seconds(&self) -> i64 {
        self.time()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .map_or(0, jiff::Timestamp::as_second)
    }
}

const KNOWN: [&str; 7] = [
    "manager",
    "operation",
    "apiVersion",
    "time",
    "fieldsType",
    "fieldsV1",
    "subresource",
];

// === impl Entries ===

impl Entries {
    /// Reads the list. The later of two entries of one manager wins.
    pub fn decode(list: Vec<Value>) -> Result<Self, String> {
        let entries: Result<Vec<Entry>, String> = list
            .into_iter()
            .enumerate()
            .map(|(position, wire)| Entry::decode(position, wire))
            .collect();
        let mut entries = entries?;
        let mut seen = BTreeSet::new();
        let last: Vec<bool> = entries
            .iter()
            .rev()
            .map(|entry| seen.insert(entry.identity()))
            .collect();
        if last.contains(&false) {
            let mut last = last.into_iter().rev();
            entries.retain(|_| last.next().unwrap_or(true));
        }
        Ok(Self(entries))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.0.iter_mut()
    }

    pub fn get(&self, identity: Identity<'_>) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.identity() == identity)
    }

    pub fn get_mut(&mut self, identity: Identity<'_>) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.identity() == identity)
    }

    pub fn remove(&mut self, identity: Identity<'_>) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.identity() == identity)?;
        Some(self.0.remove(at))
    }

    pub fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.0.retain(keep);
    }

    /// The list in wire order: by operation, time, manager, version, subresource. `None` if there are no managers.
    pub fn encode(mut self) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
        if self.0.len() > 1 {
            self.0.sort_by(|a, b| a.names().cmp(&b.names()));
            self.0.sort_by_cached_key(|entry| (entry.operation, entry.seconds()));
        }
        Some(Value::Array(self.0.into_iter().map(Entry::encode).collect()))
    }

    /// Merges the oldest of more than ten updaters, per version, into one entry `ancient-changes`.
    pub fn cap_updaters(&mut self) {
        let updaters = self.0.iter_mut().filter(|entry| entry.operation == Operation::Update);
        let mut updaters: Vec<&mut Entry> = updaters.collect();
        let mut excess = updaters.len().saturating_sub(MAX_UPDATERS);
        if excess == 0 {
            return;
        }
        updaters.sort_by(|a, b| a.identity().cmp(&b.identity()));
        updaters.sort_by_cached_key(|entry| entry.seconds());
        // An entry that is one already takes the others in; else the oldest of its version becomes it.
        let (mut buckets, rest): (Vec<_>, Vec<_>) = updaters.into_iter().partition(|entry| entry.is_ancient());
        for old in rest {
            if excess == 0 {
                break;
            }
            match buckets
                .iter_mut()
                .find(|bucket| bucket.api_version() == old.api_version())
            {
                Some(bucket) => {
                    bucket.take_in(old);
                    excess -= 1;
                }
                None => buckets.push(old),
            }
        }
        self.0.retain(|entry| !entry.set.is_empty());
    }
}

const ANCIENT: &str = "ancient-changes";

/// How many updaters an object keeps apart.
const MAX_UPDATERS: usize = 10;

/// Whether a list can be read, and why not. Admission that broke it is undone.
pub fn validate(list: &Value) -> Result<(), String> {
    match list {
        Value::Null => Ok(()),
        Value::Array(list) => Entries::decode(list.clone()).map(drop),
        _ => Err("managedFields must be a list".to_owned()),
    }
}

#[cfg(test)]
mod tests;
