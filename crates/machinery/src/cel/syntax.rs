//! From tokens to a tree of names: nothing is resolved yet (see [`super::lower`]).

use super::CompileError;
use super::token::{Token, tokenize};

/// Nesting beyond this is refused. (Upstream stops at 250; rules in use stay below 30. Threads have 2 MiB of stack.)
const DEPTH_MAX: usize = 100;
/// Operators, the loosest first.
const LEVELS: [&[&str]; 5] = [
    &["||"],
    &["&&"],
    &["<", "<=", ">=", ">", "==", "!=", "in"],
    &["+", "-"],
    &["*", "/", "%"],
];
/// The level from which on chains nest.
const RELATIONS: usize = 2;
/// Words that may not be identifiers (they may be fields when escaped).
const RESERVED: [&str; 17] = [
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

/// A node with the byte offset that messages point at.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub at: usize,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Ident(String),
    Select {
        operand: Box<Tree>,
        field: String,
        optional: bool,
    },
    Index {
        operand: Box<Tree>,
        index: Box<Tree>,
        optional: bool,
    },
    Call {
        function: String,
        target: Option<Box<Tree>>,
        args: Vec<Tree>,
    },
    /// `!` and `-`.
    Unary {
        sign: &'static str,
        operand: Box<Tree>,
    },
    /// Arithmetic, comparison, `in`.
    Binary {
        sign: &'static str,
        left: Box<Tree>,
        right: Box<Tree>,
    },
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Choice {
        condition: Box<Tree>,
        yes: Box<Tree>,
        no: Box<Tree>,
    },
    /// Elements, each with whether it was marked optional.
    List(Vec<(Tree, bool)>),
    Map(Vec<(Tree, Tree, bool)>),
}

/// Parses an expression.
pub fn parse(source: &str) -> Result<Tree, CompileError> {
    let mut parser = Parser {
        tokens: tokenize(source)?,
        at: 0,
        depth: 0,
    };
    let tree = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(tree),
        _ => Err(parser.unexpected()),
    }
}

