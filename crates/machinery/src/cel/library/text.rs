//! Functions of strings: the standard ones, cel-go's extension library, patterns, `format`.

use super::{Cost, Give, Overload, Want, arg, global, member, printf, spare_int, text_arg};
use crate::cel::Failure;
use crate::cel::value::Val;
use crate::schema::pattern;
use crate::text::quote;

const T: &[Want] = &[Want::Text];
const TT: &[Want] = &[Want::Text, Want::Text];
const TTI: &[Want] = &[Want::Text, Want::Text, Want::Int];

pub(super) const TABLE: &[Overload] = &[
    member("contains", TT, Give::Bool, Cost::Search, |args| {
        Ok(Val::Bool(text_arg(args, 0)?.contains(text_arg(args, 1)?)))
    }),
    member("startsWith", TT, Give::Bool, Cost::One, |args| {
        Ok(Val::Bool(text_arg(args, 0)?.starts_with(text_arg(args, 1)?)))
    }),
    member("endsWith", TT, Give::Bool, Cost::One, |args| {
        Ok(Val::Bool(text_arg(args, 0)?.ends_with(text_arg(args, 1)?)))
    }),
    member("matches", TT, Give::Bool, Cost::Pattern, matches),
    global("matches", TT, Give::Bool, Cost::Pattern, matches),
    member("find", TT, Give::Text, Cost::Pattern, find),
    Overload {
        spare: 1,
        ..member("findAll", TTI, Give::ListOfText, Cost::Pattern, find_all)
    },
    member("charAt", &[Want::Text, Want::Int], Give::Text, Cost::Count, char_at),
    Overload {
        spare: 1,
        ..member("indexOf", TTI, Give::Int, Cost::Scan, index_of)
    },
    Overload {
        spare: 1,
        ..member("lastIndexOf", TTI, Give::Int, Cost::Scan, last_index_of)
    },
    Overload {
        spare: 1,
        ..member("join", &[Want::ListOfText, Want::Text], Give::Text, Cost::Join, join)
    },
    member("lowerAscii", T, Give::Text, Cost::Scan, |args| {
        Ok(Val::text(text_arg(args, 0)?.to_ascii_lowercase()))
    }),
    member("upperAscii", T, Give::Text, Cost::Scan, |args| {
        Ok(Val::text(text_arg(args, 0)?.to_ascii_uppercase()))
    }),
    Overload {
        spare: 1,
        ..member(
            "replace",
            &[Want::Text, Want::Text, Want::Text, Want::Int],
            Give::Text,
            Cost::Replace,
            replace,
        )
    },
    Overload {
        spare: 1,
        ..member("split", TTI, Give::ListOfText, Cost::Rewrite, split)
    },
    Overload {
        spare: 1,
        ..member(
            "substring",
            &[Want::Text, Want::Int, Want::Int],
            Give::Text,
            Cost::Scan,
            substring,
        )
    },
    member("trim", T, Give::Text, Cost::Scan, |args| {
        Ok(Val::text(text_arg(args, 0)?.trim()))
    }),
    member("reverse", T, Give::Text, Cost::Scan, |args| {
        Ok(Val::text(text_arg(args, 0)?.chars().rev().collect::<String>()))
    }),
    member("format", &[Want::Text, Want::List], Give::Text, Cost::Format, |args| {
        printf::format(text_arg(args, 0)?, &arg(args, 1)?.items()?).map(Val::text)
    }),
    global("strings.quote", T, Give::Text, Cost::Scan, |args| {
        Ok(Val::text(quote(text_arg(args, 0)?)))
    }),
];

fn compiled(args: &[Val<'_>]) -> Result<regex::Regex, Failure> {
    pattern::compile_small(text_arg(args, 1)?).map_err(Failure::error)
}

fn matches<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    Ok(Val::Bool(compiled(args)?.is_match(text_arg(args, 0)?)))
}

fn find<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let regex = compiled(args)?;
    Ok(Val::text(
        regex.find(text_arg(args, 0)?).map_or("", |found| found.as_str()),
    ))
}

fn find_all<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let regex = compiled(args)?;
    let max = spare_int(args, 2)?
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(usize::MAX);
    let found = regex.find_iter(text_arg(args, 0)?).take(max);
    Ok(Val::list(found.map(|found| Val::text(found.as_str())).collect()))
}

/// The byte offset of a character; the length is the offset of the end.
fn offset(text: &str, at: i64) -> Result<usize, Failure> {
    let range = || Failure::error(format!("index out of range: {at}"));
    let at = usize::try_from(at).map_err(|_| range())?;
    let mut offsets = text.char_indices().map(|(offset, _)| offset).chain([text.len()]);
    offsets.nth(at).ok_or_else(range)
}

