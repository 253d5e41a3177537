//! Lines of a watch.

use bytes::Bytes;
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use serde_json::{Value, json};

use super::object::{write, write_table, write_value};
use super::{Form, Representation, WatchState};
use crate::{Item, WatchEvent};

/// Marks the bookmark after the initial events of a watch.
const INITIAL_END_ANNOTATION: &str = "k8s.io/initial-events-end";

pub(super) fn line(
    of: &Representation,
    event: &WatchEvent,
    logged: Option<&storage::WatchEvent>,
    state: &mut WatchState,
) -> Bytes {
    let (kind, item, revision) = match event {
        WatchEvent::Added(item) => ("ADDED", item, None),
        WatchEvent::Modified(item) => ("MODIFIED", item, None),
        WatchEvent::Deleted { item, revision } => ("DELETED", item, Some(*revision)),
        WatchEvent::Bookmark { revision, initial_end } => return bookmark(of, *revision, *initial_end, state),
        WatchEvent::Failed(status) => return error(status),
    };
    if let (Some(number), Some(logged), Item::Stored(_)) = (shared_number(of), logged, item) {
        return logged.encoded(number, |_| made(of, kind, item, revision, state));
    }
    made(of, kind, item, revision, state)
}

/// The number under which this representation is kept with an event. Only for what is the same for whoever asks for it:
/// stored bytes, whole or cut to their metadata.
fn shared_number(of: &Representation) -> Option<u32> {
    if !of.def().reads_as_stored(of.resolved.version) || of.names_original {
        return None;
    }
    let form = match of.form {
        Form::Whole => 0,
        Form::Metadata(version) => 1 + u32::from(version != machinery::table::MetaVersion::V1),
        Form::Table { .. } => return None,
    };
    Some(u32::try_from(of.resolved.version).ok()? * 4 + form)
}

fn made(of: &Representation, kind: &str, item: &Item, revision: Option<u64>, state: &mut WatchState) -> Bytes {
    match framed(of, kind, item, revision, state) {
        Ok(line) => line.into(),
        Err(status) => error(&status),
    }
}

fn framed(
    of: &Representation,
    kind: &str,
    item: &Item,
    revision: Option<u64>,
    state: &mut WatchState,
) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256 + size(item));
    begin(kind, &mut out);
    let at_revision = deleted_at(item, revision);
    let item = at_revision.as_ref().unwrap_or(item);
    match of.form {
        Form::Table { version, include } => {
            let first = !std::mem::replace(&mut state.columns_sent, true);
            write_table(of, item, version, include, first, &mut out)?;
        }
        _ => write(of, item, &mut out)?,
    }
    end(&mut out);
    Ok(out)
}

/// A deletion is shown at its own revision, which the store's entries have already.
fn deleted_at(item: &Item, revision: Option<u64>) -> Option<Item> {
    let (Item::Built(object), Some(revision)) = (item, revision) else {
        return None;
    };
    let mut object = Value::clone(object);
    object.set_at(&["metadata", "resourceVersion"], revision.to_string().into());
    Some(Item::Built(object.into()))
}

fn size(item: &Item) -> usize {
    match item {
        Item::Stored(entry) => entry.encoded_len(),
        Item::Built(_) => 1024,
    }
}

fn begin(kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

fn bookmark(of: &Representation, revision: u64, initial_end: bool, state: &mut WatchState) -> Bytes {
    let mut meta = json!({"resourceVersion": revision.to_string()});
    if initial_end {
        meta["annotations"] = json!({INITIAL_END_ANNOTATION: "true"});
    }
    let object = match (of.form, &of.printer) {
        (Form::Table { version, .. }, Some(printer)) => {
            let first = !std::mem::replace(&mut state.columns_sent, true);
            printer.table(version, Some(&meta), Vec::new(), first)
        }
        (Form::Metadata(version), _) => {
            json!({"kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": meta})
        }
        _ => {
            let api_version = of.def().group_version(of.resolved.version).to_string();
            json!({"kind": of.def().names.kind, "apiVersion": api_version, "metadata": meta})
        }
    };
    let mut out = Vec::with_capacity(256);
    begin("BOOKMARK", &mut out);
    write_value(&object, &mut out);
    end(&mut out);
    out.into()
}

fn error(status: &Status) -> Bytes {
    let mut out = Vec::with_capacity(256);
    begin("ERROR", &mut out);
    write_value(&status.to_value(), &mut out);
    end(&mut out);
    out.into()
}
