//! The tokens of CEL.

use super::CompileError;

/// One token. Positions are byte offsets.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Ident(String),
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or bracket, as written.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=", "&",
];

/// Splits an expression into tokens with their offsets; the last is [`Token::End`].
pub fn tokenize(source: &str) -> Result<Vec<(Token, usize)>, CompileError> {
    let mut scan = Scan { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        scan.skip_blank();
        let start = scan.at;
        let token = scan.token()?;
        let end = token == Token::End;
        tokens.push((token, start));
        if end {
            return Ok(tokens);
        }
    }
}

struct Scan<'s> {
    source: &'s str,
    at: usize,
}

// === impl Scan ===

impl<'s> Scan<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn error(&self, message: impl Into<String>) -> CompileError {
        CompileError::new(self.at, message)
    }

    fn token(&mut self) -> Result<Token, CompileError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        if first.is_ascii_digit() || (first == '.' && rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit())) {
            return self.number();
        }
        if let Some((prefix, raw, bytes)) = literal_prefix(rest) {
            self.at += prefix;
            return self.literal(raw, bytes);
        }
        if first == '_' || first.is_ascii_alphabetic() {
            let end = rest
                .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            self.at += end;
            return Ok(Token::Ident(rest.get(..end).unwrap_or_default().to_owned()));
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(self.error(format!("Syntax error: token recognition error at: '{first}'"))),
        }
    }

    fn number(&mut self) -> Result<Token, CompileError> {
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            let value = u64::from_str_radix(hex.get(..end).unwrap_or_default(), 16);
            let value = value.map_err(|_| self.error("invalid int literal"))?;
            self.at += 2 + end;
            return Ok(self.suffixed(value));
        }
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let mut end = digits(rest);
        let mut double = false;
        let after = |end: usize| rest.get(end..).unwrap_or_default();
        if after(end).starts_with('.') && after(end + 1).starts_with(|c: char| c.is_ascii_digit()) {
            double = true;
            end += 1 + digits(after(end + 1));
        }
        if after(end).starts_with(['e', 'E']) {
            let signed = usize::from(after(end + 1).starts_with(['+', '-']));
            let exponent = digits(after(end + 1 + signed));
            if exponent > 0 {
                double = true;
                end += 1 + signed + exponent;
            }
        }
        let text = rest.get(..end).unwrap_or_default();
        if double {
            let value = text.parse().map_err(|_| self.error("invalid double literal"))?;
            self.at += end;
            return Ok(Token::Double(value));
        }
        let value = text.parse().map_err(|_| self.error("invalid int literal"))?;
        self.at += end;
        Ok(self.suffixed(value))
    }

    fn suffixed(&mut self, value: u64) -> Token {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return Token::Uint(value);
        }
        Token::Int(value)
    }

    /// A string or bytes literal at its opening quote.
    fn literal(&mut self, raw: bool, bytes: bool) -> Result<Token, CompileError> {
        let rest = self.rest();
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| rest.starts_with(quote));
        let quote = quote.ok_or_else(|| self.error("Syntax error: missing quote"))?;
        self.at += quote.len();
        let mut out = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.at += quote.len();
                break;
            }
            let Some(c) = rest.chars().next() else {
                return Err(self.error("Syntax error: unterminated literal"));
            };
            if quote.len() == 1 && matches!(c, '\n' | '\r') {
                return Err(self.error("Syntax error: unterminated literal"));
            }
            self.at += c.len_utf8();
            if c == '\\' && raw {
                // A raw literal keeps the backslash, and what follows it does not end the literal.
                out.push(b'\\');
                if let Some(next) = self.rest().chars().next() {
                    self.at += next.len_utf8();
                    push_char(&mut out, next);
                }
            } else if c == '\\' {
                self.escape(bytes, &mut out)?;
            } else {
                push_char(&mut out, c);
            }
        }
        if bytes {
            return Ok(Token::Bytes(out));
        }
        String::from_utf8(out)
            .map(Token::Text)
            .map_err(|_| self.error("invalid string literal"))
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), CompileError> {
        let rest = self.rest();
        let c = rest
            .chars()
            .next()
            .ok_or_else(|| self.error("Syntax error: unterminated literal"))?;
        let plain = match c {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '?' | '"' | '\'' | '`' => Some(c as u8),
            _ => None,
        };
        if let Some(byte) = plain {
            self.at += 1;
            out.push(byte);
            return Ok(());
        }
        let (skip, len, radix) = match c {
            'x' | 'X' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='3' => (0, 3, 8),
            _ => return Err(self.error(format!("Syntax error: invalid escape '\\{c}'"))),
        };
        let digits = rest.get(skip..skip + len).unwrap_or_default();
        let code = u32::from_str_radix(digits, radix).map_err(|_| self.error("Syntax error: invalid escape"))?;
        self.at += skip + len;
        match (bytes && len < 4, u8::try_from(code)) {
            (true, Ok(byte)) => out.push(byte),
            _ => push_char(
                out,
                char::from_u32(code).ok_or_else(|| self.error("invalid unicode code point"))?,
            ),
        }
        Ok(())
    }
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Length of the prefix before an opening quote, and whether the literal is raw and of bytes.
fn literal_prefix(text: &str) -> Option<(usize, bool, bool)> {
    let prefix: String = text
        .chars()
        .take_while(|c| matches!(c, 'r' | 'R' | 'b' | 'B'))
        .take(2)
        .collect();
    let quoted = text.get(prefix.len()..)?.starts_with(['"', '\'']);
    let lower = prefix.to_ascii_lowercase();
    let known = matches!(lower.as_str(), "" | "r" | "b" | "rb" | "br");
    (quoted && known).then(|| (prefix.len(), lower.contains('r'), lower.contains('b')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(source: &str) -> Token {
        tokenize(source).unwrap().swap_remove(0).0
    }

    #[test]
    fn reads_literals() {
        assert_eq!(first("0x1F"), Token::Int(31));
        assert_eq!(first("3u"), Token::Uint(3));
        assert_eq!(first("1.5e3"), Token::Double(1500.0));
        assert_eq!(first(r#""a\n\u00e4\x41\101""#), Token::Text("a\näAA".into()));
        assert_eq!(first(r#"r'\d'"#), Token::Text(r"\d".into()));
        assert_eq!(first(r#"b"\xff""#), Token::Bytes(vec![255]));
        assert_eq!(first("'''a'b'''"), Token::Text("a'b".into()));
        assert_eq!(first("// comment\n x"), Token::Ident("x".into()));
        assert!(tokenize("'a").is_err());
        assert!(tokenize("#").is_err());
    }
}
