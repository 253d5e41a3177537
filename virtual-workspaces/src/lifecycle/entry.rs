//! A LogicalCluster as an initializer or terminator sees it: to be read, and to be left by removing one's own entry.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::patch::json::JsonPatch;
use machinery::patch::merge;
use machinery::status::{Result, Status};
use permit::{Scope, Verb};
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Subresource, Target};
use serde_json::{Value, json};

use super::{Role, Who};

pub(super) struct OwnEntry {
    pub inner: Arc<dyn Backend>,
    pub role: &'static Role,
    pub who: Who,
}

/// How often a removal that lost against others is tried again.
const CONFLICT_TRIES: usize = 8;

/// Entries of a member of status.
pub(super) fn entries<'a>(object: &'a Value, member: &str) -> Vec<&'a str> {
    let list = object.at(&["status", member]).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

// === impl OwnEntry ===

impl OwnEntry {
    /// Views of waiting clusters write status alone.
    fn check_status(&self, target: &Target, verb: Verb) -> Result<()> {
        match target.subresource {
            Subresource::Status => Ok(()),
            _ => Err(refused(target, verb)),
        }
    }

    async fn current(&self, request: &Request, target: &Target) -> Result<Value> {
        let target = Target {
            subresource: Subresource::Main,
            ..target.clone()
        };
        let item = self.inner.get(request, &target, &GetOptions::default()).await?;
        Ok(value(&item))
    }

    /// The entries that remain: without one's own, or all of them. Whatever else is wanted of them is refused.
    ///
    /// Unlike kcp, nothing else of what was sent is written: phase, URL and conditions are the server's.
    fn remaining<'a>(&self, current: &'a Value, wanted: &[&str]) -> Result<Option<Vec<&'a str>>> {
        let present = self.role.entries(current);
        if present == wanted {
            return Ok(None);
        }
        let others: Vec<&str> = present.into_iter().filter(|entry| *entry != self.who.text).collect();
        if others == wanted {
            return Ok(Some(others));
        }
        let path = Path::new("status").child(self.role.entries);
        let text = format!("only removing the {:?} {} is supported", self.who.text, self.role.noun);
        let error = FieldError::invalid(&path, &json!(wanted), text);
        Err(Status::invalid(
            self.role.error_group,
            "LogicalCluster",
            current.name(),
            &[error],
        ))
    }

    /// Removes the entry, if that is what makes `wanted` of the object as it is. `version` is the one that the client names.
    async fn remove(
        &self,
        request: &Request,
        target: &Target,
        wanted: &(dyn Fn(&Value) -> Result<Vec<String>> + Send + Sync),
        version: &str,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        for _ in 0..CONFLICT_TRIES {
            let current = self.current(request, target).await?;
            if !version.is_empty() && version != current.resource_version() {
                return Err(Status::modified(&target.resolved.def.group_resource(), &target.name));
            }
            let list = wanted(&current)?;
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let Some(remaining) = self.remaining(&current, &list)? else {
                return Ok(Outcome {
                    item: Item::Built(Arc::new(current)),
                    created: false,
                    gone: false,
                });
            };
            let member = if remaining.is_empty() {
                Value::Null
            } else {
                json!(remaining)
            };
            let patch = json!({
                "metadata": { "resourceVersion": current.resource_version() },
                "status": { self.role.entries: member },
            });
            match self.write(request, target, patch, current, options).await {
                // Somebody else left at the same time.
                Err(status) if status.is_conflict() && version.is_empty() => {}
                outcome => return outcome,
            }
        }
        Err(Status::modified(&target.resolved.def.group_resource(), &target.name))
    }

    /// Writes under the verb that the request was permitted for.
    async fn write(
        &self,
        request: &Request,
        target: &Target,
        patch: Value,
        current: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        let verb_is_patch = {
            let of = target.resolved.def.group_resource();
            request
                .permit
                .check(Verb::Patch, &of.group, &of.resource, request.permit.scope())
                .is_ok()
        };
        if verb_is_patch {
            let options = WriteOptions {
                force: None,
                ..options.clone()
            };
            return self.inner.patch(request, target, Patch::Merge(patch), &options).await;
        }
        let mut object = current;
        if let Value::Object(patch) = &patch {
            merge::apply(&mut object, patch);
        }
        self.inner.update(request, target, object, options).await
    }
}

fn refused(target: &Target, verb: Verb) -> Status {
    Status::method_not_allowed(&target.resolved.def.group_resource(), verb.as_str())
}

fn owned(entries: Vec<&str>) -> Vec<String> {
    entries.into_iter().map(str::to_owned).collect()
}

/// The one version that there is.
fn value(item: &Item) -> Value {
    match item {
        Item::Stored(entry) => entry.to_value(),
        Item::Built(object) => (**object).clone(),
    }
}

#[async_trait]
impl Backend for OwnEntry {
    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        self.inner.get(request, target, options).await
    }

    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList> {
        match request.permit.scope() {
            Scope::All => self.inner.list(request, target, options).await,
            Scope::One(_) => Err(refused(target, Verb::List)),
        }
    }

    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>> {
        match request.permit.scope() {
            Scope::All => self.inner.watch(request, target, options).await,
            Scope::One(_) => Err(refused(target, Verb::Watch)),
        }
    }

    async fn create(&self, _: &Request, target: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(refused(target, Verb::Create))
    }

    async fn update(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.check_status(target, Verb::Update)?;
        let version = object.resource_version().to_owned();
        let wanted = |_: &Value| Ok(owned(self.role.entries(&object)));
        self.remove(request, target, &wanted, &version, options).await
    }

    async fn patch(&self, request: &Request, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Outcome> {
        self.check_status(target, Verb::Patch)?;
        let version = |patch: &Value| patch.resource_version().to_owned();
        let entries = |object: &Value| owned(self.role.entries(object));
        match patch {
            Patch::Merge(Value::Object(members)) => {
                let wanted = |current: &Value| {
                    let mut object = current.clone();
                    merge::apply(&mut object, &members);
                    Ok(entries(&object))
                };
                let version = version(&Value::Object(members.clone()));
                self.remove(request, target, &wanted, &version, options).await
            }
            Patch::Json(operations) => {
                let operations = JsonPatch::from_value(operations)?;
                let wanted = |current: &Value| Ok(entries(&operations.apply(current)?));
                self.remove(request, target, &wanted, "", options).await
            }
            // An applied configuration says which entries there are to be.
            Patch::Apply(config) => {
                let wanted = |_: &Value| Ok(entries(&config));
                self.remove(request, target, &wanted, &version(&config), options).await
            }
            Patch::Merge(_) => Err(Status::bad_request("error decoding patch: the patch is not an object")),
            Patch::Strategic(_) => Err(Status::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
            ])),
        }
    }

    async fn delete(&self, _: &Request, target: &Target, _: &DeleteOptions) -> Result<Outcome> {
        Err(refused(target, Verb::Delete))
    }

    async fn delete_collection(
        &self,
        _: &Request,
        target: &Target,
        _: &ListOptions,
        _: &DeleteOptions,
    ) -> Result<ItemList> {
        Err(refused(target, Verb::DeleteCollection))
    }
}
