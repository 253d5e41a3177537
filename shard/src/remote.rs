//! What controllers need of other shards and do there: ordinary API requests to the shard that holds the cluster, as a
//! component of the control plane (law 6).
//!
//! Invariant: everything here has a time. A shard that does not tell its index is not asked at all, and one that lets a
//! request run out of time is left alone for a while: its keys come back with their back-off, others' do not wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::fabric::peers::not_available;
use ::fabric::upstream::{Answer, UpstreamBody};
use ::fabric::{Destination, Lane, Lost, ShardId, Upstream};
use api::keys::header;
use async_trait::async_trait;
use bytes::Bytes;
use controller::{Effects, Fetched, Holder, Lease, Remote};
use env::Env;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use kv::Guard;
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use machinery::user::User;
use parking_lot::Mutex;
use permit::{Access, Cluster, Scope};
use plan::{Effect, ObjectRef};
use registry::ResourceDef;
use serde_json::{Value, json};
use tenancy::WorkspacePath;

use crate::catalog::ShardCatalog;
use crate::neighbours::Neighbours;

/// Objects of other shards: fetched, and written by effects.
pub struct OtherShards {
    env: Env,
    neighbours: Arc<Neighbours>,
    catalog: Arc<ShardCatalog>,
    /// When shards that let a request run out of time are asked again, on the monotonic clock.
    resting: Mutex<BTreeMap<ShardId, Duration>>,
    /// Paths that led nowhere, and until when that is believed.
    nowhere: Mutex<BTreeMap<String, Duration>>,
}

/// Effects where they belong: on this shard, or on the one that holds the cluster.
pub struct RoutedEffects {
    pub local: Arc<dyn Effects>,
    pub others: Arc<OtherShards>,
    pub lease: Arc<Lease>,
}

/// An answer of the API.
type Answered = (http::StatusCode, Value);

/// Of one request, its answer's body included.
const TIMEOUT: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_secs(2);
/// A path that leads nowhere is asked for this often, by however many.
const NOWHERE: Duration = Duration::from_secs(1);
const NOWHERE_MAX: usize = 1024;
/// Above what any object has.
const BODY_BYTES_MAX: usize = 8 << 20;

// === impl OtherShards ===

impl OtherShards {
    pub fn new(env: &Env, neighbours: Arc<Neighbours>, catalog: Arc<ShardCatalog>) -> Arc<Self> {
        Arc::new(Self {
            env: env.clone(),
            neighbours,
            catalog,
            resting: Mutex::default(),
            nowhere: Mutex::default(),
        })
    }

    /// Whether there is another shard at all.
    pub fn is_anybody(&self) -> bool {
        !self.neighbours.is_alone()
    }

    /// Whether another shard holds a cluster.
    pub fn holds(&self, of: &Cluster) -> bool {
        self.is_anybody() && self.neighbours.holder(of) == Holder::Elsewhere
    }

    /// Whether another shard may hold a cluster: as long as not all have said what they hold, any that is not here.
    pub fn may_hold(&self, of: &Cluster) -> bool {
        self.is_anybody() && self.neighbours.holder(of) != Holder::Here
    }

    /// Where a path leads, if that is on another shard: asked of the shards, for when nothing was told of it yet. What leads
    /// nowhere is not asked for again for a moment.
    ///
    /// # Errors
    /// Who has to know does not say: nobody may conclude that there is no such cluster.
    pub async fn cluster_at(&self, path: &str) -> Result<Option<Cluster>> {
        let (Ok(parsed), Some(peers)) = (WorkspacePath::parse(path), self.neighbours.peers()) else {
            return Ok(None);
        };
        let now = self.env.clock.monotonic();
        if self.nowhere.lock().get(path).is_some_and(|until| now < *until) {
            return Ok(None);
        }
        match peers.resolve(&parsed).await {
            Ok(Destination::Cluster { cluster, .. }) => return Ok(Some(cluster)),
            Ok(Destination::Mount { .. }) | Err(Lost::Unknown(_)) => {}
            Err(Lost::Unavailable) => return Err(not_available()),
            Err(Lost::Refused(status)) => return Err(status),
        }
        let mut nowhere = self.nowhere.lock();
        nowhere.retain(|_, until| now < *until);
        if nowhere.len() < NOWHERE_MAX {
            nowhere.insert(path.to_owned(), self.env.clock.monotonic() + NOWHERE);
        }
        Ok(None)
    }

