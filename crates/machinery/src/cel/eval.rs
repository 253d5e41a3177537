//! Running an expression.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::expr::{Arithmetic, Call, Compare, Expr, Select};
use super::library::Cost;
use super::value::{Key, Part, Text, Val};
use super::{Failure, Input, Outcome, Yield, fold};
use crate::schema::structural::ListType;

pub(super) type Answer<'a> = Result<Val<'a>, Failure>;

/// Parts of a value that are gone through in one unit of work.
const PARTS_PER_UNIT: u64 = 10;
/// Bytes of a key that are copied in one unit of work.
const KEY_UNIT: u64 = 100;

/// The state of one run.
pub(super) struct Machine<'a> {
    input: Input<'a>,
    optional_old: bool,
    cost: u64,
    limit: u64,
    pub locals: Vec<Val<'a>>,
}

pub(super) fn run(expr: &Expr, input: Input<'_>, optional_old: bool, limit: u64) -> (Result<Outcome, Failure>, u64) {
    let mut machine = Machine {
        input,
        optional_old,
        cost: 0,
        limit,
        locals: Vec::new(),
    };
    let answer = machine.eval(expr).map(|value| match value {
        Val::Bool(value) => Outcome::Bool(value),
        Val::Text(text) => Outcome::Text(text.as_str().to_owned()),
        other => Outcome::Other(other.type_name()),
    });
    (answer, machine.cost)
}

/// The same with one variable, which is the first local.
pub(super) fn run_over<'a>(expr: &'a Expr, input: Input<'a>, variable: Val<'a>, limit: u64) -> Result<Yield, Failure> {
    let mut machine = Machine {
        input,
        optional_old: false,
        cost: 0,
        limit,
        locals: vec![variable],
    };
    machine.eval(expr).map(Yield::from)
}

// === impl Machine ===

impl<'a> Machine<'a> {
    /// Counts work; the limit ends the run.
    pub fn charge(&mut self, units: u64) -> Result<(), Failure> {
        self.cost = self.cost.saturating_add(units);
        if self.cost > self.limit {
            Err(Failure::Budget)
        } else {
            Ok(())
        }
    }

    /// How far to count the parts of a value: as many cost more than is left.
    fn reach(&self) -> u64 {
        (self.limit - self.cost.min(self.limit)).saturating_mul(PARTS_PER_UNIT) + PARTS_PER_UNIT
    }

    /// Counts what is put into a new list or map as if it were copied: no value gets larger than its cost says.
    pub fn keep(&mut self, value: &Val<'a>) -> Result<(), Failure> {
        if value.is_composite() {
            self.charge(value.deep_weight(self.reach()) / PARTS_PER_UNIT)?;
        }
        Ok(())
    }

