//! The directives of strategic merge patches that concern maps.

use serde_json::Value;

use super::{DELETE_FROM_LIST, DIRECTIVE, ELEMENT_ORDER, Members, Outcome, RETAIN_KEYS, StrategicError};

pub(super) const BAD_PRIMITIVE_LIST: StrategicError = StrategicError::Format("invalid patch format of primitive list");
pub(super) const BAD_ORDER: StrategicError = StrategicError::Format("invalid patch format of setElementOrder list");
const BAD_RETAIN_KEYS: StrategicError = StrategicError::Format("invalid patch format of retainKeys");

pub(super) fn unknown(directive: &Value, patch: &Members) -> StrategicError {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    StrategicError::Other(format!(
        "unknown patch type: {directive} in map: {}",
        Value::Object(patch.clone())
    ))
}

/// `$retainKeys`: drops what it does not name. It has to name all that the patch sets.
pub(super) fn retain_keys(original: &mut Members, patch: &mut Members) -> Outcome<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = keys else {
        return Err(BAD_RETAIN_KEYS);
    };
    let named = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let directive = |name: &str| name.starts_with(DELETE_FROM_LIST) || name.starts_with(ELEMENT_ORDER);
    if patch
        .iter()
        .any(|(name, value)| !value.is_null() && !directive(name) && !named(name))
    {
        return Err(BAD_RETAIN_KEYS);
    }
    original.retain(|name, _| named(name));
    Ok(())
}

/// A value that meets nothing in the object: without nulls in maps, without directives. `None` if it is one itself.
pub(super) fn settled(value: Value) -> Option<Value> {
    match value {
        Value::Object(members) => {
            if members.contains_key(DIRECTIVE) {
                return None;
            }
            let members = members
                .into_iter()
                .filter(|(name, value)| !value.is_null() && !is_parallel(name));
            Some(Value::Object(
                members
                    .filter_map(|(name, value)| Some((name, settled(value)?)))
                    .collect(),
            ))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(settled).collect())),
        scalar => Some(scalar),
    }
}

/// Members that are about a list beside them.
fn is_parallel(name: &str) -> bool {
    name == RETAIN_KEYS || name.starts_with(DELETE_FROM_LIST) || name.starts_with(ELEMENT_ORDER)
}
