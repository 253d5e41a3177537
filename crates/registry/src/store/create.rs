//! Create.

use machinery::object::ObjectExt;
use machinery::options::WriteOptions;
use machinery::status::{Reason, Result, Status};
use permit::Verb;
use serde_json::Value;
use std::sync::Arc;
use storage::{Change, Consistency, StorageError};

use super::decode::Source;
use super::operation::Operation;
use super::{Registry, meta};
use crate::{Item, Outcome, Request, Subresource, Target};

/// How many names are tried for a `generateName`: with a million names of one base still 999 in 1,000 succeed.
const NAME_TRIES: usize = 8;

// === impl Registry ===

impl Registry {
    pub(super) async fn create_object(
        &self,
        request: &Request,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        let op = Operation::new(self, request, target, Verb::Create, options.dry_run)?;
        op.check_creatable()?;
        op.conform(&mut object, Source::Body, options.field_validation)?;
        meta::settle_namespace(&mut object, op.namespace())?;
        meta::begin_object(&mut object, &self.env.rng, &op.now);
        meta::dedup_owners(&mut object, request, false);
        op.own_fields(&options.field_manager, None, &mut object);
        op.create_owned(object).await
    }
}

// === impl Operation ===

impl Operation<'_> {
    /// While its definition goes, a resource takes no new objects.
    pub fn check_creatable(&self) -> Result<()> {
        if !self.def.terminating {
            return Ok(());
        }
        let text = "create not allowed while custom resource definition is terminating";
        let mut status = Status::new(403, Reason::Forbidden, text);
        let details = status.details_mut();
        details.group = self.def.group.to_string();
        details.kind.clone_from(&self.def.names.plural);
        Err(status)
    }

    /// From mutating admission to the store. `object` has its metadata and the ownership of its fields.
    pub async fn create_owned(&self, mut object: Value) -> Result<Outcome> {
        let name = object.name().to_owned();
        self.admit(Verb::Create, &name, Some(&mut object), None).await?;
        meta::settle_namespace(&mut object, self.namespace())?;
        meta::dedup_owners(&mut object, self.request, true);
        if meta::generated_name(&object, &self.registry.env.rng).is_none() {
            return self.create_named(object, false).await;
        }
        for attempt in 1..=NAME_TRIES {
            let Some(name) = meta::generated_name(&object, &self.registry.env.rng) else {
                break;
            };
            let mut named = object.clone();
            meta::set(&mut named, "name", name);
            match self.create_named(named, true).await {
                Err(status) if status.is_already_exists() && attempt < NAME_TRIES => {}
                outcome => return outcome,
            }
        }
        Err(Status::internal("no name was generated"))
    }

    async fn create_named(&self, mut object: Value, generated: bool) -> Result<Outcome> {
        let status = (self.target.subresource == Subresource::Whole)
            .then(|| object.get("status").cloned())
            .flatten();
        self.def.strategy.prepare_for_create(&self.context(), &mut object);
        if let Some(status) = status {
            object.set_at(&["status"], status);
        }
        self.validate_new(&object)?;
        self.warn_about(&object, None);
        let name = object.name().to_owned();
        self.check_key(&name)?;
        self.confirm(Verb::Create, &name, Some(&mut object), None).await?;
        if !object.resource_version().is_empty() {
            let text = "resourceVersion should not be set on objects to be created";
            return Err(Status::new(500, Reason::Unknown, text));
        }
        if self.dry_run {
            return match self.read(&name, Consistency::Latest).await {
                Ok(_) => Err(self.taken(&name, generated).await),
                Err(StorageError::NotFound) => Ok(Outcome {
                    item: Item::Built(Arc::new(object)),
                    created: true,
                    gone: false,
                }),
                Err(error) => Err(self.rescue(error, &name)),
            };
        }
        self.def.to_storage(&mut object)?;
        match self.store_new(&name, object).await {
            Ok(item) => Ok(Outcome {
                item,
                created: true,
                gone: false,
            }),
            Err(StorageError::AlreadyExists) => Err(self.taken(&name, generated).await),
            Err(error) => Err(self.rescue(error, &name)),
        }
    }

    /// An object that is too large for the store gets a second chance without its managed fields.
    async fn store_new(&self, name: &str, object: Value) -> Result<Item, StorageError> {
        let tracked = object.meta().is_some_and(|meta| meta.contains_key("managedFields"));
        let slim = (tracked && is_large(&object)).then(|| {
            let mut slim = object.clone();
            slim.meta_mut().remove("managedFields");
            slim
        });
        match (self.write(name, Change::Create(object)).await, slim) {
            (Err(StorageError::TooLarge), Some(slim)) => self.write(name, Change::Create(slim)).await.map(Item::Stored),
            (outcome, _) => outcome.map(Item::Stored),
        }
    }

    async fn taken(&self, name: &str, generated: bool) -> Status {
        let of = self.of();
        let mut status = if generated {
            Status::generate_name_conflict(&of, name)
        } else {
            Status::already_exists(&of, name)
        };
        let there = self.read(name, Consistency::Any).await;
        if there.is_ok_and(|entry| entry.is_terminating()) {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }
}

/// Worth keeping a second copy of, in case the store refuses it. The largest request is 1.5 MiB.
pub(super) fn is_large(object: &Value) -> bool {
    fn size(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => items.iter().map(size).sum::<usize>() + items.len(),
            Value::Object(members) => members.iter().map(|(name, value)| name.len() + 4 + size(value)).sum(),
            _ => 8,
        }
    }
    size(object) > (1 << 20)
}
