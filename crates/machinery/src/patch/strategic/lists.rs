//! Lists that merge: by a key, or as sets of scalars; and their order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::directives::{self, BAD_ORDER};
use super::{DIRECTIVE, ELEMENT_ORDER, Members, Merger, Outcome, StrategicError};
use crate::apply::typemap::{Strategy, TypeRef};

impl<'a> Merger<'a> {
    /// Merges the lists that have a `$setElementOrder`, in the order it gives. They are taken out of the patch.
    pub(super) fn ordered_lists(
        &self,
        original: &mut Members,
        patch: &mut Members,
        ty: Option<&'a TypeRef>,
    ) -> Outcome<()> {
        let directives: Vec<String> = patch
            .keys()
            .filter(|name| name.starts_with(ELEMENT_ORDER))
            .cloned()
            .collect();
        for directive in directives {
            let Some(Value::Array(order)) = patch.remove(&directive) else {
                return Err(BAD_ORDER);
            };
            let name = directive
                .strip_prefix(ELEMENT_ORDER)
                .and_then(|rest| rest.strip_prefix('/'))
                .ok_or(BAD_ORDER)?;
            let known = self.known(ty, name);
            let key = known.patch.merge_key.as_deref();
            let list = |value: Value| match value {
                Value::Array(items) => Ok(items),
                other => Err(bad_type(&other)),
            };
            let here = original
                .get(name)
                .filter(|value| !value.is_null())
                .cloned()
                .map(list)
                .transpose()?;
            let change = match patch.remove(name) {
                Some(Value::Null) => {
                    original.remove(name);
                    continue;
                }
                change => change.map(list).transpose()?,
            };
            check_order(change.as_deref().unwrap_or_default(), &order, key)?;
            let live = here.clone().unwrap_or_default();
            let merged = match (here, change) {
                (None, None) => continue,
                (Some(here), None) => here,
                (None, Some(change)) => change.into_iter().filter_map(directives::settled).collect(),
                (Some(here), Some(change)) if known.patch.strategy == Strategy::Merge => {
                    self.merge_lists(here, change, known.ty, key)?
                }
                (Some(_), Some(change)) => change,
            };
            original.insert(name.to_owned(), Value::Array(in_order(merged, &order, &live, key)?));
        }
        Ok(())
    }

    /// Merges two lists; what the patch has stands in the patch's order, what only the object has keeps its place.
    pub(super) fn merge_lists(
        &self,
        here: Vec<Value>,
        change: Vec<Value>,
        ty: Option<&'a TypeRef>,
        key: Option<&str>,
    ) -> Outcome<Vec<Value>> {
        if here.is_empty() && change.is_empty() {
            return Ok(here);
        }
        let (merged, live, order) = if check_elements(&[&here, &change])? {
            let key =
                key.ok_or_else(|| StrategicError::Other("cannot merge lists without merge key for Struct".to_owned()))?;
            let (here, change) = apply_item_directives(here, change, key)?;
            let (live, order) = (here.clone(), change.clone());
            (self.merge_keyed(here, change, self.items(ty), key)?, live, order)
        } else {
            let mut seen = BTreeSet::new();
            let all = here.iter().chain(&change);
            let merged = all.filter(|item| seen.insert(item.to_string())).cloned().collect();
            (merged, here, change)
        };
        in_order(merged, &order, &live, key)
    }

    fn merge_keyed(
        &self,
        mut here: Vec<Value>,
        change: Vec<Value>,
        ty: Option<&'a TypeRef>,
        key: &str,
    ) -> Outcome<Vec<Value>> {
        let mut places = positions(&here, Some(key));
        for item in change {
            let id = key_of(&item, key)?.to_string();
            let known = places.get(&id).and_then(|at| here.get_mut(*at));
            match (known, item) {
                (Some(known), Value::Object(item)) => {
                    let before = known.as_object().cloned().unwrap_or_default();
                    *known = Value::Object(self.map(before, item, ty)?);
                }
                (_, item) => {
                    if let Some(item) = directives::settled(item) {
                        places.insert(id, here.len());
                        here.push(item);
                    }
                }
            }
        }
        Ok(here)
    }
}

