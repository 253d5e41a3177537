//! Takes paths out of an object.

use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use super::item;
use super::typemap::{Definitions, List, MapType, ObjectType, Relation, TypeRef};

/// The object without the given members and items. A map or list of which all is removed stays, empty: what is to go as a
/// whole is in the set itself.
pub fn remove(types: &ObjectType, object: &Value, paths: &FieldSet) -> Value {
    take(types.definitions(), types.root(), object, paths)
}

fn take(definitions: &Definitions, ty: &TypeRef, value: &Value, paths: &FieldSet) -> Value {
    let atom = definitions.resolve(ty).deduce(Some(value));
    match (value, atom.map, atom.list) {
        (Value::Object(members), Some(map), _) if !atom.map_atomic => take_members(definitions, map, members, paths),
        (Value::Array(items), None, Some(list)) if list.relation != Relation::Atomic => {
            take_items(definitions, list, items, paths)
        }
        _ => value.clone(),
    }
}

fn take_members(definitions: &Definitions, map: &MapType, members: &Map<String, Value>, paths: &FieldSet) -> Value {
    let mut out = Map::new();
    for (name, member) in members {
        let element = super::Element::field(name);
        let ty = map.type_of(name).unwrap_or(&TypeRef::Deduced);
        if paths.has(&element) {
            continue;
        }
        let member = match paths.below(&element) {
            Some(below) => take(definitions, ty, member, below),
            None => member.clone(),
        };
        out.insert(name.clone(), member);
    }
    Value::Object(out)
}

fn take_items(definitions: &Definitions, list: &List, items: &[Value], paths: &FieldSet) -> Value {
    let mut out = Vec::new();
    for item in items {
        let element = item::element(definitions, list, item).ok();
        if element.as_ref().is_some_and(|element| paths.has(element)) {
            continue;
        }
        let below = element.as_ref().and_then(|element| paths.below(element));
        out.push(match below {
            Some(below) => take(definitions, &list.element, item, below),
            None => item.clone(),
        });
    }
    Value::Array(out)
}
