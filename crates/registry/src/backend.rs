//! Where objects are, seen from a handler: the registry over storage, or a view that filters, projects or forwards.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::Result;
use machinery::user::User;
use parking_lot::Mutex;
use permit::Permit;
use serde_json::Value;
use storage::Entry;

use crate::{Resolved, Subresource};

/// Who asks, with what right. One per API request; internal components make their own.
pub struct Request {
    pub permit: Permit,
    pub user: Arc<User>,
    /// Default field manager: the user agent's first word.
    pub agent: String,
    /// `Warning: 299` texts for the response.
    pub warnings: Mutex<Vec<String>>,
    /// Paths of members that the body has more than once (`machinery::json::Decoded`), for strict field validation.
    pub duplicates: Vec<String>,
    /// Further guards on every write (a controller's lease).
    pub guards: Vec<kv::Guard>,
    /// Set for the server's own components: admission's checks of users do not apply to them.
    pub trusted: bool,
    /// The sender asks for what it reviews to be decided without the checks that only concern entering a cluster
    /// (`permit::Access::deep`). A wish: whether it is granted is the review's to say.
    pub deep: bool,
}

/// What a request is about. The clusters are the permit's scope; writes need a single one.
#[derive(Clone)]
pub struct Target {
    pub resolved: Resolved,
    pub subresource: Subresource,
    /// Empty for cluster-scoped resources, or all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
}

/// An object on its way out.
#[derive(Clone)]
pub enum Item {
    /// Canonical bytes in the storage version; the handler converts and transforms.
    Stored(Arc<Entry>),
    /// Not stored as it is shown: dry runs, projections. In the requested version.
    Built(Arc<Value>),
}

/// A page of a list.
#[derive(Clone)]
pub struct ItemList {
    pub items: Vec<Item>,
    pub revision: u64,
    pub continue_token: Option<String>,
    pub remaining: Option<u64>,
}

/// What a write did.
pub struct Outcome {
    pub item: Item,
    pub created: bool,
    /// For deletes: the object is gone (else it is terminating).
    pub gone: bool,
}

pub enum WatchEvent {
    Added(Item),
    Modified(Item),
    /// `revision` is the event's, the item the last version.
    Deleted {
        item: Item,
        revision: u64,
    },
    Bookmark {
        revision: u64,
        initial_end: bool,
    },
    /// The stream cannot go on (410); it ends after this.
    Failed(machinery::status::Status),
}

/// Events of a watch. Dropping it ends the watch.
pub trait EventStream: Send {
    /// `None`: the stream is over (the cluster was closed, the server shuts down).
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>>;
    /// What comes next if it is there already: a writer flushes when nothing is.
    fn ready(&mut self) -> Option<WatchEvent> {
        None
    }
    /// The newest revision that the stream has covered, for a last bookmark.
    fn revision(&mut self) -> u64;
    /// The log's record of the event returned last, if it is shown unchanged: what is encoded once for all watchers is
    /// kept there.
    fn logged(&self) -> Option<&storage::WatchEvent> {
        None
    }
}

impl dyn EventStream + '_ {
    /// As [`EventStream::poll_next`].
    pub async fn next(&mut self) -> Option<WatchEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

#[async_trait]
pub trait Backend: Send + Sync {
    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item>;
    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList>;
    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>>;
    async fn create(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome>;
    /// PUT.
    async fn update(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome>;
    async fn patch(&self, request: &Request, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Outcome>;
    async fn delete(&self, request: &Request, target: &Target, options: &DeleteOptions) -> Result<Outcome>;
    async fn delete_collection(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList>;
}

/// A decoded patch body.
#[derive(Clone, Debug)]
pub enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

// === impl Request ===

impl Request {
    pub fn new(permit: Permit, user: Arc<User>, agent: impl Into<String>) -> Self {
        Self {
            permit,
            user,
            agent: agent.into(),
            warnings: Mutex::default(),
            duplicates: Vec::new(),
            guards: Vec::new(),
            trusted: false,
            deep: false,
        }
    }

    /// A `Warning` header for the response.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().push(text.into());
    }
}
