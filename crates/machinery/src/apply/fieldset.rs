//! A set of paths into an object: what a manager owns, what changed. The tree of FieldsV1.

use serde_json::{Map, Value};

use super::element::{Element, ElementError, print_path};

/// A set of paths. A path may be in the set without its parents, and a parent without its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element; none is empty (neither a member nor with children).
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    element: Element,
    /// The path to this node is itself in the set (`.` in FieldsV1 when there are children too).
    member: bool,
    children: FieldSet,
}

/// Up to so many nodes are inserted one by one.
const FEW: usize = 16;

// === impl FieldSet ===

impl FieldSet {
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of some paths of plain fields, e.g. `&[&["metadata", "name"]]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let path: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The number of paths.
    pub fn len(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| usize::from(node.member) + node.children.len())
            .sum()
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    fn node(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().and_then(|at| self.nodes.get(at))
    }

    /// Adds a path. The empty path is the object itself, which nobody owns.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let at = match self.find(first) {
            Ok(at) => at,
            Err(at) => {
                self.nodes.insert(
                    at,
                    Node {
                        element: first.clone(),
                        member: false,
                        children: Self::new(),
                    },
                );
                at
            }
        };
        if let Some(node) = self.nodes.get_mut(at) {
            match rest {
                [] => node.member = true,
                rest => node.children.insert(rest),
            }
        }
    }

    pub fn contains(&self, path: &[Element]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        self.node(first).is_some_and(|node| {
            if rest.is_empty() {
                node.member
            } else {
                node.children.contains(rest)
            }
        })
    }

    /// Whether the one-step path is in the set.
    pub fn has(&self, element: &Element) -> bool {
        self.node(element).is_some_and(|node| node.member)
    }

    /// The paths below an element, relative to it.
    pub fn below(&self, element: &Element) -> Option<&FieldSet> {
        self.node(element)
            .map(|node| &node.children)
            .filter(|children| !children.is_empty())
    }

    /// The elements of this level: element, whether it is in the set itself, the paths below it.
    pub fn level(&self) -> impl Iterator<Item = (&Element, bool, &FieldSet)> {
        self.nodes
            .iter()
            .map(|node| (&node.element, node.member, &node.children))
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.extend(other);
        out
    }

    /// Adds all paths of the other set.
    pub fn extend(&mut self, other: &Self) {
        if other.nodes.len() > FEW {
            self.nodes.extend(other.nodes.iter().cloned());
            self.normalize();
            return;
        }
        for theirs in &other.nodes {
            match self.find(&theirs.element) {
                Ok(at) => {
                    if let Some(ours) = self.nodes.get_mut(at) {
                        ours.member |= theirs.member;
                        ours.children.extend(&theirs.children);
                    }
                }
                Err(at) => self.nodes.insert(at, theirs.clone()),
            }
        }
    }

    /// Sorts the nodes of this level and merges those of one element. The cost stays bounded for sets as large as a request
    /// may make them, where inserting one by one would move everything each time.
    fn normalize(&mut self) {
        self.nodes.sort_by(|a, b| a.element.cmp(&b.element));
        let mut out: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in self.nodes.drain(..) {
            match out.last_mut() {
                Some(last) if last.element == node.element => {
                    last.member |= node.member;
                    last.children.extend(&node.children);
                }
                _ => out.push(node),
            }
        }
        self.nodes = out;
    }

    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let nodes = self.nodes.iter().filter_map(|ours| {
            let theirs = other.node(&ours.element)?;
            let children = ours.children.intersection(&theirs.children);
            let member = ours.member && theirs.member;
            (member || !children.is_empty()).then(|| Node {
                element: ours.element.clone(),
                member,
                children,
            })
        });
        Self { nodes: nodes.collect() }
    }

    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.subtract(other);
        out
    }

    /// Removes the paths of the other set, path by path: what is below a removed path stays. True if any went.
    pub fn subtract(&mut self, other: &Self) -> bool {
        self.subtract_with(other, false)
    }

    /// Removes the paths of the other set together with everything below them. True if any went.
    pub fn subtract_recursive(&mut self, other: &Self) -> bool {
        self.subtract_with(other, true)
    }

    fn subtract_with(&mut self, other: &Self, recursive: bool) -> bool {
        let mut changed = false;
        let mut emptied = false;
        for theirs in &other.nodes {
            let Ok(at) = self.find(&theirs.element) else { continue };
            let Some(ours) = self.nodes.get_mut(at) else { continue };
            if theirs.member && recursive {
                ours.member = false;
                ours.children = Self::new();
                changed = true;
            } else {
                changed |= theirs.member && ours.member;
                ours.member &= !theirs.member;
                changed |= ours.children.subtract_with(&theirs.children, recursive);
            }
            emptied |= !ours.member && ours.children.is_empty();
        }
        if emptied {
            self.nodes.retain(|node| node.member || !node.children.is_empty());
        }
        changed
    }

    /// Every path, the shorter before the longer within a level, as conflicts are listed.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut out);
        out
    }

    fn collect_paths(&self, prefix: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            let mut path = prefix.clone();
            path.push(node.element.clone());
            out.push(path);
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.children.collect_paths(prefix, out);
            prefix.pop();
        }
    }

    /// Makes the one-step paths satisfying the predicate members, if they have children.
    pub(super) fn promote(&mut self, mut want: impl FnMut(&Element) -> bool) {
        for node in &mut self.nodes {
            node.member |= !node.children.is_empty() && want(&node.element);
        }
    }

    pub(super) fn children_mut(&mut self) -> impl Iterator<Item = (&Element, &mut FieldSet)> {
        self.nodes.iter_mut().map(|node| (&node.element, &mut node.children))
    }

    /// Reads FieldsV1. Kinds of elements that are not known are dropped.
    pub fn from_value(fields: &Value) -> Result<Self, ElementError> {
        Ok(Self::read(fields)?.0)
    }

    /// The set below, and whether the value marks its own path as a member: an empty map does, as does a `.`.
    fn read(fields: &Value) -> Result<(Self, bool), ElementError> {
        let mut set = Self::new();
        let members = match fields {
            Value::Object(members) => members,
            Value::Null => return Ok((set, true)),
            _ => return Err(ElementError::not_a_map()),
        };
        let (mut own, mut sorted) = (false, true);
        set.nodes.reserve_exact(members.len());
        for (key, below) in members {
            if key == "." {
                own = true;
                continue;
            }
            let Some(element) = Element::parse(key)? else { continue };
            let (children, member) = Self::read(below)?;
            sorted &= set.nodes.last().is_none_or(|last| last.element < element);
            set.nodes.push(Node {
                element,
                member,
                children,
            });
        }
        if !sorted {
            set.normalize();
        }
        let own = own || set.is_empty();
        Ok((set, own))
    }

    /// FieldsV1 as it stands in `managedFields`.
    pub fn to_value(&self) -> Value {
        self.write(false)
    }

    fn write(&self, own: bool) -> Value {
        let mut out = Map::new();
        if own && !self.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for node in &self.nodes {
            out.insert(node.element.as_str().to_owned(), node.children.write(node.member));
        }
        Value::Object(out)
    }

    /// Compact FieldsV1 in canonical order.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    pub fn from_json(text: &str) -> Result<Self, ElementError> {
        Self::from_value(&ElementError::json(text)?)
    }
}

/// One path per line.
impl std::fmt::Display for FieldSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, path) in self.paths().iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&print_path(path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
