//! The query syntax of label selectors: `a=b,c in (x,y),!d,e!=f,g>1` (apimachinery `labels.Parse`).

use serde_json::Value;

use super::label::{LabelSelector, Operator, Requirement, SelectorParseError};
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::names;
use crate::text::quote;

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Comma,
    Open,
    Close,
    Not,
    In,
    NotIn,
    Equals,
    NotEquals,
    Greater,
    Less,
    Word,
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

type Parsed<T> = Result<T, SelectorParseError>;

fn fail<T>(text: String) -> Parsed<T> {
    Err(SelectorParseError(text))
}

// === lexing ===

fn is_sign(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn tokens(text: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text.split('\0').next().unwrap_or_default();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let (token, length) = match rest.as_bytes() {
            [] => break,
            [b')', ..] => (Token::Close, 1),
            [b'(', ..] => (Token::Open, 1),
            [b',', ..] => (Token::Comma, 1),
            [b'=', b'=', ..] => (Token::Equals, 2),
            [b'=', ..] => (Token::Equals, 1),
            [b'!', b'=', ..] => (Token::NotEquals, 2),
            [b'!', ..] => (Token::Not, 1),
            [b'>', ..] => (Token::Greater, 1),
            [b'<', ..] => (Token::Less, 1),
            bytes => {
                let end = |byte: &u8| is_sign(*byte) || matches!(*byte, b' ' | b'\t' | b'\r' | b'\n');
                (Token::Word, bytes.iter().position(end).unwrap_or(bytes.len()))
            }
        };
        let (literal, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let token = match (token, literal) {
            (Token::Word, "in") => Token::In,
            (Token::Word, "notin") => Token::NotIn,
            _ => token,
        };
        tokens.push((token, literal));
        rest = after;
    }
    tokens.push((Token::End, ""));
    tokens
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Reads the query syntax; the empty text selects everything. Requirements are sorted by key, as Kubernetes does.
    pub fn parse(text: &str) -> Result<Self, SelectorParseError> {
        let mut requirements = Parser {
            tokens: tokens(text),
            at: 0,
        }
        .selector()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::of(requirements))
    }
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token, &'a str) {
        self.tokens.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    /// Where a value or a key may stand, `in` and `notin` are words.
    fn peek_word(&self) -> (Token, &'a str) {
        match self.peek() {
            (Token::In | Token::NotIn, literal) => (Token::Word, literal),
            other => other,
        }
    }

    fn next_word(&mut self) -> (Token, &'a str) {
        let next = self.peek_word();
        self.at += 1;
        next
    }

    fn selector(&mut self) -> Parsed<Vec<Requirement>> {
        let mut requirements = Vec::new();
        loop {
            match self.peek_word() {
                (Token::Word | Token::Not, _) => {
                    let requirement = self.requirement();
                    requirements.push(
                        requirement
                            .map_err(|error| SelectorParseError(format!("unable to parse requirement: {error}")))?,
                    );
                }
                (Token::End, _) => return Ok(requirements),
                (_, literal) => {
                    return fail(format!(
                        "found '{literal}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            match self.next_word() {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => {
                    let (token, literal) = self.peek_word();
                    if !matches!(token, Token::Word | Token::Not) {
                        return fail(format!("found '{literal}', expected: identifier after ','"));
                    }
                }
                (_, literal) => return fail(format!("found '{literal}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        let (mut token, mut key) = self.next_word();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next_word();
        }
        if token != Token::Word {
            return fail(format!("found '{key}', expected: identifier"));
        }
        if let Some(error) = key_error(key, &Path::root()) {
            return fail(error.to_string());
        }
        if negated {
            // As in Kubernetes, a negated key takes no operator: what follows is judged by the caller.
            return checked_requirement(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek_word().0, Token::End | Token::Comma) {
            return checked_requirement(key, Operator::Exists, Vec::new());
        }
        let operator = match self.peek() {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals, _) => {
                self.at += 1;
                return checked_requirement(key, Operator::In, vec![self.exact_value()?]);
            }
            (Token::NotEquals, _) => {
                self.at += 1;
                return checked_requirement(key, Operator::NotIn, vec![self.exact_value()?]);
            }
            (Token::Greater, _) => {
                self.at += 1;
                return checked_requirement(key, Operator::GreaterThan, vec![self.exact_value()?]);
            }
            (Token::Less, _) => {
                self.at += 1;
                return checked_requirement(key, Operator::LessThan, vec![self.exact_value()?]);
            }
            (_, literal) => return fail(format!("found '{literal}', expected: {BINARY_OPERATORS}")),
        };
        self.at += 1;
        let values = self.values()?;
        checked_requirement(key, operator, values)
    }

    fn exact_value(&mut self) -> Parsed<String> {
        match self.peek_word() {
            (Token::End | Token::Comma, _) => Ok(String::new()),
            (Token::Word, literal) => {
                self.at += 1;
                Ok(literal.to_owned())
            }
            (_, literal) => fail(format!("found '{literal}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Parsed<Vec<String>> {
        let (token, literal) = self.next_word();
        if token != Token::Open {
            return fail(format!("found '{literal}' expected: '('"));
        }
        match self.peek_word() {
            (Token::Word | Token::Comma, _) => {
                let values = self.value_list()?;
                self.at += 1; // the list ends before ')'
                Ok(values)
            }
            (Token::Close, _) => {
                self.at += 1;
                Ok(vec![String::new()])
            }
            (_, literal) => fail(format!("found '{literal}', expected: ',', ')' or identifier")),
        }
    }

    /// Values up to the closing parenthesis; an empty place between commas is the empty value.
    fn value_list(&mut self) -> Parsed<Vec<String>> {
        let mut values = Vec::new();
        loop {
            match self.next_word() {
                (Token::Word, literal) => {
                    values.push(literal.to_owned());
                    match self.peek_word() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, literal) => return fail(format!("found '{literal}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek_word().0 {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => values.push(String::new()),
                        _ => {}
                    }
                }
                (_, literal) => return fail(format!("found '{literal}', expected: ',', or identifier")),
            }
        }
    }
}

// === checks ===

/// A requirement of checked key, values and number of values; the error lists all that is wrong.
pub(super) fn checked_requirement(key: &str, operator: Operator, values: Vec<String>) -> Parsed<Requirement> {
    let mut errors: Vec<FieldError> = key_error(key, &Path::new("key")).into_iter().collect();
    let path = Path::new("values");
    let number_error = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            Some("for 'in', 'notin' operators, values set can't be empty")
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            Some("values set must be empty for exists and does not exist")
        }
        Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
            Some("for 'Gt', 'Lt' operators, exactly one value is required")
        }
        _ => None,
    };
    if let Some(why) = number_error {
        // Go prints the absent list so.
        let printed = if values.is_empty() {
            "null".to_owned()
        } else {
            Value::from(values.clone()).to_string()
        };
        let printed = Some(printed);
        errors.push(FieldError::new(FieldErrorKind::Invalid, &path, printed, why));
    }
    if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
        for (index, value) in values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.parse::<i64>().is_err())
        {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            errors.push(FieldError::new(
                FieldErrorKind::Invalid,
                &path.index(index),
                Some(quote(value)),
                why,
            ));
        }
    }
    for (index, value) in values.iter().enumerate() {
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            let at = path.index(index).key(key);
            errors.push(FieldError::new(
                FieldErrorKind::Invalid,
                &at,
                Some(quote(value)),
                wrong.join("; "),
            ));
        }
    }
    let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
    match texts.as_slice() {
        [] => Ok(Requirement::new(key, operator, values)),
        [one] => fail(one.clone()),
        many => fail(format!("[{}]", many.join(", "))),
    }
}

fn key_error(key: &str, path: &Path) -> Option<FieldError> {
    let wrong = names::qualified_name(key);
    let invalid = || FieldError::new(FieldErrorKind::Invalid, path, Some(quote(key)), wrong.join("; "));
    (!wrong.is_empty()).then(invalid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(text: &str) -> String {
        LabelSelector::parse(text).unwrap().to_string()
    }

    fn error(text: &str) -> String {
        LabelSelector::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_operator_is_read() {
        assert_eq!(
            printed("z=b, c in (y,x),!d , e!=f,g>1,h<2,i,j notin (a),k==l"),
            "c in (x,y),!d,e!=f,g>1,h<2,i,j!=a,k=l,z=b"
        );
        assert_eq!(printed("a in ()"), "a=");
        assert_eq!(printed("a in (,b)"), "a in (,b)");
        assert_eq!(printed("a=,in in (in,notin)"), "a=,in in (in,notin)");
        assert!(LabelSelector::parse(" ").unwrap().is_everything());
    }

    #[test]
    fn malformed_selectors_are_refused_in_kubernetes_words() {
        for (text, expected) in [
            ("==", "found '==', expected: !, identifier, or 'end of string'"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a,,b", "found ',', expected: identifier after ','"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in x", "unable to parse requirement: found 'x' expected: '('"),
            ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
            (
                "a in (x y)",
                "unable to parse requirement: found 'y', expected: ',' or ')'",
            ),
            ("a=(b)", "unable to parse requirement: found '(', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(
            error("-a")
                .starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of")
        );
        assert!(
            error("a=b_")
                .starts_with("unable to parse requirement: values[0][a]: Invalid value: \"b_\": a valid label must")
        );
    }

    #[test]
    fn parsed_selectors_match() {
        let labels = |key: &str| match key {
            "a" => Some("1"),
            "b" => Some("x"),
            _ => None,
        };
        for (text, matches) in [
            ("a=1", true),
            ("a>0,a<2", true),
            ("b>0", false),
            ("a in (1,2),!c", true),
            ("c!=x", true),
            ("c notin (x)", true),
            ("b notin (x)", false),
            ("a,b", true),
            ("c", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(labels), matches, "{text}");
        }
    }

    fn any_requirement() -> impl Strategy<Value = Requirement> {
        let key = "([a-z]{1,5}\\.[a-z]{1,3}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,5}[A-Za-z0-9])?";
        let value = "([A-Za-z0-9]([A-Za-z0-9_.-]{0,5}[A-Za-z0-9])?)?";
        let values = prop::collection::vec(value, 1..4);
        (key, 0..6_usize, values, any::<i64>()).prop_map(|(key, operator, values, number)| match operator {
            0 => Requirement::new(key, Operator::In, values),
            1 => Requirement::new(key, Operator::NotIn, values),
            2 => Requirement::new(key, Operator::Exists, Vec::new()),
            3 => Requirement::new(key, Operator::DoesNotExist, Vec::new()),
            4 => Requirement::new(
                key,
                Operator::GreaterThan,
                vec![number.unsigned_abs().min(1 << 40).to_string()],
            ),
            _ => Requirement::new(
                key,
                Operator::LessThan,
                vec![number.unsigned_abs().min(1 << 40).to_string()],
            ),
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(mut requirements in prop::collection::vec(any_requirement(), 0..5)) {
            requirements.sort_by(|a, b| a.key.cmp(&b.key));
            let selector = LabelSelector::of(requirements);
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
        }

        #[test]
        fn never_panics(text in r"[a-c=!<>(), \x00ä]{0,20}") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
