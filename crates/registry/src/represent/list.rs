//! Lists, written item by item: into one buffer, or chunk by chunk while they are sent.

use std::sync::Arc;

use bytes::Bytes;
use machinery::object::ObjectExt;
use machinery::status::Result;
use serde_json::{Map, Value};
use storage::Entry;

use super::object::{row, write, write_headless, write_value};
use super::{Form, Representation};
use crate::{Item, ItemList};

/// How much of a list is written at a time: with the head of an HTTP/2 frame one full TLS record, so that nothing is cut
/// once more. It stays in the processor's cache until it is encrypted, and a list of any length costs its connection no
/// more memory.
const CHUNK_LEN: usize = 16 * 1024 - 9;

/// The bytes of a list.
pub enum ListBytes {
    Whole(Vec<u8>),
    Chunks(ListChunks),
}

/// A list whose items are shown as they are stored, written while it is read.
pub struct ListChunks {
    /// Written and not yet handed out: what comes before the items, then what did not fit into the chunk before.
    written: Bytes,
    items: std::vec::IntoIter<Arc<Entry>>,
    /// What the items of typed lists go without.
    left_out: usize,
    is_first: bool,
    has_ended: bool,
    /// Bytes that are still to come.
    len: u64,
}

const ITEMS: &[u8] = b",\"items\":[";
const END: &[u8] = b"]}";

pub(super) fn write_list(of: &Representation, list: &ItemList) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(size_hint(list));
    match of.form {
        Form::Table { .. } => write_table(of, list, &mut out)?,
        Form::Metadata(version) => {
            write_head(
                version.api_version(),
                "PartialObjectMetadataList",
                list,
                false,
                &mut out,
            );
            write_items(list, &mut out, |item, out| write(of, item, out))?;
        }
        Form::Whole => {
            let custom = of.def().is_custom();
            write_whole_head(of, list, &mut out);
            // Items of custom resources say what they are; those of Go's typed lists do not.
            write_items(list, &mut out, |item, out| {
                if custom {
                    write(of, item, out)
                } else {
                    write_headless(of, item, out)
                }
            })?;
        }
    }
    Ok(out)
}

/// The same bytes as [`write_list`]'s.
pub(super) fn list_bytes(of: &Representation, list: ItemList) -> Result<ListBytes> {
    let is_spliced = of.form == Form::Whole && of.def().reads_as_stored(of.resolved.version) && !of.names_original;
    let as_stored = |item: &Item| matches!(item, Item::Stored(entry) if entry.begins_with(&of.head));
    if is_spliced && list.items.iter().all(as_stored) {
        return Ok(ListBytes::Chunks(ListChunks::new(of, list)));
    }
    Ok(ListBytes::Whole(write_list(of, &list)?))
}

fn size_hint(list: &ItemList) -> usize {
    let size = |item: &Item| match item {
        Item::Stored(entry) => entry.encoded_len() + 1,
        Item::Built(_) => 1024,
    };
    256 + list.items.iter().map(size).sum::<usize>()
}

fn list_meta(list: &ItemList) -> Map<String, Value> {
    let mut meta = Map::new();
    if let Some(token) = &list.continue_token {
        meta.insert("continue".to_owned(), token.as_str().into());
    }
    if let Some(remaining) = list.remaining.filter(|n| *n > 0) {
        meta.insert("remainingItemCount".to_owned(), remaining.into());
    }
    meta.insert("resourceVersion".to_owned(), list.revision.to_string().into());
    meta
}

/// Everything up to the items. Custom resources' lists always have a `continue`.
fn write_head(api_version: &str, kind: &str, list: &ItemList, with_continue: bool, out: &mut Vec<u8>) {
    let mut meta = list_meta(list);
    if with_continue {
        meta.entry("continue").or_insert_with(|| "".into());
    }
    out.extend_from_slice(b"{\"apiVersion\":");
    write_value(&api_version.into(), out);
    out.extend_from_slice(b",\"kind\":");
    write_value(&kind.into(), out);
    out.extend_from_slice(b",\"metadata\":");
    write_value(&Value::Object(meta), out);
}

