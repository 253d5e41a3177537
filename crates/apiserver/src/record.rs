//! What becomes known of a request on its way, for metrics, audit and traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use env::Rng;
use http::{HeaderMap, HeaderValue};
use machinery::user::User;
use permit::{Decision, Scope};
use registry::ResourceDef;
use telemetry::RequestLabels;

use crate::refusal::Refusal;

/// One request.
pub struct Record {
    pub audit_id: HeaderValue,
    /// Who was authenticated.
    pub user: Option<Arc<User>>,
    /// As whom the request was performed, if not as `user`.
    pub impersonated: Option<Arc<User>>,
    pub scope: Option<Scope>,
    /// Audit annotations.
    pub annotations: Vec<(String, String)>,
    /// The body, where the audit policy wants it.
    pub request_body: Option<Bytes>,
    /// Of resources, the verb in metrics: `GET`, `LIST`, …
    pub verb: &'static str,
    pub is_mutating: bool,
    pub is_watch: bool,
    pub dry_run: bool,
    pub subresource: &'static str,
    /// `cluster`, `namespace`, `resource`, or empty for paths.
    pub metrics_scope: &'static str,
    /// Why the handler refused, once it has been made an answer.
    pub(crate) refusal: Option<Refusal>,
    resource: Option<(Arc<ResourceDef>, usize)>,
}

/// Makes Audit-Ids: unique, in the form of UUIDs, without asking the operating system for each.
pub(crate) struct AuditIds {
    key: [u64; 2],
    next: AtomicU64,
}

const AUDIT_ID: &str = "audit-id";
const AUDIT_ID_LEN_MAX: usize = 64;

// === impl Record ===

impl Record {
    pub(crate) fn new(audit_id: HeaderValue) -> Self {
        Self {
            audit_id,
            user: None,
            impersonated: None,
            scope: None,
            annotations: Vec::new(),
            request_body: None,
            verb: "GET",
            is_mutating: false,
            is_watch: false,
            dry_run: false,
            subresource: "",
            metrics_scope: "",
            refusal: None,
            resource: None,
        }
    }

    pub(crate) fn resolved(&mut self, resolved: &registry::Resolved) {
        self.resource = Some((resolved.def.clone(), resolved.version));
    }

    pub(crate) fn decided(&mut self, decision: &Decision) {
        let (word, reason) = match decision {
            Decision::Allow { reason, .. } => ("allow", reason),
            Decision::Deny { reason } | Decision::NoOpinion { reason } | Decision::Unavailable { reason } => {
                ("forbid", reason)
            }
        };
        if self.annotations.is_empty() && reason.is_empty() {
            return;
        }
        self.annotations
            .push(("authorization.k8s.io/decision".to_owned(), word.to_owned()));
        self.annotations
            .push(("authorization.k8s.io/reason".to_owned(), reason.clone()));
    }

    /// `is_known` says whether a group's resources have label values of their own.
    pub(crate) fn labels(&self, is_known: impl Fn(&ResourceDef) -> bool) -> RequestLabels<'_> {
        let mut labels = RequestLabels {
            verb: self.verb,
            subresource: self.subresource,
            scope: self.metrics_scope,
            dry_run: self.dry_run,
            ..RequestLabels::default()
        };
        if let Some((def, version)) = &self.resource {
            if is_known(def) {
                labels.group = &def.group;
                labels.resource = &def.names.plural;
                labels.version = def.versions.get(*version).map_or("", |version| version.name.as_str());
            } else {
                labels.resource = telemetry::metrics::TENANT_DEFINED;
            }
        }
        labels
    }
}

// === impl AuditIds ===

impl AuditIds {
    pub(crate) fn new(rng: &Rng) -> Self {
        Self {
            key: [rng.next_u64(), rng.next_u64()],
            next: AtomicU64::new(0),
        }
    }

    /// The client's own id if it sent one (the front proxy does, so that both logs tell of one request), else a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(given) = headers.get(AUDIT_ID)
            && (1..=AUDIT_ID_LEN_MAX).contains(&given.len())
            && given.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return given.clone();
        }
        let [high, low] = self.key;
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 16];
        let (first, second) = random.split_at_mut(8);
        first.copy_from_slice(&mix(high ^ count).to_le_bytes());
        second.copy_from_slice(&mix(low.wrapping_add(count)).to_le_bytes());
        HeaderValue::try_from(machinery::ids::uid(random)).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// A bijection that spreads neighbours (the finalizer of SplitMix64).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_ids_are_unique_and_bounded() {
        let ids = AuditIds::new(&Rng::real());
        let none = HeaderMap::new();
        let made: std::collections::BTreeSet<_> =
            (0..1000).map(|_| ids.of(&none).to_str().unwrap().to_owned()).collect();
        assert_eq!(made.len(), 1000);
        let mut headers = HeaderMap::new();
        headers.insert("audit-id", HeaderValue::from_static("mine"));
        assert_eq!(ids.of(&headers), "mine");
        headers.insert("audit-id", HeaderValue::from_str(&"x".repeat(65)).unwrap());
        assert_eq!(ids.of(&headers).len(), 36);
    }
}
