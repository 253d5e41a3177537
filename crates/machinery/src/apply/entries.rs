//! `metadata.managedFields`: the list on the wire and the managers read from it.

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

    fn make_ancient(&mut self) {
        self.wire.insert("manager".to_owned(), "ancient-changes".into());
        self.wire.remove("subresource");
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
        let mut out = Self::default();
        for (position, wire) in list.into_iter().enumerate() {
            let entry = Entry::decode(position, wire)?;
            out.remove(entry.identity());
            out.0.push(entry);
        }
        Ok(out)
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
        let mut order: Vec<(i64, usize)> = (self.0.iter().enumerate())
            .filter(|(_, entry)| entry.operation == Operation::Update)
            .map(|(at, entry)| (entry.seconds(), at))
            .collect();
        if order.len() <= MAX_UPDATERS {
            return;
        }
        order.sort_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| self.sort_name(a.1).cmp(&self.sort_name(b.1)))
        });
        let mut length = order.len();
        let mut firsts: Vec<(String, usize)> = Vec::new();
        let mut gone = Vec::new();
        for (_, at) in order {
            if length <= MAX_UPDATERS {
                break;
            }
            let Some(entry) = self.0.get(at).cloned() else { continue };
            let Some(first) = firsts
                .iter()
                .find(|(version, _)| version == entry.api_version())
                .map(|(_, at)| *at)
            else {
                firsts.push((entry.api_version().to_owned(), at));
                continue;
            };
            if first == at {
                continue;
            }
            if let Some(bucket) = self.0.get_mut(first) {
                bucket.make_ancient();
                bucket.change(|set| {
                    set.extend(&entry.set);
                    true
                });
                match entry.time() {
                    Some(time) => bucket.set_time(time),
                    None => drop(bucket.wire.remove("time")),
                }
            }
            gone.push(at);
            length -= 1;
        }
        gone.sort_unstable();
        for at in gone.into_iter().rev() {
            self.0.remove(at);
        }
        self.merge_twins();
    }

    /// An earlier `ancient-changes` may have become the bucket's twin.
    fn merge_twins(&mut self) {
        let mut at = 0;
        while let Some(entry) = self.0.get(at) {
            let twin =
                (at + 1..self.0.len()).find(|&other| self.0.get(other).map(Entry::identity) == Some(entry.identity()));
            match twin {
                Some(other) => {
                    let other = self.0.remove(other);
                    if let Some(entry) = self.0.get_mut(at) {
                        entry.change(|set| {
                            set.extend(&other.set);
                            true
                        });
                    }
                }
                None => at += 1,
            }
        }
    }

    fn sort_name(&self, at: usize) -> Option<Identity<'_>> {
        self.0.get(at).map(Entry::identity)
    }
}

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
