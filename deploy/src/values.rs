//! The chart's values: the schema that Helm checks them against, read as Helm reads it, so that tests need no Helm.
//!
//! Invariant: a schema with a word that is not understood here is an error, never something that holds.
//!
//! Read next: `charts/kcp/values.schema.json`, [`Schema::errors`].

use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value};

/// `values.schema.json`: as much of JSON Schema as it uses.
#[derive(Clone, Debug)]
pub struct Schema(Value);

/// Words that say nothing about whether a value fits.
const SILENT: [&str; 2] = ["$schema", "$defs"];

// === impl Schema ===

impl Schema {
    /// The chart's own.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_chart() -> Result<Self, String> {
        let text = std::fs::read_to_string(chart().join("values.schema.json")).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map(Self).map_err(|error| error.to_string())
    }

    /// What it says of all values.
    pub fn root(&self) -> &Value {
        &self.0
    }

    /// Follows a reference to `$defs`, if that is all that is said.
    pub fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let target = schema.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|name| self.0.pointer(name.trim_start_matches('#')));
        target.unwrap_or(schema)
    }

    /// Everything about the values that does not fit: where, and by which word of the schema.
    pub fn errors(&self, values: &Value) -> Vec<String> {
        self.check(&self.0, values, "")
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let Some(words) = schema.as_object() else {
            return vec![format!("{at}: no schema")];
        };
        words
            .iter()
            .filter(|(word, _)| !SILENT.contains(&word.as_str()))
            .flat_map(|(word, wanted)| self.check_word(words, word, wanted, value, at))
            .collect()
    }

    fn check_word(
        &self,
        words: &Map<String, Value>,
        word: &str,
        wanted: &Value,
        value: &Value,
        at: &str,
    ) -> Vec<String> {
        let fits = match word {
            "$ref"
            | "allOf"
            | "properties"
            | "additionalProperties"
            | "propertyNames"
            | "items"
            | "if"
            | "then"
            | "else" => {
                return self.check_below(words, word, wanted, value, at);
            }
            "anyOf" => array(wanted).iter().any(|one| self.check(one, value, at).is_empty()),
            _ => fits(word, wanted, value),
        };
        match fits {
            true => Vec::new(),
            false => vec![format!("{at}: {word}: {value} ({wanted})")],
        }
    }

    /// Words that are schemas of something.
    fn check_below(
        &self,
        words: &Map<String, Value>,
        word: &str,
        wanted: &Value,
        value: &Value,
        at: &str,
    ) -> Vec<String> {
        let fields = || value.as_object().into_iter().flatten();
        let known = words.get("properties").and_then(Value::as_object);
        let below = |name: &str| format!("{at}/{name}");
        match word {
            "$ref" => self.check(self.resolve(&Value::Object(words.clone())), value, at),
            "allOf" => {
                let all = array(wanted).iter();
                all.flat_map(|one| self.check(one, value, at)).collect()
            }
            "properties" => fields()
                .filter_map(|(name, field)| Some((name, field, known?.get(name)?)))
                .flat_map(|(name, field, schema)| self.check(schema, field, &below(name)))
                .collect(),
            "additionalProperties" => fields()
                .filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
                .flat_map(|(name, field)| match wanted {
                    Value::Bool(false) => vec![format!("{at}: additionalProperties: {name}")],
                    schema => self.check(schema, field, &below(name)),
                })
                .collect(),
            "propertyNames" => fields()
                .flat_map(|(name, _)| self.check(wanted, &Value::from(name.as_str()), at))
                .collect(),
            "items" => {
                let items = array(value).iter().enumerate();
                items
                    .flat_map(|(index, item)| self.check(wanted, item, &below(&index.to_string())))
                    .collect()
            }
            "if" => {
                let holds = self.check(wanted, value, at).is_empty();
                let branch = words.get(if holds { "then" } else { "else" });
                branch.map(|branch| self.check(branch, value, at)).unwrap_or_default()
            }
            // Said by `if`.
            _ => Vec::new(),
        }
    }
}

impl From<Value> for Schema {
    fn from(schema: Value) -> Self {
        Self(schema)
    }
}

/// Words that say something of the value alone. Those of one type let values of others pass.
fn fits(word: &str, wanted: &Value, value: &Value) -> bool {
    let (text, number) = (value.as_str(), value.as_f64());
    let bound = wanted.as_f64().unwrap_or(f64::NAN);
    let counted = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    let length = text.map(|text| counted(text.chars().count()));
    let items = value.as_array().map(|items| counted(items.len()));
    let fields = value.as_object().map(|fields| counted(fields.len()));
    match word {
        "type" => is_of_type(wanted, value),
        "enum" => array(wanted).contains(value),
        "const" => wanted == value,
        "required" => value.as_object().is_none_or(|fields| {
            let mut names = array(wanted).iter().filter_map(Value::as_str);
            names.all(|name| fields.contains_key(name))
        }),
        "pattern" => text.is_none_or(|text| {
            let pattern = wanted.as_str().and_then(|pattern| Regex::new(pattern).ok());
            pattern.is_some_and(|pattern| pattern.is_match(text))
        }),
        "minimum" => number.is_none_or(|number| number >= bound),
        "maximum" => number.is_none_or(|number| number <= bound),
        "minLength" => length.is_none_or(|length| length >= bound),
        "maxLength" => length.is_none_or(|length| length <= bound),
        "minItems" => items.is_none_or(|items| items >= bound),
        "maxItems" => items.is_none_or(|items| items <= bound),
        "maxProperties" => fields.is_none_or(|fields| fields <= bound),
        _ => false,
    }
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What Helm makes of the chart's values and somebody's: maps become one, everything else is replaced, null takes away.
pub fn merge(into: &mut Value, from: &Value) {
    let (Some(fields), Some(given)) = (into.as_object_mut(), from.as_object()) else {
        *into = from.clone();
        return;
    };
    for (name, value) in given {
        match value {
            Value::Null => drop(fields.remove(name)),
            value => merge(fields.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

/// The chart's directory.
pub fn chart() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/kcp")
}
