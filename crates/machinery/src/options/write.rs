//! Options of create, update and patch.

use serde_json::json;

use super::{Query, invalid_options};
use crate::field::{FieldError, Path};
use crate::metadata::check_field_manager;
use crate::status::Status;
use crate::text;

const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// What becomes of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    /// Each is a `Warning` header.
    #[default]
    Warn,
    /// They are refused with 400.
    Strict,
}

/// Which kind of patch the options are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Apply,
    Other,
}

/// `CreateOptions`, `UpdateOptions`, `PatchOptions`: validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    pub dry_run: bool,
    /// As given, empty where absent; see [`field_manager`].
    pub field_manager: String,
    pub field_validation: FieldValidation,
    /// Of a patch; only an apply may have it.
    pub force: Option<bool>,
}

// === impl WriteOptions ===

impl WriteOptions {
    pub fn create(query: Query<'_>) -> Result<Self, Status> {
        Self::parse(query, "CreateOptions", Vec::new())
    }

    pub fn update(query: Query<'_>) -> Result<Self, Status> {
        Self::parse(query, "UpdateOptions", Vec::new())
    }

    pub fn patch(query: Query<'_>, kind: PatchKind) -> Result<Self, Status> {
        let force = query.flag("force");
        let mut errors = Vec::new();
        match kind {
            PatchKind::Apply if query.text("fieldManager").is_empty() => {
                errors.push(FieldError::required(
                    &Path::new("fieldManager"),
                    "is required for apply patch",
                ));
            }
            PatchKind::Other if force.is_some() => {
                let why = "may not be specified for non-apply patch";
                errors.push(FieldError::forbidden(&Path::new("force"), why));
            }
            _ => {}
        }
        Ok(Self {
            force,
            ..Self::parse(query, "PatchOptions", errors)?
        })
    }

    fn parse(query: Query<'_>, kind: &str, mut errors: Vec<FieldError>) -> Result<Self, Status> {
        let field_manager = query.text("fieldManager");
        errors.extend(check_field_manager(&field_manager, &Path::new("fieldManager")));
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        errors.extend(check_dry_run(&dry_run));
        let field_validation = match query.first("fieldValidation") {
            None | Some("") => FieldValidation::default(),
            Some("Ignore") => FieldValidation::Ignore,
            Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported(
                    &Path::new("fieldValidation"),
                    &other.into(),
                    &supported,
                ));
                FieldValidation::default()
            }
        };
        invalid_options(kind, &errors)?;
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            field_manager,
            field_validation,
            force: None,
        })
    }
}

pub(super) fn check_dry_run(values: &[&str]) -> Option<FieldError> {
    let known = values.iter().all(|value| *value == "All");
    (!known).then(|| FieldError::not_supported(&Path::new("dryRun"), &json!(values), &["All"]))
}

/// The name under which fields are owned: the given one, else what the `User-Agent` says before its first slash.
pub fn field_manager(given: &str, user_agent: &str) -> String {
    if !given.is_empty() {
        return given.to_owned();
    }
    let product = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for char in product.chars().filter(|char| text::is_print(*char)) {
        if name.len() + char.len_utf8() > FIELD_MANAGER_BYTES_MAX {
            break;
        }
        name.push(char);
    }
    name
}
