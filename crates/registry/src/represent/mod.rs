//! Objects as clients get them: JSON bytes in the version asked for, as tables, as metadata alone, in lists, in watches.
//!
//! What is stored in the version asked for is spliced from its bytes and not parsed; everything else goes through a tree.
//! What watchers are shown is made once for all of them and kept with the event (law 2).

mod list;
mod object;
mod watch;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use machinery::options::IncludeObject;
use machinery::status::Result;
use machinery::table::{MetaVersion, TablePrinter};
use serde_json::Value;

use crate::{Item, ItemList, Resolved, ResourceDef, WatchEvent};
pub use list::{ListBytes, ListChunks};

/// What is shown of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Whole,
    /// `PartialObjectMetadata`.
    Metadata(MetaVersion),
    Table {
        version: MetaVersion,
        include: IncludeObject,
    },
}

/// Shows the objects of one resource in one version and form. Cheap to make, but for tables, whose printer is built from
/// the columns.
pub struct Representation {
    resolved: Resolved,
    form: Form,
    /// kcp: partial metadata over all clusters says what the object is in (`kcp.io/original-api-version`).
    names_original: bool,
    printer: Option<TablePrinter>,
    /// The head of objects as stored, which typed lists leave out.
    head: Vec<u8>,
    /// Unix nanoseconds: ages in tables.
    now: i128,
}

// === impl Representation ===

impl Representation {
    /// `now` in Unix nanoseconds: what ages in tables are reckoned by.
    pub fn new(resolved: Resolved, form: Form, now: i128) -> Self {
        let def = &resolved.def;
        let printer = matches!(form, Form::Table { .. }).then(|| printer(def, resolved.version));
        let (api_version, kind) = (def.group_version(resolved.version).to_string(), &def.names.kind);
        let head = format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",").into_bytes();
        Self {
            resolved,
            form,
            names_original: false,
            printer,
            head,
            now,
        }
    }

    /// For partial metadata of several clusters' or groups' objects (C.7).
    #[must_use]
    pub fn naming_original(mut self) -> Self {
        self.names_original = true;
        self
    }

    fn def(&self) -> &ResourceDef {
        &self.resolved.def
    }

    /// The object as a tree, in the version asked for.
    pub fn value(&self, item: &Item) -> Result<Value> {
        match item {
            Item::Built(object) => Ok(Value::clone(object)),
            Item::Stored(entry) => {
                let mut object = entry.to_value();
                self.def().to_version(&mut object, self.resolved.version)?;
                Ok(object)
            }
        }
    }

    /// One object, in this form.
    pub fn object(&self, item: &Item) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match self.form {
            Form::Table { version, include } => object::write_table(self, item, version, include, true, &mut out)?,
            _ => object::write(self, item, &mut out)?,
        }
        Ok(out)
    }

    /// A page of a list.
    pub fn list(&self, list: &ItemList) -> Result<Vec<u8>> {
        list::write_list(self, list)
    }

    /// The same bytes, written while they are sent where the objects are shown as they are stored.
    pub fn list_bytes(&self, list: ItemList) -> Result<ListBytes> {
        list::list_bytes(self, list)
    }

    /// One line of a watch: `{"type":"ADDED","object":{…}}` and a newline.
    pub fn watch_line(
        &self,
        event: &WatchEvent,
        logged: Option<&storage::WatchEvent>,
        state: &mut WatchState,
    ) -> Bytes {
        watch::line(self, event, logged, state)
    }
}

/// What a watch's output depends on besides the event.
#[derive(Debug, Default)]
pub struct WatchState {
    /// A table has been sent: later ones come without column definitions.
    columns_sent: bool,
}

impl WatchState {
    pub fn new() -> Self {
        Self::default()
    }
}

fn printer(def: &ResourceDef, version: usize) -> TablePrinter {
    let columns = def.versions.get(version).map(|v| &*v.columns).unwrap_or_default();
    if columns.is_empty() && def.takes_strategic_patch() && is_printed_as_builtin(def) {
        // kcp: kinds of Kubernetes' groups that come as CRDs are shown as kubectl's users know them.
        return TablePrinter::builtin(&def.group, &def.names.plural);
    }
    let columns: Vec<Value> = columns
        .iter()
        .map(|column| {
            serde_json::json!({
                "name": column.name, "type": column.kind, "format": column.format,
                "description": column.description, "jsonPath": column.json_path, "priority": column.priority,
            })
        })
        .collect();
    TablePrinter::custom((!columns.is_empty()).then_some(Value::Array(columns)).as_ref())
}

/// Custom kinds without columns and without a printer of Kubernetes' show name and age.
fn is_printed_as_builtin(def: &ResourceDef) -> bool {
    !def.is_custom() || TablePrinter::builtin(&def.group, &def.names.plural).columns().len() > 2
}
