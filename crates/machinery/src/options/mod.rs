//! Request options: `ListOptions`, `GetOptions`, `CreateOptions`, `UpdateOptions`, `PatchOptions`, `DeleteOptions`,
//! `TableOptions`, read from query parameters (and bodies) and validated, with Kubernetes' answers to bad ones.

mod continuation;
mod delete;
mod list;
mod write;

pub use continuation::ContinueToken;
pub use delete::{DeleteOptions, Preconditions, PropagationPolicy};
pub use list::{GetOptions, IncludeObject, ListOptions, VersionMatch, parse_resource_version};
pub use write::{FieldValidation, PatchKind, WriteOptions, field_manager};

use crate::field::FieldError;
use crate::status::Status;
use crate::text::quote;

/// Decoded query parameters, in order.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(pub &'a [(String, String)]);

// === impl Query ===

impl<'a> Query<'a> {
    /// The first value of a parameter.
    pub fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value, empty where absent.
    pub fn text(&self, name: &str) -> String {
        self.first(name).unwrap_or_default().to_owned()
    }

    /// A flag: anything but `0` and `false` is true, the empty text too.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.first(name)
            .map(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A number; 400 in Go's words where it is none.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        self.first(name)
            .map(|value| parse_int(value).map_err(Status::bad_request))
            .transpose()
    }
}

/// `strconv.ParseInt`
fn parse_int(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|_| number_error("ParseInt", text))
}

/// What `strconv` says of a text that is no number, or none that fits.
fn number_error(function: &str, text: &str) -> String {
    let digits = if function == "ParseInt" {
        text.strip_prefix(['-', '+']).unwrap_or(text)
    } else {
        text
    };
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if numeric {
        "value out of range"
    } else {
        "invalid syntax"
    };
    format!("strconv.{function}: parsing {}: {why}", quote(text))
}

/// 422 of an options object.
fn invalid_options(kind: &str, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid("meta.k8s.io", kind, "", errors))
    }
}

#[cfg(test)]
mod tests;
