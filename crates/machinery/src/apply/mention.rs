//! What a value mentions: the paths an applied configuration claims.

use std::collections::BTreeMap;

use serde_json::Value;

use super::TypeError;
use super::element::{Element, print_path};
use super::fieldset::FieldSet;
use super::item;
use super::typemap::{Definitions, List, MapType, ObjectType, Relation, TypeRef};

struct Walk<'a> {
    definitions: &'a Definitions,
    path: Vec<Element>,
    out: FieldSet,
}

/// Every leaf of the object, every item of its sets and keyed lists, every member of its maps; of structs only the leaves.
pub fn mention(types: &ObjectType, object: &Value) -> Result<FieldSet, TypeError> {
    let mut walk = Walk {
        definitions: types.definitions(),
        path: Vec::with_capacity(8),
        out: FieldSet::new(),
    };
    walk.value(types.root(), object)?;
    Ok(walk.out)
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn value(&mut self, ty: &'a TypeRef, value: &Value) -> Result<(), TypeError> {
        if ty.is_untracked() {
            return Ok(());
        }
        let atom = self.definitions.resolve(ty).deduce(Some(value));
        if let Some(map) = atom.map {
            return if atom.map_atomic {
                self.leaf()
            } else {
                self.map(map, value)
            };
        }
        match atom.list {
            Some(list) if atom.scalar.is_none() && list.relation != Relation::Atomic => self.list(list, value),
            _ => self.leaf(),
        }
    }

    fn leaf(&mut self) -> Result<(), TypeError> {
        self.out.insert(&self.path);
        Ok(())
    }

    fn map(&mut self, map: &'a MapType, value: &Value) -> Result<(), TypeError> {
        for (name, member) in value.as_object().into_iter().flatten() {
            let ty = map.type_of(name).unwrap_or(&TypeRef::Deduced);
            self.path.push(Element::field(name));
            let outcome = self.value(ty, member);
            let empty = member.is_null() || member.as_object().is_some_and(serde_json::Map::is_empty);
            if !ty.is_untracked() && (empty || map.field(name).is_none()) {
                self.out.insert(&self.path);
            }
            self.path.pop();
            outcome?;
        }
        Ok(())
    }

    fn list(&mut self, list: &'a List, value: &Value) -> Result<(), TypeError> {
        let mut seen: BTreeMap<Element, (usize, &Value)> = BTreeMap::new();
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            let element = item::element(self.definitions, list, item)
                .map_err(|why| TypeError::new(print_path(&self.path), format!("element {index}: {why}")))?;
            seen.entry(element).or_insert((0, item)).0 += 1;
        }
        for (element, (count, item)) in seen {
            self.path.push(element);
            self.out.insert(&self.path);
            // Duplicates are owned as one, not by their fields.
            let outcome = if count == 1 {
                self.value(&list.element, item)
            } else {
                Ok(())
            };
            self.path.pop();
            outcome?;
        }
        Ok(())
    }
}
