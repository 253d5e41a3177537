//! `metav1.Table` and `PartialObjectMetadata`: what `kubectl get` asks for.
//!
//! A [`TablePrinter`] is made once per resource and version; its rows depend on the object and the time alone.

mod builtin;
mod cell;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::jsonpath::JsonPath;
use crate::object::ObjectExt;
use crate::options::IncludeObject;

/// A column as the table's head describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    pub name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    #[serde(rename = "type")]
    pub kind: String,
    pub format: String,
    pub description: String,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: i32,
}

/// The version of `meta.k8s.io` that the client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetaVersion {
    #[default]
    V1,
    V1Beta1,
}

/// How one resource is shown.
#[derive(Clone, Debug)]
pub struct TablePrinter {
    columns: Vec<Column>,
    cells: Cells,
}

#[derive(Clone, Debug)]
enum Cells {
    /// The name, then a path for each further column; `None` is a path that cannot be read.
    Paths(Vec<Option<JsonPath>>),
    Builtin(fn(object: &Value, now_unix_nanos: i128) -> Vec<Value>),
    /// Name and creation time.
    Plain,
}

// === impl MetaVersion ===

impl MetaVersion {
    pub fn parse(version: &str) -> Option<Self> {
        match version {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }

    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

// === impl Column ===

impl Column {
    fn new(name: &str, kind: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: description.to_owned(),
            priority: 0,
        }
    }

    fn name() -> Self {
        Self {
            format: "name".to_owned(),
            ..Self::new("Name", "string", "Name of the object, unique where it lives.")
        }
    }

    fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

// === impl TablePrinter ===

impl TablePrinter {
    /// For a custom resource: `additionalPrinterColumns` of its version (a list). Without any: name and age.
    pub fn custom(additional: Option<&Value>) -> Self {
        let given = additional
            .and_then(Value::as_array)
            .filter(|columns| !columns.is_empty());
        let mut columns = vec![Column::name()];
        let mut paths = Vec::new();
        for column in given.into_iter().flatten() {
            let text = |name: &str| column.get(name).and_then(Value::as_str).unwrap_or_default();
            let description = match text("description") {
                "" => format!("Value of the object at {}.", text("jsonPath")),
                given => given.to_owned(),
            };
            let priority = column.get("priority").and_then(Value::as_i64).unwrap_or_default();
            columns.push(Column {
                name: text("name").to_owned(),
                kind: text("type").to_owned(),
                format: text("format").to_owned(),
                description,
                priority: i32::try_from(priority).unwrap_or_default(),
            });
            paths.push(JsonPath::parse(text("jsonPath")).ok());
        }
        if given.is_none() {
            columns.push(Column::new("Age", "date", "Time since the object was created."));
            paths.push(JsonPath::parse(".metadata.creationTimestamp").ok());
        }
        Self {
            columns,
            cells: Cells::Paths(paths),
        }
    }

    /// For a built-in resource: its own columns where Kubernetes has some, else name and creation time.
    pub fn builtin(group: &str, resource: &str) -> Self {
        match builtin::printer(group, resource) {
            Some((columns, cells)) => Self {
                columns,
                cells: Cells::Builtin(cells),
            },
            None => Self {
                columns: created_at_columns(),
                cells: Cells::Plain,
            },
        }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// One object's row.
    pub fn row(&self, object: &Value, include: IncludeObject, version: MetaVersion, now_unix_nanos: i128) -> Value {
        let cells = match &self.cells {
            Cells::Paths(paths) => {
                let mut cells = vec![Value::from(object.name())];
                let further = self.columns.iter().skip(1).zip(paths);
                cells
                    .extend(further.map(|(column, path)| cell::at_path(column, path.as_ref(), object, now_unix_nanos)));
                cells
            }
            Cells::Builtin(print) => print(object, now_unix_nanos),
            Cells::Plain => vec![Value::from(object.name()), cell::created_at(object)],
        };
        let object = match include {
            IncludeObject::None => Value::Null,
            IncludeObject::Metadata => partial_object(object, version),
            IncludeObject::Object => object.clone(),
        };
        json!({"cells": cells, "object": object})
    }

    /// A table of rows. `list_meta` is that of the list (`resourceVersion`, `continue`, `remainingItemCount`), or of a
    /// single object. `with_columns` is false for all but the first table of a watch.
    pub fn table(
        &self,
        version: MetaVersion,
        list_meta: Option<&Value>,
        rows: Vec<Value>,
        with_columns: bool,
    ) -> Value {
        let columns = if with_columns { json!(self.columns) } else { Value::Null };
        // Kubernetes' plain printer never makes its list of rows.
        let rows = if rows.is_empty() && matches!(self.cells, Cells::Plain) {
            Value::Null
        } else {
            Value::from(rows)
        };
        json!({
            "kind": "Table",
            "apiVersion": version.api_version(),
            "metadata": list_metadata(list_meta),
            "columnDefinitions": columns,
            "rows": rows,
        })
    }

    /// The table of a whole list (with `items`), or of a single object.
    pub fn print(&self, object: &Value, include: IncludeObject, version: MetaVersion, now_unix_nanos: i128) -> Value {
        let row = |object: &Value| self.row(object, include, version, now_unix_nanos);
        let rows = match object.get("items").and_then(Value::as_array) {
            Some(items) => items.iter().map(row).collect(),
            None => vec![row(object)],
        };
        self.table(version, object.get("metadata"), rows, true)
    }
}

fn created_at_columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Created At", "date", "Time at which the object was created."),
    ]
}

/// An object's metadata alone, as `PartialObjectMetadata`.
pub fn partial_object(object: &Value, version: MetaVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": version.api_version(),
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| Value::Object(Map::new())),
    })
}

/// A list's objects as `PartialObjectMetadata`.
pub fn partial_list(list: &Value, version: MetaVersion) -> Value {
    let items = list
        .get("items")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let items: Vec<Value> = items.iter().map(|item| partial_object(item, version)).collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": version.api_version(),
        "metadata": list_metadata(list.get("metadata")),
        "items": items,
    })
}

fn list_metadata(meta: Option<&Value>) -> Value {
    let mut out = Map::new();
    for name in ["resourceVersion", "continue", "remainingItemCount"] {
        let given = meta.and_then(|meta| meta.get(name));
        if let Some(value) = given.filter(|value| !value.is_null() && *value != "") {
            out.insert(name.to_owned(), value.clone());
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests;
