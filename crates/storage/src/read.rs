//! Gets and lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kv::{RangeRequest, Revision};
use machinery::options::ContinueToken;
use permit::{Permit, Scope, Verb};
use smallvec::SmallVec;

use crate::filter::{Filter, may_read};
use crate::key::Parsed;
use crate::objects::Span;
use crate::resource::Resource;
use crate::store::Shared;
use crate::{Consistency, Entry, ListRequest, ObjectKey, ResourceKey, StorageError, Store};

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct ListResult {
    /// Ascending by key.
    pub items: Vec<Arc<Entry>>,
    /// The visible revision at which the list is exact: a watch from here has no gap.
    pub revision: u64,
    /// Set if there is more.
    pub continue_token: Option<String>,
    /// How many come after this page; only known to lists without selectors.
    pub remaining: Option<u64>,
}

/// A part of a list, before its token is made.
struct Page {
    items: Vec<Arc<Entry>>,
    revision: u64,
    more: bool,
    remaining: Option<u64>,
}

/// Matching entries are collected up to a limit, and one more to know whether there is more.
struct Collector<'a> {
    filter: &'a Filter,
    /// Whatever is offered matches: it comes from the filter's own span.
    takes_all: bool,
    /// 0: none.
    limit: usize,
    items: Vec<Arc<Entry>>,
    more: bool,
    /// Keys that came after the page, counted while nothing is filtered.
    remaining: u64,
}

/// Keys read at a time from the store, for lists at revisions that only the store has.
const STORE_PAGE: usize = 500;

// === impl Store ===

impl Store {
    /// One object. `NotFound` also for what the permit's selector hides.
    pub async fn get(
        &self,
        permit: &Permit,
        resource: &ResourceKey,
        key: &ObjectKey,
        consistency: Consistency,
    ) -> Result<Arc<Entry>, StorageError> {
        may_read(permit, Verb::Get, resource, &Scope::One(key.cluster.clone()))?;
        let path = path_of(key);
        let entry = match consistency {
            Consistency::Exact(revision) => {
                self.shared.fresh(consistency).await?;
                let span = Span {
                    start: path.to_vec(),
                    end: [&path[..], &[0]].concat(),
                };
                let scope = Scope::One(key.cluster.clone());
                let filter = Filter::new(permit, &scope, &key.namespace, &key.name, &Default::default(), None);
                self.shared
                    .exact_page(resource, &filter, &span, 1, revision)
                    .await?
                    .items
                    .pop()
            }
            _ => {
                self.shared.fresh(consistency).await?;
                let resource = self.shared.catalog.get(resource);
                resource.and_then(|resource| resource.objects.read().get(&path).cloned())
            }
        };
        entry
            .filter(|entry| entry.labels_match(permit.selector()))
            .ok_or(StorageError::NotFound)
    }

    /// A page of the objects of a resource, in the order of their keys.
    pub async fn list(
        &self,
        permit: &Permit,
        resource: &ResourceKey,
        request: &ListRequest,
    ) -> Result<ListResult, StorageError> {
        may_read(permit, Verb::List, resource, &request.scope)?;
        let (scope, labels, fields) = (&request.scope, &request.labels, request.fields.clone());
        let filter = Filter::new(permit, scope, &request.namespace, "", labels, fields);
        let whole = filter.span();
        let mut span = whole.clone();
        let mut consistency = request.consistency;
        let mut is_continued = false;
        if let Some(token) = &request.continue_token {
            // Relative to the list's own prefix and a clean path: it cannot lead out of the span.
            let token = ContinueToken::decode(token).map_err(|_| StorageError::InvalidContinue)?;
            span.start.extend_from_slice(token.start.as_bytes());
            is_continued = token.revision != ContinueToken::INCONSISTENT;
            consistency = match u64::try_from(token.revision) {
                Ok(revision) => Consistency::Exact(revision),
                Err(_) if is_continued => return Err(StorageError::InvalidContinue),
                Err(_) => Consistency::Latest,
            };
        }
        self.shared.fresh(consistency).await?;
        let page = match consistency {
            Consistency::Exact(revision) => {
                match self
                    .shared
                    .exact_page(resource, &filter, &span, request.limit, revision)
                    .await
                {
                    Err(StorageError::Expired { .. }) if is_continued => {
                        let start = String::from_utf8_lossy(span.start.get(whole.start.len()..).unwrap_or_default());
                        let revision = ContinueToken::INCONSISTENT;
                        let resume = ContinueToken {
                            revision,
                            start: start.into_owned(),
                        }
                        .encode();
                        return Err(StorageError::ContinueExpired { resume });
                    }
                    page => page?,
                }
            }
            _ => self.shared.cached_page(resource, &filter, &span, request.limit),
        };
        Ok(page.finish(&whole))
    }
}