/// True if the elements are maps. They all have to be of one kind, and not lists.
pub(super) fn check_elements(lists: &[&Vec<Value>]) -> Outcome<bool> {
    let mut elements = lists.iter().flat_map(|list| list.iter());
    let Some(first) = elements.next() else {
        return Err(StrategicError::Other(
            "no elements in any of the given slices".to_owned(),
        ));
    };
    if first.is_array() {
        return Err(StrategicError::ListOfLists);
    }
    if elements.any(|element| std::mem::discriminant(element) != std::mem::discriminant(first)) {
        let lists: Vec<String> = lists
            .iter()
            .map(|list| Value::Array((*list).clone()).to_string())
            .collect();
        return Err(StrategicError::Other(format!(
            "list element types are not identical: [{}]",
            lists.join(" ")
        )));
    }
    Ok(first.is_object())
}

/// Items with `$patch`: `delete` takes matching items away, `replace` all of them. Returns both lists without such items.
fn apply_item_directives(mut here: Vec<Value>, change: Vec<Value>, key: &str) -> Outcome<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::with_capacity(change.len());
    let mut replace = false;
    for item in change {
        match item
            .get(DIRECTIVE)
            .map(|directive| directive.as_str().unwrap_or_default())
        {
            None => plain.push(item),
            Some("delete") => {
                let id = key_of(&item, key)?;
                here.retain(|known| known.get(key) != Some(id));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(StrategicError::Other(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(other) => {
                return Err(directives::unknown(
                    &other.into(),
                    item.as_object().unwrap_or(&Members::new()),
                ));
            }
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (here, plain) })
}

fn key_of<'v>(item: &'v Value, key: &str) -> Outcome<&'v Value> {
    let missing = || StrategicError::Other(format!("map: {item} does not contain declared merge key: {key}"));
    item.get(key).ok_or_else(missing)
}

/// The items of the patch, but for those it deletes, have to be in the order given, as far as they are in it.
fn check_order(change: &[Value], order: &[Value], key: Option<&str>) -> Outcome<()> {
    if change.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in change.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let mut found = false;
        for place in rest.by_ref() {
            found = match key {
                Some(key) => key_of(item, key)? == key_of(place, key)?,
                None => item == place,
            };
            if found {
                break;
            }
        }
        if !found {
            let [change, order] = [change, order].map(|list| Value::Array(list.to_vec()));
            return Err(StrategicError::Other(format!(
                "The order in patch list:\n{change}\n doesn't match {ELEMENT_ORDER} list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

/// Orders a merged list: what is in `order` by it, the rest as in the live list, and both interleaved as they were there.
fn in_order(merged: Vec<Value>, order: &[Value], live: &[Value], key: Option<&str>) -> Outcome<Vec<Value>> {
    if let Some(key) = key {
        merged.iter().try_for_each(|item| key_of(item, key).map(drop))?;
    }
    let (order, live) = (positions(order, key), positions(live, key));
    let at = |places: &BTreeMap<String, usize>, item: &Value| id(item, key).and_then(|id| places.get(&id).copied());
    let (mut ordered, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| at(&order, item).is_some());
    ordered.sort_by_cached_key(|item| at(&order, item));
    rest.sort_by_cached_key(|item| at(&live, item));
    let mut out = Vec::with_capacity(ordered.len() + rest.len());
    let (mut ordered, mut rest) = (ordered.into_iter().peekable(), rest.into_iter().peekable());
    while let Some(next) = ordered.peek() {
        let place = at(&live, next);
        match rest.next_if(|item| matches!((at(&live, item), place), (Some(item), Some(next)) if item < next)) {
            Some(item) => out.push(item),
            None => out.extend(ordered.next()),
        }
    }
    out.extend(rest);
    Ok(out)
}

/// What an item is told apart by: its key, or itself.
fn id(item: &Value, key: Option<&str>) -> Option<String> {
    match key {
        Some(key) => item.get(key).map(Value::to_string),
        None => Some(item.to_string()),
    }
}

/// The first position of each item. Lists may be as long as a request allows: looking one up must not be a scan.
fn positions(list: &[Value], key: Option<&str>) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for (at, item) in list.iter().enumerate() {
        if let Some(id) = id(item, key) {
            out.entry(id).or_insert(at);
        }
    }
    out
}

fn bad_type(value: &Value) -> StrategicError {
    let kind = match value {
        Value::Object(_) => "map[string]interface {}",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        _ => "float64",
    };
    StrategicError::Other(format!("expected a []interface {{}}, but received a {kind}"))
}
