//! One write under way: who does it to what, and the steps that all writes have in common.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use machinery::apply::{FieldSet, ManagedCtx, managed};
use machinery::field::{FieldError, Path};
use machinery::metadata;
use machinery::names;
use machinery::object::{GroupResource, ObjectExt};
use machinery::options::field_manager;
use machinery::status::{Result, Status};
use permit::{Cluster, Permit, Resources, Scope, Verb, Verbs};
use serde_json::Value;
use storage::{Consistency, Entry, FenceAction, ObjectKey, StorageError, Write};

use super::Registry;
use super::rescue::rescue;
use crate::convert::ServedVersions;
use crate::{Attributes, Origin, Request, ResourceDef, StrategyContext, Subresource, Target, rules};

/// What a write is about, resolved once.
pub(super) struct Operation<'a> {
    pub registry: &'a Registry,
    pub request: &'a Request,
    pub target: &'a Target,
    pub def: &'a ResourceDef,
    pub cluster: &'a Cluster,
    pub now: String,
    pub dry_run: bool,
    permit: Cow<'a, Permit>,
}

// === impl Operation ===

impl<'a> Operation<'a> {
    /// 405 over all clusters: writes (and gets) need one.
    pub fn new(
        registry: &'a Registry,
        request: &'a Request,
        target: &'a Target,
        verb: Verb,
        dry_run: bool,
    ) -> Result<Self> {
        let def = &*target.resolved.def;
        if target.subresource == Subresource::Whole && !request.trusted {
            return Err(Status::forbidden(
                &def.group_resource(),
                &target.name,
                "not the server's own",
            ));
        }
        let cluster = single_cluster(request, def, verb)?;
        let permit = permit_for_store(request, def, verb)?;
        Ok(Self {
            registry,
            request,
            target,
            def,
            cluster,
            now: registry.now(),
            dry_run,
            permit,
        })
    }

    pub fn version(&self) -> usize {
        self.target.resolved.version
    }

    pub fn of(&self) -> GroupResource {
        self.def.group_resource()
    }

