//! Continue tokens of paged lists, in Kubernetes' encoding.

use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::{DecodeError, Engine};
use serde_json::Value;

use crate::json;
use crate::status::Status;

/// Like Go, reads what has stray bits in its last character.
const BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// Where a paged list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinueToken {
    /// The revision to read at; -1 for "whatever is there now" (after the first pages' revision was compacted).
    pub revision: i64,
    /// The first key to read, relative to the prefix of the list; it usually ends in NUL, so that it stands just after
    /// the last key sent.
    pub start: String,
}

// === impl ContinueToken ===

impl ContinueToken {
    pub const INCONSISTENT: i64 = -1;

    /// The list goes on after `last_key` (relative to the list's prefix).
    pub fn after(last_key: &str, revision: i64) -> Self {
        Self {
            revision,
            start: format!("{last_key}\0"),
        }
    }

    pub fn encode(&self) -> String {
        let start = Value::String(self.start.clone());
        BASE64.encode(format!(
            "{{\"v\":\"meta.k8s.io/v1\",\"rv\":{},\"start\":{start}}}",
            self.revision
        ))
    }

    /// 400 for what is no token of ours. The start never leads out of the list's prefix.
    pub fn decode(token: &str) -> Result<Self, Status> {
        let bytes = BASE64.decode(token).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                _ => token.len().saturating_sub(1),
            };
            invalid(&format!(": illegal base64 data at input byte {at}"))
        })?;
        let fields = json::decode_value(&bytes).map_err(|error| invalid(&format!(": {error}")))?;
        let wrong = |field: &str, go_type: &str| {
            invalid(&format!(
                ": json: cannot unmarshal Go struct field continueToken.{field} of type {go_type}"
            ))
        };
        let text = |field: &str| match fields.get(field) {
            None | Some(Value::Null) => Ok(""),
            Some(value) => value.as_str().ok_or_else(|| wrong(field, "string")),
        };
        let version = text("v")?;
        if version != "meta.k8s.io/v1" {
            return Err(invalid(&format!(
                ": server does not recognize this encoded version {version}"
            )));
        }
        let revision = match fields.get("rv") {
            None | Some(Value::Null) => 0,
            Some(value) => value.as_i64().ok_or_else(|| wrong("rv", "int64"))?,
        };
        if revision == 0 {
            return Err(invalid(
                ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        let start = text("start")?;
        if start.is_empty() {
            return Err(invalid(": encoded start key empty (version meta.k8s.io/v1)"));
        }
        let relative = start.strip_prefix('/').unwrap_or(start);
        if relative.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(invalid(&format!(": {start}")));
        }
        Ok(Self {
            revision,
            start: relative.to_owned(),
        })
    }
}

fn invalid(why: &str) -> Status {
    Status::bad_request(format!("invalid continue token: continue key is not valid{why}"))
}
