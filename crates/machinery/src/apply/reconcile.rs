//! Brings field sets up to date with a schema that changed since they were written.
//!
//! A type that went from granular to atomic is owned as a whole by those who owned parts of it. The other direction needs
//! nothing: whoever owned the whole owns it as the path it still is.

use super::element::Element;
use super::fieldset::FieldSet;
use super::typemap::{Definitions, ObjectType, Relation, TypeRef};

struct Walk<'a> {
    definitions: &'a Definitions,
    path: Vec<Element>,
    now_atomic: FieldSet,
}

/// True if the set changed.
pub fn reconcile(types: &ObjectType, set: &mut FieldSet) -> bool {
    let mut walk = Walk {
        definitions: types.definitions(),
        path: Vec::new(),
        now_atomic: FieldSet::new(),
    };
    walk.level(types.root(), set);
    if walk.now_atomic.is_empty() {
        return false;
    }
    set.subtract_recursive(&walk.now_atomic);
    set.extend(&walk.now_atomic);
    true
}

/// The set with every declared field that has paths below it made a path of its own: owning something in a struct is owning
/// the struct, when it comes to what may be removed.
pub fn with_structs(types: &ObjectType, mut set: FieldSet) -> FieldSet {
    promote(types.definitions(), Some(types.root()), &mut set);
    set
}

fn promote(definitions: &Definitions, ty: Option<&TypeRef>, set: &mut FieldSet) {
    let atom = ty.map(|ty| definitions.resolve(ty));
    let map = atom.and_then(|atom| atom.map);
    let list = atom.and_then(|atom| atom.list);
    set.promote(|element| {
        element
            .as_field()
            .is_some_and(|name| map.is_some_and(|map| map.field(name).is_some()))
    });
    for (element, below) in set.children_mut() {
        let ty = match element.as_field() {
            Some(name) => map.and_then(|map| map.type_of(name)),
            None => list
                .filter(|_| element.as_str().starts_with("k:"))
                .map(|list| &list.element),
        };
        promote(definitions, ty, below);
    }
}

// === impl Walk ===

impl Walk<'_> {
    /// Looks at the elements of one level; those without any below are leaves already.
    fn level(&mut self, ty: &TypeRef, set: &FieldSet) {
        let atom = self.definitions.resolve(ty);
        for (element, _, below) in set.level().filter(|(_, _, below)| !below.is_empty()) {
            let ty = match (element.as_field(), atom.map, atom.list) {
                (Some(name), Some(map), _) => map.type_of(name),
                (None, None, Some(list)) => Some(&list.element),
                _ => None,
            };
            let Some(ty) = ty else { continue };
            self.path.push(element.clone());
            self.value(ty, below);
            self.path.pop();
        }
    }

    fn value(&mut self, ty: &TypeRef, below: &FieldSet) {
        let atom = self.definitions.resolve(ty);
        match (atom.map, atom.scalar, atom.list) {
            // What is deduced has no schema that could have changed.
            (Some(map), _, _) if map.is_free_form() => {}
            (Some(_), _, _) if atom.map_atomic => self.now_atomic.insert(&self.path),
            (None, None, Some(list)) if list.relation == Relation::Atomic => self.now_atomic.insert(&self.path),
            (None, Some(_), _) => {}
            _ => self.level(ty, below),
        }
    }
}