/// The path that an object's entry is ordered by.
pub(crate) fn path_of(key: &ObjectKey) -> SmallVec<[u8; 96]> {
    let mut path = SmallVec::new();
    path.extend_from_slice(key.cluster.as_str().as_bytes());
    path.push(b'/');
    if !key.namespace.is_empty() {
        path.extend_from_slice(key.namespace.as_bytes());
        path.push(b'/');
    }
    path.extend_from_slice(key.name.as_bytes());
    path
}

// === impl Shared ===

impl Shared {
    /// Waits, for a bounded time, until the caches are as fresh as asked for.
    pub(crate) async fn fresh(&self, consistency: Consistency) -> Result<(), StorageError> {
        let asked = match consistency {
            Consistency::Any => return Ok(()),
            Consistency::Latest => return self.catch_up().await,
            Consistency::AtLeast(revision) | Consistency::Exact(revision) => revision,
        };
        // Beyond the newest offset this is the store's revision that `asked` would be, were no offset added until then.
        self.wait_for_store(self.to_store(asked))
            .await
            .map_err(|error| match error {
                StorageError::Timeout => StorageError::TooLargeRevision {
                    asked,
                    current: self.visible(),
                },
                error => error,
            })
    }

    /// From the cache, at whatever revision it is.
    fn cached_page(&self, resource: &ResourceKey, filter: &Filter, span: &Span, limit: usize) -> Page {
        // Read before the cache is: what is visible now is in the cache then.
        let visible = self.visible();
        let mut collector = Collector::new(filter, limit);
        let mut revision = visible;
        if let Some(resource) = self.catalog.get(resource)
            && !filter.is_nothing()
        {
            let objects = resource.objects.read();
            revision = visible.max(objects.latest);
            match filter.indexed_label(&resource.indexed) {
                Some(label) => collector.collect(objects.labelled(label, span)),
                None => collector.collect(objects.range(span)),
            }
        }
        collector.finish(revision)
    }

    /// Everything that matches, as the cache has it.
    pub(crate) fn peek_page(&self, resource: &ResourceKey, filter: &Filter) -> Vec<Arc<Entry>> {
        self.cached_page(resource, filter, &filter.span(), 0).items
    }

    /// Whether anything matches in the cache.
    pub(crate) fn peek_any(&self, resource: &ResourceKey, filter: &Filter) -> bool {
        !self.cached_page(resource, filter, &filter.span(), 1).items.is_empty()
    }

    /// The state at one revision: from cache and log while they reach back, else from the store.
    async fn exact_page(
        &self,
        resource: &ResourceKey,
        filter: &Filter,
        span: &Span,
        limit: usize,
        revision: u64,
    ) -> Result<Page, StorageError> {
        let remembered = match self.catalog.get(resource) {
            Some(resource) => remembered(&resource, filter, span, limit, revision),
            None => (revision >= self.log.floor()).then(|| Collector::new(filter, limit)),
        };
        match remembered {
            Some(collector) => Ok(collector.finish(revision)),
            None => self.stored_page(resource, filter, span, limit, revision).await,
        }
    }

    async fn stored_page(
        &self,
        resource: &ResourceKey,
        filter: &Filter,
        span: &Span,
        limit: usize,
        revision: u64,
    ) -> Result<Page, StorageError> {
        let at = Revision(self.to_store(revision));
        let prefix = self.layout.resource(resource);
        let full = |path: &[u8]| Bytes::from([&prefix[..], path].concat());
        let end = if span.end.is_empty() {
            kv::prefix_end(&prefix)
        } else {
            full(&span.end)
        };
        let mut start = full(&span.start);
        let key = Arc::new(resource.clone());
        let mut collector = Collector::new(filter, limit);
        loop {
            let request = RangeRequest {
                start,
                end: end.clone(),
                ..RangeRequest::default()
            };
            let page = self
                .kv
                .range(request.at(at).limited(STORE_PAGE))
                .await
                .map_err(|error| match error {
                    kv::Error::Compacted { at } => StorageError::Expired {
                        oldest: self.to_visible(at.0),
                    },
                    error => error.into(),
                })?;
            let entries: Vec<Arc<Entry>> = page.kvs.iter().filter_map(|kv| self.read_stored(&key, kv)).collect();
            collector.collect(entries.iter());
            let last = page.kvs.last().filter(|_| page.more && !collector.more);
            let Some(last) = last else {
                // What the store did not return comes after the page as well.
                collector.remaining += page.count.saturating_sub(page.kvs.len() as u64);
                return Ok(collector.finish(revision));
            };
            start = [&last.key[..], &[0]].concat().into();
        }
    }

