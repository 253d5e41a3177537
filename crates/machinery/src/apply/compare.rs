//! What changed between two values of one type: the paths added, modified and removed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::TypeError;
use super::element::{Element, print_path, same};
use super::fieldset::FieldSet;
use super::item;
use super::typemap::{Atom, Definitions, List, MapType, ObjectType, Relation, TypeRef};

/// The difference of two values. A path is in one of the sets only, but for an item of a list that became a duplicate or
/// ceases to be one: it is removed as what it was and added as what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

struct Walk<'a> {
    definitions: &'a Definitions,
    path: Vec<Element>,
    out: Comparison,
}

/// Items of both sides that are the same element; more than one is a duplicate.
type Items<'a> = BTreeMap<Element, [SmallVec<[&'a Value; 1]>; 2]>;

/// Compares two objects. `metadata.managedFields` is not looked at. Fails where an item of a keyed list has no key.
pub fn compare(types: &ObjectType, before: &Value, after: &Value) -> Result<Comparison, TypeError> {
    let mut walk = Walk {
        definitions: types.definitions(),
        path: Vec::with_capacity(8),
        out: Comparison::default(),
    };
    walk.value(types.root(), Some(before), Some(after))?;
    Ok(walk.out)
}

// === impl Comparison ===

impl Comparison {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Forgets the given paths and everything below them.
    pub fn exclude(&mut self, fields: &FieldSet) {
        self.added.subtract_recursive(fields);
        self.modified.subtract_recursive(fields);
        self.removed.subtract_recursive(fields);
    }

    /// What was set: added or modified.
    pub fn written(&self) -> FieldSet {
        self.added.union(&self.modified)
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn value(&mut self, ty: &'a TypeRef, before: Option<&Value>, after: Option<&Value>) -> Result<(), TypeError> {
        match (before, after) {
            (None, None) => return Ok(()),
            // Most of an object does not change: equal values need no walk.
            (Some(before), Some(after)) if before == after => return Ok(()),
            _ if ty.is_untracked() => return Ok(()),
            _ => {}
        }
        let atom = self.definitions.resolve(ty);
        let (old, new) = (atom.deduce(before), atom.deduce(after));
        let leaf = match (before, after) {
            (_, None) => self.shape(old, before, after)?,
            (None, _) => self.shape(new, before, after)?,
            _ if old.same_shape(&new) => self.shape(new, before, after)?,
            // A value that changed its shape is modified as the old and walked as the new.
            _ => {
                self.shape(old, before, after)?;
                self.shape(new, before, after)?
            }
        };
        if !leaf {
            match (before, after) {
                (None, _) => self.out.added.insert(&self.path),
                (_, None) => self.out.removed.insert(&self.path),
                _ => {}
            }
        }
        Ok(())
    }

    /// True if the value was compared as a whole.
    fn shape(&mut self, atom: Atom<'a>, before: Option<&Value>, after: Option<&Value>) -> Result<bool, TypeError> {
        if let Some(map) = atom.map {
            let (old, new) = (members(before), members(after));
            // Two empty maps are a leaf, so that null and empty stay apart.
            if atom.map_atomic || (old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty)) {
                self.leaf(before, after);
                return Ok(true);
            }
            self.map(map, old, new)?;
            return Ok(false);
        }
        if atom.scalar.is_none()
            && let Some(list) = atom.list
        {
            let (old, new) = (items(before), items(after));
            if list.relation == Relation::Atomic || (old.is_empty() && new.is_empty()) {
                self.leaf(before, after);
                return Ok(true);
            }
            self.list(list, old, new)?;
            return Ok(false);
        }
        self.leaf(before, after);
        Ok(true)
    }

    fn leaf(&mut self, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            (Some(before), Some(after)) => {
                if !same(before, after) {
                    self.out.modified.insert(&self.path);
                }
            }
        }
    }

    fn map(&mut self, ty: &'a MapType, old: Option<&Members>, new: Option<&Members>) -> Result<(), TypeError> {
        for (name, before) in old.into_iter().flatten() {
            self.member(ty, name, Some(before), new.and_then(|new| new.get(name)))?;
        }
        for (name, after) in new.into_iter().flatten() {
            if old.is_none_or(|old| !old.contains_key(name)) {
                self.member(ty, name, None, Some(after))?;
            }
        }
        Ok(())
    }

    fn member(
        &mut self,
        ty: &'a MapType,
        name: &str,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Result<(), TypeError> {
        if before == after {
            return Ok(());
        }
        // A field the schema does not know is compared as what it is: it was accepted once, or will be pruned.
        let ty = ty.type_of(name).unwrap_or(&TypeRef::Deduced);
        self.path.push(Element::field(name));
        let outcome = self.value(ty, before, after);
        self.path.pop();
        outcome
    }

    fn list(&mut self, list: &'a List, old: &[Value], new: &[Value]) -> Result<(), TypeError> {
        let mut all = Items::new();
        for (side, values) in [old, new].into_iter().enumerate() {
            for (index, value) in values.iter().enumerate() {
                let element = item::element(self.definitions, list, value)
                    .map_err(|why| TypeError::new(print_path(&self.path), format!("element {index}: {why}")))?;
                if let Some(values) = all.entry(element).or_default().get_mut(side) {
                    values.push(value);
                }
            }
        }
        for (element, [old, new]) in &all {
            self.path.push(element.clone());
            let outcome = self.items(list, old, new);
            self.path.pop();
            outcome?;
        }
        Ok(())
    }

    /// One element of a list. Duplicates cannot be told apart: they count as one atomic value.
    fn items(&mut self, list: &'a List, old: &[&Value], new: &[&Value]) -> Result<(), TypeError> {
        match (old, new) {
            ([] | [_], [] | [_]) => self.value(&list.element, old.first().copied(), new.first().copied()),
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || !old.iter().zip(new).all(|(old, new)| same(old, new)) {
                    self.out.modified.insert(&self.path);
                }
                Ok(())
            }
            ([_, _, ..], _) => {
                let outcome = self.value(&list.element, None, new.first().copied());
                self.out.removed.insert(&self.path);
                outcome
            }
            _ => {
                let outcome = self.value(&list.element, old.first().copied(), None);
                self.out.added.insert(&self.path);
                outcome
            }
        }
    }
}

type Members = Map<String, Value>;

fn members(value: Option<&Value>) -> Option<&Members> {
    value.and_then(Value::as_object)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests;
