//! Kubernetes' protobuf: bodies of built-in kinds, which stock clients write in it, to the trees that JSON would give.
//!
//! A body is `k8s\0`, then a `runtime.Unknown`: `apiVersion` and kind, and the object as bytes. What its fields are says
//! the table `messages.txt`. The tree is what Go would write as JSON of the object that it reads from the bytes, zero
//! values included, but for zero times, which are left out instead of null. There is no way back: answers are JSON.
//!
//! Bounded in depth and in the number of values; no bytes make it panic.

mod descriptor;
mod message;
mod wire;

use serde_json::Value;

use crate::json::{self, DecodeError};
use crate::object::{GroupVersion, GroupVersionKind};
use crate::text::quote;
use descriptor::Descriptors;
use message::{Reader, text};
use wire::{Wire, each};

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What precedes every object.
const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest.
const DEPTH_MAX: usize = 128;
/// How many values a body may have, those included that are zero and yet written.
const VALUES_MAX: usize = 1 << 19;

/// Whether objects of this kind have a protobuf form here.
pub fn knows(kind: &GroupVersionKind) -> bool {
    Descriptors::get().find(&api_version(kind), &kind.kind).is_some()
}

/// The object of a body. `expected` is what it is where it does not say so itself; it may well say otherwise.
pub fn decode(body: &[u8], expected: &GroupVersionKind) -> Result<Value, DecodeError> {
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        return Err(DecodeError(format!(
            "provided data does not appear to be a protobuf message, expected prefix {}",
            "[107 56 115 0]"
        )));
    };
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    each(envelope, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(type_meta)) => each(type_meta, |number, wire| {
                match number {
                    1 => version = text(wire)?,
                    2 => kind = text(wire)?,
                    _ => {}
                }
                Ok::<_, DecodeError>(())
            })?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            // How the bytes are encoded: empty in all that Kubernetes writes, and not looked at where it reads.
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    if version.is_empty() {
        version = api_version(expected);
    }
    if kind.is_empty() {
        kind.clone_from(&expected.kind);
    }
    let descriptors = Descriptors::get();
    let message = descriptors.find(&version, &kind).ok_or_else(|| {
        let (kind, version) = (quote(&kind), quote(&version));
        DecodeError(format!("no kind {kind} is registered for version {version}"))
    })?;
    let mut object = Reader::new(descriptors).message(message, raw, 0)?;
    if let Value::Object(members) = &mut object {
        members.insert("apiVersion".to_owned(), version.into());
        members.insert("kind".to_owned(), kind.into());
    }
    // What is stored is read back as JSON, which has a bound of its own; JSON within protobuf adds to the depth.
    if json::nesting(&object, &mut 0) > json::DEPTH_MAX {
        return Err(DecodeError("exceeded max depth".to_owned()));
    }
    Ok(object)
}

fn api_version(kind: &GroupVersionKind) -> String {
    GroupVersion::new(kind.group.as_str(), kind.version.as_str()).to_string()
}

#[cfg(test)]
mod tests;
