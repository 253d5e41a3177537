//! Update and patch: read, change, check, write if still the same; again if not.

use std::sync::Arc;

use machinery::apply::managed;
use machinery::metadata::version_required;
use machinery::object::ObjectExt;
use machinery::options::WriteOptions;
use machinery::status::{Result, Status};
use permit::Verb;
use serde_json::Value;
use storage::{Consistency, Entry, StorageError};

use super::change::Change;
use super::create::is_large;
use super::operation::Operation;
use super::{Registry, meta, scale};
use crate::strategy::same_but;
use crate::{Item, Outcome, Request, Subresource, Target};

/// How often a write that lost against others is tried again.
const CONFLICT_TRIES: usize = 8;

/// What an attempt came to.
enum Attempt {
    Done(Outcome),
    /// Somebody else wrote in between.
    Lost,
}

/// The object before and after, both in the request's version.
struct Changed {
    object: Value,
    old: Arc<Value>,
}

// === impl Registry ===

impl Registry {
    pub(super) async fn update_object(
        &self,
        request: &Request,
        target: &Target,
        change: Change,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        if target.subresource == Subresource::Scale {
            return scale::update(self, request, target, change, options).await;
        }
        let verb = if change.is_put() { Verb::Update } else { Verb::Patch };
        let op = Operation::new(self, request, target, verb, options.dry_run)?;
        op.check_key(&target.name)?;
        change.check_identity(&op)?;
        op.update_with(&|old| change.make(&op, old, options), change.is_apply())
            .await
    }
}

// === impl Operation ===

