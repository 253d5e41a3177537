//! Moves paths between managers: what a write takes from others, what an applied configuration lets go of.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::conflict::{Conflict, conflicts};
use super::entries::{Entries, Entry, Identity, Operation};
use super::managed::ManagedCtx;
use super::mention::mention;
use super::reconcile::{reconcile, with_structs};
use super::remove::remove;
use super::{FieldSet, ObjectType, TypeError, element, merge};

/// Why paths could not be moved.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnershipError {
    /// Others own what the configuration wants. In order of their names.
    Conflicts(Vec<Conflict>),
    Type(TypeError),
}

/// The outcome of applying: the new object, unless it is the live one, and who owns what.
pub struct Applied {
    pub object: Option<Value>,
    pub entries: Entries,
}

/// Paths that no manager ever owns: identity, and what the server sets.
static NEVER_OWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

impl From<TypeError> for OwnershipError {
    fn from(error: TypeError) -> Self {
        Self::Type(error)
    }
}

/// Records that the manager wrote what differs between two states of the object.
pub fn write(
    entries: &mut Entries,
    before: &Value,
    after: &Value,
    changes: &Comparison,
    ctx: &ManagedCtx<'_>,
    manager: &str,
) -> Result<(), OwnershipError> {
    reconcile_all(entries, ctx);
    take(entries, None, before, after, changes, ctx, true)?;
    let mut written = changes.written();
    written.subtract(&NEVER_OWNED);
    if !written.is_empty() {
        let me = Identity {
            manager: if manager.is_empty() { "unknown" } else { manager },
            operation: Operation::Update,
            version: ctx.api_version,
            subresource: ctx.subresource,
        };
        match entries.get_mut(me) {
            Some(mine) => {
                mine.change(|set| {
                    let before = set.len();
                    set.extend(&written);
                    set.len() != before
                });
                mine.set_time(ctx.now);
            }
            None => {
                let mut mine = Entry::new(me, ctx.api_version, written);
                mine.set_time(ctx.now);
                entries.push(mine);
            }
        }
    }
    entries.cap_updaters();
    Ok(())
}

/// Merges a configuration into the live object and makes the manager the owner of what it mentions, and of nothing else.
pub fn apply(
    live: &Value,
    config: &Value,
    mut entries: Entries,
    ctx: &ManagedCtx<'_>,
    force: bool,
) -> Result<Applied, OwnershipError> {
    reconcile_all(&mut entries, ctx);
    let merged = merge::merge(ctx.types, live, config)?;
    let mut set = mention(ctx.types, config)?;
    if let Some(reset) = ctx.reset_fields {
        set.subtract_recursive(reset);
    }
    let me = Identity {
        manager: ctx.manager_or_unknown(),
        operation: Operation::Apply,
        version: "",
        subresource: ctx.subresource,
    };
    let last = entries.remove(me);
    let mut mine = Entry::new(me, ctx.api_version, set);
    if let Some(time) = last.as_ref().and_then(Entry::time) {
        mine.set_time(time);
    }
    entries.push(mine);
    let object = match last {
        Some(last) => prune(merged, &entries, &last, me, ctx)?,
        None => merged,
    };
    let changes = compared(ctx.types, live, &object, ctx.reset_fields)?;
    take(&mut entries, Some(me), live, &object, &changes, ctx, force)?;
    let changed = !element::same(live, &object);
    if let Some(mine) = entries.get_mut(me) {
        mine.change(|set| set.subtract(&NEVER_OWNED));
        if changed {
            mine.set_time(ctx.now);
        }
    }
    entries.retain(|entry| !entry.set().is_empty());
    Ok(Applied {
        object: changed.then_some(object),
        entries,
    })
}

/// The difference of two objects, without what writes never own.
pub fn compared(
    types: &ObjectType,
    before: &Value,
    after: &Value,
    reset: Option<&FieldSet>,
) -> Result<Comparison, TypeError> {
    let mut changes = compare(types, before, after)?;
    if let Some(reset) = reset {
        changes.exclude(reset);
    }
    Ok(changes)
}

fn reconcile_all(entries: &mut Entries, ctx: &ManagedCtx<'_>) {
    for entry in entries.iter_mut() {
        if let Some(types) = ctx.types_of(entry.api_version()) {
            entry.change(|set| reconcile(types, set));
        }
    }
}