/// `&&` and `||` chains become one node each, however long.
fn join(left: Tree, sign: &'static str, right: Tree, at: usize) -> Tree {
    let node = match (sign, left.node) {
        ("||", Node::Any(mut parts)) => {
            parts.push(right);
            Node::Any(parts)
        }
        ("&&", Node::All(mut parts)) => {
            parts.push(right);
            Node::All(parts)
        }
        (sign, node) => {
            let left = Tree { at: left.at, node };
            match sign {
                "||" => Node::Any(vec![left, right]),
                "&&" => Node::All(vec![left, right]),
                sign => Node::Binary {
                    sign,
                    left: left.into(),
                    right: right.into(),
                },
            }
        }
    };
    Tree { at, node }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

type Parsed = Result<Tree, CompileError>;

// === impl Parser ===

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn offset(&self) -> usize {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(0, |(_, offset)| *offset)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn unexpected(&self) -> CompileError {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Ident(name) => name.clone(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Int(value) | Token::Uint(value) => value.to_string(),
            Token::Double(value) => value.to_string(),
            Token::Text(text) => format!("\"{text}\""),
            Token::Bytes(_) => "bytes".to_owned(),
        };
        CompileError::new(self.offset(), format!("Syntax error: mismatched input '{shown}'"))
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(have) if *have == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), CompileError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn sign_among(&self, signs: &[&'static str]) -> Option<&'static str> {
        match self.peek() {
            Token::Sign(have) => signs.iter().find(|sign| *sign == have).copied(),
            Token::Ident(word) if word == "in" && signs.contains(&"in") => Some("in"),
            _ => None,
        }
    }

    fn deeper(&mut self, at: usize) -> Result<(), CompileError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(CompileError::new(
                at,
                format!("expression recursion limit exceeded: {DEPTH_MAX}"),
            ));
        }
        Ok(())
    }

    fn expression(&mut self) -> Parsed {
        self.deeper(self.offset())?;
        let condition = self.operators(0)?;
        let at = self.offset();
        let tree = if self.take("?") {
            let yes = self.operators(0)?;
            self.expect(":")?;
            let no = self.expression()?;
            let (condition, yes, no) = (condition.into(), yes.into(), no.into());
            Tree {
                at,
                node: Node::Choice { condition, yes, no },
            }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(tree)
    }

    /// Operands joined by operators that bind at least as tightly as `least` says. One function for all levels: the
    /// stack a nested expression takes is what bounds how deep one may be.
    fn operators(&mut self, least: usize) -> Parsed {
        let mut left = self.unary()?;
        let before = self.depth;
        while let Some((sign, level)) = self.operator().filter(|(_, level)| *level >= least) {
            let at = self.offset();
            self.at += 1;
            let right = self.operators(level + 1)?;
            if level >= RELATIONS {
                // The tree grows to the left: a long chain is deep.
                self.deeper(at)?;
            }
            left = join(left, sign, right, at);
        }
        self.depth = before;
        Ok(left)
    }

    /// The operator at hand and how tightly it binds.
    fn operator(&self) -> Option<(&'static str, usize)> {
        LEVELS
            .iter()
            .enumerate()
            .find_map(|(level, signs)| self.sign_among(signs).map(|sign| (sign, level)))
    }

    fn unary(&mut self) -> Parsed {
        let at = self.offset();
        let Some(sign) = self.sign_among(&["!", "-"]) else {
            return self.member();
        };
        if sign == "-" {
            let literal = self.tokens.get(self.at + 1).map(|(token, _)| token.clone());
            match literal {
                Some(Token::Int(value)) if value <= 1 << 63 => {
                    self.at += 2;
                    let value = (value as i64).wrapping_neg();
                    return self.suffixes(Tree {
                        at,
                        node: Node::Int(value),
                    });
                }
                Some(Token::Double(value)) => {
                    self.at += 2;
                    return self.suffixes(Tree {
                        at,
                        node: Node::Double(-value),
                    });
                }
                _ => {}
            }
        }
        self.at += 1;
        self.deeper(at)?;
        let operand = self.unary()?;
        self.depth -= 1;
        Ok(Tree {
            at,
            node: Node::Unary {
                sign,
                operand: operand.into(),
            },
        })
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut tree: Tree) -> Parsed {
        let before = self.depth;
        loop {
            let at = self.offset();
            if self.take(".") {
                let optional = self.take("?");
                let field = self.field()?;
                let open = self.offset();
                tree = if !optional && self.take("(") {
                    let args = self.arguments(")")?;
                    Tree {
                        at: open,
                        node: Node::Call {
                            function: field,
                            target: Some(tree.into()),
                            args,
                        },
                    }
                } else {
                    Tree {
                        at,
                        node: Node::Select {
                            operand: tree.into(),
                            field,
                            optional,
                        },
                    }
                };
            } else if self.take("[") {
                let optional = self.take("?");
                let index = self.expression()?;
                self.expect("]")?;
                tree = Tree {
                    at,
                    node: Node::Index {
                        operand: tree.into(),
                        index: index.into(),
                        optional,
                    },
                };
            } else {
                self.depth = before;
                return Ok(tree);
            }
            self.deeper(at)?;
        }
    }

    fn field(&mut self) -> Result<String, CompileError> {
        match self.peek().clone() {
            Token::Ident(name) if !matches!(name.as_str(), "true" | "false" | "null" | "in") => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Tree>, CompileError> {
        let mut list = Vec::new();
        if self.take(close) {
            return Ok(list);
        }
        loop {
            list.push(self.expression()?);
            if self.take(close) {
                return Ok(list);
            }
            self.expect(",")?;
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.offset();
        if self.take("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            return Ok(Tree {
                at,
                node: Node::List(self.elements()?),
            });
        }
        if self.take("{") {
            return Ok(Tree {
                at,
                node: Node::Map(self.entries()?),
            });
        }
        // A leading dot means the root container, which is the only one there is.
        self.take(".");
        let unexpected = self.unexpected();
        let node = match self.next() {
            Token::Ident(word) => return self.word(word, at, unexpected),
            Token::Int(value) => {
                Node::Int(i64::try_from(value).map_err(|_| CompileError::new(at, "invalid int literal"))?)
            }
            Token::Uint(value) => Node::Uint(value),
            Token::Double(value) => Node::Double(value),
            Token::Text(text) => Node::Text(text),
            Token::Bytes(bytes) => Node::Bytes(bytes),
            Token::Sign(_) | Token::End => return Err(unexpected),
        };
        Ok(Tree { at, node })
    }

    fn word(&mut self, word: String, at: usize, unexpected: CompileError) -> Parsed {
        let node = match word.as_str() {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            "null" => Node::Null,
            "in" => return Err(unexpected),
            reserved if RESERVED.contains(&reserved) => {
                return Err(CompileError::new(at, format!("reserved identifier: {reserved}")));
            }
            _ => {
                let open = self.offset();
                if self.take("(") {
                    let args = self.arguments(")")?;
                    return Ok(Tree {
                        at: open,
                        node: Node::Call {
                            function: word,
                            target: None,
                            args,
                        },
                    });
                }
                Node::Ident(word)
            }
        };
        Ok(Tree { at, node })
    }

    fn elements(&mut self) -> Result<Vec<(Tree, bool)>, CompileError> {
        let mut list = Vec::new();
        while !self.take("]") {
            let optional = self.take("?");
            list.push((self.expression()?, optional));
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(list)
    }

    fn entries(&mut self) -> Result<Vec<(Tree, Tree, bool)>, CompileError> {
        let mut list = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expression()?;
            self.expect(":")?;
            list.push((key, self.expression()?, optional));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_operators_as_cel_does() {
        let Node::Any(parts) = parse("a || b && c == 1 + 2 * 3").unwrap().node else {
            panic!("an or")
        };
        assert_eq!(parts.len(), 2);
        let Node::Choice { no, .. } = parse("a ? b : c ? d : e").unwrap().node else {
            panic!("a choice")
        };
        assert!(matches!(no.node, Node::Choice { .. }));
        assert_eq!(parse("-9223372036854775808").unwrap().node, Node::Int(i64::MIN));
    }

    #[test]
    fn refuses_what_is_no_expression() {
        for bad in ["", "a +", "a b", "(a", "namespace", "a.", "[1", "f(,)", "a ? b", "in"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let deep = "(".repeat(10_000) + "a" + &")".repeat(10_000);
        assert!(parse(&deep).unwrap_err().message.contains("recursion limit"));
        assert!(parse(&"!".repeat(10_000)).is_err());
        assert!(parse(&(vec!["a"; 10_000].join(" + "))).is_err());
        assert!(parse(&(vec!["a"; 10_000].join(" && "))).is_ok());
    }
}
