//! A compiled expression: names resolved, macros unfolded, ready to run.

use std::sync::Arc;

use super::library::{Cost, Native};
use crate::schema::pattern::Pattern;

#[derive(Clone, Debug)]
pub enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Type(&'static str),
    /// `self`.
    This,
    /// `oldSelf`.
    Old,
    /// A variable of an enclosing macro, by its depth.
    Local(usize),
    Select(Box<Select>),
    Index {
        operand: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    Call(Box<Call>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Arithmetic {
        sign: Arithmetic,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Compare {
        sign: Compare,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    In {
        item: Box<Expr>,
        list: Box<Expr>,
    },
    All(Box<[Expr]>),
    Any(Box<[Expr]>),
    Choice(Box<[Expr; 3]>),
    List(Box<[(Expr, bool)]>),
    Map(Box<[(Expr, Expr, bool)]>),
    Fold(Box<Fold>),
    /// `cel.bind`: the value becomes the next local while the body runs.
    Bind {
        value: Box<Expr>,
        body: Box<Expr>,
    },
    /// `optMap` and `optFlatMap`: the content of the optional becomes the next local.
    OptionalMap {
        operand: Box<Expr>,
        body: Box<Expr>,
        flat: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Select {
    pub operand: Expr,
    /// The property, unescaped.
    pub name: Box<str>,
    /// The identifier as written, where it differs: keys of maps are not escaped.
    pub raw: Option<Box<str>>,
    /// `has(x.y)`.
    pub test: bool,
    /// `x.?y`.
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub native: Native,
    pub cost: Cost,
    /// The receiver first, if there is one.
    pub args: Box<[Expr]>,
    /// A literal pattern, compiled once.
    pub pattern: Option<Arc<Pattern>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A macro over a list or a map. Its variables are the next one or two locals.
#[derive(Clone, Debug)]
pub struct Fold {
    pub range: Expr,
    pub kind: FoldKind,
    /// Two variables: index or key, and value. With one it is the item of a list, the key of a map.
    pub pair: bool,
    /// Which elements take part; for the quantifiers it is what is asked of each.
    pub filter: Option<Expr>,
    pub body: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// `map`, `filter`, `transformList`.
    List,
    /// `transformMap`: keys stay.
    Map,
    /// `transformMapEntry`: the body makes the entries.
    Entries,
    SortBy,
}