/// Takes what changed from everybody but one. Unless forced, wanting what another owns is a conflict.
fn take(
    entries: &mut Entries,
    me: Option<Identity<'_>>,
    before: &Value,
    after: &Value,
    changes: &Comparison,
    ctx: &ManagedCtx<'_>,
    force: bool,
) -> Result<(), OwnershipError> {
    entries.retain(|entry| Some(entry.identity()) == me || ctx.types_of(entry.api_version()).is_some());
    let mut by_version: Vec<(String, FieldSet, FieldSet)> =
        vec![(ctx.api_version.to_owned(), changes.written(), changes.removed.clone())];
    let mut dropped = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let version = entry.api_version();
        if by_version.iter().any(|(known, ..)| known == version) {
            continue;
        }
        let views = ctx.convert(before, version).zip(ctx.convert(after, version));
        match (views, ctx.types_of(version)) {
            (Some((before, after)), Some(types)) => {
                let changes = compared(types, &before, &after, ctx.reset_of(version))?;
                by_version.push((version.to_owned(), changes.written(), changes.removed));
            }
            _ => {
                dropped.insert(at);
            }
        }
    }
    let mut at = 0;
    entries.retain(|entry| {
        let keep = Some(entry.identity()) == me || !dropped.contains(&at);
        at += 1;
        keep
    });
    let of_version = |version: &str| by_version.iter().find(|(known, ..)| known == version);
    if !force {
        let mut wanted: Vec<(Identity<'_>, FieldSet)> = entries
            .iter()
            .filter(|entry| Some(entry.identity()) != me)
            .filter_map(|entry| {
                Some((
                    entry.identity(),
                    entry.set().intersection(&of_version(entry.api_version())?.1),
                ))
            })
            .filter(|(_, set)| !set.is_empty())
            .collect();
        if !wanted.is_empty() {
            wanted.sort_by_key(|(owner, _)| *owner);
            return Err(OwnershipError::Conflicts(
                wanted.iter().flat_map(|(owner, set)| conflicts(*owner, set)).collect(),
            ));
        }
    }
    for entry in entries.iter_mut().filter(|entry| Some(entry.identity()) != me) {
        let Some((_, written, removed)) = of_version(entry.api_version()) else {
            continue;
        };
        entry.change(|set| {
            let took = set.subtract(written);
            set.subtract(removed) | took
        });
    }
    entries.retain(|entry| !entry.set().is_empty());
    Ok(())
}

/// Removes from the merged object what the manager applied last time and does not now, if nobody else owns it.
fn prune(
    merged: Value,
    entries: &Entries,
    last: &Entry,
    me: Identity<'_>,
    ctx: &ManagedCtx<'_>,
) -> Result<Value, OwnershipError> {
    let let_go = match entries.get(me) {
        Some(mine) if mine.api_version() == last.api_version() => !last.set().difference(mine.set()).is_empty(),
        _ => !last.set().is_empty(),
    };
    let version = last.api_version();
    let (true, Some(types), Some(all)) = (let_go, ctx.types_of(version), ctx.convert(&merged, version)) else {
        return Ok(merged);
    };
    let last = with_structs(types, last.set().clone());
    let pruned = remove(types, &all, &last);
    let pruned = add_back_owned(&all, pruned, entries, version, ctx)?;
    let kept = ctx.convert(&pruned, version).unwrap_or(Cow::Borrowed(&pruned));
    let kept = with_structs(types, mention(types, &kept)?);
    // What nobody owns at all was not the manager's to remove.
    let mut gone = with_structs(types, mention(types, &all)?);
    gone.subtract(&kept);
    let out = remove(types, &all, &gone.intersection(&last));
    Ok(match ctx.convert(&out, ctx.api_version) {
        Some(Cow::Owned(converted)) => converted,
        _ => out,
    })
}

/// Puts back what was removed but somebody owns, version by version, the version it was removed in first.
fn add_back_owned(
    merged: &Value,
    mut pruned: Value,
    entries: &Entries,
    first: &str,
    ctx: &ManagedCtx<'_>,
) -> Result<Value, OwnershipError> {
    let mut owned: Vec<(&str, FieldSet)> = vec![(first, FieldSet::new())];
    for entry in entries.iter() {
        match owned.iter_mut().find(|(version, _)| *version == entry.api_version()) {
            Some((_, set)) => set.extend(entry.set()),
            None => owned.push((entry.api_version(), entry.set().clone())),
        }
    }
    for (version, owned) in owned {
        let Some(types) = ctx.types_of(version) else { continue };
        let (Some(all), Some(part)) = (ctx.convert(merged, version), ctx.convert(&pruned, version)) else {
            continue;
        };
        let mut gone = with_structs(types, mention(types, &all)?);
        gone.subtract(&with_structs(types, mention(types, &part)?));
        gone.subtract(&with_structs(types, owned));
        pruned = remove(types, &all, &gone);
    }
    Ok(pruned)
}
