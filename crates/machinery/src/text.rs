//! Go's ways of printing text that end up in answers: `%q` and what counts as printable.

use std::sync::LazyLock;

use regex::Regex;

/// `strconv.Quote`: what Go prints for `%q`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            char if is_print(char) => out.push(char),
            char if char < ' ' || char == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(char))),
            char if u32::from(char) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => out.push_str(&format!("\\U{:08x}", u32::from(char))),
        }
    }
    out.push('"');
    out
}

/// A list of strings as Go prints it for `%#v`: `[]string{"a", "b"}`.
pub fn go_strings<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = items.into_iter().map(quote).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

/// `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
pub fn is_print(char: char) -> bool {
    static PRINT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[\p{L}\p{M}\p{N}\p{P}\p{S}]$").expect("a constant expression"));
    match char {
        ' '..='~' => true,
        '\0'..='\u{7f}' => false,
        other => PRINT.is_match(other.encode_utf8(&mut [0; 4])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quote("a\"b\\\n\u{1}\u{7f}é\u{a0}'"), r#""a\"b\\\n\x01\x7fé\u00a0'""#);
        assert_eq!(quote("😀\u{e0000}"), r#""😀\U000e0000""#);
        assert_eq!(go_strings(["a", "b"]), r#"[]string{"a", "b"}"#);
    }
}