    pub fn eval(&mut self, expr: &'a Expr) -> Answer<'a> {
        match expr {
            Expr::Null => Ok(Val::Null),
            Expr::Bool(value) => Ok(Val::Bool(*value)),
            Expr::Int(value) => Ok(Val::Int(*value)),
            Expr::Uint(value) => Ok(Val::Uint(*value)),
            Expr::Double(value) => Ok(Val::Double(*value)),
            Expr::Text(text) => Ok(Val::Text(Text::Borrowed(text))),
            Expr::Bytes(bytes) => Ok(Val::bytes(bytes.as_ref())),
            Expr::Type(name) => Ok(Val::Type(name)),
            Expr::This | Expr::Old | Expr::Local(_) => self.variable(expr),
            Expr::Select(select) => self.select(select),
            Expr::Index {
                operand,
                index,
                optional,
            } => self.index(operand, index, *optional),
            Expr::Call(call) => self.call(call),
            Expr::Not(operand) => {
                self.charge(1)?;
                match self.eval(operand)? {
                    Val::Bool(value) => Ok(Val::Bool(!value)),
                    _ => Err(Failure::no_overload()),
                }
            }
            Expr::Negate(operand) => {
                self.charge(1)?;
                negate(&self.eval(operand)?)
            }
            Expr::Arithmetic { sign, left, right } => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.charge(arithmetic_cost(*sign, &left, &right))?;
                arithmetic(*sign, &left, &right)
            }
            Expr::Compare { sign, left, right } => self.compare(*sign, left, right),
            Expr::In { item, list } => self.contains(item, list),
            Expr::All(parts) => self.logic(parts, false),
            Expr::Any(parts) => self.logic(parts, true),
            Expr::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                match self.eval(condition)? {
                    Val::Bool(true) => self.eval(yes),
                    Val::Bool(false) => self.eval(no),
                    _ => Err(Failure::no_overload()),
                }
            }
            Expr::List(items) => self.list(items),
            Expr::Map(entries) => self.map(entries),
            Expr::Fold(fold) => fold::fold(self, fold),
            Expr::Bind { value, body } => {
                let value = self.eval(value)?;
                self.with_local(value, body)
            }
            Expr::OptionalMap { operand, body, flat } => match self.eval(operand)? {
                Val::Optional(Some(inner)) => {
                    let answer = self.with_local(inner.as_ref().clone(), body)?;
                    Ok(if *flat { answer } else { Val::some(answer) })
                }
                Val::Optional(None) => Ok(Val::Optional(None)),
                _ => Err(Failure::no_overload()),
            },
        }
    }

    pub fn with_local(&mut self, value: Val<'a>, body: &'a Expr) -> Answer<'a> {
        self.locals.push(value);
        let answer = self.eval(body);
        self.locals.pop();
        answer
    }

    fn variable(&mut self, expr: &Expr) -> Answer<'a> {
        self.charge(1)?;
        let Input {
            schema,
            root,
            this,
            old,
        } = self.input;
        match expr {
            Expr::Local(slot) => self
                .locals
                .get(*slot)
                .cloned()
                .ok_or_else(|| Failure::error("no such attribute")),
            Expr::Old if self.optional_old => match old {
                Some(old) => Ok(Val::some(Val::of(old, Some(schema), root)?)),
                None => Ok(Val::Optional(None)),
            },
            Expr::Old => match old {
                Some(old) => Val::of(old, Some(schema), root),
                None => Err(Failure::error("no such attribute(s): oldSelf")),
            },
            _ => Val::of(this, Some(schema), root),
        }
    }

    fn select(&mut self, select: &'a Select) -> Answer<'a> {
        let operand = self.eval(&select.operand)?;
        self.charge(u64::from(!select.test))?;
        let (operand, wrapped) = match &operand {
            Val::Optional(None) => {
                return Ok(if select.test {
                    Val::Bool(false)
                } else {
                    Val::Optional(None)
                });
            }
            Val::Optional(Some(inner)) => (inner.as_ref().clone(), true),
            _ => (operand, select.optional),
        };
        if !operand.is_map() {
            return Err(Failure::no_overload());
        }
        let found = member(&operand, select);
        match found {
            found if select.test => Ok(Val::Bool(found.is_some())),
            Some(value) if wrapped => value.map(Val::some),
            Some(value) => value,
            None if wrapped => Ok(Val::Optional(None)),
            None => Err(Failure::error(format!("no such key: {}", select.name))),
        }
    }

    fn index(&mut self, operand: &'a Expr, index: &'a Expr, optional: bool) -> Answer<'a> {
        let (operand, index) = (self.eval(operand)?, self.eval(index)?);
        self.charge(1)?;
        let (operand, wrapped) = match &operand {
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => (inner.as_ref().clone(), true),
            _ => (operand, optional),
        };
        let found = if operand.is_list() {
            match self.key(&index)? {
                Some(Key::Int(at)) => usize::try_from(at).ok().and_then(|at| operand.nth(at)),
                _ => return Err(Failure::no_overload()),
            }
        } else if operand.is_map() {
            self.key(&index)?;
            operand.member(&index)
        } else {
            return Err(Failure::no_overload());
        };
        match (found, wrapped) {
            (Some(value), true) => value.map(Val::some),
            (Some(value), false) => value,
            (None, true) => Ok(Val::Optional(None)),
            (None, false) if operand.is_list() => {
                Err(Failure::error(format!("index out of bounds: {}", shown(&index))))
            }
            (None, false) => Err(Failure::error(format!("no such key: {}", shown(&index)))),
        }
    }

    fn call(&mut self, call: &'a Call) -> Answer<'a> {
        let mut args: smallvec::SmallVec<[Val<'a>; 4]> = smallvec::SmallVec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        // Charged before anything is made: what a call costs is known from its arguments, but for `format`, which pays the
        // rest after.
        let before = call.cost.of(&args, call.pattern.is_some(), self.reach());
        self.charge(before)?;
        if let Some(pattern) = &call.pattern {
            let text = args.first().and_then(Val::as_str).ok_or_else(Failure::no_overload)?;
            return pattern.is_match(text).map(Val::Bool).map_err(Failure::error);
        }
        let answer = (call.native)(&args)?;
        if call.cost == Cost::Format {
            self.charge((answer.weight() / 5).saturating_sub(before))?;
        }
        Ok(answer)
    }

    /// What comparing two values costs; nothing for small ones.
    fn comparison(&self, left: &Val<'a>, right: &Val<'a>) -> u64 {
        self.compared_weight(left).min(self.compared_weight(right)) / PARTS_PER_UNIT
    }

    /// Tenths of a unit that comparing with a value costs at most.
    pub fn compared_weight(&self, value: &Val<'a>) -> u64 {
        match value {
            Val::Text(_) | Val::Bytes(_) => value.weight(),
            other => other.deep_weight(self.reach()),
        }
    }

    /// A key of a map that is made or looked into: text of the object is copied for it.
    pub fn key(&mut self, value: &Val<'a>) -> Result<Option<Key>, Failure> {
        if let Val::Text(Text::Borrowed(text)) = value {
            self.charge(text.len() as u64 / KEY_UNIT)?;
        }
        Ok(Key::of(value))
    }

    fn compare(&mut self, sign: Compare, left: &'a Expr, right: &'a Expr) -> Answer<'a> {
        let (left, right) = (self.eval(left)?, self.eval(right)?);
        let units = self.comparison(&left, &right);
        self.charge(units.max(1))?;
        let ordering = |accept: fn(Ordering) -> bool| {
            let nan = [&left, &right]
                .iter()
                .any(|value| matches!(value, Val::Double(number) if number.is_nan()));
            match left.compare(&right) {
                Some(ordering) => Ok(Val::Bool(accept(ordering))),
                None if nan => Ok(Val::Bool(false)),
                None => Err(Failure::no_overload()),
            }
        };
        match sign {
            Compare::Equal => Ok(Val::Bool(left.equals(&right))),
            Compare::NotEqual => Ok(Val::Bool(!left.equals(&right))),
            Compare::Less => ordering(Ordering::is_lt),
            Compare::LessOrEqual => ordering(Ordering::is_le),
            Compare::Greater => ordering(Ordering::is_gt),
            Compare::GreaterOrEqual => ordering(Ordering::is_ge),
        }
    }

    fn contains(&mut self, item: &'a Expr, list: &'a Expr) -> Answer<'a> {
        // A literal list is looked through without being made.
        if let Expr::List(items) = list {
            let wanted = self.eval(item)?;
            self.charge(10 + items.len() as u64)?;
            let mut found = false;
            for (candidate, optional) in items {
                // Each is looked at: an error anywhere is one of the list.
                let Some(candidate) = element(self.eval(candidate)?, *optional)? else {
                    continue;
                };
                if !found {
                    let units = self.comparison(&candidate, &wanted);
                    self.charge(units)?;
                    found = candidate.equals(&wanted);
                }
            }
            return Ok(Val::Bool(found));
        }
        let (item, list) = (self.eval(item)?, self.eval(list)?);
        if list.is_list() {
            self.charge(list.deep_weight(self.reach().saturating_mul(PARTS_PER_UNIT)))?;
            return Ok(Val::Bool(list.items()?.iter().any(|candidate| candidate.equals(&item))));
        }
        self.charge(1)?;
        if list.is_map() {
            self.key(&item)?;
            Ok(Val::Bool(list.member(&item).is_some()))
        } else {
            Err(Failure::no_overload())
        }
    }

    /// `&&` and `||`: the deciding value wins over errors, on whichever side it stands.
    fn logic(&mut self, parts: &'a [Expr], deciding: bool) -> Answer<'a> {
        let mut failure = None;
        for part in parts {
            match self.eval(part) {
                Ok(Val::Bool(value)) if value == deciding => return Ok(Val::Bool(deciding)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failure = failure.or(Some(Failure::no_overload())),
                Err(Failure::Budget) => return Err(Failure::Budget),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Val::Bool(!deciding)), Err)
    }

    fn list(&mut self, items: &'a [(Expr, bool)]) -> Answer<'a> {
        self.charge(10)?;
        let mut out = Vec::with_capacity(items.len());
        for (item, optional) in items {
            let Some(value) = element(self.eval(item)?, *optional)? else {
                continue;
            };
            self.keep(&value)?;
            out.push(value);
        }
        Ok(Val::list(out))
    }

    fn map(&mut self, entries: &'a [(Expr, Expr, bool)]) -> Answer<'a> {
        self.charge(30)?;
        let mut out = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let key = self.key(&key)?.ok_or_else(|| Failure::error("unsupported key type"))?;
            let Some(value) = element(self.eval(value)?, *optional)? else {
                continue;
            };
            self.keep(&value)?;
            if out.insert(key, value).is_some() {
                return Err(Failure::error("Failed with repeated key"));
            }
        }
        Ok(Val::Map(Rc::new(out)))
    }
}

/// What an item of a list, or a value of a map, puts there: `?item` nothing if it has no value.
fn element<'a>(value: Val<'a>, optional: bool) -> Result<Option<Val<'a>>, Failure> {
    match (value, optional) {
        (Val::Optional(inner), true) => Ok(inner.map(|inner| inner.as_ref().clone())),
        (_, true) => Err(Failure::no_overload()),
        (value, false) => Ok(Some(value)),
    }
}

