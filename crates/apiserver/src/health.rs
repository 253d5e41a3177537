//! `/livez`, `/readyz`, `/healthz` and their checks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use parking_lot::RwLock;

use crate::body::Body;
use crate::lifecycle::{Lifecycle, Phase};
use crate::query::Query;
use crate::refusal::{Refusal, Result, TEXT_PLAIN};

/// Something that can be well or not. The error is for the log and for `?verbose`.
#[async_trait]
pub trait Check: Send + Sync {
    async fn check(&self) -> Result<(), String>;
}

/// The checks of a server. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    lifecycle: Lifecycle,
    checks: Arc<RwLock<Vec<Named>>>,
}

#[derive(Clone)]
struct Named {
    name: String,
    /// Readiness only: a server that is not ready is alive.
    is_readiness: bool,
    check: Arc<dyn Check>,
}

struct Flag(Arc<std::sync::atomic::AtomicBool>);

struct Ping;

/// Says that a step of the start is done.
#[derive(Clone)]
pub struct Done(Arc<std::sync::atomic::AtomicBool>);

// === impl Health ===

impl Health {
    pub fn new(lifecycle: Lifecycle) -> Self {
        let health = Self {
            lifecycle,
            checks: Arc::default(),
        };
        health.add("ping", false, Arc::new(Ping));
        health
    }

    /// Adds a check, e.g. `etcd`, `poststarthook/kcp-start-controllers`.
    pub fn add(&self, name: impl Into<String>, is_readiness: bool, check: Arc<dyn Check>) {
        self.checks.write().push(Named {
            name: name.into(),
            is_readiness,
            check,
        });
    }

    /// A step of the start; readiness (not liveness) waits for it.
    pub fn step(&self, name: impl Into<String>) -> Done {
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        self.add(name, true, Arc::new(Flag(done.clone())));
        Done(done)
    }

    /// Whether `/readyz` says ok.
    pub async fn is_ready(&self) -> bool {
        let (checks, _) = self.select("readyz", &BTreeSet::new());
        let mut is_ready = self.lifecycle.phase() == Phase::Serving;
        for named in checks {
            is_ready &= named.check.check().await.is_ok();
        }
        is_ready
    }

    /// Paths of all checks, for the index of paths.
    pub fn paths(&self) -> Vec<String> {
        let checks = self.checks.read();
        let mut paths = Vec::new();
        for endpoint in ["healthz", "livez", "readyz"] {
            paths.push(format!("/{endpoint}"));
            let of = checks.iter().filter(|named| endpoint != "livez" || !named.is_readiness);
            paths.extend(of.map(|named| format!("/{endpoint}/{}", named.name)));
        }
        paths.push("/readyz/shutdown".to_owned());
        paths.sort();
        paths
    }

