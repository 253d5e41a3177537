//! Watch.

use std::task::{Context, Poll, ready};

use machinery::options::{ListOptions, parse_resource_version};
use machinery::status::{Result, Status};
use permit::Verb;
use storage::{Consistency, EventKind, WatchItem, WatchRequest, WatchStart, Watcher};

use super::Registry;
use super::fields::field_filter;
use super::operation::permit_for_store;
use super::read::list_namespace;
use super::rescue::{rescue, too_old_version};
use crate::{EventStream, Item, Request, Target, WatchEvent};

/// Events of one resource from storage.
struct Stream {
    watcher: Watcher,
    /// Where the client wanted to begin, for the text when that is too old.
    asked: u64,
    last: Option<storage::WatchEvent>,
}

// === impl Registry ===

impl Registry {
    pub(super) async fn begin_watch(
        &self,
        request: &Request,
        target: &Target,
        options: &ListOptions,
    ) -> Result<Box<dyn EventStream>> {
        let def = &target.resolved.def;
        let permit = permit_for_store(request, def, Verb::Watch)?;
        let mut filter = field_filter(&options.field_selector, def, target.resolved.version)?;
        if !target.name.is_empty() {
            filter.name = Some(target.name.clone());
        }
        let version = parse_resource_version(&options.resource_version).map_err(|error| {
            // Unlike lists, watches answer this with the resource's 422.
            Status::invalid(&def.group, &def.names.plural, "", &[error])
        })?;
        let watch = WatchRequest {
            scope: permit.scope().clone(),
            namespace: list_namespace(target, &filter),
            name: filter.name.clone().unwrap_or_default(),
            labels: options.label_selector.clone(),
            fields: filter.predicate,
            start: start(options, version),
            bookmarks: options.allow_watch_bookmarks,
        };
        let watcher = self.store.watch(&permit, &def.store, &watch).await;
        let watcher = watcher.map_err(|error| rescue(error, &def.group_resource(), ""))?;
        Ok(Box::new(Stream {
            watcher,
            asked: version,
            last: None,
        }))
    }
}

/// Where a watch begins: at a revision, with the present state, or now.
fn start(options: &ListOptions, version: u64) -> WatchStart {
    let legacy = options.send_initial_events.is_none();
    match (options.send_initial_events, options.resource_version.as_str(), version) {
        (Some(true), given, _) | (None, given, 0) => {
            let consistency = match (given, version) {
                ("", _) if legacy => Consistency::Any,
                ("", _) => Consistency::Latest,
                (_, 0) => Consistency::Any,
                (_, version) => Consistency::AtLeast(version),
            };
            // The end of the initial events is marked for those who asked for them and for bookmarks.
            WatchStart::Initial {
                consistency,
                bookmark: !legacy && options.allow_watch_bookmarks,
            }
        }
        (Some(false), _, 0) => WatchStart::Now,
        (_, _, version) => WatchStart::After(version),
    }
}

// === impl Stream ===

impl Stream {
    fn show(&mut self, item: WatchItem) -> WatchEvent {
        self.last = None;
        match item {
            WatchItem::Event(event) => {
                let (kind, entry) = (event.kind, Item::Stored(event.entry.clone()));
                let revision = event.revision();
                self.last = Some(event);
                match kind {
                    EventKind::Added => WatchEvent::Added(entry),
                    EventKind::Modified => WatchEvent::Modified(entry),
                    EventKind::Deleted => WatchEvent::Deleted { item: entry, revision },
                }
            }
            WatchItem::Bookmark { revision, initial_end } => WatchEvent::Bookmark { revision, initial_end },
            WatchItem::Expired { oldest } => WatchEvent::Failed(too_old_version(self.asked, oldest)),
        }
    }
}

impl EventStream for Stream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let item = ready!(self.watcher.poll_next(cx));
        Poll::Ready(item.map(|item| self.show(item)))
    }

    fn ready(&mut self) -> Option<WatchEvent> {
        let item = self.watcher.ready()?;
        Some(self.show(item))
    }

    fn revision(&mut self) -> u64 {
        self.watcher.revision()
    }

    fn logged(&self) -> Option<&storage::WatchEvent> {
        self.last.as_ref()
    }
}