fn member<'a>(operand: &Val<'a>, select: &'a Select) -> Option<Answer<'a>> {
    let raw = select.raw.as_deref().unwrap_or(&select.name);
    match operand {
        Val::Part(part) => {
            // Keys of maps are not escaped; members of what has no schema are, as Kubernetes reads claims.
            let typed = part.schema.is_none_or(|schema| schema.additional_schema().is_none());
            part.member(if typed { &select.name } else { raw })
        }
        other => other.member(&Val::Text(Text::Borrowed(raw))),
    }
}

/// A key or index in a message.
fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Text(text) => text.as_str().to_owned(),
        Val::Int(value) => value.to_string(),
        Val::Uint(value) => value.to_string(),
        Val::Bool(value) => value.to_string(),
        Val::Double(value) => value.to_string(),
        other => other.type_name().to_owned(),
    }
}

fn negate<'a>(value: &Val<'a>) -> Answer<'a> {
    let overflow = || Failure::error("integer overflow");
    match value {
        Val::Int(value) => value.checked_neg().map(Val::Int).ok_or_else(overflow),
        Val::Double(value) => Ok(Val::Double(-value)),
        Val::Duration(value) => value.checked_neg().map(Val::Duration).ok_or_else(overflow),
        _ => Err(Failure::no_overload()),
    }
}