    /// Answers `/livez[/check]`, `/readyz…`, `/healthz…`. `path` has no leading slash.
    pub async fn respond(&self, path: &str, query: &Query<'_>) -> Result<Response<Body>> {
        let (endpoint, wanted) = path.split_once('/').unwrap_or((path, ""));
        if !wanted.is_empty() {
            return self.respond_one(endpoint, wanted).await;
        }
        let excluded = query
            .pairs()
            .filter(|(name, _)| name == "exclude")
            .map(|(_, value)| value.into_owned())
            .collect();
        let (checks, unknown) = self.select(endpoint, &excluded);
        let mut report = String::new();
        let mut failed = 0;
        for named in checks {
            match named.check.check().await {
                Ok(()) => drop(writeln!(report, "[+]{} ok", named.name)),
                Err(why) => {
                    failed += 1;
                    tracing::warn!(check = named.name, why, "health check failed");
                    let _ = writeln!(report, "[-]{} failed: reason withheld", named.name);
                }
            }
        }
        if endpoint == "readyz" {
            match self.lifecycle.phase() {
                Phase::Serving => report.push_str("[+]shutdown ok\n"),
                _ => {
                    failed += 1;
                    report.push_str("[-]shutdown failed: reason withheld\n");
                }
            }
        }
        if !unknown.is_empty() {
            let quoted: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
            let _ = writeln!(
                report,
                "warn: some health checks cannot be excluded: no matches for {}",
                quoted.join(",")
            );
        }
        if failed > 0 {
            return Err(Refusal::plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{report}{endpoint} check failed"),
            ));
        }
        Ok(match query.get("verbose") {
            Some(_) => ok(format!("{report}{endpoint} check passed\n")),
            None => ok("ok"),
        })
    }

    async fn respond_one(&self, endpoint: &str, wanted: &str) -> Result<Response<Body>> {
        if endpoint == "readyz" && wanted == "shutdown" {
            return match self.lifecycle.phase() {
                Phase::Serving => Ok(ok("ok")),
                _ => Err(Refusal::plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "process is shutting down",
                )),
            };
        }
        let (checks, _) = self.select(endpoint, &BTreeSet::new());
        let Some(named) = checks.into_iter().find(|named| named.name == wanted) else {
            return Err(Refusal::no_such_path());
        };
        match named.check.check().await {
            Ok(()) => Ok(ok("ok")),
            Err(why) => {
                let text = format!("internal server error: {why}");
                Err(Refusal::plain(StatusCode::INTERNAL_SERVER_ERROR, text))
            }
        }
    }

    /// The checks of an endpoint, and which exclusions meant none.
    fn select(&self, endpoint: &str, excluded: &BTreeSet<String>) -> (Vec<Named>, BTreeSet<String>) {
        let all = self.checks.read();
        let unknown = excluded
            .iter()
            .filter(|name| all.iter().all(|named| named.name != **name))
            .cloned()
            .collect();
        let chosen = all
            .iter()
            .filter(|named| endpoint != "livez" || !named.is_readiness)
            .filter(|named| !excluded.contains(&named.name));
        (chosen.cloned().collect(), unknown)
    }
}

fn ok(text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    response.headers_mut().insert(CONTENT_TYPE, TEXT_PLAIN);
    response
        .headers_mut()
        .insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    response
}

// === impl Done ===

impl Done {
    pub fn done(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

// === impl checks ===

#[async_trait]
impl Check for Flag {
    async fn check(&self) -> Result<(), String> {
        match self.0.load(std::sync::atomic::Ordering::Acquire) {
            true => Ok(()),
            false => Err("not finished".to_owned()),
        }
    }
}

#[async_trait]
impl Check for Ping {
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(health: &Health, path: &str, query: &str) -> (u16, String) {
        let answer = health.respond(path, &Query::new(query)).await;
        let response = answer.unwrap_or_else(Refusal::into_response);
        let code = response.status().as_u16();
        let body = response.into_body().into_whole().ok().unwrap();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_waits_for_every_step_and_liveness_for_none() {
        let health = Health::new(Lifecycle::new());
        let step = health.step("poststarthook/x");
        assert_eq!(get(&health, "livez", "").await, (200, "ok".into()));
        let (code, text) = get(&health, "readyz", "").await;
        assert_eq!(code, 500);
        assert!(text.contains("[-]poststarthook/x failed: reason withheld\n"), "{text}");
        assert_eq!(get(&health, "readyz", "exclude=poststarthook/x").await.0, 200);
        assert_eq!(get(&health, "readyz/poststarthook/x", "").await.0, 500);
        step.done();
        let (code, text) = get(&health, "readyz", "verbose").await;
        assert_eq!(
            (code, text.as_str()),
            (
                200,
                "[+]ping ok\n[+]poststarthook/x ok\n[+]shutdown ok\nreadyz check passed\n"
            )
        );
        assert_eq!(get(&health, "livez/nope", "").await.0, 404);
        assert!(health.is_ready().await);
    }

    #[tokio::test]
    async fn a_draining_server_is_alive_but_not_ready() {
        let lifecycle = Lifecycle::new();
        let health = Health::new(lifecycle.clone());
        lifecycle.advance(Phase::Draining);
        assert_eq!(get(&health, "readyz", "").await.0, 500);
        assert_eq!(get(&health, "livez", "").await.0, 200);
        assert!(!health.is_ready().await);
    }
}
