//! The macros over lists and maps.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Failure;
use super::eval::{Answer, Machine};
use super::expr::{Fold, FoldKind};
use super::value::{Key, Val};

/// Cost units of a step besides what its expressions cost, as cel-go's loops have.
const STEP: u64 = 3;

pub(super) fn fold<'a>(machine: &mut Machine<'a>, fold: &'a Fold) -> Answer<'a> {
    let range = machine.eval(&fold.range)?;
    // Its elements are laid out before the first is looked at.
    machine.charge(range.size().unwrap_or_default() as u64 / 10)?;
    let pairs = elements(&range, fold.pair)?;
    let depth = machine.locals.len();
    let answer = match fold.kind {
        FoldKind::All => quantify(machine, fold, pairs, false),
        FoldKind::Exists => quantify(machine, fold, pairs, true),
        FoldKind::ExistsOne => exists_one(machine, fold, pairs),
        FoldKind::List => transform_list(machine, fold, pairs),
        FoldKind::Map | FoldKind::Entries => transform_map(machine, fold, pairs),
        FoldKind::SortBy => sort_by(machine, fold, pairs),
    };
    machine.locals.truncate(depth);
    answer
}

type Pairs<'a> = Vec<(Val<'a>, Val<'a>)>;

/// Index and item of a list, key and value of a map; with one variable, the item or the key stands second.
fn elements<'a>(range: &Val<'a>, pair: bool) -> Result<Pairs<'a>, Failure> {
    if range.is_list() {
        let items = range.items()?.into_iter().enumerate();
        return Ok(items.map(|(index, item)| (Val::Int(index as i64), item)).collect());
    }
    let keys = range.keys().ok_or_else(Failure::no_overload)?;
    keys.into_iter()
        .map(|key| {
            if !pair {
                return Ok((Val::Null, key));
            }
            let value = range.member(&key).unwrap_or(Ok(Val::Null))?;
            Ok((key, value))
        })
        .collect()
}

fn step<'a>(machine: &mut Machine<'a>, fold: &Fold, (first, second): (Val<'a>, Val<'a>)) -> Result<(), Failure> {
    machine.charge(STEP)?;
    if fold.pair {
        machine.locals.push(first);
    }
    machine.locals.push(second);
    Ok(())
}

fn unstep(machine: &mut Machine<'_>, fold: &Fold) {
    let depth = machine.locals.len().saturating_sub(1 + usize::from(fold.pair));
    machine.locals.truncate(depth);
}

/// Whether the element that the locals hold passes the filter.
fn passes<'a>(machine: &mut Machine<'a>, fold: &'a Fold) -> Result<bool, Failure> {
    match fold.filter.as_ref().map(|filter| machine.eval(filter)) {
        None => Ok(true),
        Some(Ok(Val::Bool(value))) => Ok(value),
        Some(Ok(_)) => Err(Failure::no_overload()),
        Some(Err(error)) => Err(error),
    }
}

/// `all` and `exists`: the deciding value wins over errors in other elements.
fn quantify<'a>(machine: &mut Machine<'a>, fold: &'a Fold, pairs: Pairs<'a>, deciding: bool) -> Answer<'a> {
    let mut failure = None;
    for pair in pairs {
        step(machine, fold, pair)?;
        let answer = fold
            .filter
            .as_ref()
            .map_or(Ok(Val::Bool(true)), |filter| machine.eval(filter));
        unstep(machine, fold);
        match answer {
            Ok(Val::Bool(value)) if value == deciding => return Ok(Val::Bool(deciding)),
            Ok(Val::Bool(_)) => {}
            Ok(_) => failure = failure.or(Some(Failure::no_overload())),
            Err(Failure::Budget) => return Err(Failure::Budget),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(Val::Bool(!deciding)), Err)
}

fn exists_one<'a>(machine: &mut Machine<'a>, fold: &'a Fold, pairs: Pairs<'a>) -> Answer<'a> {
    let mut found = 0_usize;
    for pair in pairs {
        step(machine, fold, pair)?;
        found += usize::from(passes(machine, fold)?);
        unstep(machine, fold);
    }
    Ok(Val::Bool(found == 1))
}

fn transform_list<'a>(machine: &mut Machine<'a>, fold: &'a Fold, pairs: Pairs<'a>) -> Answer<'a> {
    machine.charge(10)?;
    let mut out = Vec::new();
    for pair in pairs {
        let item = pair.1.clone();
        step(machine, fold, pair)?;
        if passes(machine, fold)? {
            let value = match &fold.body {
                Some(body) => machine.eval(body)?,
                None => item,
            };
            machine.keep(&value)?;
            out.push(value);
        }
        unstep(machine, fold);
    }
    Ok(Val::list(out))
}

fn transform_map<'a>(machine: &mut Machine<'a>, fold: &'a Fold, pairs: Pairs<'a>) -> Answer<'a> {
    machine.charge(30)?;
    let mut out = BTreeMap::new();
    let mut insert = |key: Option<Key>, value: Val<'a>| {
        let key = key.ok_or_else(|| Failure::error("unsupported key type"))?;
        match out.insert(key, value) {
            Some(_) => Err(Failure::error("insert failed: key already exists")),
            None => Ok(()),
        }
    };
    for pair in pairs {
        let key = machine.key(&pair.0)?;
        step(machine, fold, pair)?;
        if passes(machine, fold)? {
            let value = match &fold.body {
                Some(body) => machine.eval(body)?,
                None => Val::Null,
            };
            machine.keep(&value)?;
            if fold.kind == FoldKind::Map {
                insert(key, value)?;
            } else {
                for key in value.keys().ok_or_else(Failure::no_overload)? {
                    let entry = value.member(&key).unwrap_or(Ok(Val::Null))?;
                    insert(machine.key(&key)?, entry)?;
                }
            }
        }
        unstep(machine, fold);
    }
    Ok(Val::Map(Rc::new(out)))
}

fn sort_by<'a>(machine: &mut Machine<'a>, fold: &'a Fold, pairs: Pairs<'a>) -> Answer<'a> {
    machine.charge(10)?;
    let mut keyed = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let item = pair.1.clone();
        step(machine, fold, pair)?;
        let key = fold.body.as_ref().map_or(Ok(Val::Null), |body| machine.eval(body))?;
        unstep(machine, fold);
        keyed.push((key, item));
    }
    let comparable = keyed
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.0.compare(&b.0).is_some()));
    if !comparable {
        return Err(Failure::error("list elements must be comparable"));
    }
    // Each key is compared about as often as the list can be halved.
    let weights = keyed.iter().fold(keyed.len() as u64, |sum, (key, _)| {
        sum.saturating_add(machine.compared_weight(key))
    });
    machine.charge(weights.saturating_mul(u64::from(keyed.len().max(1).ilog2())) / 10)?;
    keyed.sort_by(|a, b| a.0.compare(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Val::list(keyed.into_iter().map(|(_, item)| item).collect()))
}