fn arithmetic_cost(sign: Arithmetic, left: &Val<'_>, right: &Val<'_>) -> u64 {
    let sized = matches!(left, Val::Text(_) | Val::Bytes(_)) || left.is_list();
    let keyed = matches!(left, Val::Part(Part { schema: Some(schema), .. }) if schema.list != ListType::Atomic);
    match sign {
        // Lists of type set and map are merged item by item.
        Arithmetic::Add if keyed => (left.weight() * right.weight()).max(1),
        Arithmetic::Add if sized => ((left.weight() + right.weight()) / 10).max(1),
        _ => 1,
    }
}

fn arithmetic<'a>(sign: Arithmetic, left: &Val<'a>, right: &Val<'a>) -> Answer<'a> {
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => int_arithmetic(sign, *a, *b),
        (Val::Uint(a), Val::Uint(b)) => uint_arithmetic(sign, *a, *b),
        (Val::Double(a), Val::Double(b)) => match sign {
            Arithmetic::Add => Ok(Val::Double(a + b)),
            Arithmetic::Subtract => Ok(Val::Double(a - b)),
            Arithmetic::Multiply => Ok(Val::Double(a * b)),
            Arithmetic::Divide => Ok(Val::Double(a / b)),
            Arithmetic::Remainder => Err(Failure::no_overload()),
        },
        _ => match sign {
            Arithmetic::Add => add(left, right),
            Arithmetic::Subtract => subtract(left, right),
            _ => Err(Failure::no_overload()),
        },
    }
}

