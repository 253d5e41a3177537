//! `status.conditions` in the style of Cluster API, which kcp uses instead of `metav1.Condition` (A.2).
//!
//! A condition has a severity when it is False, and none otherwise. Members that are empty are left out. The list is sorted
//! by type, `Ready` first. `lastTransitionTime` moves with every change of status, reason, severity or message.

use machinery::object::ObjectExt;
use serde_json::{Map, Value};

use crate::keys::condition::READY;

/// How bad a False condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
    Info,
}

/// The three states of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// One entry, read. Absent members read as empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: String,
    pub status: ConditionStatus,
    /// `None` where the entry has none, or one that is not known.
    pub severity: Option<Severity>,
    pub reason: String,
    pub message: String,
}

/// The entry of this type.
pub fn get(object: &Value, kind: &str) -> Option<Condition> {
    list(object)?
        .iter()
        .find(|entry| kind_of(entry) == kind)
        .and_then(Condition::parse)
}

/// All entries, in their order.
pub fn all(object: &Value) -> Vec<Condition> {
    list(object)
        .map(|entries| entries.iter().filter_map(Condition::parse).collect())
        .unwrap_or_default()
}

pub fn is_true(object: &Value, kind: &str) -> bool {
    get(object, kind).is_some_and(|c| c.status == ConditionStatus::True)
}

pub fn is_false(object: &Value, kind: &str) -> bool {
    get(object, kind).is_some_and(|c| c.status == ConditionStatus::False)
}

/// Sets the condition True, without reason and message. `now` is RFC 3339 in whole seconds, as everywhere here.
/// Answers whether anything changed, as everywhere here.
pub fn mark_true(object: &mut Value, kind: &str, now: &str) -> bool {
    set(object, &Condition::of_true(kind), now)
}

pub fn mark_false(object: &mut Value, kind: &str, reason: &str, severity: Severity, message: &str, now: &str) -> bool {
    set(object, &Condition::of_false(kind, reason, severity, message), now)
}

pub fn mark_unknown(object: &mut Value, kind: &str, reason: &str, message: &str, now: &str) -> bool {
    let condition = Condition {
        kind: kind.to_owned(),
        status: ConditionStatus::Unknown,
        severity: None,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    set(object, &condition, now)
}

/// Sets one condition. An entry that says the same already keeps its time.
pub fn set(object: &mut Value, condition: &Condition, now: &str) -> bool {
    let mut entries = list(object).cloned().unwrap_or_default();
    let before = entries.clone();
    match entries.iter_mut().find(|entry| kind_of(entry) == condition.kind) {
        Some(entry) if Condition::parse(entry).as_ref() == Some(condition) => {}
        Some(entry) => *entry = condition.to_value(now),
        None => entries.push(condition.to_value(now)),
    }
    entries.sort_by(|a, b| (kind_of(a) != READY, kind_of(a)).cmp(&(kind_of(b) != READY, kind_of(b))));
    if entries == before {
        return false;
    }
    object.set_at(&["status", "conditions"], Value::Array(entries));
    true
}

/// Removes one condition.
pub fn remove(object: &mut Value, kind: &str) -> bool {
    let Some(entries) = list(object) else { return false };
    let rest: Vec<Value> = entries.iter().filter(|entry| kind_of(entry) != kind).cloned().collect();
    if rest.len() == entries.len() {
        return false;
    }
    if rest.is_empty() {
        object.remove_at(&["status", "conditions"]);
    } else {
        object.set_at(&["status", "conditions"], Value::Array(rest));
    }
    true
}

/// Sets `Ready` to the worst of the conditions named (of all others, if none is named): False by Error, Warning, Info, then
/// True, then Unknown. A False one passes on its reason, severity and message; the first by type wins. Without any of them
/// nothing is set.
pub fn set_summary(object: &mut Value, of: &[&str], now: &str) -> bool {
    let in_scope = |c: &Condition| c.kind != READY && (of.is_empty() || of.contains(&c.kind.as_str()));
    let mut scope: Vec<Condition> = all(object).into_iter().filter(in_scope).collect();
    scope.sort_by(|a, b| (a.badness(), &a.kind).cmp(&(b.badness(), &b.kind)));
    let Some(worst) = scope.into_iter().next() else {
        return false;
    };
    let summary = match worst.status {
        ConditionStatus::True => Condition::of_true(READY),
        ConditionStatus::False | ConditionStatus::Unknown => Condition {
            kind: READY.to_owned(),
            ..worst
        },
    };
    set(object, &summary, now)
}

/// Copies a condition of another object (Workspace mirrors its LogicalCluster, D.9). Absent there: removed here.
pub fn mirror(from: &Value, to: &mut Value, kind: &str, now: &str) -> bool {
    match get(from, kind) {
        Some(condition) => set(to, &condition, now),
        None => remove(to, kind),
    }
}

fn list(object: &Value) -> Option<&Vec<Value>> {
    object.at(&["status", "conditions"])?.as_array()
}

fn kind_of(entry: &Value) -> &str {
    entry.get("type").and_then(Value::as_str).unwrap_or_default()
}

// === impl Condition ===

impl Condition {
    pub fn of_true(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            status: ConditionStatus::True,
            severity: None,
            reason: String::new(),
            message: String::new(),
        }
    }

    pub fn of_false(kind: &str, reason: &str, severity: Severity, message: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            status: ConditionStatus::False,
            severity: Some(severity),
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    fn parse(entry: &Value) -> Option<Self> {
        let text = |member: &str| entry.get(member).and_then(Value::as_str).unwrap_or_default();
        let status = match text("status") {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            "Unknown" => ConditionStatus::Unknown,
            _ => return None,
        };
        let severity = match text("severity") {
            "Error" => Some(Severity::Error),
            "Warning" => Some(Severity::Warning),
            "Info" => Some(Severity::Info),
            _ => None,
        };
        Some(Self {
            kind: text("type").to_owned(),
            status,
            severity,
            reason: text("reason").to_owned(),
            message: text("message").to_owned(),
        })
    }

    fn to_value(&self, now: &str) -> Value {
        let mut out = Map::new();
        let mut put = |member: &str, text: &str| {
            if !text.is_empty() {
                out.insert(member.to_owned(), Value::String(text.to_owned()));
            }
        };
        put("type", &self.kind);
        put("status", self.status.as_str());
        put("severity", self.severity.map_or("", Severity::as_str));
        put("lastTransitionTime", now);
        put("reason", &self.reason);
        put("message", &self.message);
        Value::Object(out)
    }

    fn badness(&self) -> u8 {
        match (self.status, self.severity) {
            (ConditionStatus::False, Some(Severity::Error)) => 0,
            (ConditionStatus::False, Some(Severity::Warning)) => 1,
            (ConditionStatus::False, Some(Severity::Info)) => 2,
            (ConditionStatus::True, _) => 3,
            (ConditionStatus::Unknown, _) => 4,
            (ConditionStatus::False, None) => 5,
        }
    }
}

// === impl Severity, ConditionStatus ===

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Info => "Info",
        }
    }
}

impl ConditionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

#[cfg(test)]
mod tests;
