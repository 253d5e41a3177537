//! One object.

use machinery::object::{ObjectExt, encode_canonical};
use machinery::options::IncludeObject;
use machinery::status::Result;
use machinery::table::{MetaVersion, TablePrinter};
use serde_json::Value;

use super::{Form, Representation};
use crate::Item;

/// Says what an object shown by its metadata alone is in (kcp's facts, C.7).
const ORIGINAL_ANNOTATION: &str = "kcp.io/original-api-version";

/// Appends the object: whole, or its metadata. (Tables are written by [`write_table`].)
pub(super) fn write(of: &Representation, item: &Item, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    if write_stored(of, item, out) {
        return Ok(());
    }
    out.truncate(start);
    let object = of.value(item)?;
    match of.form {
        Form::Metadata(version) => write_partial(of, object, version, out),
        _ => out.extend_from_slice(&encode_canonical(&object)),
    }
    Ok(())
}

/// Appends an item of a typed list: it goes without `apiVersion` and `kind`.
pub(super) fn write_headless(of: &Representation, item: &Item, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    write(of, item, out)?;
    if out.get(start..).is_some_and(|bytes| bytes.starts_with(&of.head)) {
        // What stays is moved once, which costs less than to parse it.
        out.drain(start + 1..start + of.head.len());
    }
    Ok(())
}

/// Splices stored bytes, if they are what is to be shown. Else leaves something to be cut off.
fn write_stored(of: &Representation, item: &Item, out: &mut Vec<u8>) -> bool {
    let Item::Stored(entry) = item else { return false };
    if !of.def().reads_as_stored(of.resolved.version) || of.names_original {
        return false;
    }
    match of.form {
        Form::Whole => {
            let start = out.len();
            entry.encode_into(out);
            // An object stored in another version begins otherwise.
            out.get(start..).is_some_and(|bytes| bytes.starts_with(&of.head))
        }
        Form::Metadata(version) => {
            let bytes = entry.encode();
            let Some(metadata) = metadata_of(&bytes, &of.head) else {
                return false;
            };
            out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
            out.extend_from_slice(version.api_version().as_bytes());
            out.extend_from_slice(b"\",\"metadata\":");
            out.extend_from_slice(metadata);
            out.push(b'}');
            true
        }
        Form::Table { .. } => false,
    }
}

/// The bytes of `metadata` in a canonical object with this head.
fn metadata_of<'a>(bytes: &'a [u8], head: &[u8]) -> Option<&'a [u8]> {
    let rest = bytes.strip_prefix(head)?.strip_prefix(b"\"metadata\":")?;
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for (index, byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return rest.get(..=index);
                }
            }
            _ => {}
        }
    }
    None
}

fn write_partial(of: &Representation, mut object: Value, version: MetaVersion, out: &mut Vec<u8>) {
    if of.names_original {
        let original = object.api_version().to_owned();
        object.set_annotation(ORIGINAL_ANNOTATION, &original);
    }
    write_value(&machinery::table::partial_object(&object, version), out);
}

/// Appends a table of one row.
pub(super) fn write_table(
    of: &Representation,
    item: &Item,
    version: MetaVersion,
    include: IncludeObject,
    with_columns: bool,
    out: &mut Vec<u8>,
) -> Result<()> {
    let Some(printer) = &of.printer else {
        return write(of, item, out);
    };
    let object = of.value(item)?;
    let rows = vec![row(of, printer, &object, include, version)];
    write_value(&printer.table(version, object.get("metadata"), rows, with_columns), out);
    Ok(())
}

pub(super) fn row(
    of: &Representation,
    printer: &TablePrinter,
    object: &Value,
    include: IncludeObject,
    version: MetaVersion,
) -> Value {
    printer.row(object, include, version, of.now)
}

pub(super) fn write_value(value: &Value, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and a Value has no keys that are not strings.
    let _infallible = serde_json::to_writer(out, value);
}
