//! Lists, written item by item into one buffer.

use machinery::object::ObjectExt;
use machinery::status::Result;
use serde_json::{Map, Value};

use super::object::{row, write, write_headless, write_value};
use super::{Form, Representation};
use crate::{Item, ItemList};

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
            let def = of.def();
            let api_version = def.group_version(of.resolved.version).to_string();
            let custom = def.is_custom();
            write_head(&api_version, &def.names.list_kind, list, custom, &mut out);
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

fn write_items(
    list: &ItemList,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&Item, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    out.extend_from_slice(b",\"items\":[");
    for (index, item) in list.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.extend_from_slice(b"]}");
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
