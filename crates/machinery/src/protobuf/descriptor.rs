//! What the fields of messages are: `messages.txt`, read once.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// All messages, and the kinds whose objects they are.
pub(super) struct Descriptors {
    /// By `apiVersion` (`*` for any) and kind.
    kinds: BTreeMap<(&'static str, &'static str), usize>,
    messages: Vec<Message>,
}

#[derive(Default)]
pub(super) struct Message {
    pub fields: Vec<Field>,
    /// Its JSON is not an object, but that of the one field that is set.
    pub is_union: bool,
}

pub(super) struct Field {
    pub number: u64,
    /// Of the member of the JSON object.
    pub name: &'static str,
    pub shape: Shape,
    pub of: Type,
    /// Even if empty, it is a member of the JSON.
    pub is_always_written: bool,
    /// The members of its value are members of the message.
    pub is_inline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Zero where absent.
    One,
    /// Absence differs from zero.
    Optional,
    List,
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    Time,
    MicroTime,
    Duration,
    IntOrString,
    Quantity,
    /// JSON within protobuf.
    Raw,
    /// Its index.
    Message(usize),
}

static DESCRIPTORS: LazyLock<Descriptors> =
    LazyLock::new(|| Descriptors::parse(include_str!("messages.txt")).expect("messages.txt is well-formed, see tests"));

// === impl Descriptors ===

impl Descriptors {
    pub fn get() -> &'static Self {
        &DESCRIPTORS
    }

    /// The message of a kind.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<usize> {
        let exact = self.kinds.get(&(api_version, kind));
        exact.or_else(|| self.kinds.get(&("*", kind))).copied()
    }

    pub fn message(&self, index: usize) -> Option<&Message> {
        self.messages.get(index)
    }

    fn parse(text: &'static str) -> Option<Self> {
        let lines = || {
            text.lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(|line| line.split(' '))
        };
        let mut indices = BTreeMap::new();
        for mut words in lines() {
            if matches!(words.next()?, "message" | "union") {
                indices.insert(words.next()?, indices.len());
            }
        }
        let mut kinds = BTreeMap::new();
        let mut messages: Vec<Message> = Vec::new();
        for mut words in lines() {
            match words.next()? {
                "kind" => {
                    let key = (words.next()?, words.next()?);
                    kinds.insert(key, *indices.get(words.next()?)?);
                }
                head @ ("message" | "union") => messages.push(Message {
                    fields: Vec::new(),
                    is_union: head == "union",
                }),
                number => {
                    let field = Field::parse(number, words.next()?, words.next()?, &indices)?;
                    messages.last_mut()?.fields.push(field);
                }
            }
        }
        Some(Self { kinds, messages })
    }
}

// === impl Field ===

impl Field {
    fn parse(number: &str, name: &'static str, of: &str, messages: &BTreeMap<&str, usize>) -> Option<Self> {
        let shapes = [("?", Shape::Optional), ("[]", Shape::List), ("{}", Shape::Map)];
        let (shape, of) = shapes
            .iter()
            .find_map(|(prefix, shape)| Some((*shape, of.strip_prefix(prefix)?)))
            .unwrap_or((Shape::One, of));
        let of = match of {
            "string" => Type::String,
            "bool" => Type::Bool,
            "int32" => Type::Int32,
            "int64" => Type::Int64,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "time" => Type::Time,
            "microtime" => Type::MicroTime,
            "duration" => Type::Duration,
            "intorstring" => Type::IntOrString,
            "quantity" => Type::Quantity,
            "raw" => Type::Raw,
            message => Type::Message(*messages.get(message)?),
        };
        Some(Self {
            number: number.parse().ok()?,
            name: name.trim_end_matches('!'),
            shape,
            of,
            is_always_written: name.ends_with('!'),
            is_inline: name == ".",
        })
    }
}