impl Operation<'_> {
    /// Changes the target by `make`, which sees the object as it is now (absent: to be created).
    ///
    /// The first attempt takes what the cache has. If that fails, what is read next is certain to be new: a refusal must
    /// not be due to this replica being late.
    pub async fn update_with(
        &self,
        make: &(dyn Fn(Option<&Value>) -> Result<Value> + Send + Sync),
        may_create: bool,
    ) -> Result<Outcome> {
        let may_create = (may_create || self.def.strategy.allows_create_on_update()) && self.is_main();
        let mut consistency = Consistency::Any;
        for _ in 0..CONFLICT_TRIES {
            let before = self.request.warnings.lock().len();
            match self.attempt(make, may_create, consistency).await {
                Ok(Attempt::Done(outcome)) => return Ok(outcome),
                Ok(Attempt::Lost) => {}
                Err(status) if consistency == Consistency::Latest || !self.may_be_late(&status) => return Err(status),
                Err(_) => {}
            }
            self.request.warnings.lock().truncate(before);
            consistency = Consistency::Latest;
        }
        Err(Status::modified(&self.of(), &self.target.name))
    }

    /// A refusal that another state of the object might not have met with.
    fn may_be_late(&self, status: &Status) -> bool {
        matches!(status.code, 404 | 409 | 422)
    }

    async fn attempt(
        &self,
        make: &(dyn Fn(Option<&Value>) -> Result<Value> + Send + Sync),
        may_create: bool,
        consistency: Consistency,
    ) -> Result<Attempt> {
        let name = self.target.name.as_str();
        let entry = match self.read(name, consistency).await {
            Ok(entry) => entry,
            Err(StorageError::NotFound) if may_create => return self.attempt_create(make).await,
            Err(error) => return Err(self.rescue(error, name)),
        };
        let old = self.show(&entry)?;
        let object = make(Some(&old))?;
        self.check_uid(&object, &old)?;
        let changed = self.settle(Changed { object, old }).await?;
        if self.ends(&changed) {
            return self.finish_deletion(changed, &entry).await;
        }
        self.store_changed(changed, &entry).await
    }

    async fn attempt_create(&self, make: &(dyn Fn(Option<&Value>) -> Result<Value> + Send + Sync)) -> Result<Attempt> {
        self.check_creatable()?;
        let mut object = make(None)?;
        if !object.uid().is_empty() {
            return Err(self.uid_conflict(object.uid(), ""));
        }
        meta::settle_namespace(&mut object, self.namespace())?;
        meta::begin_object(&mut object, &self.registry.env.rng, &self.now);
        object.meta_mut().remove("resourceVersion");
        match self.create_owned(object).await {
            Ok(outcome) => Ok(Attempt::Done(outcome)),
            Err(status) if status.is_already_exists() => Ok(Attempt::Lost),
            Err(status) => Err(status),
        }
    }

    /// A uid in the body is a precondition.
    fn check_uid(&self, object: &Value, old: &Value) -> Result<()> {
        if object.uid().is_empty() || object.uid() == old.uid() {
            return Ok(());
        }
        Err(self.uid_conflict(object.uid(), old.uid()))
    }

    fn uid_conflict(&self, given: &str, found: &str) -> Status {
        let name = self.target.name.as_str();
        let key = format!("/registry/{}{}", self.def.store, self.key(name));
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {given}, UID in object meta: {found}"
        );
        Status::conflict(&self.of(), name, &why)
    }

    /// From mutating admission to the object that may be stored.
    async fn settle(&self, changed: Changed) -> Result<Changed> {
        let Changed { mut object, old } = changed;
        let name = self.target.name.as_str();
        self.admit(Verb::Update, name, Some(&mut object), Some(&old)).await?;
        self.check_version(&mut object, &old)?;
        meta::settle_namespace(&mut object, self.namespace())?;
        meta::keep_generation(&mut object, &old);
        meta::keep_cluster(&mut object, &old);
        match self.target.subresource {
            Subresource::Whole => self.count_generation(&mut object, &old),
            _ => self.def.strategy.prepare_for_update(&self.context(), &mut object, &old),
        }
        meta::keep_system_fields(&mut object, &old);
        self.validate_changed(&object, &old)?;
        self.warn_about(&object, Some(&old));
        managed::keep_times(&old, &mut object);
        self.confirm(Verb::Update, name, Some(&mut object), Some(&old)).await?;
        Ok(Changed { object, old })
    }

    /// A whole write keeps status as sent; the generation counts what is neither metadata nor status.
    fn count_generation(&self, object: &mut Value, old: &Value) {
        if self.def.is_custom() && !same_but(object, old, &["metadata", "status"]) {
            meta::set(object, "generation", old.generation() + 1);
        }
    }

    /// A stated resourceVersion must be the current one; whether one must be stated depends on the kind.
    fn check_version(&self, object: &mut Value, old: &Value) -> Result<()> {
        let of = self.of();
        match object.resource_version() {
            "" | "0" if self.def.strategy.allows_unconditional_update() => {
                meta::set(object, "resourceVersion", old.resource_version());
                Ok(())
            }
            // Kubernetes puts the resource where the kind belongs.
            "" | "0" => Err(Status::invalid(
                &of.group,
                &of.resource,
                &self.target.name,
                &[version_required()],
            )),
            version if version == old.resource_version() => Ok(()),
            _ => Err(Status::modified(&of, &self.target.name)),
        }
    }

    /// The last finalizer of a terminating object goes: so does the object.
    fn ends(&self, changed: &Changed) -> bool {
        let grace = changed
            .old
            .at(&["metadata", "deletionGracePeriodSeconds"])
            .and_then(Value::as_i64);
        changed.object.finalizers().is_empty()
            && changed.old.deletion_timestamp().is_some()
            && grace.unwrap_or_default() == 0
            && !self.def.strategy.holds_deletion(&changed.object)
    }

    async fn finish_deletion(&self, changed: Changed, entry: &Arc<Entry>) -> Result<Attempt> {
        let outcome = |object: Value| {
            Attempt::Done(Outcome {
                item: Item::Built(Arc::new(object)),
                created: false,
                gone: true,
            })
        };
        if self.dry_run {
            return Ok(outcome(changed.object));
        }
        let name = self.target.name.as_str();
        match self
            .write(
                name,
                storage::Change::Delete {
                    expected: entry.revision(),
                },
            )
            .await
        {
            // Who asks for the object to be gone and finds it gone has what was asked for.
            Ok(_) | Err(StorageError::NotFound) => Ok(outcome(changed.object)),
            Err(StorageError::Conflict) => Ok(Attempt::Lost),
            Err(error) => Err(self.rescue(error, name)),
        }
    }

    async fn store_changed(&self, changed: Changed, entry: &Arc<Entry>) -> Result<Attempt> {
        let done = |item| {
            Ok(Attempt::Done(Outcome {
                item,
                created: false,
                gone: false,
            }))
        };
        let Changed { mut object, old } = changed;
        if object == *old && !self.must_migrate(entry) {
            return done(Item::Stored(Arc::clone(entry)));
        }
        if self.dry_run {
            return done(Item::Built(Arc::new(object)));
        }
        self.def.to_storage(&mut object)?;
        let name = self.target.name.as_str();
        let expected = entry.revision();
        let slim = is_large(&object).then(|| {
            let mut slim = object.clone();
            slim.meta_mut().remove("managedFields");
            slim
        });
        let written = match (
            self.write(name, storage::Change::Update { object, expected }).await,
            slim,
        ) {
            (Err(StorageError::TooLarge), Some(object)) => {
                self.write(name, storage::Change::Update { object, expected }).await
            }
            (written, _) => written,
        };
        match written {
            Ok(entry) => done(Item::Stored(entry)),
            Err(StorageError::Conflict | StorageError::NotFound) => Ok(Attempt::Lost),
            Err(error) => Err(self.rescue(error, name)),
        }
    }

    /// A write that changes nothing still brings an object that is stored in another version into the present one.
    fn must_migrate(&self, entry: &Arc<Entry>) -> bool {
        self.def.versions.len() > 1
            && self.registry.store.tree(entry).api_version() != self.def.storage_group_version().to_string()
    }
}
