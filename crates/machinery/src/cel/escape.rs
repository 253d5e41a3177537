//! Property names as CEL identifiers (Kubernetes' escaping rules).

/// Words that are escaped as a whole: `__namespace__`.
const KEYWORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const PARTS: [(&str, &str); 4] = [
    ("__underscores__", "__"),
    ("__dot__", "."),
    ("__dash__", "-"),
    ("__slash__", "/"),
];

/// The identifier for a property; none if it has no form in CEL.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if KEYWORDS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some((escaped, plain)) = PARTS.iter().find(|(_, plain)| rest.starts_with(plain)) {
            out.push_str(escaped);
            rest = rest.get(plain.len()..)?;
        } else if c == '_' || c.is_ascii_alphanumeric() {
            out.push(c);
            rest = rest.get(1..)?;
        } else {
            return None;
        }
    }
    Some(out)
}

/// The property an identifier stands for; none if the escapes in it are unknown.
pub fn unescape(ident: &str) -> Option<String> {
    let inner = ident.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = inner.filter(|word| KEYWORDS.contains(word)) {
        return Some(word.to_owned());
    }
    let mut out = String::with_capacity(ident.len());
    let mut rest = ident;
    while !rest.is_empty() {
        if let Some((escaped, plain)) = PARTS.iter().find(|(escaped, _)| rest.starts_with(escaped)) {
            out.push_str(plain);
            rest = rest.get(escaped.len()..)?;
        } else {
            let c = rest.chars().next()?;
            out.push(c);
            rest = rest.get(c.len_utf8()..)?;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for (name, ident) in [
            ("namespace", "__namespace__"),
            ("x-y.z/a", "x__dash__y__dot__z__slash__a"),
            ("a__b", "a__underscores__b"),
            ("plain_1", "plain_1"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(ident));
            assert_eq!(unescape(ident).as_deref(), Some(name));
        }
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("ä"), None);
    }
}