    /// Whether the shard that holds the cluster of an access lets a user have it; asked as a component asks, which skips
    /// whether the user may enter there (kcp's facts, G.5). No, if none of the other shards holds it.
    pub async fn allow(&self, user: &User, access: &Access) -> Result<bool> {
        let Some(Scope::One(of)) = &access.scope else {
            return Ok(false);
        };
        if !self.holds(of) {
            return Ok(false);
        }
        let Some(shard) = self.neighbours.whose(of) else {
            return Ok(false);
        };
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
                "resourceAttributes": {
                    "verb": access.verb, "group": access.group, "version": access.version, "resource": access.resource,
                    "subresource": access.subresource, "namespace": access.namespace, "name": access.name,
                },
            },
        });
        let path = format!("/clusters/{of}/apis/authorization.k8s.io/v1/subjectaccessreviews");
        let (code, answer) = self.send(shard, Method::POST, &path, Some(&review)).await?;
        match failure(code, &answer) {
            Some(status) => Err(status),
            None => Ok(answer["status"]["allowed"].as_bool().unwrap_or_default()),
        }
    }

    fn is_elsewhere(&self, of: &ObjectRef) -> bool {
        match &of.shard {
            Some(shard) => !self.neighbours.is_own(shard),
            None => !self.neighbours.is_alone() && self.neighbours.holder(&of.cluster) == Holder::Elsewhere,
        }
    }

    /// The shard to ask. `None`: no shard has the cluster.
    fn shard(&self, of: &ObjectRef) -> Result<Option<ShardId>> {
        let found = match &of.shard {
            Some(name) => self.neighbours.find(name),
            None => self.neighbours.whose(&of.cluster),
        };
        match found {
            Some(shard) => Ok(Some(shard)),
            None if of.shard.is_none() && self.neighbours.is_everything_told() => Ok(None),
            None => Err(Status::service_unavailable(format!(
                "the shard that holds {} is not known yet",
                of.cluster
            ))),
        }
    }

    fn upstream(&self, shard: ShardId) -> Result<Upstream> {
        let away = || Status::service_unavailable("the shard that holds it cannot be reached");
        let peers = self.neighbours.peers().ok_or_else(away)?;
        let now = self.env.clock.monotonic();
        if self.resting.lock().get(&shard).is_some_and(|until| now < *until) || !peers.is_live(shard) {
            return Err(away());
        }
        peers.upstream(shard).ok_or_else(away)
    }

    async fn send(&self, shard: ShardId, method: Method, path: &str, body: Option<&Value>) -> Result<Answered> {
        let upstream = self.upstream(shard)?;
        match self
            .env
            .clock
            .timeout(TIMEOUT, exchange(&upstream, method, path, body))
            .await
        {
            Ok(answered) => answered,
            Err(_) => {
                self.resting.lock().insert(shard, self.env.clock.monotonic() + REST);
                Err(Status::timeout("the shard that holds it does not answer", 1))
            }
        }
    }

    fn definition(&self, of: &ObjectRef) -> Result<Arc<ResourceDef>> {
        self.catalog.definition(&of.resource, &of.cluster).ok_or_else(|| {
            let resource = of.resource.group_resource();
            Status::service_unavailable(format!("{resource} is not known on this shard"))
        })
    }

    async fn carry_out(&self, controller: &str, effect: &Effect) -> Result<()> {
        match effect {
            Effect::Create { of, object, adopt } => {
                let path = format!("{}?fieldManager={controller}", self.path(of, false)?);
                let (code, answer) = self.write(of, Method::POST, &path, Some(object)).await?;
                match failure(code, &answer) {
                    Some(status) if status.is_already_exists() && *adopt => Ok(()),
                    Some(status) => Err(status),
                    None => Ok(()),
                }
            }
            Effect::Update { of, object } => self.update(controller, of, object).await,
            Effect::Delete {
                of,
                uid,
                resource_version,
            }
            | Effect::Collect {
                of,
                uid,
                resource_version,
            } => {
                let mut options = delete_options(uid, resource_version.as_deref());
                if matches!(effect, Effect::Collect { .. }) {
                    options.remove_at(&["propagationPolicy"]);
                }
                let path = self.path(of, true)?;
                let (code, answer) = self.write(of, Method::DELETE, &path, Some(&options)).await?;
                match failure(code, &answer) {
                    Some(status) if status.is_not_found() => Ok(()),
                    // Another object of that name: ours is gone.
                    Some(status) if status.is_conflict() && resource_version.is_none() => Ok(()),
                    Some(status) => Err(status),
                    None => Ok(()),
                }
            }
            Effect::Touch { of } => {
                let path = format!("{}?fieldManager={controller}", self.path(of, true)?);
                let (code, answer) = self.write(of, Method::PATCH, &path, Some(&json!({}))).await?;
                match failure(code, &answer) {
                    Some(status) if !status.is_not_found() => Err(status),
                    _ => Ok(()),
                }
            }
            Effect::Remove { .. } | Effect::Purge { .. } => Err(Status::internal(
                "only the shard that holds a cluster cleans up behind it",
            )),
        }
    }

    /// The object, and then its status where that is written apart.
    async fn update(&self, controller: &str, of: &ObjectRef, object: &Value) -> Result<()> {
        let path = self.path(of, true)?;
        let def = self.definition(of)?;
        let has_status = def
            .versions
            .get(def.storage_version)
            .is_some_and(|version| version.status);
        let whole = format!("{path}?fieldManager={controller}");
        let (code, answer) = self.write(of, Method::PUT, &whole, Some(object)).await?;
        match failure(code, &answer) {
            // Gone meanwhile: the next run sees it.
            Some(status) if status.is_not_found() => return Ok(()),
            Some(status) => return Err(status),
            None if !has_status || answer.get("status") == object.get("status") => return Ok(()),
            None => {}
        }
        let mut rest = object.clone();
        if let Some(version) = answer.str_at(&["metadata", "resourceVersion"]) {
            rest.set_at(&["metadata", "resourceVersion"], json!(version));
        }
        let path = format!("{path}/status?fieldManager={controller}");
        let (code, answer) = self.write(of, Method::PUT, &path, Some(&rest)).await?;
        failure(code, &answer).map_or(Ok(()), Err)
    }

    async fn write(&self, of: &ObjectRef, method: Method, path: &str, body: Option<&Value>) -> Result<Answered> {
        let Some(shard) = self.shard(of)? else {
            return Err(Status::not_found(&of.resource.group_resource(), &of.name));
        };
        self.send(shard, method, path, body).await
    }

    fn path(&self, of: &ObjectRef, is_named: bool) -> Result<String> {
        let def = self.definition(of)?;
        let version = def.versions.get(def.storage_version).map_or("v1", |v| v.name.as_str());
        let mut path = match &*def.group {
            "" => format!("/clusters/{}/api/{version}", of.cluster),
            group => format!("/clusters/{}/apis/{group}/{version}", of.cluster),
        };
        if !of.namespace.is_empty() {
            path.push_str(&format!("/namespaces/{}", segment(&of.namespace)));
        }
        path.push('/');
        path.push_str(&def.names.plural);
        if is_named {
            path.push('/');
            path.push_str(&segment(&of.name));
        }
        Ok(path)
    }
}

