//! YAML to trees and back, the way `sigs.k8s.io/yaml` (go-yaml v2) reads and writes it: YAML 1.1 scalars (`yes`, `on`,
//! `0777`), keys of any scalar type as strings, the first document only.
//!
//! Composed from the parser's events rather than through serde, because scalars must be resolved by their style, and a
//! strict reader names the line of a key that comes twice.

mod compose;
mod emit;
mod resolve;

use serde_json::Value;

use crate::json::{DecodeError, Decoded};
use crate::strict::StrictErrors;

pub use emit::encode;

/// A tree and what a strict reader would object to (repeated keys, with their lines).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct YamlDecoded {
    pub value: Value,
    pub strict: StrictErrors,
}

/// Reads the first document. Of repeated keys the last wins.
pub fn decode(bytes: &[u8]) -> Result<YamlDecoded, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| failure("yaml: invalid leading UTF-8 octet"))?;
    let (value, repeated) = compose::compose(text).map_err(|why| failure(&why))?;
    let mut strict = StrictErrors::default();
    if !repeated.is_empty() {
        let lines: Vec<String> = repeated
            .iter()
            .map(|(line, key)| format!("\n  line {line}: key {} already set in map", crate::text::quote(key)))
            .collect();
        strict.push(failure(&format!("yaml: unmarshal errors:{}", lines.concat())).0);
    }
    Ok(YamlDecoded { value, strict })
}

/// [`decode`] where repeated keys do not matter.
pub fn decode_value(bytes: &[u8]) -> Result<Value, DecodeError> {
    decode(bytes).map(|decoded| decoded.value)
}

/// JSON if it looks like it, else YAML: as kinds of content that may be either are read (patches for apply, files).
pub fn decode_either(bytes: &[u8]) -> Result<YamlDecoded, DecodeError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return decode(bytes);
    }
    let Decoded { value, duplicates } = crate::json::decode(bytes)?;
    let mut strict = StrictErrors::default();
    for path in &duplicates {
        strict.duplicate(path);
    }
    Ok(YamlDecoded { value, strict })
}

fn failure(why: &str) -> DecodeError {
    DecodeError(format!("error converting YAML to JSON: {why}"))
}

#[cfg(test)]
mod tests;
