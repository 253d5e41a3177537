//! Takes paths out of an object, or everything but some paths.

use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use super::item;
use super::typemap::{Definitions, List, MapType, ObjectType, Relation, TypeRef};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Remove,
    Extract,
}

/// The object without the given members and items. A map or list of which all is removed stays, empty: what is to go as a
/// whole is in the set itself.
pub fn remove(types: &ObjectType, object: &Value, paths: &FieldSet) -> Value {
    take(types.definitions(), types.root(), object, paths, Mode::Remove)
}

/// The part of the object with the given paths, as a manager would have to apply it: what it owned. The key fields of items
/// of keyed lists are kept, so that the result can be applied again.
pub fn extract(types: &ObjectType, object: &Value, paths: &FieldSet) -> Value {
    let mut paths = paths.leaves();
    keep_keys(&mut paths);
    take(types.definitions(), types.root(), object, &paths, Mode::Extract)
}

fn keep_keys(paths: &mut FieldSet) {
    let level: Vec<_> = paths.level().map(|(element, _, _)| element.clone()).collect();
    for element in level {
        for name in element.key_fields().unwrap_or_default().keys() {
            paths.insert(&[element.clone(), super::Element::field(name)]);
        }
    }
    for (_, below) in paths.children_mut() {
        keep_keys(below);
    }
}

fn take(definitions: &Definitions, ty: &TypeRef, value: &Value, paths: &FieldSet, mode: Mode) -> Value {
    let atom = definitions.resolve(ty).deduce(Some(value));
    match (value, atom.map, atom.list) {
        (Value::Object(members), Some(map), _) if !atom.map_atomic => {
            take_members(definitions, map, members, paths, mode)
        }
        (Value::Array(items), None, Some(list)) if list.relation != Relation::Atomic => {
            take_items(definitions, list, items, paths, mode)
        }
        _ => value.clone(),
    }
}

fn take_members(
    definitions: &Definitions,
    map: &MapType,
    members: &Map<String, Value>,
    paths: &FieldSet,
    mode: Mode,
) -> Value {
    let mut out = Map::new();
    for (name, member) in members {
        let element = super::Element::field(name);
        let ty = map.type_of(name).unwrap_or(&TypeRef::Deduced);
        match (mode, paths.has(&element), paths.below(&element)) {
            (Mode::Remove, true, _) | (Mode::Extract, false, None) => {}
            (Mode::Remove, false, None) | (Mode::Extract, true, None) => {
                out.insert(name.clone(), member.clone());
            }
            (_, _, Some(below)) => {
                out.insert(name.clone(), take(definitions, ty, member, below, mode));
            }
        }
    }
    Value::Object(out)
}

fn take_items(definitions: &Definitions, list: &List, items: &[Value], paths: &FieldSet, mode: Mode) -> Value {
    let mut out = Vec::new();
    for item in items {
        let element = item::element(definitions, list, item).ok();
        let named = element.as_ref().is_some_and(|element| paths.has(element));
        let below = element.as_ref().and_then(|element| paths.below(element));
        match (mode, named, below) {
            (Mode::Remove, true, _) | (Mode::Extract, false, None) => {}
            (Mode::Remove, false, None) | (Mode::Extract, true, None) => out.push(item.clone()),
            (_, _, Some(below)) => out.push(take(definitions, &list.element, item, below, mode)),
        }
    }
    Value::Array(out)
}
