//! The index of logical clusters and workspaces of all shards: where a path leads.
//!
//! A million workspaces fit: one slot of 40 bytes a cluster and one of 32 a name, in tables without pointers of their own.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hasher};

use compact_str::CompactString;
use hashbrown::HashTable;
use parking_lot::RwLock;
use permit::Cluster;
use tenancy::WorkspacePath;

use crate::wire::index_entry::Entry;
use crate::wire::{ClusterEntry, IndexBatch, ShardEntry, WorkspaceEntry};

/// A shard's number in one index, from 0 in the order in which shards were first heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

/// Where a path leads, as far as an index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// All of it is known.
    Cluster {
        cluster: Cluster,
        shard: ShardId,
        epoch: u64,
    },
    /// `followed` names after the first segment are known to lead to `cluster`. What comes behind it, its shard may know.
    Partial {
        cluster: Cluster,
        shard: ShardId,
        followed: usize,
    },
    /// What the names behind `followed` stand for is another server's business.
    Mount { url: String, followed: usize },
    /// Not even the first segment is known.
    Unknown,
}

/// What is known of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardFacts {
    pub name: String,
    /// Empty: not known yet.
    pub base_url: String,
    pub virtual_workspace_url: String,
    pub external_url: String,
    pub labels: BTreeMap<String, String>,
    /// Nothing new is to be put there.
    pub is_unschedulable: bool,
    /// It has a Shard object, as far as anybody says who has these objects.
    pub is_registered: bool,
    /// Its index is whole, or was when the connection to it was lost.
    pub complete: bool,
}

/// See the module. Fed by [`Routes::apply`], read by everybody.
pub struct Routes {
    state: RwLock<State>,
}

struct State {
    /// Keys the hashes, so that nobody can choose names that collide.
    seed: [u64; 2],
    shards: Vec<ShardFacts>,
    /// How many clusters each shard holds, by its number.
    held: Vec<usize>,
    clusters: Vec<Slot>,
    /// Slots that can be used again.
    free: Vec<u32>,
    /// Into `clusters`, by name.
    by_name: HashTable<u32>,
    children: HashTable<Child>,
    /// Rare, so that they are kept apart: (parent, name) to URL.
    mounts: BTreeMap<(u32, CompactString), Box<str>>,
    /// Workspaces that were not available when they were last told.
    unavailable: BTreeSet<(u32, CompactString)>,
    /// Per shard that tells everything anew: what it has not told again yet.
    stale: BTreeMap<ShardId, Stale>,
}

struct Slot {
    name: CompactString,
    epoch: u32,
    /// How many names lead here, and how many are below it. A slot that no shard holds stays while there are any: a number
    /// that is used again must not inherit names.
    names: u32,
    below: u32,
    /// [`NOWHERE`]: no shard has told of it.
    shard: u16,
}

struct Child {
    parent: u32,
    /// [`NO_TARGET`] for mounts, and while it is not scheduled.
    target: u32,
    name: CompactString,
}

#[derive(Default)]
struct Stale {
    clusters: HashSet<u32>,
    children: HashSet<(u32, CompactString)>,
}

const NOWHERE: u16 = u16::MAX;
const NO_TARGET: u32 = u32::MAX;

// === impl ShardId ===

impl ShardId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

// === impl Routes ===

impl Routes {
    /// `seed`: random, and nobody else's business.
    pub fn new(seed: [u64; 2]) -> Self {
        Self {
            state: RwLock::new(State {
                seed,
                shards: Vec::new(),
                held: Vec::new(),
                clusters: Vec::new(),
                free: Vec::new(),
                by_name: HashTable::new(),
                children: HashTable::new(),
                mounts: BTreeMap::new(),
                unavailable: BTreeSet::new(),
                stale: BTreeMap::new(),
            }),
        }
    }

    /// The number of a shard, given when its name is first heard. `None` beyond 65,000 shards.
    pub fn shard(&self, name: &str) -> Option<ShardId> {
        if let Some(known) = self.find_shard(name) {
            return Some(known);
        }
        self.state.write().shard(name)
    }

    pub fn find_shard(&self, name: &str) -> Option<ShardId> {
        let state = self.state.read();
        let at = state.shards.iter().position(|shard| shard.name == name)?;
        Some(ShardId(u16::try_from(at).ok()?))
    }

    pub fn facts(&self, shard: ShardId) -> Option<ShardFacts> {
        self.state.read().shards.get(shard.index()).cloned()
    }

    /// All shards heard of, with their numbers.
    pub fn shards(&self) -> Vec<(ShardId, ShardFacts)> {
        let state = self.state.read();
        let numbers = (0u16..).map(ShardId);
        numbers.zip(state.shards.iter().cloned()).collect()
    }