fn int_arithmetic<'a>(sign: Arithmetic, a: i64, b: i64) -> Answer<'a> {
    let result = match sign {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide if b == 0 => return Err(Failure::error("division by zero")),
        Arithmetic::Remainder if b == 0 => return Err(Failure::error("modulus by zero")),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
    };
    result.map(Val::Int).ok_or_else(|| Failure::error("integer overflow"))
}

fn uint_arithmetic<'a>(sign: Arithmetic, a: u64, b: u64) -> Answer<'a> {
    let result = match sign {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide if b == 0 => return Err(Failure::error("division by zero")),
        Arithmetic::Remainder if b == 0 => return Err(Failure::error("modulus by zero")),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
    };
    result
        .map(Val::Uint)
        .ok_or_else(|| Failure::error("unsigned integer overflow"))
}

fn add<'a>(left: &Val<'a>, right: &Val<'a>) -> Answer<'a> {
    let overflow = || Failure::error("duration overflow");
    let shifted = |at: &jiff::Timestamp, by: i64| {
        let moved = at.checked_add(jiff::SignedDuration::from_nanos(by));
        moved
            .map(Val::Timestamp)
            .map_err(|_| Failure::error("timestamp overflow"))
    };
    match (left, right) {
        (Val::Text(a), Val::Text(b)) => Ok(Val::text([a.as_str(), b.as_str()].concat())),
        (Val::Bytes(a), Val::Bytes(b)) => Ok(Val::bytes([a.as_ref(), b.as_ref()].concat())),
        (Val::Duration(a), Val::Duration(b)) => a.checked_add(*b).map(Val::Duration).ok_or_else(overflow),
        (Val::Timestamp(at), Val::Duration(by)) | (Val::Duration(by), Val::Timestamp(at)) => shifted(at, *by),
        (a, b) if a.is_list() && b.is_list() => joined(a, b),
        _ => Err(Failure::no_overload()),
    }
}

/// Concatenation. Lists of type set and map are merged: what is in both stays where it was.
fn joined<'a>(left: &Val<'a>, right: &Val<'a>) -> Answer<'a> {
    let mut items = left.items()?;
    let others = right.items()?;
    let list = match left {
        Val::Part(Part {
            schema: Some(schema), ..
        }) => &schema.list,
        _ => &ListType::Atomic,
    };
    for other in others {
        let place = match list {
            ListType::Atomic => None,
            ListType::Set => items.iter().position(|have| have.equals(&other)),
            ListType::Map(keys) => items.iter().position(|have| {
                keys.iter().all(|key| {
                    let key = Val::text(key.as_ref());
                    match (have.member(&key), other.member(&key)) {
                        (Some(Ok(a)), Some(Ok(b))) => a.equals(&b),
                        _ => false,
                    }
                })
            }),
        };
        match place.and_then(|place| items.get_mut(place)) {
            Some(slot) => *slot = other,
            None => items.push(other),
        }
    }
    Ok(Val::list(items))
}

fn subtract<'a>(left: &Val<'a>, right: &Val<'a>) -> Answer<'a> {
    match (left, right) {
        (Val::Duration(a), Val::Duration(b)) => a
            .checked_sub(*b)
            .map(Val::Duration)
            .ok_or_else(|| Failure::error("duration overflow")),
        (Val::Timestamp(a), Val::Timestamp(b)) => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            i64::try_from(nanos)
                .map(Val::Duration)
                .map_err(|_| Failure::error("timestamp overflow"))
        }
        (Val::Timestamp(_), Val::Duration(by)) => {
            let by = by.checked_neg().ok_or_else(|| Failure::error("duration overflow"))?;
            add(left, &Val::Duration(by))
        }
        _ => Err(Failure::no_overload()),
    }
}
