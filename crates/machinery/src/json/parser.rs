//! The recursive-descent parser behind [`super::decode`]. Depth is bounded, so recursion is too.

use serde_json::{Map, Number, Value};

use super::{DEPTH_MAX, DecodeError};

/// Go stops collecting strict errors there.
const DUPLICATES_MAX: usize = 100;

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
    depth: usize,
    depth_max: usize,
    repeated: bool,
    /// Where we are, only while duplicates are being named: most bodies have none.
    trail: Option<Trail>,
}

/// The path to the current value as Go prints it, and the duplicates found so far.
#[derive(Default)]
struct Trail {
    path: String,
    duplicates: Vec<String>,
}

type Parsed<T> = Result<T, DecodeError>;

/// The tree, and whether any object has a member twice.
pub(super) fn parse(input: &[u8], depth_max: usize) -> Parsed<(Value, bool)> {
    let mut parser = Parser {
        input,
        at: 0,
        depth: 0,
        depth_max,
        repeated: false,
        trail: None,
    };
    let value = parser.document()?;
    Ok((value, parser.repeated))
}

/// Paths of repeated members of a document that is known to parse.
pub(super) fn duplicates(input: &[u8]) -> Vec<String> {
    let mut parser = Parser {
        input,
        at: 0,
        depth: 0,
        depth_max: DEPTH_MAX,
        repeated: false,
        trail: Some(Trail::default()),
    };
    let parsed = parser.document();
    debug_assert!(parsed.is_ok(), "the document parsed before");
    parser.trail.map(|trail| trail.duplicates).unwrap_or_default()
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn document(&mut self) -> Parsed<Value> {
        self.space();
        let value = self.value()?;
        self.space();
        match self.peek() {
            None => Ok(value),
            Some(byte) => Err(invalid(byte, "after top-level value")),
        }
    }

    fn value(&mut self) -> Parsed<Value> {
        match self.next()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => self.string().map(Value::String),
            b't' => self.literal("true", Value::Bool(true)),
            b'f' => self.literal("false", Value::Bool(false)),
            b'n' => self.literal("null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(),
            other => Err(invalid(other, "looking for beginning of value")),
        }
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        self.depth += 1;
        if self.depth > self.depth_max {
            return Err(DecodeError("exceeded max depth".to_owned()));
        }
        let value = parse(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Parsed<Value> {
        let mut members = Map::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            match self.next()? {
                b'"' => {}
                other => return Err(invalid(other, "looking for beginning of object key string")),
            }
            let key = self.string()?;
            self.space();
            match self.next()? {
                b':' => {}
                other => return Err(invalid(other, "after object key")),
            }
            self.space();
            self.member(&mut members, key)?;
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Ok(Value::Object(members)),
                other => return Err(invalid(other, "after object key:value pair")),
            }
        }
    }

    fn member(&mut self, members: &mut Map<String, Value>, key: String) -> Parsed<()> {
        let Some(trail) = &mut self.trail else {
            let value = self.value()?;
            self.repeated |= members.insert(key, value).is_some();
            return Ok(());
        };
        let outer = trail.path.len();
        if outer > 0 {
            trail.path.push('.');
        }
        trail.path.push_str(&key);
        if members.contains_key(&key)
            && trail.duplicates.len() < DUPLICATES_MAX
            && !trail.duplicates.contains(&trail.path)
        {
            trail.duplicates.push(trail.path.clone());
        }
        let value = self.value()?;
        self.leave(outer);
        members.insert(key, value);
        Ok(())
    }

    fn array(&mut self) -> Parsed<Value> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.space();
            let outer = self.trail.as_ref().map_or(0, |trail| trail.path.len());
            if let Some(trail) = &mut self.trail {
                trail.path.push_str(&format!("[{}]", items.len()));
            }
            items.push(self.value()?);
            self.leave(outer);
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Ok(Value::Array(items)),
                other => return Err(invalid(other, "after array element")),
            }
        }
    }

    fn leave(&mut self, outer: usize) {
        if let Some(trail) = &mut self.trail {
            trail.path.truncate(outer);
        }
    }

    fn literal(&mut self, word: &'static str, value: Value) -> Parsed<Value> {
        for &expected in &word.as_bytes()[1..] {
            let found = self.next()?;
            if found != expected {
                return Err(invalid(
                    found,
                    &format!("in literal {word} (expecting {})", quote(expected)),
                ));
            }
        }
        Ok(value)
    }

    /// The first byte (`-` or a digit) has been taken.
    fn number(&mut self) -> Parsed<Value> {
        let start = self.at - 1;
        let mut first = self.input[start];
        if first == b'-' {
            first = self.next()?;
            if !first.is_ascii_digit() {
                return Err(invalid(first, "in numeric literal"));
            }
        }
        if first != b'0' {
            self.digits();
        }
        let mut integral = true;
        if self.peek() == Some(b'.') {
            integral = false;
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            integral = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        let text = std::str::from_utf8(&self.input[start..self.at]).unwrap_or_default();
        number(text, integral)
    }

    fn digit(&mut self, place: &str) -> Parsed<()> {
        let byte = self.next()?;
        if byte.is_ascii_digit() {
            Ok(())
        } else {
            Err(invalid(byte, place))
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// The opening quote has been taken.
    fn string(&mut self) -> Parsed<String> {
        let plain = self.plain();
        if self.peek() == Some(b'"')
            && let Ok(whole) = std::str::from_utf8(plain)
        {
            self.at += 1;
            return Ok(whole.to_owned());
        }
        let mut text = String::with_capacity(plain.len() + 16);
        push_lossy(&mut text, plain);
        loop {
            match self.next()? {
                b'"' => return Ok(text),
                b'\\' => self.escape(&mut text)?,
                other => return Err(invalid(other, "in string literal")),
            }
            push_lossy(&mut text, self.plain());
        }
    }

    /// Takes what stands for itself within a string.
    fn plain(&mut self) -> &'a [u8] {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let special = |byte: &u8| matches!(*byte, b'"' | b'\\' | 0..0x20);
        let length = rest.iter().position(special).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn escape(&mut self, text: &mut String) -> Parsed<()> {
        let plain = match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            other => return Err(invalid(other, "in string escape code")),
        };
        text.push(plain);
        Ok(())
    }

    /// `\u` has been taken. A surrogate that is not one of a pair is U+FFFD, and what follows it stands for itself.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hex4()?;
        if (0xD800..0xDC00).contains(&first) && self.input.get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.next()?;
            let digit = char::from(byte).to_digit(16);
            code = code * 16 + digit.ok_or_else(|| invalid(byte, "in \\u hexadecimal character escape"))?;
        }
        Ok(code)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn next(&mut self) -> Parsed<u8> {
        let byte = self
            .peek()
            .ok_or_else(|| DecodeError("unexpected end of JSON input".to_owned()))?;
        self.at += 1;
        Ok(byte)
    }
}