    /// Takes in what `teller` tells. Entries that make no sense are left out: what a peer says cannot break the index.
    pub fn apply(&self, teller: ShardId, batch: &IndexBatch) {
        let mut state = self.state.write();
        if batch.begins_anew {
            state.begin_anew(teller);
        }
        for entry in batch.entries.iter().filter_map(|entry| entry.entry.as_ref()) {
            match entry {
                Entry::Cluster(cluster) => state.apply_cluster(teller, cluster),
                Entry::Workspace(workspace) => state.apply_workspace(teller, workspace),
                Entry::Shard(shard) => state.apply_shard(shard),
            }
        }
        if batch.complete {
            state.complete(teller);
        }
    }

    /// What a look-up has told: a cluster, and the name that leads there from `parent`.
    pub fn learn(&self, parent: Option<(&Cluster, &str)>, cluster: &Cluster, shard: ShardId, epoch: u64) {
        let mut state = self.state.write();
        let entry = ClusterEntry {
            name: cluster.to_string(),
            epoch,
            ..ClusterEntry::default()
        };
        state.apply_cluster(shard, &entry);
        let Some((parent, name)) = parent else { return };
        let Some(holder) = state.slot(parent.as_str()).map(|slot| ShardId(slot.shard)) else {
            return;
        };
        let entry = WorkspaceEntry {
            parent: parent.to_string(),
            name: name.to_owned(),
            cluster: cluster.to_string(),
            ..WorkspaceEntry::default()
        };
        state.apply_workspace(holder, &entry);
    }

    /// A shard said that it does not hold a cluster. What it holds now, its index will tell.
    pub fn forget(&self, cluster: &Cluster, shard: ShardId) {
        let gone = ClusterEntry {
            name: cluster.to_string(),
            gone: true,
            epoch: u64::MAX,
            ..ClusterEntry::default()
        };
        self.state.write().apply_cluster(shard, &gone);
    }

    /// Where a path leads.
    pub fn resolve(&self, path: &WorkspacePath) -> Route {
        let state = self.state.read();
        if let Some(cluster) = path.as_cluster() {
            return match state.find(cluster.as_str()) {
                Some(at) => state.known(at, 0, true),
                None => Route::Unknown,
            };
        }
        let mut segments = path.segments();
        let Some(mut at) = segments.next().and_then(|first| state.find(first)) else {
            return Route::Unknown;
        };
        for (followed, name) in segments.enumerate() {
            let place = (at, CompactString::new(name));
            // It may be Ready by now, and somebody may have seen that: its shard is asked.
            if state.unavailable.contains(&place) {
                return state.known(at, followed, false);
            }
            if let Some(url) = state.mounts.get(&place) {
                return Route::Mount {
                    url: url.to_string(),
                    followed: followed + 1,
                };
            }
            match state.child(at, name).map(|child| child.target) {
                Some(target) if state.is_held(target) => at = target,
                _ => return state.known(at, followed, false),
            }
        }
        state.known(at, 0, true)
    }

    /// Clusters that each shard is known to hold, by the shard's number.
    pub fn counts(&self) -> Vec<usize> {
        self.state.read().held.clone()
    }

    /// Whether no shard but this one was heard of.
    pub fn is_only(&self, name: &str) -> bool {
        self.state.read().shards.iter().all(|shard| shard.name == name)
    }

    /// Whether every shard but this one has told all that it holds.
    pub fn others_are_complete(&self, name: &str) -> bool {
        let state = self.state.read();
        state.shards.iter().all(|shard| shard.name == name || shard.complete)
    }

    /// Which shard is known to hold a cluster.
    pub fn holder(&self, cluster: &Cluster) -> Option<ShardId> {
        let state = self.state.read();
        let slot = state.slot(cluster.as_str())?;
        (slot.shard != NOWHERE).then_some(ShardId(slot.shard))
    }

    /// Takes in what is known of a shard from elsewhere than an index.
    pub fn introduce(&self, entry: &ShardEntry) {
        self.state.write().apply_shard(entry);
    }
}

// === impl State ===

impl State {
    fn shard(&mut self, name: &str) -> Option<ShardId> {
        if let Some(at) = self.shards.iter().position(|shard| shard.name == name) {
            return Some(ShardId(u16::try_from(at).ok()?));
        }
        let id = u16::try_from(self.shards.len()).ok().filter(|id| *id < NOWHERE)?;
        self.shards.push(ShardFacts {
            name: name.to_owned(),
            ..ShardFacts::default()
        });
        self.held.push(0);
        Some(ShardId(id))
    }