    /// The namespace of the request; a cluster-scoped resource has none, whatever the target says.
    pub fn namespace(&self) -> &'a str {
        if self.def.namespaced {
            &self.target.namespace
        } else {
            ""
        }
    }

    pub fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(self.cluster.clone(), self.namespace(), name)
    }

    pub fn context(&self) -> StrategyContext<'_> {
        StrategyContext {
            def: self.def,
            version: self.version(),
            subresource: self.target.subresource,
            cluster: self.cluster,
            user: &self.request.user,
            now: &self.now,
        }
    }

    /// Name and namespace make a key: nothing that leads out of it gets near the store.
    pub fn check_key(&self, name: &str) -> Result<()> {
        let wrong = |what: &str, texts: Vec<String>| match texts.first() {
            Some(why) => Err(Status::bad_request(format!("invalid {what}: {why}"))),
            None => Ok(()),
        };
        if name.is_empty() {
            return Err(Status::bad_request("name must be provided"));
        }
        wrong("name", names::path_segment(name))?;
        match (self.def.namespaced, self.namespace()) {
            (true, "") => Err(Status::bad_request("namespace parameter required.")),
            (true, namespace) => wrong("namespace", names::path_segment(namespace)),
            (false, _) => Ok(()),
        }
    }

    pub async fn read(&self, name: &str, consistency: Consistency) -> Result<Arc<Entry>, StorageError> {
        self.registry
            .store
            .get(&self.permit, &self.def.store, &self.key(name), consistency)
            .await
    }

    /// The stored object in the request's version; shared where that is the stored one.
    pub fn show(&self, entry: &Arc<Entry>) -> Result<Arc<Value>> {
        let object = self.registry.store.tree(entry);
        if !self.def.defaults_on_read && object.api_version() == self.def.group_version(self.version()).to_string() {
            return Ok(object);
        }
        let mut object = Arc::unwrap_or_clone(object);
        self.def.to_version(&mut object, self.version())?;
        Ok(Arc::new(object))
    }

    pub async fn write(&self, name: &str, change: storage::Change) -> Result<Arc<Entry>, StorageError> {
        let write = self.store_write(name, change);
        self.registry.store.write(&self.permit, &self.def.store, write).await
    }

    /// The write as storage takes it.
    pub fn store_write(&self, name: &str, change: storage::Change) -> Write {
        let fence = match (&change, self.def.strategy.fences_cluster()) {
            (storage::Change::Create(_), true) => FenceAction::Open,
            (storage::Change::Delete { .. }, true) => FenceAction::Close,
            _ => FenceAction::Hold,
        };
        Write {
            key: self.key(name),
            change,
            fence,
            guards: self.request.guards.clone(),
            ttl: self.def.strategy.ttl_seconds().map(Duration::from_secs),
        }
    }

    pub fn rescue(&self, error: StorageError, name: &str) -> Status {
        rescue(error, &self.of(), name)
    }

    /// Records who owns which fields of `object`. A whole write is two: one of the status, one of the rest.
    pub fn own_fields(&self, given_manager: &str, old: Option<&Value>, object: &mut Value) {
        let parts: &[Subresource] = match self.target.subresource {
            // The status first: for it only the managed fields of `old` count, for the main resource also those sent.
            Subresource::Whole => &[Subresource::Status, Subresource::Main],
            ref one => std::slice::from_ref(one),
        };
        for part in parts {
            self.managing(*part, given_manager, |ctx| managed::update(old, object, ctx));
        }
    }

    /// Runs with what ownership of fields is computed from.
    pub fn managing<T>(
        &self,
        subresource: Subresource,
        given_manager: &str,
        run: impl FnOnce(&ManagedCtx<'_>) -> T,
    ) -> Option<T> {
        let version = self.def.versions.get(self.version())?;
        let reset = self.def.strategy.reset_fields(version, subresource);
        let reset = (!reset.is_empty()).then(|| FieldSet::of_fields(reset));
        let versions = ServedVersions(self.def);
        let manager = field_manager(given_manager, &self.request.agent);
        let api_version = self.def.group_version(self.version()).to_string();
        let ctx = ManagedCtx {
            manager: &manager,
            subresource: subresource.as_str(),
            api_version: &api_version,
            kind: &self.def.names.kind,
            now: &self.now,
            types: &version.schema.types,
            reset_fields: reset.as_ref(),
            versions: (self.def.versions.len() > 1).then_some(&versions),
        };
        Some(run(&ctx))
    }

    pub async fn admit(&self, verb: Verb, name: &str, object: Option<&mut Value>, old: Option<&Value>) -> Result<()> {
        let mut attributes = self.attributes(verb, name, object, old);
        self.registry.admission.admit(&mut attributes).await
    }

    /// Validating admission.
    pub async fn confirm(&self, verb: Verb, name: &str, object: Option<&mut Value>, old: Option<&Value>) -> Result<()> {
        let attributes = self.attributes(verb, name, object, old);
        self.registry.admission.validate(&attributes).await
    }

    fn attributes<'b>(
        &'b self,
        verb: Verb,
        name: &'b str,
        object: Option<&'b mut Value>,
        old: Option<&'b Value>,
    ) -> Attributes<'b> {
        Attributes {
            request: self.request,
            verb,
            def: self.def,
            version: self.version(),
            subresource: self.target.subresource,
            cluster: self.cluster,
            namespace: self.namespace(),
            name,
            object,
            old,
            dry_run: self.dry_run,
        }
    }

    pub fn validate_new(&self, object: &Value) -> Result<()> {
        let ctx = self.context();
        let mut errors = self.type_errors(object);
        if errors.is_empty() {
            let strategy = &self.def.strategy;
            errors = metadata::validate_object_meta(object, self.def.namespaced, strategy.name_rule());
            if !self.def.is_custom() {
                errors.extend(rules::check_finalizer_names(object));
            }
            errors = strategy.validate_after(&ctx, errors, object, None);
            if errors.is_empty() {
                errors = metadata::validate_object_meta(object, self.def.namespaced, names::path_segment_name);
            }
        }
        self.refuse(object, &errors)
    }

    pub fn validate_changed(&self, object: &Value, old: &Value) -> Result<()> {
        let ctx = self.context();
        let mut errors = self.type_errors(object);
        if errors.is_empty() {
            errors = metadata::validate_object_meta(object, self.def.namespaced, names::path_segment_name);
            for error in metadata::validate_object_meta_update(object, old) {
                // Labels and the like are judged by both.
                if !errors.contains(&error) {
                    errors.push(error);
                }
            }
            errors = self.def.strategy.validate_after(&ctx, errors, object, Some(old));
        }
        self.refuse(object, &errors)
    }

    /// Custom resources must be of the kind of their endpoint; for compiled-in kinds decoding has seen to it.
    fn type_errors(&self, object: &Value) -> Vec<FieldError> {
        let kind = &self.def.names.kind;
        if self.def.origin == Origin::Builtin || object.kind() == kind {
            return Vec::new();
        }
        vec![FieldError::invalid(
            &Path::new("kind"),
            &object.kind().into(),
            format!("must be {kind}"),
        )]
    }

    fn refuse(&self, object: &Value, errors: &[FieldError]) -> Result<()> {
        if errors.is_empty() {
            return Ok(());
        }
        let kind = if object.kind().is_empty() {
            &self.def.names.kind
        } else {
            object.kind()
        };
        Err(Status::invalid(&self.def.group, kind, object.name(), errors))
    }

    pub fn warn_about(&self, object: &Value, old: Option<&Value>) {
        for text in self.def.strategy.warnings(&self.context(), object, old) {
            self.request.warn(text);
        }
    }

    /// What the main resource is asked for, the subresource is not.
    pub fn is_main(&self) -> bool {
        matches!(self.target.subresource, Subresource::Main | Subresource::Whole)
    }
}

/// The one cluster of a request.
pub(super) fn single_cluster<'a>(request: &'a Request, def: &ResourceDef, verb: Verb) -> Result<&'a Cluster> {
    match request.permit.scope() {
        Scope::One(cluster) => Ok(cluster),
        Scope::All => {
            let of = def.group_resource();
            let text = format!("{verb} is not supported on resources of kind \"{of}\" in the `*` logical cluster");
            let mut status = Status::method_not_allowed(&of, verb.as_str());
            status.message = text;
            Err(status)
        }
    }
}

/// The request's permit, for the resource whose store it is: where two resources share one, what the permit says of this
/// resource holds of the other's store.
pub(super) fn permit_for_store<'a>(request: &'a Request, def: &ResourceDef, verb: Verb) -> Result<Cow<'a, Permit>> {
    let permit = &request.permit;
    if *def.group == *def.store.group && def.names.plural == *def.store.resource {
        return Ok(Cow::Borrowed(permit));
    }
    permit
        .check(verb, &def.group, &def.names.plural, permit.scope())
        .map_err(|outside| rescue(outside.into(), &def.group_resource(), ""))?;
    let stored = GroupResource::new(&*def.store.group, &*def.store.resource);
    let verbs = if verb == Verb::DeleteCollection {
        Verbs::of(&[verb, Verb::Delete, Verb::List])
    } else {
        Verbs::of(&[verb])
    };
    let alias = Permit::granted(
        permit.scope().clone(),
        Resources::One(stored),
        verbs,
        permit.selector().clone(),
    );
    Ok(Cow::Owned(alias))
}
