//! The functions rules may call: a table of overloads, and what each costs.

mod addresses;
mod convert;
mod lists;
mod optionals;
mod printf;
mod quantities;
mod text;
mod times;

use std::rc::Rc;

use super::Failure;
use super::types::Ty;
use super::value::Val;

/// A function on evaluated arguments, receiver first.
pub type Native = for<'a, 'b> fn(&'b [Val<'a>]) -> Result<Val<'a>, Failure>;

/// How the cost of a call follows from its arguments (cel-go's and Kubernetes' cost model).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    One,
    /// One, more for long texts: their characters are counted, or read as a number.
    Count,
    /// A tenth of the first argument's length.
    Scan,
    /// A fifth: going through it and making as much.
    Rewrite,
    /// A fifth of what joining the first argument's texts makes.
    Join,
    /// A fifth of the text that is formatted, and of what more it turns out to be.
    Format,
    /// As [`Self::Rewrite`], more for a result that is longer.
    Replace,
    /// A tenth of the first argument's bytes if it is text, which is copied.
    Copy,
    /// A tenth of the number of items to make.
    Range,
    /// First times second, as substring search.
    Search,
    /// Second argument is a pattern.
    Pattern,
    /// One for each item.
    Items,
    /// Each item of one list with each of another.
    Cross,
}

/// Bytes of text that are counted in one unit of work.
const COUNT_UNIT: u64 = 256;
/// The cost of compiling a pattern that is not a literal.
const COMPILE: u64 = 50;

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Any,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    List,
    ListOfText,
    Map,
    Optional,
    Foreign(&'static str),
}

/// The type of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Give {
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    Type,
    ListOfText,
    ListOfInt,
    Query,
    /// The type of the first argument.
    Same,
    /// An item of the first argument.
    Item,
    /// What the optional in the first argument holds.
    Held,
    /// An optional of the first argument's type.
    OptionalOfFirst,
    OptionalOfItem,
    OptionalOfDyn,
    OptionalOfFormat,
    OptionalOfTexts,
    Foreign(&'static str),
}

/// One overload.
pub struct Overload {
    pub name: &'static str,
    /// Called as `first.name(rest)`.
    pub member: bool,
    pub args: &'static [Want],
    /// How many of the last arguments may be left out.
    pub spare: usize,
    pub gives: Give,
    pub cost: Cost,
    pub native: Native,
}

const fn member(name: &'static str, args: &'static [Want], gives: Give, cost: Cost, native: Native) -> Overload {
    Overload {
        name,
        member: true,
        args,
        spare: 0,
        gives,
        cost,
        native,
    }
}

const fn global(name: &'static str, args: &'static [Want], gives: Give, cost: Cost, native: Native) -> Overload {
    Overload {
        name,
        member: false,
        args,
        spare: 0,
        gives,
        cost,
        native,
    }
}

const TABLES: [&[Overload]; 7] = [
    convert::TABLE,
    text::TABLE,
    lists::TABLE,
    times::TABLE,
    addresses::TABLE,
    quantities::TABLE,
    optionals::TABLE,
];

/// All overloads of a name.
pub fn overloads(name: &str, member: bool) -> Vec<&'static Overload> {
    let all = TABLES.into_iter().flatten();
    all.filter(|overload| overload.name == name && overload.member == member)
        .collect()
}

/// Whether a dotted name is a function, e.g. `optional.of`.
pub fn is_namespaced(name: &str) -> bool {
    TABLES
        .into_iter()
        .flatten()
        .any(|overload| !overload.member && overload.name == name)
}

// === impl Cost ===