    fn apply_shard(&mut self, entry: &ShardEntry) {
        if let Some(id) = self.shard(&entry.name)
            && let Some(facts) = self.shards.get_mut(id.index())
        {
            facts.is_registered = !entry.gone;
            if entry.gone {
                // What it holds is there as long as it answers.
                return;
            }
            facts.base_url.clone_from(&entry.base_url);
            facts.virtual_workspace_url.clone_from(&entry.virtual_workspace_url);
            facts.external_url.clone_from(&entry.external_url);
            facts.labels = entry.labels.clone().into_iter().collect();
            facts.is_unschedulable = entry.unschedulable;
        }
    }

    /// A cluster changes hands.
    fn hand_over(&mut self, at: u32, to: u16) {
        let Some(slot) = self.clusters.get_mut(at as usize) else {
            return;
        };
        let from = std::mem::replace(&mut slot.shard, to);
        if let Some(count) = self.held.get_mut(usize::from(from)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.held.get_mut(usize::from(to)) {
            *count += 1;
        }
    }

    fn begin_anew(&mut self, teller: ShardId) {
        let is_held = |slot: &Slot| slot.shard == teller.0;
        let held = |at: u32| self.clusters.get(at as usize).is_some_and(is_held);
        let clusters = (0..).zip(&self.clusters).filter(|(_, slot)| is_held(slot));
        let children = self.children.iter().filter(|child| held(child.parent));
        let stale = Stale {
            clusters: clusters.map(|(at, _)| at).collect(),
            children: children.map(|child| (child.parent, child.name.clone())).collect(),
        };
        self.stale.insert(teller, stale);
    }

    fn complete(&mut self, teller: ShardId) {
        if let Some(facts) = self.shards.get_mut(teller.index()) {
            facts.complete = true;
        }
        let Some(stale) = self.stale.remove(&teller) else {
            return;
        };
        for (parent, name) in stale.children {
            self.remove_child(parent, &name);
        }
        for at in stale.clusters {
            self.release(at, teller);
        }
    }

    fn apply_cluster(&mut self, teller: ShardId, entry: &ClusterEntry) {
        if Cluster::parse(&entry.name).is_err() {
            return;
        }
        if self.is_old(teller, entry) {
            return;
        }
        if entry.gone {
            if let Some(at) = self.find(&entry.name) {
                self.release(at, teller);
            }
            return;
        }
        let Some(at) = self.ensure(&entry.name) else { return };
        if let Some(stale) = self.stale.get_mut(&teller) {
            stale.clusters.remove(&at);
        }
        self.hand_over(at, teller.0);
        if let Some(slot) = self.clusters.get_mut(at as usize) {
            slot.epoch = u32::try_from(entry.epoch).unwrap_or(u32::MAX);
        }
    }

    /// Whether an entry is of an earlier cluster of that name: told again, or late. Who tells everything anew is believed,
    /// whatever was known: its store may be an older one.
    fn is_old(&self, teller: ShardId, entry: &ClusterEntry) -> bool {
        if self.stale.contains_key(&teller) {
            return false;
        }
        // Shards of before told no epoch of what is gone.
        if entry.gone && entry.epoch == 0 {
            return false;
        }
        let epoch = u32::try_from(entry.epoch).unwrap_or(u32::MAX);
        let is_newer = |slot: &Slot| slot.shard == teller.0 && slot.epoch > epoch;
        self.slot(&entry.name).is_some_and(is_newer)
    }

    fn apply_workspace(&mut self, teller: ShardId, entry: &WorkspaceEntry) {
        let Some(parent) = Cluster::parse(&entry.parent)
            .ok()
            .and_then(|parent| self.ensure(parent.as_str()))
        else {
            return;
        };
        let name = CompactString::new(&entry.name);
        if let Some(stale) = self.stale.get_mut(&teller) {
            stale.children.remove(&(parent, name.clone()));
        }
        if entry.gone {
            self.remove_child(parent, &name);
            return;
        }
        let place = (parent, name);
        match entry.mount_url.as_str() {
            "" => self.mounts.remove(&place),
            url => self.mounts.insert(place.clone(), url.into()),
        };
        match entry.unavailable {
            true => self.unavailable.insert(place.clone()),
            false => self.unavailable.remove(&place),
        };
        let target = match Cluster::parse(&entry.cluster) {
            Ok(cluster) => self.ensure(cluster.as_str()).unwrap_or(NO_TARGET),
            Err(_) => NO_TARGET,
        };
        self.put_child(place, target);
    }

    fn put_child(&mut self, (parent, name): (u32, CompactString), target: u32) {
        let hash = self.hash(Some(parent), &name);
        let found = self
            .children
            .find_mut(hash, |child| child.parent == parent && child.name == name);
        let before = match found {
            Some(child) => std::mem::replace(&mut child.target, target),
            None => {
                let seed = self.seed;
                let child = Child { parent, target, name };
                self.children
                    .insert_unique(hash, child, |child| hash_of(seed, Some(child.parent), &child.name));
                if let Some(slot) = self.clusters.get_mut(parent as usize) {
                    slot.below += 1;
                }
                NO_TARGET
            }
        };
        if before == target {
            return;
        }
        if let Some(slot) = self.clusters.get_mut(target as usize) {
            slot.names += 1;
        }
        self.unname(before);
    }

    fn remove_child(&mut self, parent: u32, name: &CompactString) {
        let place = (parent, name.clone());
        self.mounts.remove(&place);
        self.unavailable.remove(&place);
        let hash = self.hash(Some(parent), name);
        let found = self
            .children
            .find_entry(hash, |child| child.parent == parent && child.name == *name);
        if let Ok(entry) = found {
            let (child, _) = entry.remove();
            if let Some(slot) = self.clusters.get_mut(parent as usize) {
                slot.below = slot.below.saturating_sub(1);
            }
            self.unname(child.target);
        }
        self.collect(parent);
    }

    /// One name less leads to a cluster.
    fn unname(&mut self, at: u32) {
        if let Some(slot) = self.clusters.get_mut(at as usize) {
            slot.names = slot.names.saturating_sub(1);
            self.collect(at);
        }
    }

    /// A shard does not hold a cluster any more. Another one that does is not concerned.
    fn release(&mut self, at: u32, teller: ShardId) {
        let held = self.clusters.get(at as usize).map(|slot| slot.shard);
        if held == Some(teller.0) {
            self.hand_over(at, NOWHERE);
            self.collect(at);
        }
    }

    /// Frees a slot that no shard holds and that no name leads to or from.
    fn collect(&mut self, at: u32) {
        let Some(slot) = self.clusters.get_mut(at as usize) else {
            return;
        };
        if slot.shard != NOWHERE || slot.names > 0 || slot.below > 0 || slot.name.is_empty() {
            return;
        }
        let name = std::mem::take(&mut slot.name);
        let hash = self.hash(None, &name);
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        self.free.push(at);
    }

    fn ensure(&mut self, name: &str) -> Option<u32> {
        if let Some(at) = self.find(name) {
            return Some(at);
        }
        let slot = Slot {
            name: CompactString::new(name),
            epoch: 0,
            names: 0,
            below: 0,
            shard: NOWHERE,
        };
        let at = match self.free.pop() {
            Some(at) => {
                *self.clusters.get_mut(at as usize)? = slot;
                at
            }
            None => {
                let at = u32::try_from(self.clusters.len()).ok().filter(|at| *at < NO_TARGET)?;
                self.clusters.push(slot);
                at
            }
        };
        let (seed, hash) = (self.seed, self.hash(None, name));
        let clusters = &self.clusters;
        let name_of = |at: &u32| clusters.get(*at as usize).map_or("", |slot| slot.name.as_str());
        self.by_name
            .insert_unique(hash, at, |at| hash_of(seed, None, name_of(at)));
        Some(at)
    }

    fn find(&self, name: &str) -> Option<u32> {
        let is_it = |at: &u32| self.clusters.get(*at as usize).is_some_and(|slot| slot.name == name);
        self.by_name.find(self.hash(None, name), is_it).copied()
    }

    fn slot(&self, name: &str) -> Option<&Slot> {
        self.clusters.get(self.find(name)? as usize)
    }

    fn child(&self, parent: u32, name: &str) -> Option<&Child> {
        let is_it = |child: &Child| child.parent == parent && child.name == name;
        self.children.find(self.hash(Some(parent), name), is_it)
    }

    fn is_held(&self, at: u32) -> bool {
        self.clusters.get(at as usize).is_some_and(|slot| slot.shard != NOWHERE)
    }

    /// A cluster that is known, or the last one that is on a path's way.
    fn known(&self, at: u32, followed: usize, whole: bool) -> Route {
        let Some(slot) = self.clusters.get(at as usize).filter(|slot| slot.shard != NOWHERE) else {
            return Route::Unknown;
        };
        let Ok(cluster) = Cluster::parse(&slot.name) else {
            return Route::Unknown;
        };
        let shard = ShardId(slot.shard);
        match whole {
            true => Route::Cluster {
                cluster,
                shard,
                epoch: u64::from(slot.epoch),
            },
            false => Route::Partial {
                cluster,
                shard,
                followed,
            },
        }
    }

    fn hash(&self, parent: Option<u32>, name: &str) -> u64 {
        hash_of(self.seed, parent, name)
    }
}

fn hash_of(seed: [u64; 2], parent: Option<u32>, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed[0]);
    hasher.write_u64(seed[1]);
    hasher.write_u32(parent.unwrap_or(u32::MAX));
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;
