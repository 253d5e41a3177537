//! Go's regular expressions (RE2) on top of the `regex` crate: the same engine family, slightly another syntax.

use std::sync::OnceLock;

use regex::Regex;

/// A pattern, compiled at its first use.
#[derive(Debug)]
pub struct Pattern {
    source: Box<str>,
    compiled: OnceLock<Result<Regex, Box<str>>>,
}

// === impl Pattern ===

impl Pattern {
    pub fn new(source: &str) -> Self {
        Self {
            source: source.into(),
            compiled: OnceLock::new(),
        }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the pattern is found anywhere in the text; the error is the compiler's.
    pub fn is_match(&self, text: &str) -> Result<bool, &str> {
        match self
            .compiled
            .get_or_init(|| compile(&self.source).map_err(|error| error.into()))
        {
            Ok(regex) => Ok(regex.is_match(text)),
            Err(error) => Err(error),
        }
    }
}

/// Compiles a Go pattern. The error is one line, in the words of Go where they are short.
pub fn compile(source: &str) -> Result<Regex, String> {
    Regex::new(&translate(source)).map_err(|error| one_line(&error, source))
}

/// As [`compile`], for patterns made while a rule runs: those that compile into much are refused.
pub fn compile_small(source: &str) -> Result<Regex, String> {
    let builder = regex::RegexBuilder::new(&translate(source))
        .size_limit(256 * 1024)
        .build();
    builder.map_err(|error| one_line(&error, source))
}

fn one_line(error: &regex::Error, source: &str) -> String {
    let last = error
        .to_string()
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    format!("error parsing regexp: {last}: `{source}`")
}

/// Rewrites what Go and the `regex` crate read differently: `\d \w \s \b` are ASCII in Go, `{` that opens no count and
/// `[`, `&&`, `--`, `~~` in a class are plain characters, `\Q…\E` quotes, `\<` and `\>` are plain.
fn translate(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len() + 16);
    let mut class_start: Option<usize> = None;
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        match (c, class_start) {
            ('\\', _) => at += escape(&chars, at, class_start.is_some(), &mut out),
            ('[', None) => {
                out.push('[');
                at += 1;
                if chars.get(at) == Some(&'^') {
                    out.push('^');
                    at += 1;
                }
                class_start = Some(at);
                continue;
            }
            (']', Some(start)) if at > start => {
                out.push(']');
                class_start = None;
            }
            (']', Some(_)) => out.push_str("\\]"),
            ('[', Some(_)) if next == Some(':') => match class_name(&chars, at) {
                Some(name) => {
                    out.push_str(&name);
                    at += name.chars().count() - 1;
                }
                None => out.push_str("\\["),
            },
            ('[', Some(_)) => out.push_str("\\["),
            ('&' | '~', Some(_)) => {
                out.push('\\');
                out.push(c);
            }
            ('-', Some(_)) if next == Some('-') => {
                out.push_str("-\\-");
                at += 1;
            }
            ('{', None) if !opens_count(&chars, at) => out.push_str("\\{"),
            _ => out.push(c),
        }
        at += 1;
    }
    out
}

/// Writes the escape that starts at `at`; returns how many characters beyond the backslash it took.
fn escape(chars: &[char], at: usize, in_class: bool, out: &mut String) -> usize {
    let Some(&c) = chars.get(at + 1) else {
        out.push('\\');
        return 0;
    };
    let wrap = |set: &str| if in_class { set.to_owned() } else { format!("[{set}]") };
    match c {
        'd' => out.push_str(&wrap("0-9")),
        'w' => out.push_str(&wrap("0-9A-Za-z_")),
        's' => out.push_str(&wrap("\\t\\n\\f\\r ")),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        '<' | '>' => out.push(c),
        'Q' if !in_class => {
            let rest: String = chars.iter().skip(at + 2).collect();
            let (quoted, ended) = rest
                .split_once("\\E")
                .map_or((rest.as_str(), 0), |(quoted, _)| (quoted, 2));
            out.push_str(&regex::escape(quoted));
            return 1 + quoted.chars().count() + ended;
        }
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    1
}

/// `[:alpha:]` and its like at `at`, if it is one.
fn class_name(chars: &[char], at: usize) -> Option<String> {
    let rest: String = chars.iter().skip(at).take(12).collect();
    let end = rest.find(":]")?;
    let name = rest.get(2..end)?;
    let plain = name.chars().all(|c| c.is_ascii_alphabetic() || c == '^');
    (plain && !name.is_empty()).then(|| format!("[:{name}:]"))
}

fn opens_count(chars: &[char], at: usize) -> bool {
    let body: String = chars.iter().skip(at + 1).take_while(|c| **c != '}').collect();
    let closed = chars.get(at + 1 + body.chars().count()) == Some(&'}');
    let (low, high) = body.split_once(',').unwrap_or((body.as_str(), ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    closed && !low.is_empty() && digits(low) && digits(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text)
    }

    #[test]
    fn reads_patterns_as_go_does() {
        assert!(matches(r"^[^\s]+$", "ä"));
        assert!(!matches(r"^\d$", "٣"));
        assert!(matches("^{a}$", "{a}"));
        assert!(matches("^a{2,3}$", "aaa"));
        assert!(matches("^[[]$", "["));
        assert!(matches("^[]a]+$", "]a"));
        assert!(matches("^[[:alpha:]_]+$", "ab_"));
        assert!(matches(r"^\Qa.b\E$", "a.b"));
        assert!(!matches(r"^\Qa.b\E$", "axb"));
        assert!(matches("^[a&&b]+$", "&"));
        assert!(matches(r"\bfoo\b", "a foo b"));
        assert!(matches(r"^[-a-z0-9\.]*[a-z0-9]$", "a.b-c"));
        assert!(compile("(").unwrap_err().starts_with("error parsing regexp: "));
    }
}
