//! From parser events to a tree.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::resolve::{Scalar, float_value, resolve};
use crate::json::{DEPTH_MAX, nesting};

/// Nodes (and 32-byte units of text) that anchors and aliases may copy in all: against documents that double at each line.
const ALIASED_MAX: usize = 400_000;

type Composed<T> = Result<T, String>;

struct Composer<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Value>,
    aliased: usize,
    depth: usize,
    /// Line (from 1) and key of each key that comes again in its mapping.
    repeated: Vec<(usize, String)>,
}

/// The first document's tree (null if there is none) and the repeated keys.
pub(super) fn compose(text: &str) -> Composed<(Value, Vec<(usize, String)>)> {
    let mut options = Options::default();
    options.flow_nesting_limit = DEPTH_MAX + 1;
    options.block_nesting_limit = DEPTH_MAX + 1;
    options.emit_comments = false;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut composer = Composer {
        parser,
        anchors: BTreeMap::new(),
        aliased: 0,
        depth: 0,
        repeated: Vec::new(),
    };
    loop {
        match composer.next()? {
            (Event::DocumentStart(..), _) => break,
            (Event::StreamEnd, _) => return Ok((Value::Null, Vec::new())),
            _ => {}
        }
    }
    let (event, span) = composer.next()?;
    let value = composer.node(event, span)?;
    Ok((value, composer.repeated))
}

// === impl Composer ===

impl<'a> Composer<'a> {
    fn next(&mut self) -> Composed<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(format!("yaml: line {}: {}", error.marker().line(), error.info())),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Composed<Value> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref(), line(&span))?;
                self.anchored(anchor, value)
            }
            Event::SequenceStart(_, anchor, _) => {
                let value = self.nested(Self::sequence)?;
                self.anchored(anchor, value)
            }
            Event::MappingStart(_, anchor, _) => {
                let value = self.nested(Self::mapping)?;
                self.anchored(anchor, value)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).ok_or("yaml: anchor contains itself")?.clone();
                self.charge(&value)?;
                // An alias within an anchor within an alias: the text is flat, what it stands for is not.
                if self.depth + nesting(&value, &mut 0) > DEPTH_MAX {
                    return Err("yaml: exceeded max depth".to_owned());
                }
                Ok(value)
            }
            Event::DocumentEnd | Event::StreamEnd => Ok(Value::Null),
            _ => Err(format!(
                "yaml: line {}: did not find expected node content",
                line(&span)
            )),
        }
    }

    /// Anchors keep copies, so nested ones are paid for as aliases are.
    fn anchored(&mut self, anchor: usize, value: Value) -> Composed<Value> {
        if anchor > 0 {
            self.charge(&value)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn charge(&mut self, copied: &Value) -> Composed<()> {
        self.aliased += cost(copied);
        if self.aliased > ALIASED_MAX {
            return Err("yaml: document contains excessive aliasing".to_owned());
        }
        Ok(())
    }

    fn nested(&mut self, compose: fn(&mut Self) -> Composed<Value>) -> Composed<Value> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("yaml: exceeded max depth".to_owned());
        }
        let value = compose(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn sequence(&mut self) -> Composed<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn mapping(&mut self) -> Composed<Value> {
        let mut members = Map::new();
        let mut own = std::collections::BTreeSet::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Object(members)),
                next => next,
            };
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = if merge { String::new() } else { self.key(event, &span)? };
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            if merge {
                merge_into(&mut members, value)?;
                continue;
            }
            if !own.insert(key.clone()) {
                self.repeated.push((line(&span), key.clone()));
            }
            members.insert(key, value);
        }
    }

    /// JSON has only string keys: others are printed.
    fn key(&mut self, event: Event<'a>, span: &Span) -> Composed<String> {
        match self.node(event, *span)? {
            Value::String(text) => Ok(text),
            Value::Bool(bool) => Ok(bool.to_string()),
            Value::Number(number) => Ok(number.to_string()),
            other => {
                let kind = match other {
                    Value::Null => "%!s(<nil>)",
                    Value::Array(_) => "[]interface {}",
                    _ => "map[interface {}]interface {}",
                };
                Err(format!("unsupported map key of type: {kind}"))
            }
        }
    }
}

fn line(span: &Span) -> usize {
    span.start.line()
}

/// `<<: *base` or a list of such: what is merged does not replace what is there.
fn merge_into(members: &mut Map<String, Value>, value: Value) -> Composed<()> {
    match value {
        Value::Object(merged) => {
            for (key, value) in merged {
                members.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(items) => items.into_iter().try_for_each(|item| match item {
            Value::Object(_) => merge_into(members, item),
            _ => Err("yaml: map merge requires map or sequence of maps as the value".to_owned()),
        }),
        _ => Err("yaml: map merge requires map or sequence of maps as the value".to_owned()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Composed<Value> {
    let wanted = tag.map(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
    let resolved = match &wanted {
        None if style == ScalarStyle::Plain => resolve(text),
        None => Scalar::Text,
        Some(Some(name)) => match name.as_ref() {
            "null" | "bool" | "int" | "float" => resolve(text),
            "binary" => return binary(text, line),
            _ => Scalar::Text,
        },
        Some(None) => Scalar::Text,
    };
    let value = match resolved {
        Scalar::Null => Value::Null,
        Scalar::Bool(bool) => Value::Bool(bool),
        Scalar::Int(int) => Value::from(int),
        Scalar::Float(float) => float_value(float),
        Scalar::NotFinite(name) => return Err(format!("json: unsupported value: {name}")),
        Scalar::Text | Scalar::Merge => Value::String(text.to_owned()),
    };
    match wanted.flatten().as_deref() {
        Some(name @ ("bool" | "int" | "float" | "null")) if !fits(name, &value) => {
            Err(format!("yaml: line {line}: cannot decode `{text}` as a !!{name}"))
        }
        _ => Ok(value),
    }
}

fn fits(tag: &str, value: &Value) -> bool {
    match tag {
        "null" => value.is_null(),
        "bool" => value.is_boolean(),
        _ => value.is_number(),
    }
}

fn binary(text: &str, line: usize) -> Composed<Value> {
    let packed: String = text.split_whitespace().collect();
    let bytes = STANDARD
        .decode(packed)
        .map_err(|_| format!("yaml: line {line}: !!binary value contains invalid base64 data"))?;
    Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What a copy of a tree costs, in nodes.
fn cost(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len() / 32,
        Value::Array(items) => 1 + items.iter().map(cost).sum::<usize>(),
        Value::Object(members) => {
            1 + members
                .iter()
                .map(|(key, value)| 1 + key.len() / 32 + cost(value))
                .sum::<usize>()
        }
        _ => 1,
    }
}