impl Cost {
    /// `compiled`: the pattern is a literal. `reach`: how far to count the parts of values.
    pub fn of(self, args: &[Val<'_>], compiled: bool, reach: u64) -> u64 {
        let weight = |at: usize| args.get(at).map_or(0, Val::weight);
        let deep = |at: usize| args.get(at).map_or(0, |arg| arg.deep_weight(reach));
        let printed = |at: usize| args.get(at).map_or(0, |arg| arg.printed_len(reach));
        match self {
            Self::One => 1,
            Self::Count => match args.first() {
                Some(Val::Text(_)) => (weight(0) / COUNT_UNIT).max(1),
                // Becomes text: a copy.
                Some(Val::Bytes(_)) => (weight(0) / 10).max(1),
                _ => 1,
            },
            Self::Copy => match args.first() {
                Some(Val::Text(_)) => (weight(0) / 10).max(1),
                _ => 1,
            },
            Self::Join => {
                let separators = weight(0).saturating_sub(1).saturating_mul(weight(1));
                let made = printed(0).saturating_add(separators);
                (made / 5).max(weight(0) / 10).max(1)
            }
            Self::Format => {
                let pattern = args.first().and_then(Val::as_str).unwrap_or_default();
                let made = weight(0)
                    .saturating_add(printf::digits(pattern))
                    .saturating_add(printed(1));
                (made / 5).max(weight(1) / 10).max(1)
            }
            Self::Replace => weight(0).div_ceil(5).max(1).saturating_add(text::growth(args) / 10),
            Self::Range => match args.first() {
                Some(Val::Int(count)) => u64::try_from(*count).unwrap_or_default() / 10 + 1,
                _ => 1,
            },
            Self::Scan => weight(0).div_ceil(10).max(1),
            Self::Rewrite => weight(0).div_ceil(5).max(1),
            Self::Search => weight(0).div_ceil(10).max(1) * weight(1).div_ceil(10).max(1),
            Self::Pattern => {
                let search = (weight(0) + 1).div_ceil(10) * weight(1).div_ceil(4).max(1);
                search + if compiled { 0 } else { COMPILE }
            }
            Self::Items => deep(0).max(1),
            Self::Cross => deep(0)
                .saturating_mul(weight(1))
                .saturating_add(deep(1).saturating_mul(weight(0)))
                .max(1),
        }
    }
}

// === impl Want ===

impl Want {
    pub fn accepts(self, ty: &Ty<'_>) -> bool {
        match (self, ty) {
            (Self::Any, _) | (_, Ty::Dyn) => true,
            (Self::Bool, Ty::Bool) | (Self::Int, Ty::Int) | (Self::Uint, Ty::Uint) => true,
            (Self::Double, Ty::Double) | (Self::Text, Ty::Text) | (Self::Bytes, Ty::Bytes) => true,
            (Self::Duration, Ty::Duration) | (Self::Timestamp, Ty::Timestamp) => true,
            (Self::List, Ty::List(_)) | (Self::Map, Ty::Map(..)) | (Self::Optional, Ty::Optional(_)) => true,
            (Self::ListOfText, Ty::List(item)) => matches!(**item, Ty::Text | Ty::Dyn),
            (Self::Foreign(a), Ty::Foreign(b)) => a == *b,
            _ => false,
        }
    }
}

// === impl Overload ===

impl Overload {
    pub fn accepts(&self, args: &[Ty<'_>]) -> bool {
        let count = args.len();
        count <= self.args.len()
            && count + self.spare >= self.args.len()
            && self.args.iter().zip(args).all(|(want, ty)| want.accepts(ty))
    }

    pub fn result<'s>(&self, args: &[Ty<'s>]) -> Ty<'s> {
        let first = args.first().cloned().unwrap_or(Ty::Dyn);
        let list = |item: Ty<'s>| Ty::List(Rc::new(item));
        let optional = |inner: Ty<'s>| Ty::Optional(Rc::new(inner));
        let item = |of: &Ty<'s>| match of {
            Ty::List(item) => item.as_ref().clone(),
            _ => Ty::Dyn,
        };
        match self.gives {
            Give::Dyn => Ty::Dyn,
            Give::Bool => Ty::Bool,
            Give::Int => Ty::Int,
            Give::Uint => Ty::Uint,
            Give::Double => Ty::Double,
            Give::Text => Ty::Text,
            Give::Bytes => Ty::Bytes,
            Give::Duration => Ty::Duration,
            Give::Timestamp => Ty::Timestamp,
            Give::Type => Ty::Type,
            Give::ListOfText => list(Ty::Text),
            Give::ListOfInt => list(Ty::Int),
            Give::Query => Ty::Map(Rc::new(Ty::Text), Rc::new(list(Ty::Text))),
            Give::Same => first,
            Give::Item => item(&first),
            Give::Held => match first {
                Ty::Optional(inner) => inner.as_ref().clone(),
                _ => Ty::Dyn,
            },
            Give::OptionalOfFirst => optional(first),
            Give::OptionalOfItem => optional(item(&first)),
            Give::OptionalOfDyn => optional(Ty::Dyn),
            Give::OptionalOfFormat => optional(Ty::Foreign("kubernetes.NamedFormat")),
            Give::OptionalOfTexts => optional(list(Ty::Text)),
            Give::Foreign(name) => Ty::Foreign(name),
        }
    }
}

// === arguments ===

fn arg<'a, 'b>(args: &'b [Val<'a>], at: usize) -> Result<&'b Val<'a>, Failure> {
    args.get(at).ok_or_else(Failure::no_overload)
}

fn text_arg<'b>(args: &'b [Val<'_>], at: usize) -> Result<&'b str, Failure> {
    arg(args, at)?.as_str().ok_or_else(Failure::no_overload)
}

fn int_arg(args: &[Val<'_>], at: usize) -> Result<i64, Failure> {
    match arg(args, at)? {
        Val::Int(value) => Ok(*value),
        _ => Err(Failure::no_overload()),
    }
}

/// An integer that may be left out.
fn spare_int(args: &[Val<'_>], at: usize) -> Result<Option<i64>, Failure> {
    if args.len() > at {
        int_arg(args, at).map(Some)
    } else {
        Ok(None)
    }
}