#[async_trait]
impl Remote for OtherShards {
    async fn fetch(&self, of: &ObjectRef) -> Result<Fetched> {
        let Some(shard) = self.shard(of)? else {
            return Ok(Fetched::Absent);
        };
        let (code, answer) = self.send(shard, Method::GET, &self.path(of, true)?, None).await?;
        match failure(code, &answer) {
            None => Ok(Fetched::Object(Arc::new(answer))),
            Some(status) if status.code == 404 => Ok(Fetched::Absent),
            Some(status) => Err(status),
        }
    }
}

// === impl RoutedEffects ===

#[async_trait]
impl Effects for RoutedEffects {
    async fn carry_out(&self, controller: &'static str, effects: &[Effect], tenure: &Guard) -> Result<()> {
        let mut rest = effects;
        while let Some(first) = rest.first() {
            let is_elsewhere = self.is_elsewhere(first);
            let same = rest
                .iter()
                .take_while(|effect| self.is_elsewhere(effect) == is_elsewhere);
            let (now, later) = rest.split_at(same.count().max(1));
            rest = later;
            if !is_elsewhere {
                self.local.carry_out(controller, now, tenure).await?;
                continue;
            }
            for effect in now {
                // Another shard cannot compare this one's lease: who does not hold it as when the run began stops here.
                if self.lease.guard().as_ref() != Some(tenure) {
                    return Err(Status::service_unavailable("the controllers' lease is lost"));
                }
                self.others.carry_out(controller, effect).await?;
            }
        }
        Ok(())
    }
}

