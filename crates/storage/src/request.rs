//! Requests to storage.

use std::sync::Arc;
use std::time::Duration;

use machinery::selector::LabelSelector;
use permit::Scope;
use serde_json::Value;

use crate::{Entry, ObjectKey};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write finished before the read began (one coalesced revision check per batch of reads).
    Latest,
    /// Whatever the cache holds.
    Any,
    /// Not older than this revision; waits a bounded time for it.
    AtLeast(u64),
    /// The state at exactly this revision.
    Exact(u64),
}

/// Further conditions on objects, from field selectors.
pub type FieldPredicate = Arc<dyn Fn(&Entry) -> bool + Send + Sync>;

#[derive(Clone)]
pub struct ListRequest {
    pub scope: Scope,
    /// Empty: all namespaces.
    pub namespace: String,
    pub labels: LabelSelector,
    pub fields: Option<FieldPredicate>,
    /// 0: no limit.
    pub limit: usize,
    pub continue_token: Option<String>,
    pub consistency: Consistency,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchStart {
    /// Events after this revision; `Expired` if the log does not reach back.
    After(u64),
    /// The current state as synthetic additions, not older than the consistency says, then live. `bookmark`: a bookmark
    /// marks the end of the initial events (WatchList).
    Initial { consistency: Consistency, bookmark: bool },
    /// Only what comes from now on.
    Now,
}

#[derive(Clone)]
pub struct WatchRequest {
    pub scope: Scope,
    pub namespace: String,
    /// Set when one object is watched by name.
    pub name: String,
    pub labels: LabelSelector,
    pub fields: Option<FieldPredicate>,
    pub start: WatchStart,
    /// Periodic bookmarks wanted.
    pub bookmarks: bool,
}

/// What a write does to its object.
#[derive(Clone, Debug)]
pub enum Change {
    /// Fails with `AlreadyExists` if it is there.
    Create(Value),
    /// Fails with `Conflict` if the object is not at `expected` any more, with `NotFound` if it is gone.
    Update { object: Value, expected: u64 },
    /// As an update. Answers with the last state at the deletion's revision.
    Delete { expected: u64 },
}

/// What a write does to its cluster's fence. Every write compares the fence it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FenceAction {
    #[default]
    Hold,
    /// The write that brings a cluster into being.
    Open,
    /// The write that ends it: later writes of anybody fail with `Fenced`.
    Close,
    /// A write in a cluster that has ended: fails with `Fenced` if it has not. Only what was left behind is deleted so.
    Closed,
}

/// One write of one object. `object` carries no resourceVersion (storage strips it).
#[derive(Clone, Debug)]
pub struct Write {
    pub key: ObjectKey,
    pub change: Change,
    pub fence: FenceAction,
    /// Further keys of the store that must be at these revisions (a controller's lease).
    pub guards: Vec<kv::Guard>,
    /// Time to live (events).
    pub ttl: Option<Duration>,
}
