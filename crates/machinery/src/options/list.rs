//! Options of reads: get, list, watch, tables.

use super::{ContinueToken, Query, invalid_options, number_error};
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Status;
use crate::text::quote;

/// What the given `resourceVersion` is to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// `ListOptions` of a list or a watch, validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    pub label_selector: LabelSelector,
    pub field_selector: FieldSelector,
    pub watch: bool,
    pub allow_watch_bookmarks: bool,
    /// As given: empty, `0` or a number; see [`parse_resource_version`].
    pub resource_version: String,
    pub resource_version_match: Option<VersionMatch>,
    pub timeout_seconds: Option<i64>,
    /// Zero or less: no limit.
    pub limit: i64,
    /// As given; see [`ListOptions::continuation`].
    pub continue_token: String,
    pub send_initial_events: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    pub resource_version: String,
}

/// How much of an object the rows of a table carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

// === impl ListOptions ===

impl ListOptions {
    /// Reads and validates. `watch` is true for a watch that the path asks for (`/watch/…`).
    ///
    /// A watch from "now or before" (no version, or `0`) gets `sendInitialEvents`, as in Kubernetes since 1.34: its first
    /// events are the present state.
    pub fn parse(query: Query<'_>, watch: bool) -> Result<Self, Status> {
        let selector_error = |error: crate::selector::SelectorParseError| Status::bad_request(error.to_string());
        let mut version_match = query.text("resourceVersionMatch");
        let mut options = Self {
            label_selector: LabelSelector::parse(&query.text("labelSelector")).map_err(selector_error)?,
            field_selector: FieldSelector::parse(&query.text("fieldSelector")).map_err(selector_error)?,
            watch: watch || query.flag("watch").unwrap_or(false),
            allow_watch_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            resource_version: query.text("resourceVersion"),
            resource_version_match: None,
            timeout_seconds: query.number("timeoutSeconds")?,
            limit: query.number("limit")?.unwrap_or(0),
            continue_token: query.text("continue"),
            send_initial_events: query.flag("sendInitialEvents"),
        };
        let legacy = matches!(options.resource_version.as_str(), "" | "0");
        if options.watch && legacy && options.send_initial_events.is_none() && version_match.is_empty() {
            options.send_initial_events = Some(true);
            version_match = "NotOlderThan".to_owned();
        }
        let errors = if options.watch {
            options.watch_errors(&version_match)
        } else {
            options.list_errors(&version_match)
        };
        invalid_options("ListOptions", &errors)?;
        options.resource_version_match = match version_match.as_str() {
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            _ => None,
        };
        Ok(options)
    }

    fn list_errors(&self, version_match: &str) -> Vec<FieldError> {
        let at = Path::new("resourceVersionMatch");
        let mut errors = Vec::new();
        if !version_match.is_empty() {
            if self.resource_version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(&at, why));
            }
            if !self.continue_token.is_empty() {
                errors.push(FieldError::forbidden(
                    &at,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if !matches!(version_match, "Exact" | "NotOlderThan") {
                errors.push(FieldError::not_supported(
                    &at,
                    &version_match.into(),
                    &["Exact", "NotOlderThan", ""],
                ));
            }
            if version_match == "Exact" && self.resource_version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(&at, why));
            }
        }
        if self.send_initial_events.is_some() {
            let at = Path::new("sendInitialEvents");
            errors.push(FieldError::forbidden(&at, "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn watch_errors(&self, version_match: &str) -> Vec<FieldError> {
        let at = Path::new("resourceVersionMatch");
        let mut errors = Vec::new();
        if self.send_initial_events.is_some() && version_match != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(&at, why));
        }
        if !version_match.is_empty() {
            if self.send_initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(FieldError::forbidden(&at, why));
            }
            if version_match != "NotOlderThan" {
                errors.push(FieldError::not_supported(&at, &version_match.into(), &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                errors.push(FieldError::forbidden(
                    &at,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        errors
    }

    /// Where a paged list goes on; 400 for a bad token, and for a version beside one.
    pub fn continuation(&self) -> Result<Option<ContinueToken>, Status> {
        if self.continue_token.is_empty() {
            return Ok(None);
        }
        let token = ContinueToken::decode(&self.continue_token)?;
        if !matches!(self.resource_version.as_str(), "" | "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(Some(token))
    }

    /// `resourceVersion` of a list as a number (0 where absent); 400 for anything else.
    pub fn version(&self) -> Result<u64, Status> {
        parse_resource_version(&self.resource_version)
            .map_err(|error| Status::bad_request(format!("invalid resource version: {error}")))
    }

    /// Narrows a watch or list of one object by its name in the path.
    pub fn select_name(&mut self, name: &str) -> Result<(), Status> {
        if self.field_selector.is_everything() {
            self.field_selector = FieldSelector::equals("metadata.name", name);
        } else if self.field_selector.exact("metadata.name") != Some(name) {
            return Err(Status::bad_request(
                "fieldSelector metadata.name doesn't match requested name",
            ));
        }
        Ok(())
    }
}

// === impl GetOptions ===

impl GetOptions {
    pub fn parse(query: Query<'_>) -> Self {
        Self {
            resource_version: query.text("resourceVersion"),
        }
    }

    /// As [`ListOptions::version`].
    pub fn version(&self) -> Result<u64, Status> {
        parse_resource_version(&self.resource_version)
            .map_err(|error| Status::bad_request(format!("invalid resource version: {error}")))
    }
}

// === impl IncludeObject ===

impl IncludeObject {
    /// `includeObject` of a request for a table.
    pub fn parse(query: Query<'_>) -> Result<Self, Status> {
        match query.first("includeObject") {
            None | Some("" | "Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => {
                let why = "must be 'Metadata', 'Object', 'None', or empty";
                let error = FieldError::invalid(&Path::new("includeObject"), &other.into(), why);
                Err(Status::invalid("meta.k8s.io", "TableOptions", "", &[error]))
            }
        }
    }
}

/// A resourceVersion as a number; empty and `0` are 0. The error is that of a field; lists and gets answer it with 400,
/// watches with 422 of the resource.
pub fn parse_resource_version(text: &str) -> Result<u64, FieldError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        _ if text.is_empty() => Ok(0),
        Ok(version) if digits => Ok(version),
        _ => {
            let why = number_error("ParseUint", text);
            Err(FieldError::new(
                FieldErrorKind::Invalid,
                &Path::new("resourceVersion"),
                Some(quote(text)),
                why,
            ))
        }
    }
}
