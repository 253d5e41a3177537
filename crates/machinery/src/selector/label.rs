//! Label selectors: parsed requirements that are ANDed (apimachinery `labels.Selector`, `metav1.LabelSelector`).

use std::fmt;

/// How a requirement compares. `>` and `<` compare integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One term. `values` are sorted; equality is `In` with one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

/// Requirements that must all hold. Without any, it selects everything; [`LabelSelector::nothing`] selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// Why a selector's text could not be read; the text is for the client.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SelectorParseError(pub String);

// === impl Requirement ===

impl Requirement {
    pub fn new(key: impl Into<String>, operator: Operator, mut values: Vec<String>) -> Self {
        values.sort();
        values.dedup();
        Self {
            key: key.into(),
            operator,
            values,
        }
    }

    pub fn equals(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(key, Operator::In, vec![value.into()])
    }

    /// `value` is the label's, if the object has it.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|wanted| wanted == v);
        match (self.operator, value) {
            (Operator::In, Some(v)) => listed(v),
            (Operator::NotIn, Some(v)) => !listed(v),
            (Operator::Exists, found) => found.is_some(),
            (Operator::NotIn, None) => true,
            (Operator::DoesNotExist, found) => found.is_none(),
            (Operator::GreaterThan, Some(v)) => self.compare(v, |a, b| a > b),
            (Operator::LessThan, Some(v)) => self.compare(v, |a, b| a < b),
            (_, None) => false,
        }
    }

    fn compare(&self, value: &str, holds: fn(i64, i64) -> bool) -> bool {
        let bound = self.values.first().and_then(|v| v.parse().ok());
        match (value.parse(), bound) {
            (Ok(value), Some(bound)) => holds(value, bound),
            _ => false,
        }
    }
}

// === impl LabelSelector ===

impl LabelSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    pub fn of(requirements: Vec<Requirement>) -> Self {
        Self {
            requirements,
            nothing: false,
        }
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut requirements = self.requirements.clone();
        requirements.extend(
            other
                .requirements
                .iter()
                .filter(|r| !self.requirements.contains(r))
                .cloned(),
        );
        Self {
            requirements,
            nothing: self.nothing || other.nothing,
        }
    }

    /// `label` looks a label of the object up.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = || self.values.join(",");
        match (self.operator, self.values.as_slice()) {
            (Operator::In, [one]) => write!(f, "{}={one}", self.key),
            (Operator::NotIn, [one]) => write!(f, "{}!={one}", self.key),
            (Operator::In, _) => write!(f, "{} in ({})", self.key, joined()),
            (Operator::NotIn, _) => write!(f, "{} notin ({})", self.key, joined()),
            (Operator::Exists, _) => f.write_str(&self.key),
            (Operator::DoesNotExist, _) => write!(f, "!{}", self.key),
            (Operator::GreaterThan, _) => write!(f, "{}>{}", self.key, joined()),
            (Operator::LessThan, _) => write!(f, "{}<{}", self.key, joined()),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.requirements.iter().map(Requirement::to_string).collect();
        f.write_str(&texts.join(","))
    }
}
