//! Bodies of writes, read.

use bytes::Bytes;
use http::request::Parts;
use machinery::json::{self, DecodeError};
use machinery::object::{GroupVersion, GroupVersionKind, ObjectExt};
use machinery::options::FieldValidation;
use machinery::protobuf;
use machinery::status::{Result, Status};
use machinery::strict::StrictErrors;
use machinery::yaml;
use registry::{Patch, ResourceDef};
use serde_json::Value;

use super::negotiate::{Input, media_type};

/// A decoded object, and what a strict reader objects to in its text.
pub(super) struct Decoded {
    pub value: Value,
    /// Paths of members that the JSON has twice; the registry words them, together with unknown fields.
    pub duplicates: Vec<String>,
    /// What is wrong with the YAML beyond that.
    pub strict: StrictErrors,
}

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

// === impl Decoded ===

impl Decoded {
    /// `expected` is what a body in protobuf is where it does not say so itself.
    pub fn read(input: Input, body: &[u8], expected: &GroupVersionKind) -> Result<Self, DecodeError> {
        match input {
            Input::Json => {
                let json::Decoded { value, duplicates } =
                    json::decode(body).map_err(|error| json::interpret_error(&error))?;
                Ok(Self {
                    value,
                    duplicates,
                    strict: StrictErrors::default(),
                })
            }
            Input::Yaml => {
                let yaml::YamlDecoded { value, strict } =
                    yaml::decode(body).map_err(|error| json::interpret_error(&error))?;
                Ok(Self {
                    value,
                    duplicates: Vec::new(),
                    strict,
                })
            }
            // Its fields are known by number: neither twice nor unknown is a mistake there.
            Input::Protobuf => Ok(Self {
                value: protobuf::decode(body, expected)?,
                duplicates: Vec::new(),
                strict: StrictErrors::default(),
            }),
        }
    }
}

/// An object of create or update: what it says it is must be what the URL serves.
pub(super) fn object(input: Input, body: &[u8], def: &ResourceDef, expected: &GroupVersionKind) -> Result<Decoded> {
    let kind = &expected.kind;
    let decoded = Decoded::read(input, body, expected).map_err(|error| json::unrecognized(kind, &error, body))?;
    let found = json::type_meta(&decoded.value).map_err(|error| json::unrecognized(kind, &error, body))?;
    if !decoded.value.is_object() {
        let why = DecodeError("the body is not a JSON object".to_owned());
        return Err(json::unrecognized(kind, &why, body));
    }
    let says_version = !decoded.value.api_version().is_empty();
    let found_version = GroupVersion::new(found.group.as_str(), found.version.as_str());
    let expected_version = GroupVersion::new(expected.group.as_str(), expected.version.as_str());
    if says_version && found_version != expected_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({found_version}) does not match the expected API version ({expected_version})"
        )));
    }
    // Of custom resources the registry says this, as a 422.
    if !def.is_custom() && !found.kind.is_empty() && found.kind != *kind {
        let why = format!("converting (v1.{}) to (v1.{kind}): unknown conversion", found.kind);
        return Err(json::unhandled(&found, kind, why));
    }
    Ok(decoded)
}

/// What is wrong with the text of a YAML document: refused or warned of, as the client wants it.
pub(super) fn check_strict(
    strict: &StrictErrors,
    validation: FieldValidation,
    expected: &GroupVersionKind,
    warnings: &mut Vec<String>,
) -> Result<()> {
    match validation {
        _ if strict.is_empty() => Ok(()),
        FieldValidation::Strict => Err(json::unhandled(expected, &expected.kind, strict)),
        FieldValidation::Warn => {
            warnings.extend(strict.texts().iter().cloned());
            Ok(())
        }
        FieldValidation::Ignore => Ok(()),
    }
}

/// Which patch a body is, before it is read. 415 for what this resource does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    pub fn negotiate(parts: &Parts, def: &ResourceDef) -> Result<Self> {
        let strategic = def.takes_strategic_patch();
        match media_type(parts).as_str() {
            JSON_PATCH => Ok(Self::Json),
            MERGE_PATCH => Ok(Self::Merge),
            STRATEGIC_PATCH if strategic => Ok(Self::Strategic),
            APPLY_PATCH => Ok(Self::Apply),
            // Custom resources name apply twice: so does Kubernetes, which appends it to a list that has it.
            _ if !strategic => Err(Status::unsupported_media_type(&[
                JSON_PATCH,
                MERGE_PATCH,
                APPLY_PATCH,
                APPLY_PATCH,
            ])),
            _ => Err(Status::unsupported_media_type(&[
                JSON_PATCH,
                MERGE_PATCH,
                STRATEGIC_PATCH,
                APPLY_PATCH,
            ])),
        }
    }

    /// The patch, and paths of members it has twice.
    pub fn read(self, body: &Bytes) -> Result<(Patch, Vec<String>)> {
        let bad = |error: DecodeError| Status::bad_request(format!("error decoding patch: {error}"));
        if self == Self::Apply {
            let decoded = yaml::decode_either(body)
                .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
            if !decoded.strict.is_empty() {
                // An applied configuration says what its manager wants: twice is a contradiction, whatever is asked for.
                return Err(Status::bad_request(format!(
                    "error strict decoding patch: {}",
                    decoded.strict
                )));
            }
            return Ok((Patch::Apply(decoded.value), Vec::new()));
        }
        let json::Decoded { value, duplicates } = json::decode(body).map_err(bad)?;
        Ok(match self {
            Self::Json => (Patch::Json(value), duplicates),
            Self::Merge => (Patch::Merge(value), duplicates),
            Self::Strategic => (Patch::Strategic(value), duplicates),
            Self::Apply => (Patch::Apply(value), duplicates),
        })
    }
}
