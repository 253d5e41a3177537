//! Static types, as far as a schema tells them. `Dyn` is whatever is not known; it goes with everything.

use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use crate::schema::format::Format;
use crate::schema::structural::{Kind, Schema};

/// What rules see of `metadata` of a whole object, whatever its schema says.
pub(super) static METADATA: LazyLock<Schema> = LazyLock::new(|| {
    let text = || {
        Arc::new(Schema {
            kind: Kind::String,
            ..Schema::default()
        })
    };
    let properties = [("generateName".into(), text()), ("name".into(), text())];
    Schema {
        kind: Kind::Object,
        properties: properties.into(),
        ..Schema::default()
    }
});
/// `apiVersion` and `kind` of a whole object.
pub(super) static TEXT: LazyLock<Schema> = LazyLock::new(|| Schema {
    kind: Kind::String,
    ..Schema::default()
});

#[derive(Clone, Debug)]
pub enum Ty<'s> {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    Type,
    List(Rc<Ty<'s>>),
    Map(Rc<Ty<'s>>, Rc<Ty<'s>>),
    /// An object with properties; `root` as in [`super::value::Part`].
    Object(&'s Schema, bool),
    Optional(Rc<Ty<'s>>),
    /// A type of Kubernetes' libraries, by name.
    Foreign(&'static str),
}

// === impl Ty ===

impl<'s> Ty<'s> {
    /// The type of values of a schema; none where rules cannot see them (no type, or items or members without one).
    pub fn of(schema: &'s Schema, root: bool) -> Option<Self> {
        if schema.int_or_string {
            return Some(Self::Dyn);
        }
        Some(match schema.kind {
            Kind::Unset => return None,
            Kind::Boolean => Self::Bool,
            Kind::Integer => Self::Int,
            Kind::Number => Self::Double,
            Kind::String => match schema.format() {
                Some(Format::Byte) => Self::Bytes,
                Some(Format::Duration) => Self::Duration,
                Some(Format::Date | Format::DateTime) => Self::Timestamp,
                _ => Self::Text,
            },
            Kind::Array => Self::List(Rc::new(Self::of(schema.items.as_deref()?, false)?)),
            Kind::Object => match schema.additional_schema() {
                Some(member) => Self::Map(Rc::new(Self::Text), Rc::new(Self::of(member, member.embedded)?)),
                None => Self::Object(schema, root || schema.embedded),
            },
        })
    }

    /// The type of a property by its unescaped name; none if there is no such property.
    pub fn field(&self, name: &str) -> Option<Self> {
        let Self::Object(schema, root) = self else {
            return Some(Self::Dyn);
        };
        match (schema.property(name), name, *root) {
            (_, "apiVersion" | "kind", true) => Some(Self::Text),
            (_, "metadata", true) => Some(Self::Object(&METADATA, false)),
            (Some(property), ..) => Self::of(property, false),
            (None, ..) => None,
        }
    }

    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    /// Whether a value of one may be of the other.
    pub fn fits(&self, other: &Ty<'_>) -> bool {
        match (self, other) {
            (Self::Dyn, _) | (_, Ty::Dyn) => true,
            (Self::List(a), Ty::List(b)) | (Self::Optional(a), Ty::Optional(b)) => a.fits(b),
            (Self::Map(a, b), Ty::Map(c, d)) => a.fits(c) && b.fits(d),
            (Self::Object(..), Ty::Object(..) | Ty::Null) | (Self::Null, Ty::Object(..)) => true,
            (Self::Foreign(a), Ty::Foreign(b)) => a == b,
            // Wrappers and messages may be null in CEL; comparing with null is always possible.
            (Self::Null, Ty::Duration | Ty::Timestamp | Ty::Optional(_) | Ty::Foreign(_)) => true,
            (Self::Duration | Self::Timestamp | Self::Optional(_) | Self::Foreign(_), Ty::Null) => true,
            _ => std::mem::discriminant(self) == std::mem::discriminant(&as_own(other)),
        }
    }

    /// As messages name it.
    pub fn name(&self) -> String {
        match self {
            Self::Dyn => "dyn".into(),
            Self::Null => "null".into(),
            Self::Bool => "bool".into(),
            Self::Int => "int".into(),
            Self::Uint => "uint".into(),
            Self::Double => "double".into(),
            Self::Text => "string".into(),
            Self::Bytes => "bytes".into(),
            Self::Duration => "google.protobuf.Duration".into(),
            Self::Timestamp => "google.protobuf.Timestamp".into(),
            Self::Type => "type".into(),
            Self::List(item) => format!("list({})", item.name()),
            Self::Map(key, value) => format!("map({}, {})", key.name(), value.name()),
            Self::Object(..) => "object".into(),
            Self::Optional(inner) => format!("optional_type({})", inner.name()),
            Self::Foreign(name) => (*name).into(),
        }
    }

    /// The type that covers both.
    pub fn join(self, other: Self) -> Self {
        let alike = match (&self, &other) {
            (Self::Object(a, _), Self::Object(b, _)) => std::ptr::eq(*a, *b),
            _ => !self.is_dyn() && !other.is_dyn() && self.fits(&other),
        };
        if alike { self } else { Self::Dyn }
    }
}

/// The same type without its lifetime's content; only its variant is looked at.
fn as_own<'a>(ty: &Ty<'_>) -> Ty<'a> {
    match ty {
        Ty::Null => Ty::Null,
        Ty::Bool => Ty::Bool,
        Ty::Int => Ty::Int,
        Ty::Uint => Ty::Uint,
        Ty::Double => Ty::Double,
        Ty::Text => Ty::Text,
        Ty::Bytes => Ty::Bytes,
        Ty::Duration => Ty::Duration,
        Ty::Timestamp => Ty::Timestamp,
        Ty::Type => Ty::Type,
        Ty::Foreign(name) => Ty::Foreign(name),
        Ty::Dyn | Ty::List(_) | Ty::Map(..) | Ty::Object(..) | Ty::Optional(_) => Ty::Dyn,
    }
}
