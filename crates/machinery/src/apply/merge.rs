//! Merges an applied configuration into a live object: what it mentions wins, everything else stays.
//!
//! Lists that are sets or keyed merge item by item. Their order is the configuration's where it orders items; items of the
//! live object alone keep their place relative to those.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::TypeError;
use super::element::{Element, print_path};
use super::item;
use super::typemap::{Atom, Definitions, List, MapType, ObjectType, Relation, TypeRef};

struct Walk<'a> {
    definitions: &'a Definitions,
    path: Vec<Element>,
}

/// A list's elements in order, and the item of each; `None` for an element that occurs more than once.
struct Indexed<'a> {
    order: Vec<Element>,
    items: BTreeMap<Element, Option<&'a Value>>,
}

/// The merged object. Fails where an item of a keyed list has no key or the configuration has an item twice.
pub fn merge(types: &ObjectType, live: &Value, config: &Value) -> Result<Value, TypeError> {
    let mut walk = Walk {
        definitions: types.definitions(),
        path: Vec::new(),
    };
    Ok(walk
        .value(types.root(), Some(live), Some(config))?
        .unwrap_or_else(|| live.clone()))
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn value(
        &mut self,
        ty: &'a TypeRef,
        live: Option<&Value>,
        config: Option<&Value>,
    ) -> Result<Option<Value>, TypeError> {
        let atom = self.definitions.resolve(ty);
        // Null and absent take the other's shape.
        let atom = if config.is_none() {
            atom.deduce(live)
        } else {
            atom.deduce(config)
        };
        self.shape(atom, live, config)
    }

    fn shape(
        &mut self,
        atom: Atom<'a>,
        live: Option<&Value>,
        config: Option<&Value>,
    ) -> Result<Option<Value>, TypeError> {
        if let Some(map) = atom.map {
            let [old, new] = [live, config].map(|value| value.and_then(Value::as_object));
            let empty = old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty);
            return if atom.map_atomic || empty {
                Ok(winner(live, config))
            } else {
                self.map(map, old, new)
            };
        }
        match atom.list {
            Some(list) if atom.scalar.is_none() && list.relation != Relation::Atomic => {
                let [old, new] =
                    [live, config].map(|value| value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default());
                if old.is_empty() && new.is_empty() {
                    Ok(winner(live, config))
                } else {
                    self.list(list, old, new)
                }
            }
            _ => Ok(winner(live, config)),
        }
    }

    fn map(
        &mut self,
        map: &'a MapType,
        live: Option<&Map<String, Value>>,
        config: Option<&Map<String, Value>>,
    ) -> Result<Option<Value>, TypeError> {
        let mut out = Map::new();
        let names: BTreeSet<&String> = [live, config].into_iter().flatten().flat_map(Map::keys).collect();
        for name in names {
            let ty = map.type_of(name).unwrap_or(&TypeRef::Deduced);
            let [old, new] = [live, config].map(|members| members.and_then(|members| members.get(name)));
            self.path.push(Element::field(name));
            let merged = self.value(ty, old, new);
            self.path.pop();
            if let Some(merged) = merged? {
                out.insert(name.clone(), merged);
            }
        }
        Ok((!out.is_empty()).then_some(Value::Object(out)))
    }

    fn index<'v>(&self, list: &List, items: &'v [Value], duplicates: bool) -> Result<Indexed<'v>, TypeError> {
        let mut indexed = Indexed {
            order: Vec::with_capacity(items.len()),
            items: BTreeMap::new(),
        };
        for (index, value) in items.iter().enumerate() {
            let fail = |why| TypeError::new(print_path(&self.path), why);
            let element =
                item::element(self.definitions, list, value).map_err(|why| fail(format!("element {index}: {why}")))?;
            if let Some(known) = indexed.items.get_mut(&element) {
                if !duplicates {
                    return Err(fail(format!("duplicate entries for key {element}")));
                }
                *known = None;
            } else {
                indexed.items.insert(element.clone(), Some(value));
            }
            indexed.order.push(element);
        }
        Ok(indexed)
    }

    fn list(&mut self, list: &'a List, live: &[Value], config: &[Value]) -> Result<Option<Value>, TypeError> {
        let old = self.index(list, live, true)?;
        let new = self.index(list, config, false)?;
        let mut out = Vec::with_capacity(live.len().max(config.len()));
        for (element, at) in interleave(&old, &new) {
            // An item that the live object has twice stands for itself where the configuration is silent; otherwise the
            // configuration's replaces both, as there is no saying which of them it is to merge with.
            let before = match at {
                Some(index) => live.get(index),
                None => old.items.get(element).copied().flatten(),
            };
            let after = new.items.get(element).copied().flatten();
            self.path.push(element.clone());
            let merged = self.value(&list.element, before, after);
            self.path.pop();
            out.extend(merged?);
        }
        Ok((!out.is_empty()).then_some(Value::Array(out)))
    }
}

/// The elements of the merged list in order; with the position in the live list for those that only it has.
fn interleave<'e>(old: &'e Indexed<'_>, new: &'e Indexed<'_>) -> Vec<(&'e Element, Option<usize>)> {
    let mut out = Vec::with_capacity(old.order.len().max(new.order.len()));
    // What both have, in the configuration's order: the points at which the two lists meet.
    let mut shared: VecDeque<&Element> = new
        .order
        .iter()
        .filter(|element| old.items.contains_key(*element))
        .collect();
    let mut next = shared.pop_front();
    let mut done: BTreeSet<&Element> = BTreeSet::new();
    let (mut l, mut r) = (0, 0);
    loop {
        let (left, right) = (old.order.get(l), new.order.get(r));
        match (left, right) {
            (None, None) => return out,
            (Some(left), Some(right)) if left == right => {
                done.insert(right);
                out.push((right, None));
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            // Both have it, but it is the turn of another: it will come with the configuration's order.
            (Some(left), Some(_)) if new.items.contains_key(left) && next.is_some_and(|next| next != left) => {
                l += 1;
                continue;
            }
            _ => {}
        }
        if let Some(left) = left {
            if !new.items.contains_key(left) {
                out.push((left, Some(l)));
                l += 1;
                continue;
            }
            if done.contains(left) || right.is_none() {
                l += 1;
            }
        }
        if let Some(right) = right {
            done.insert(right);
            out.push((right, None));
            r += 1;
            if next == Some(right) {
                next = shared.pop_front();
            }
        }
    }
}

fn winner(live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    config.or(live).cloned()
}

#[cfg(test)]
mod tests;
