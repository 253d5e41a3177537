//! The audit log: who asked for what, and what became of it. `audit.k8s.io/v1`, one JSON object a line.

mod policy;
mod rotation;
mod sink;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Timestamp};
use http::request::Parts;
use machinery::time::format_micros;
use machinery::user::User;
use serde_json::{Map, Value, json};
use telemetry::Metrics;

pub(crate) use policy::AuditStage;
use policy::Treatment;
pub use policy::{AuditLevel, AuditPolicy};
use sink::Sink;

use crate::query::Query;
use crate::record::Record;
use crate::server::Connection;
use crate::stage::{RequestInfo, Target, decode_path};

/// The log of a server, or nothing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Audit {
    log: Option<Arc<Log>>,
}

/// Whether requests wait for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// Who has an answer finds its event in the file.
    #[default]
    Blocking,
    /// Never waits: events that the disk cannot keep up with are counted and lost.
    Batch,
}

/// Where events go, and when that file makes way for a new one (Kubernetes' `--audit-log-max*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFile {
    pub path: PathBuf,
    /// A file that would grow above this is given a name with the time, and a new one begun. Zero: never.
    pub bytes_max: u64,
    /// How many such files are kept. Zero: all.
    pub backups_max: usize,
    /// How long they are kept. Zero: for ever.
    pub age_max: Duration,
}

struct Log {
    policy: AuditPolicy,
    mode: AuditMode,
    sink: Sink,
}

/// When something happened to a request.
pub(crate) struct Times {
    pub received: Timestamp,
    pub now: Timestamp,
}

// === impl AuditFile ===

impl From<PathBuf> for AuditFile {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }
}

// === impl Audit ===

impl Audit {
    /// Appends to a file.
    pub fn to_file(
        env: &Env,
        file: impl Into<AuditFile>,
        mode: AuditMode,
        policy: AuditPolicy,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            log: Some(Arc::new(Log {
                policy,
                mode,
                sink: Sink::start(env, file.into(), metrics),
            })),
        }
    }

    pub fn none() -> Self {
        Self::default()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.log.is_some()
    }

    /// Whether authorizers should say why.
    pub(crate) fn wants_annotations(&self) -> bool {
        self.is_on()
    }

    /// Whether the body of a request is to be kept for its event.
    pub(crate) fn wants_body(&self, record: &Record, parts: &Parts) -> bool {
        self.level(record, parts) >= AuditLevel::Request
    }

    fn level(&self, record: &Record, parts: &Parts) -> AuditLevel {
        self.log
            .as_ref()
            .map(|log| log.treatment(record, parts).level)
            .unwrap_or_default()
    }

    /// Writes that a request came, once its sender is known.
    pub(crate) async fn received(&self, record: &Record, parts: &Parts, connection: &Connection, times: &Times) {
        self.write(AuditStage::RequestReceived, record, parts, connection, times, None)
            .await;
    }

    /// Writes the event of an answered request.
    pub(crate) async fn answered(
        &self,
        record: &Record,
        parts: &Parts,
        connection: &Connection,
        times: &Times,
        answer: Answer<'_>,
    ) {
        let stage = match record.is_watch && answer.code == 200 {
            true => AuditStage::ResponseStarted,
            false => AuditStage::ResponseComplete,
        };
        self.write(stage, record, parts, connection, times, Some(answer)).await;
    }

    async fn write(
        &self,
        stage: AuditStage,
        record: &Record,
        parts: &Parts,
        connection: &Connection,
        times: &Times,
        answer: Option<Answer<'_>>,
    ) {
        let Some(log) = &self.log else { return };
        let treatment = log.treatment(record, parts);
        if !treatment.logs(stage) {
            return;
        }
        let line = event(stage, treatment.level, record, parts, connection, times, answer).to_string();
        match (log.mode, stage) {
            // Events stand in the file in their order: who waits for a later one need not wait for this.
            (AuditMode::Batch, _) | (_, AuditStage::RequestReceived) => log.sink.send(line),
            (AuditMode::Blocking, _) => log.sink.write(line).await,
        }
    }
}

// === impl Log ===

impl Log {
    fn treatment(&self, record: &Record, parts: &Parts) -> Treatment<'_> {
        let whole = || Treatment {
            level: AuditLevel::Metadata,
            ..Treatment::default()
        };
        let Ok(path) = decode_path(parts.uri.path()) else {
            return whole();
        };
        match Target::parse(parts, &path) {
            Ok(target) => self.policy.treatment(record.user.as_deref(), target.info()),
            Err(_) => whole(),
        }
    }
}

/// How a request was answered.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub code: u16,
    /// Of a failure inside the APIs.
    pub status: Option<&'a machinery::status::Status>,
}

fn event(
    stage: AuditStage,
    level: AuditLevel,
    record: &Record,
    parts: &Parts,
    connection: &Connection,
    times: &Times,
    answer: Option<Answer<'_>>,
) -> Value {
    let path = decode_path(parts.uri.path()).unwrap_or_default();
    let query = Query::new(parts.uri.query().unwrap_or_default());
    let target = Target::parse(parts, &path).ok();
    let info = target.as_ref().map(Target::info);
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level.as_str(),
        "auditID": record.audit_id.to_str().unwrap_or_default(),
        "stage": stage.as_str(),
        "requestURI": match query.raw() {
            "" => parts.uri.path().to_owned(),
            raw => format!("{}?{raw}", parts.uri.path()),
        },
        "verb": info.map_or("", |info| info.verb),
        "user": record.user.as_deref().map(user).unwrap_or_else(|| json!({})),
        "sourceIPs": [connection.peer_address()],
        "requestReceivedTimestamp": format_micros(i128::from(times.received.as_nanos())),
        "stageTimestamp": format_micros(i128::from(times.now.as_nanos())),
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let (Some(value), Value::Object(members)) = (value, &mut event) {
            members.insert(name.to_owned(), value);
        }
    };
    set("impersonatedUser", record.impersonated.as_deref().map(user));
    set("userAgent", header("user-agent").map(Value::from));
    set("objectRef", info.and_then(object_ref));
    set("responseStatus", answer.map(response_status));
    if level >= AuditLevel::Request {
        set(
            "requestObject",
            record
                .request_body
                .as_ref()
                .and_then(|body| machinery::json::decode_value(body).ok()),
        );
    }
    if !record.annotations.is_empty() {
        let notes = record
            .annotations
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        set("annotations", Some(Value::Object(notes.collect())));
    }
    event
}

fn user(user: &User) -> Value {
    json!(user)
}

fn object_ref(info: &RequestInfo<'_>) -> Option<Value> {
    let info = info.resource.as_ref()?;
    let mut members = Map::new();
    for (name, value) in [
        ("resource", info.resource),
        ("namespace", info.namespace),
        ("name", &info.name),
        ("apiGroup", info.group),
        ("apiVersion", info.version),
        ("subresource", info.subresource),
    ] {
        if !value.is_empty() {
            members.insert(name.to_owned(), value.into());
        }
    }
    Some(Value::Object(members))
}

fn response_status(answer: Answer<'_>) -> Value {
    let mut out = json!({ "metadata": {}, "code": answer.code });
    if let Some(status) = answer.status {
        out["status"] = "Failure".into();
        out["message"] = status.message.as_str().into();
        out["reason"] = json!(status.reason);
    }
    out
}
