//! `--authentication-config`: Kubernetes' AuthenticationConfiguration.

use std::collections::BTreeSet;

use machinery::object::ObjectExt;
use serde_json::Value;

use crate::config::{ConfigError, JwtAuthenticator};

/// What such a file says.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationFile {
    pub issuers: Vec<JwtAuthenticator>,
    /// Whether requests without credentials are `system:anonymous`, if it is said.
    pub anonymous: Option<bool>,
}

const GROUP: &str = "apiserver.config.k8s.io/";
const VERSIONS: [&str; 3] = ["v1alpha1", "v1beta1", "v1"];

// === impl AuthenticationFile ===

impl AuthenticationFile {
    /// Reads YAML or JSON. What is not understood is refused: it might be a restriction.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &[u8], disallowed: &[String]) -> Result<Self, ConfigError> {
        let decoded =
            machinery::yaml::decode_either(text).map_err(|error| ConfigError::new("file", error.to_string()))?;
        if let Some(twice) = decoded.strict.texts().first() {
            return Err(ConfigError::new("file", twice.as_str()));
        }
        let file = decoded.value;
        let version = file.str_at(&["apiVersion"]).unwrap_or_default();
        let is_known = version
            .strip_prefix(GROUP)
            .is_some_and(|version| VERSIONS.contains(&version));
        if !is_known || file.str_at(&["kind"]) != Some("AuthenticationConfiguration") {
            return Err(ConfigError::new(
                "kind",
                format!("an AuthenticationConfiguration of {GROUP}v1 is expected"),
            ));
        }
        let members = file.as_object().into_iter().flatten();
        let unknown = members.map(|(name, _)| name).find(|name| {
            let known = ["apiVersion", "kind", "jwt", "anonymous"];
            !known.contains(&name.as_str())
        });
        if let Some(unknown) = unknown {
            return Err(ConfigError::new("file", format!("unknown field {unknown:?}")));
        }
        Ok(Self {
            issuers: issuers(file.get("jwt").unwrap_or(&Value::Null), disallowed)?,
            anonymous: anonymous(file.get("anonymous").unwrap_or(&Value::Null))?,
        })
    }
}

/// Each issuer once: of a token it has to be clear whose it is.
fn issuers(list: &Value, disallowed: &[String]) -> Result<Vec<JwtAuthenticator>, ConfigError> {
    let entries = match list {
        Value::Null => &[][..],
        Value::Array(entries) => entries,
        _ => return Err(ConfigError::new("jwt", "it is no list")),
    };
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let place = format!("jwt[{at}]");
        let issuer = JwtAuthenticator::parse(entry, disallowed).map_err(|error| error.below(&place))?;
        let is_new = seen.insert(issuer.issuer.clone());
        if !is_new || issuer.discovery.clone().is_some_and(|place| !seen.insert(place)) {
            return Err(ConfigError::new("issuer", "it is there twice").below(&place));
        }
        found.push(issuer);
    }
    Ok(found)
}

fn anonymous(said: &Value) -> Result<Option<bool>, ConfigError> {
    if said.is_null() {
        return Ok(None);
    }
    if said.get("conditions").is_some_and(|conditions| !conditions.is_null()) {
        let why = "conditions are not built; --authorization-always-allow-paths opens paths to everybody";
        return Err(ConfigError::new("anonymous.conditions", why));
    }
    let enabled = said.get("enabled").and_then(Value::as_bool);
    enabled
        .map(Some)
        .ok_or_else(|| ConfigError::new("anonymous.enabled", "true or false is required"))
}