/// The value of a well-formed numeric literal.
fn number(text: &str, integral: bool) -> Parsed<Value> {
    if integral && let Ok(integer) = text.parse::<i64>() {
        return Ok(Value::from(integer));
    }
    let float = text.parse::<f64>().ok().filter(|float| float.is_finite());
    let float = float.ok_or_else(|| {
        DecodeError(format!(
            "json: cannot unmarshal number {text} into Go value of type float64"
        ))
    })?;
    // Beyond 2^53 not every integer is a float: there the text decided above whether it was one.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= EXACT_MAX {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "integral and within i64, by the test above"
        )]
        return Ok(Value::from(float as i64));
    }
    Ok(Number::from_f64(float).map_or(Value::Null, Value::Number))
}

/// Go replaces each byte of an invalid sequence on its own.
fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

fn invalid(byte: u8, place: &str) -> DecodeError {
    DecodeError(format!("invalid character {} {place}", quote(byte)))
}

/// A byte as Go's scanner names it: taken for a Latin-1 character, in single quotes.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x20..=0x7e | 0xa1..=0xac | 0xae..=0xff => format!("'{}'", char::from(byte)),
        0x80..=0xad => format!("'\\u{byte:04x}'"),
        other => format!("'\\x{other:02x}'"),
    }
}
