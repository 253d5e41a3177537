//! TokenRequest: a token for a service account (`serviceaccounts/{name}/token`).

use std::sync::Arc;

use async_trait::async_trait;
use machinery::field::{FieldError, Path};
use machinery::json;
use machinery::object::{GroupResource, GroupVersion, GroupVersionKind, ObjectExt};
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::text::quote;
use machinery::time::format_seconds;
use permit::Cluster;
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Subresource, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::TokenIssuer;
use crate::auth::service_account::{AccountRef, AccountSource, ObjectRef};

/// The backend of service accounts: their tokens are made here, everything else is the inner one's.
pub struct AccountBackend {
    inner: Arc<dyn Backend>,
    source: Arc<dyn AccountSource>,
    issuer: Arc<TokenIssuer>,
    /// Of tokens that ask for none.
    audiences: Vec<String>,
    /// Longer times are shortened. `None`: any.
    seconds_max: Option<i64>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    audiences: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    bound_object_ref: Option<BoundRef>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct BoundRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
}

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const SECONDS_DEFAULT: i64 = 3600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;

// === impl AccountBackend ===

impl AccountBackend {
    pub fn new(
        inner: Arc<dyn Backend>,
        source: Arc<dyn AccountSource>,
        issuer: Arc<TokenIssuer>,
        audiences: Vec<String>,
        seconds_max: Option<i64>,
    ) -> Self {
        Self {
            inner,
            source,
            issuer,
            audiences,
            seconds_max,
        }
    }

    async fn issue(&self, request: &Request, target: &Target, body: &Value) -> Result<Value> {
        let cluster = request.permit.scope().cluster();
        let cluster = cluster.ok_or_else(|| Status::bad_request("a token is of one cluster"))?;
        let Target { namespace, name, .. } = target;
        let mut spec = read(body)?;
        check_place(body, namespace, name)?;
        let account = self.source.service_account(cluster, namespace, name).await?;
        let account = account.ok_or_else(|| Status::not_found(&target.resolved.def.group_resource(), name))?;
        let audiences = match spec.audiences.take() {
            Some(some) if !some.is_empty() => some,
            _ => self.audiences.clone(),
        };
        let mut seconds = spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
        check_seconds(seconds)?;
        let secret = match &spec.bound_object_ref {
            Some(bound) => Some(self.bound(cluster, namespace, bound).await?),
            None => None,
        };
        if let Some(max) = self.seconds_max.filter(|max| seconds > *max) {
            request.warn(format!(
                "requested expiration of {seconds} seconds shortened to {max} seconds"
            ));
            seconds = max;
        }
        let account = AccountRef {
            cluster: cluster.to_string(),
            namespace: namespace.clone(),
            name: name.clone(),
            uid: account.uid().to_owned(),
        };
        let issued = self.issuer.issue(&account, secret.as_ref(), &audiences, seconds)?;
        spec.audiences = Some(audiences);
        spec.expiration_seconds = Some(seconds);
        let time = |seconds: i64| format_seconds(i128::from(seconds) * 1_000_000_000);
        let mut metadata = body
            .get("metadata")
            .cloned()
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({}));
        metadata["name"] = name.as_str().into();
        metadata["namespace"] = namespace.as_str().into();
        metadata["creationTimestamp"] = time(issued.issued_at).into();
        Ok(json!({
            "kind": KIND,
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": metadata,
            "spec": spec,
            "status": {"token": issued.token, "expirationTimestamp": time(issued.expires_at)},
        }))
    }

    /// The Secret that a token is to be bound to. There are no pods and nodes.
    async fn bound(&self, cluster: &Cluster, namespace: &str, bound: &BoundRef) -> Result<ObjectRef> {
        let GroupVersion { group, version } = GroupVersion::parse(&bound.api_version);
        if !group.is_empty() || bound.kind != "Secret" {
            let kind = &bound.kind;
            let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(text));
        }
        let found = self.source.secret(cluster, namespace, &bound.name).await?;
        let found = found.ok_or_else(|| Status::not_found(&GroupResource::new("", "secrets"), &bound.name))?;
        if !bound.uid.is_empty() && found.uid() != bound.uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
                 deleted and then recreated",
                bound.uid
            );
            return Err(Status::conflict(&GroupResource::new("", "Secret"), &bound.name, &why));
        }
        Ok(ObjectRef {
            name: bound.name.clone(),
            uid: found.uid().to_owned(),
        })
    }
}

fn read(body: &Value) -> Result<Spec> {
    let found = GroupVersionKind::of(body);
    let is_other = |own: &str, found: &str| !found.is_empty() && own != found;
    if is_other(KIND, body.kind()) || is_other("authentication.k8s.io/v1", body.api_version()) {
        let text = format!(
            "no kind {} is registered for version {} in scheme",
            quote(body.kind()),
            quote(body.api_version())
        );
        return Err(Status::bad_request(text));
    }
    let spec = body.get("spec").filter(|spec| !spec.is_null());
    let spec = spec.map(|spec| serde_json::from_value(spec.clone())).transpose();
    Ok(spec
        .map_err(|error| json::unhandled(&found, KIND, error))?
        .unwrap_or_default())
}

/// The metadata, if it says where the account is, says what the URL says.
fn check_place(body: &Value, namespace: &str, name: &str) -> Result<()> {
    let metadata = Path::new("metadata");
    let parts = [
        (
            "name",
            body.name(),
            name,
            "must match the service account name if specified",
        ),
        (
            "namespace",
            body.namespace(),
            namespace,
            "must match the service account namespace if specified",
        ),
    ];
    for (part, said, is, why) in parts {
        if !said.is_empty() && said != is {
            let error = FieldError::invalid(&metadata.child(part), &said.into(), why);
            return Err(Status::invalid(GROUP, KIND, name, &[error]));
        }
    }
    Ok(())
}

fn check_seconds(seconds: i64) -> Result<()> {
    let why = match seconds {
        ..SECONDS_MIN => "may not specify a duration less than 10 minutes",
        _ if seconds > SECONDS_MAX => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let path = Path::new("spec").child("expirationSeconds");
    let error = FieldError::invalid(&path, &seconds.into(), why);
    Err(Status::invalid(GROUP, KIND, "", &[error]))
}

#[async_trait]
impl Backend for AccountBackend {
    async fn create(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        match target.subresource {
            Subresource::Token => Ok(super::built(self.issue(request, target, &object).await?)),
            _ => self.inner.create(request, target, object, options).await,
        }
    }

    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        self.inner.get(request, target, options).await
    }

    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList> {
        self.inner.list(request, target, options).await
    }

    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>> {
        self.inner.watch(request, target, options).await
    }

    async fn update(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.inner.update(request, target, object, options).await
    }

    async fn patch(&self, request: &Request, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Outcome> {
        self.inner.patch(request, target, patch, options).await
    }

    async fn delete(&self, request: &Request, target: &Target, options: &DeleteOptions) -> Result<Outcome> {
        self.inner.delete(request, target, options).await
    }

    async fn delete_collection(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList> {
        self.inner.delete_collection(request, target, list, options).await
    }
}