    pub(crate) fn read_stored(&self, resource: &Arc<ResourceKey>, kv: &kv::KeyValue) -> Option<Arc<Entry>> {
        // A resource without segment shares its prefix with those that have one.
        match self.layout.parse(&kv.key) {
            Parsed::Object(path) if path.is_of(resource) => {
                self.read_entry(resource, &path, &kv.value, self.to_visible(kv.mod_revision.0))
            }
            _ => None,
        }
    }
}

/// Undoes, for the keys in question, what the log tells of the time after `revision`. `None` if it does not reach back.
fn remembered<'a>(
    resource: &Resource,
    filter: &'a Filter,
    span: &Span,
    limit: usize,
    revision: u64,
) -> Option<Collector<'a>> {
    let objects = resource.objects.read();
    let ring = resource.ring.read();
    if ring.floor() > revision {
        return None;
    }
    let mut before: BTreeMap<&[u8], Option<&Arc<Entry>>> = BTreeMap::new();
    for event in ring.events_after(revision) {
        if let Some(subject) = event.subject().filter(|subject| span.contains(subject.path())) {
            before.entry(subject.path()).or_insert(event.previous());
        }
    }
    let mut collector = Collector::new(filter, limit);
    let mut before = before.into_iter().peekable();
    for entry in objects.range(span) {
        while let Some((_, previous)) = before.next_if(|(path, _)| *path < entry.path()) {
            previous.into_iter().for_each(|previous| collector.offer(previous));
        }
        match before.next_if(|(path, _)| *path == entry.path()) {
            Some((_, previous)) => previous.into_iter().for_each(|previous| collector.offer(previous)),
            None => collector.offer(entry),
        }
        if collector.is_done() {
            break;
        }
    }
    if !collector.is_done() {
        before
            .filter_map(|(_, previous)| previous)
            .for_each(|previous| collector.offer(previous));
    }
    Some(collector)
}

// === impl Collector ===

impl<'a> Collector<'a> {
    fn new(filter: &'a Filter, limit: usize) -> Self {
        Self {
            filter,
            takes_all: filter.is_whole_span(),
            limit,
            items: Vec::new(),
            more: false,
            remaining: 0,
        }
    }

    fn collect<'e>(&mut self, mut entries: impl Iterator<Item = &'e Arc<Entry>>) {
        while !self.more
            && let Some(entry) = entries.next()
        {
            self.offer(entry);
        }
        if !self.is_done() {
            // Either nothing is left, or the rest need not be looked at to be counted.
            self.remaining += entries.count() as u64;
        }
    }

    /// Field predicates may read whole bodies, so they wait until the locks are released, and cannot cut the page short.
    fn offer(&mut self, entry: &Arc<Entry>) {
        if !self.takes_all && !self.filter.matches_key_and_labels(entry) {
            return;
        }
        let is_full = self.limit > 0 && self.items.len() == self.limit && self.filter.fields.is_none();
        if is_full {
            self.more = true;
            self.remaining += 1;
        } else {
            self.items.push(Arc::clone(entry));
        }
    }

    /// Nothing that may come changes the page. (What remains is counted only where it is shown.)
    fn is_done(&self) -> bool {
        self.more && !self.filter.is_whole_span()
    }

    fn finish(mut self, revision: u64) -> Page {
        if let Some(fields) = &self.filter.fields {
            let wanted = if self.limit == 0 { usize::MAX } else { self.limit };
            let mut matching = self.items.into_iter().filter(|entry| fields(entry));
            self.items = matching.by_ref().take(wanted).collect();
            self.more = matching.next().is_some();
        }
        let remaining = (self.more && self.filter.is_whole_span()).then_some(self.remaining);
        Page {
            items: self.items,
            revision,
            more: self.more,
            remaining,
        }
    }
}

// === impl Page ===

impl Page {
    fn finish(self, whole: &Span) -> ListResult {
        let revision = i64::try_from(self.revision).unwrap_or(i64::MAX);
        let token = self.items.last().filter(|_| self.more).map(|last| {
            let path = last.path().get(whole.start.len()..).unwrap_or_default();
            ContinueToken::after(&String::from_utf8_lossy(path), revision).encode()
        });
        ListResult {
            items: self.items,
            revision: self.revision,
            continue_token: token,
            remaining: self.remaining,
        }
    }
}
