//! The continue token of lists, in Kubernetes' format: `{"v":"meta.k8s.io/v1","rv":N,"start":"…\u0000"}`, base64url.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::StorageError;

const VERSION: &str = "meta.k8s.io/v1";

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continue {
    /// `None`: at whatever the newest is (an inconsistent continuation, `rv: -1`).
    pub revision: Option<u64>,
    /// The first key of the next page, relative to what the list is over.
    pub start: String,
}

// === impl Continue ===

impl Continue {
    pub(crate) fn encode(&self) -> String {
        let revision = self.revision.map_or(json!(-1), |revision| json!(revision));
        let token = json!({"v": VERSION, "rv": revision, "start": self.start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// Refuses what could point outside of the list: `start` has to be a clean path.
    pub(crate) fn decode(token: &str) -> Result<Self, StorageError> {
        let invalid = || StorageError::InvalidContinue;
        let bytes = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|_| invalid())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        let member = |key: &str| token.get(key);
        if member("v").and_then(Value::as_str) != Some(VERSION) {
            return Err(invalid());
        }
        let revision = match member("rv").ok_or_else(invalid)? {
            rv if rv.as_i64() == Some(-1) => None,
            rv => Some(rv.as_u64().filter(|rv| *rv > 0).ok_or_else(invalid)?),
        };
        let start = member("start")
            .and_then(Value::as_str)
            .filter(|start| is_clean(start))
            .ok_or_else(invalid)?;
        Ok(Self {
            revision,
            start: start.to_owned(),
        })
    }
}

/// No part is empty, `.` or `..`.
fn is_clean(start: &str) -> bool {
    start.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_has_kubernetes_form() {
        for revision in [Some(7), None] {
            let token = Continue {
                revision,
                start: "default/x\0".to_owned(),
            };
            assert_eq!(Continue::decode(&token.encode()).unwrap(), token);
        }
        let text = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":12,"start":"a\u0000"}"#);
        assert_eq!(
            Continue::decode(&text).unwrap(),
            Continue {
                revision: Some(12),
                start: "a\0".to_owned()
            }
        );
    }

    #[test]
    fn refuses_what_could_point_elsewhere() {
        let with = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for token in [
            "",
            "%%%",
            &with("[]"),
            &with(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
            &with(r#"{"v":"meta.k8s.io/v1","rv":-2,"start":"a"}"#),
            &with(r#"{"v":"v2","rv":1,"start":"a"}"#),
            &with(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../other/x"}"#),
            &with(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/a"}"#),
            &with(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#),
            &with(r#"{"v":"meta.k8s.io/v1","rv":1}"#),
        ] {
            assert!(
                matches!(Continue::decode(token), Err(StorageError::InvalidContinue)),
                "{token}"
            );
        }
    }
}
