//! Several writes of the server's own in one transaction.
//!
//! Each goes through the pipeline of its kind as a dry run, which ends in what would be stored; storage then writes all of
//! them or none. Saves a turn of the store for each, and shows others less of what is half done. Nothing may rely on it:
//! who cannot be taken in goes alone.

use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, WriteOptions};
use machinery::status::{Result, Status};
use permit::Verb;
use serde_json::Value;
use storage::{ResourceKey, StorageError, Write};

use super::operation::Operation;
use super::{Registry, change};
use crate::{Backend, Item, Outcome, Request, Target};

/// One of several writes.
pub enum Step {
    Create(Target, Value),
    Update(Target, Value),
    Delete(Target, DeleteOptions),
}

/// What became of several writes.
#[derive(Debug, PartialEq, Eq)]
pub enum Together {
    Written,
    /// None of them happened: somebody else was there first, or they do not fit into one transaction.
    Apart,
}

// === impl Registry ===

impl Registry {
    /// Writes all of them or none. One object of each resource at most. Only for requests of the server's own, in one
    /// cluster. The error is that of one of them.
    pub async fn write_together(&self, request: &Request, steps: Vec<Step>) -> Result<Together> {
        let mut writes: Vec<(ResourceKey, Write)> = Vec::new();
        for step in steps {
            match self.prepare(request, step).await {
                Ok(Some(write)) => writes.push(write),
                Ok(None) => {}
                // Alone it would be answered as the kind of write wants it: gone, or there already.
                Err(status) if matches!(status.code, 404 | 409) => return Ok(Together::Apart),
                Err(status) => return Err(status),
            }
        }
        if writes.is_empty() {
            return Ok(Together::Written);
        }
        match self.store.write_together(&request.permit, writes).await {
            Ok(_) => Ok(Together::Written),
            Err(
                StorageError::Conflict
                | StorageError::AlreadyExists
                | StorageError::NotFound
                | StorageError::Fenced
                | StorageError::TooLarge
                | StorageError::Unstorable(_),
            ) => Ok(Together::Apart),
            Err(StorageError::UnknownOutcome) => Err(Status::timeout("the outcome of a write is unknown", 0)),
            Err(error) => Err(Status::service_unavailable(error.to_string()).retry_after(1)),
        }
    }

    /// `None`: nothing would change.
    async fn prepare(&self, request: &Request, step: Step) -> Result<Option<(ResourceKey, Write)>> {
        let dry = WriteOptions {
            dry_run: true,
            ..WriteOptions::default()
        };
        let (target, verb, outcome) = match step {
            Step::Create(target, object) => {
                let outcome = self.create(request, &target, object, &dry).await?;
                (target, Verb::Create, outcome)
            }
            Step::Update(target, object) => {
                let put = change::Change::Put(object);
                let outcome = self.update_object(request, &target, put, &dry).await?;
                (target, Verb::Update, outcome)
            }
            Step::Delete(target, mut options) => {
                options.dry_run = true;
                let outcome = self.delete(request, &target, &options).await?;
                (target, Verb::Delete, outcome)
            }
        };
        let Outcome { item, created, gone } = outcome;
        let Item::Built(object) = item else { return Ok(None) };
        let mut object = Arc::unwrap_or_clone(object);
        let op = Operation::new(self, request, &target, verb, true)?;
        let name = object.name().to_owned();
        let change = match (created, gone) {
            (true, _) => {
                op.def.to_storage(&mut object)?;
                storage::Change::Create(object)
            }
            (false, gone) => {
                let expected = object.resource_version().parse().map_err(Status::internal)?;
                if gone {
                    storage::Change::Delete { expected }
                } else {
                    op.def.to_storage(&mut object)?;
                    storage::Change::Update { object, expected }
                }
            }
        };
        Ok(Some((op.def.store.clone(), op.store_write(&name, change))))
    }
}