fn write_whole_head(of: &Representation, list: &ItemList, out: &mut Vec<u8>) {
    let def = of.def();
    let api_version = def.group_version(of.resolved.version).to_string();
    write_head(&api_version, &def.names.list_kind, list, def.is_custom(), out);
}

fn write_items(
    list: &ItemList,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&Item, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    out.extend_from_slice(ITEMS);
    for (index, item) in list.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.extend_from_slice(END);
    Ok(())
}

/// A table's rows are made one at a time: no tree of the whole list.
fn write_table(of: &Representation, list: &ItemList, out: &mut Vec<u8>) -> Result<()> {
    let (Form::Table { version, include }, Some(printer)) = (of.form, &of.printer) else {
        return Ok(());
    };
    let meta = Value::Object(list_meta(list));
    if list.items.is_empty() {
        write_value(&printer.table(version, Some(&meta), Vec::new(), true), out);
        return Ok(());
    }
    let mut head = printer.table(version, Some(&meta), vec![Value::Null], true);
    head.remove_at(&["rows"]);
    write_value(&head, out);
    // The closing brace comes after the rows.
    out.pop();
    out.extend_from_slice(b",\"rows\":[");
    for (index, item) in list.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_value(&row(of, printer, &of.value(item)?, include, version), out);
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

// === impl ListBytes ===

impl ListBytes {
    /// All of it in one buffer.
    pub fn into_whole(self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Chunks(chunks) => chunks.fold(Vec::new(), |mut whole, chunk| {
                whole.extend_from_slice(&chunk);
                whole
            }),
        }
    }
}

// === impl ListChunks ===

impl ListChunks {
    /// Of stored items.
    fn new(of: &Representation, list: ItemList) -> Self {
        let mut head = Vec::with_capacity(256);
        write_whole_head(of, &list, &mut head);
        head.extend_from_slice(ITEMS);
        let stored = |item| match item {
            Item::Stored(entry) => Some(entry),
            Item::Built(_) => None,
        };
        let entries: Vec<Arc<Entry>> = list.items.into_iter().filter_map(stored).collect();
        // Items of custom resources say what they are; of the others the brace is all of the head that stays.
        let left_out = if of.def().is_custom() { 0 } else { of.head.len() };
        let item_len = |entry: &Arc<Entry>| entry.encoded_len() - left_out + usize::from(left_out > 0);
        let commas = entries.len().saturating_sub(1);
        let len = head.len() + entries.iter().map(item_len).sum::<usize>() + commas + END.len();
        Self {
            written: head.into(),
            items: entries.into_iter(),
            left_out,
            is_first: true,
            has_ended: false,
            len: len as u64,
        }
    }

    /// Bytes of all chunks that are still to come.
    pub fn bytes_left(&self) -> u64 {
        self.len
    }
}

impl ListChunks {
    /// Writes items until a chunk is full.
    fn fill(&mut self) {
        let left = usize::try_from(self.len).unwrap_or(usize::MAX);
        let mut out = Vec::with_capacity(left.min(CHUNK_LEN + 1024));
        out.extend_from_slice(&self.written);
        while out.len() < CHUNK_LEN
            && let Some(entry) = self.items.next()
        {
            if !std::mem::take(&mut self.is_first) {
                out.push(b',');
            }
            if self.left_out > 0 {
                out.push(b'{');
            }
            entry.encode_behind(self.left_out, &mut out);
        }
        if self.items.len() == 0 && !std::mem::replace(&mut self.has_ended, true) {
            out.extend_from_slice(END);
        }
        self.written = out.into();
    }
}

impl Iterator for ListChunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.written.len() < CHUNK_LEN && !self.has_ended {
            self.fill();
        }
        let chunk = self.written.split_to(self.written.len().min(CHUNK_LEN));
        self.len = self.len.saturating_sub(chunk.len() as u64);
        (!chunk.is_empty()).then_some(chunk)
    }
}
