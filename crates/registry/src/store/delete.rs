//! Delete: at once, or by a mark while finalizers hold the object.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use machinery::object::{GroupResource, ObjectExt};
use machinery::options::{DeleteOptions, ListOptions, PropagationPolicy};
use machinery::status::{Result, Status};
use permit::Verb;
use serde_json::Value;
use storage::{Change, Consistency, Entry, StorageError};

use super::operation::Operation;
use super::{Registry, meta};
use crate::{Item, ItemList, Outcome, Request, Target};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const CONFLICT_TRIES: usize = 8;
/// Objects listed at a time for the deletion of a collection.
const PAGE: i64 = 1_000;
/// Objects of one collection that are deleted at a time.
const COLLECTION_WIDTH: usize = 16;
/// The same of all collections together: however many tenants empty theirs, this is what other writes have beside them.
pub(super) const COLLECTIONS_WIDTH: usize = 32;

// === impl Registry ===

impl Registry {
    pub(super) async fn delete_object(
        &self,
        request: &Request,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Outcome> {
        let op = Operation::new(self, request, target, Verb::Delete, options.dry_run)?;
        op.check_key(&target.name)?;
        op.delete(options).await
    }

    /// Not atomic: what was deleted before an error stays deleted. Many at a time, so that they share commits of the store;
    /// Kubernetes' `--delete-collection-workers`. After an error no further deletion is begun, and it is answered once those
    /// under way are through.
    pub(super) async fn delete_objects(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList> {
        let mut page_options = list.clone();
        let limited = list.limit > 0;
        if !limited {
            page_options.limit = PAGE;
        }
        let mut deleted = ItemList {
            items: Vec::new(),
            revision: 0,
            continue_token: None,
            remaining: None,
        };
        loop {
            let page = self
                .read_list_for(request, target, &page_options, Verb::DeleteCollection)
                .await;
            let page = match page {
                // History that is compacted meanwhile ends no deletion: it goes on with what there is now.
                Err(status) if page_options.continue_token != list.continue_token => match status.continue_token() {
                    "" => return Err(status),
                    resume => {
                        page_options.continue_token = resume.to_owned();
                        continue;
                    }
                },
                page => page?,
            };
            self.delete_page(request, target, &page.items, options).await?;
            deleted.items.extend(page.items);
            deleted.revision = page.revision;
            match page.continue_token {
                Some(token) if !limited => page_options.continue_token = token,
                token => {
                    deleted.continue_token = token;
                    deleted.remaining = page.remaining;
                    return Ok(deleted);
                }
            }
        }
    }
}

impl Registry {
    async fn delete_page(
        &self,
        request: &Request,
        target: &Target,
        items: &[Item],
        options: &DeleteOptions,
    ) -> Result<()> {
        let (mut items, mut under_way, mut outcome) = (items.iter(), FuturesUnordered::new(), Ok(()));
        loop {
            while outcome.is_ok() && under_way.len() < COLLECTION_WIDTH {
                let Some(item) = items.next() else { break };
                under_way.push(self.delete_item(request, target, item, options));
            }
            match under_way.next().await {
                Some(one) => outcome = outcome.and(one),
                None => return outcome,
            }
        }
    }

    /// What is gone already is a success.
    async fn delete_item(
        &self,
        request: &Request,
        target: &Target,
        item: &Item,
        options: &DeleteOptions,
    ) -> Result<()> {
        let Item::Stored(entry) = item else { return Ok(()) };
        let target = Target {
            namespace: entry.namespace().to_owned(),
            name: entry.name().to_owned(),
            ..target.clone()
        };
        // In the order in which they ask: a short collection goes in between the turns of a long one. Never closed.
        let _turn = self.collections.acquire().await;
        let op = Operation::new(self, request, &target, Verb::DeleteCollection, options.dry_run)?;
        match op.delete(options).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}

// === impl Operation ===

impl Operation<'_> {
    async fn delete(&self, options: &DeleteOptions) -> Result<Outcome> {
        let mut consistency = Consistency::Any;
        for _ in 0..CONFLICT_TRIES {
            match self.attempt_delete(options, consistency).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(status) if consistency == Consistency::Latest || !matches!(status.code, 404 | 409) => {
                    return Err(status);
                }
                Err(_) => {}
            }
            consistency = Consistency::Latest;
        }
        Err(Status::modified(&self.of(), &self.target.name))
    }

    /// `None`: somebody else wrote in between.
    async fn attempt_delete(&self, options: &DeleteOptions, consistency: Consistency) -> Result<Option<Outcome>> {
        let name = self.target.name.as_str();
        let entry = self
            .read(name, consistency)
            .await
            .map_err(|error| self.rescue(error, name))?;
        let old = self.show(&entry)?;
        self.check_preconditions(&old, options)?;
        self.admit(Verb::Delete, name, None, Some(&old)).await?;
        self.confirm(Verb::Delete, name, None, Some(&old)).await?;
        let mut object = Value::clone(&old);
        if old.deletion_timestamp().is_none() {
            self.def.strategy.begin_deletion(&self.context(), &mut object);
        }
        self.set_collection_finalizers(&mut object, options);
        if object.finalizers().is_empty() && !self.def.strategy.holds_deletion(&object) {
            return self.remove(&entry, old).await;
        }
        meta::mark_deleting(&mut object, &self.now, self.def.strategy.marks_grace());
        self.mark(&entry, object, &old).await
    }

    fn check_preconditions(&self, old: &Value, options: &DeleteOptions) -> Result<()> {
        // Kubernetes names the kind here, not the resource.
        let of = GroupResource::new(&*self.def.group, self.def.names.kind.as_str());
        let conflict = |why: String| Err(Status::conflict(&of, &self.target.name, &why));
        let given = &options.preconditions;
        if let Some(uid) = given.uid.as_deref().filter(|uid| *uid != old.uid()) {
            return conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
                 deleted and then recreated",
                old.uid()
            ));
        }
        if let Some(version) = given
            .resource_version
            .as_deref()
            .filter(|v| *v != old.resource_version())
        {
            return conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The \
                 object might have been modified",
                old.resource_version()
            ));
        }
        Ok(())
    }

    /// What the garbage collector is to do with dependents stands in the finalizers.
    fn set_collection_finalizers(&self, object: &mut Value, options: &DeleteOptions) {
        if !self.def.strategy.is_garbage_collected() {
            return;
        }
        let (orphan, foreground) = match (options.orphan_dependents, options.propagation_policy) {
            (Some(orphan), _) => (orphan, false),
            (None, Some(policy)) => (
                policy == PropagationPolicy::Orphan,
                policy == PropagationPolicy::Foreground,
            ),
            // Nothing is asked for: what an earlier delete asked for stays.
            (None, None) => return,
        };
        for (finalizer, wanted) in [(ORPHAN, orphan), (FOREGROUND, foreground)] {
            if wanted {
                object.add_finalizer(finalizer);
            } else {
                object.remove_finalizer(finalizer);
            }
        }
    }

    async fn remove(&self, entry: &Arc<Entry>, old: Arc<Value>) -> Result<Option<Outcome>> {
        let done = |item| {
            Ok(Some(Outcome {
                item,
                created: false,
                gone: true,
            }))
        };
        if self.dry_run {
            return done(Item::Built(old));
        }
        let name = self.target.name.as_str();
        match self
            .write(
                name,
                Change::Delete {
                    expected: entry.revision(),
                },
            )
            .await
        {
            Ok(last) => done(Item::Stored(last)),
            Err(StorageError::Conflict) => Ok(None),
            Err(error) => Err(self.rescue(error, name)),
        }
    }

    async fn mark(&self, entry: &Arc<Entry>, mut object: Value, old: &Value) -> Result<Option<Outcome>> {
        let done = |item| {
            Ok(Some(Outcome {
                item,
                created: false,
                gone: false,
            }))
        };
        if object == *old {
            return done(Item::Stored(Arc::clone(entry)));
        }
        if self.dry_run {
            return done(Item::Built(Arc::new(object)));
        }
        self.def.to_storage(&mut object)?;
        let name = self.target.name.as_str();
        match self
            .write(
                name,
                Change::Update {
                    object,
                    expected: entry.revision(),
                },
            )
            .await
        {
            Ok(entry) => done(Item::Stored(entry)),
            Err(StorageError::Conflict) => Ok(None),
            Err(error) => Err(self.rescue(error, name)),
        }
    }
}