fn char_at<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let text = text_arg(args, 0)?;
    let start = offset(text, super::int_arg(args, 1)?)?;
    let found = text.get(start..).and_then(|rest| rest.chars().next());
    Ok(Val::text(found.map(String::from).unwrap_or_default()))
}

fn characters(text: &str, end: usize) -> i64 {
    text.get(..end).unwrap_or_default().chars().count() as i64
}

/// Of a string in a string, or of an item in a list.
fn index_of<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    if arg(args, 0)?.is_list() {
        let items = arg(args, 0)?.items()?;
        let wanted = arg(args, 1)?;
        return Ok(Val::Int(
            items
                .iter()
                .position(|item| item.equals(wanted))
                .map_or(-1, |at| at as i64),
        ));
    }
    let (text, wanted) = (text_arg(args, 0)?, text_arg(args, 1)?);
    let from = offset(text, spare_int(args, 2)?.unwrap_or(0))?;
    let found = text.get(from..).and_then(|rest| rest.find(wanted));
    Ok(Val::Int(found.map_or(-1, |at| characters(text, from + at))))
}

fn last_index_of<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    if arg(args, 0)?.is_list() {
        let items = arg(args, 0)?.items()?;
        let wanted = arg(args, 1)?;
        return Ok(Val::Int(
            items
                .iter()
                .rposition(|item| item.equals(wanted))
                .map_or(-1, |at| at as i64),
        ));
    }
    let (text, wanted) = (text_arg(args, 0)?, text_arg(args, 1)?);
    let until = match spare_int(args, 2)? {
        Some(at) => (offset(text, at)? + wanted.len()).min(text.len()),
        None => text.len(),
    };
    let found = text.get(..until).unwrap_or(text).rfind(wanted);
    Ok(Val::Int(found.map_or(-1, |at| characters(text, at))))
}

fn join<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let separator = if args.len() > 1 { text_arg(args, 1)? } else { "" };
    let items = arg(args, 0)?.items()?;
    let parts: Option<Vec<&str>> = items.iter().map(Val::as_str).collect();
    parts
        .map(|parts| Val::text(parts.join(separator)))
        .ok_or_else(Failure::no_overload)
}

fn replace<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let (text, from, to) = (text_arg(args, 0)?, text_arg(args, 1)?, text_arg(args, 2)?);
    let max = spare_int(args, 3)?.and_then(|max| usize::try_from(max).ok());
    Ok(Val::text(match max {
        Some(max) => text.replacen(from, to, max),
        None => text.replace(from, to),
    }))
}

/// By how much replacing makes a text longer, in bytes.
pub(super) fn growth(args: &[Val<'_>]) -> u64 {
    let texts = [0, 1, 2].map(|at| args.get(at).and_then(Val::as_str));
    let [Some(text), Some(from), Some(to)] = texts else {
        return 0;
    };
    let longer = to.len().saturating_sub(from.len());
    let max = match args.get(3) {
        Some(Val::Int(max)) => usize::try_from(*max).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    if longer == 0 {
        return 0;
    }
    text.matches(from).take(max).count().saturating_mul(longer) as u64
}

fn split<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let (text, separator) = (text_arg(args, 0)?, text_arg(args, 1)?);
    let max = match spare_int(args, 2)? {
        Some(max) => usize::try_from(max).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let parts: Vec<Val<'a>> = match (max, separator) {
        (0, _) => Vec::new(),
        // Go splits by nothing into characters.
        (max, "") => {
            let mut characters: Vec<String> = text.chars().map(String::from).collect();
            if characters.len() > max {
                let rest = characters.split_off(max - 1).concat();
                characters.push(rest);
            }
            characters.into_iter().map(Val::text).collect()
        }
        (max, separator) => text.splitn(max, separator).map(Val::text).collect(),
    };
    Ok(Val::list(parts))
}

fn substring<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let text = text_arg(args, 0)?;
    let start_at = super::int_arg(args, 1)?;
    let start = offset(text, start_at)?;
    let end = match spare_int(args, 2)? {
        Some(end) if end < start_at => {
            return Err(Failure::error(format!(
                "invalid substring range. start: {start_at}, end: {end}"
            )));
        }
        Some(end) => offset(text, end)?,
        None => text.len(),
    };
    Ok(Val::text(text.get(start..end).unwrap_or_default()))
}