impl RoutedEffects {
    fn is_elsewhere(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Create { of, .. }
            | Effect::Update { of, .. }
            | Effect::Delete { of, .. }
            | Effect::Collect { of, .. }
            | Effect::Remove { of, .. }
            | Effect::Touch { of }
            | Effect::Purge { of } => self.others.is_elsewhere(of),
        }
    }
}

/// One request and its whole answer.
pub async fn exchange(upstream: &Upstream, method: Method, path: &str, body: Option<&Value>) -> Result<Answered> {
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, kind)
        // Of no meaning but to reviews.
        .header(header::DEEP_SUBJECT_ACCESS_REVIEW, "true")
        .body(body_of(body))
        .map_err(Status::internal)?;
    let response: Response<Answer> = upstream
        .send(Lane::Short, request)
        .await
        .map_err(|error| Status::service_unavailable(error.to_string()))?;
    let (parts, body) = response.into_parts();
    let lost = |error: Box<dyn std::error::Error + Send + Sync>| Status::service_unavailable(error.to_string());
    let bytes = Limited::new(body, BODY_BYTES_MAX)
        .collect()
        .await
        .map_err(lost)?
        .to_bytes();
    Ok((parts.status, read_answer(parts.status, &bytes)?))
}

/// Refusals may come as plain text, as Kubernetes' do outside its APIs. What is granted must be readable: nothing is planned
/// on an object that could not be read.
fn read_answer(code: http::StatusCode, bytes: &[u8]) -> Result<Value> {
    match machinery::json::decode_stored(bytes) {
        Ok(answer) => Ok(answer),
        Err(_) if !code.is_success() => Ok(Value::Null),
        Err(error) => Err(Status::service_unavailable(format!(
            "the shard that holds it answers what cannot be read: {error}"
        ))),
    }
}

fn body_of(body: Option<&Value>) -> UpstreamBody {
    let bytes: Bytes = body.map(|body| body.to_string().into()).unwrap_or_default();
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Why a request was refused, as the shard says it. A body that is no Status is a stranger's.
pub fn failure(code: http::StatusCode, answer: &Value) -> Option<Status> {
    if code.is_success() {
        return None;
    }
    let unclear = || match code.as_u16() {
        404 => Status::no_such_resource(),
        429 => Status::too_many_requests("the shard that holds it has too much to do", 1),
        code => Status::service_unavailable(format!("the shard that holds it answers {code}")),
    };
    Some(Status::from_value(answer).unwrap_or_else(unclear))
}

fn delete_options(uid: &str, version: Option<&str>) -> Value {
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    if !uid.is_empty() {
        options.set_at(&["preconditions", "uid"], json!(uid));
    }
    if let Some(version) = version {
        options.set_at(&["preconditions", "resourceVersion"], json!(version));
    }
    options
}

/// A name as a segment of a URL.
fn segment(name: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(byte);
    let encode = |byte: u8| match is_plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_is_no_object() {
        let ok = http::StatusCode::OK;
        assert_eq!(
            read_answer(ok, br#"{"kind": "Shard"}"#).unwrap(),
            json!({"kind": "Shard"})
        );
        assert_eq!(read_answer(ok, b"<html>").unwrap_err().code, 503);
        assert_eq!(read_answer(ok, b"").unwrap_err().code, 503);
        let refused = read_answer(http::StatusCode::NOT_FOUND, b"404 page not found").unwrap();
        assert!(failure(http::StatusCode::NOT_FOUND, &refused).unwrap().is_not_found());
    }

    #[test]
    fn a_name_stays_one_segment_of_a_path() {
        assert_eq!(segment("a.b-c:d"), "a.b-c:d");
        assert_eq!(segment("../a b?c"), "..%2Fa%20b%3Fc");
    }
}
