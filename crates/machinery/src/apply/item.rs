//! Items of lists that are sets or keyed: which element an item is.

use serde_json::Value;

use super::element::Element;
use super::typemap::{Definitions, List, Relation};

/// The element of an item, or why it has none. Keys that are absent take the default of the item's type, if it has one; an
/// item without any key is an error.
pub fn element(definitions: &Definitions, list: &List, item: &Value) -> Result<Element, String> {
    match &list.relation {
        Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        Relation::Set => match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            scalar => Ok(Element::value(scalar)),
        },
        Relation::Keyed(keys) => keyed(definitions, list, keys, item),
    }
}

fn keyed(definitions: &Definitions, list: &List, keys: &[Box<str>], item: &Value) -> Result<Element, String> {
    let members = match item {
        Value::Object(members) => members,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let ty = definitions.resolve(&list.element);
    let default = |key: &str| {
        ty.map
            .and_then(|map| map.field(key))
            .and_then(|field| field.default.as_ref())
    };
    let found: Vec<(&str, &Value)> = keys
        .iter()
        .filter_map(|key| {
            members
                .get(&**key)
                .or_else(|| default(key))
                .map(|value| (&**key, value))
        })
        .collect();
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for \
             any key fields)",
            names.join(" ")
        ));
    }
    Ok(Element::key(found))
}
