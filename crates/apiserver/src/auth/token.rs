//! Static tokens: a table in memory, read from a file or filled by the server itself.

use std::collections::BTreeMap;

use async_trait::async_trait;
use machinery::status::Result;
use machinery::user::User;
use sha2::{Digest as _, Sha256};

use super::{Authenticator, Credentials};

/// Users by token. Tokens are held by their SHA-256, which is what is looked up: how long that takes tells of the hash, and
/// nobody can steer a hash towards another.
#[derive(Clone, Default)]
pub struct TokenTable {
    users: BTreeMap<[u8; 32], User>,
}

/// What is wrong with a token file. Tokens are not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token file, line {line}: {what}")]
pub struct TokenFileError {
    /// From 1.
    pub line: usize,
    pub what: &'static str,
}

/// One record of a CSV file, and the line it begins on.
struct Row {
    line: usize,
    fields: Vec<String>,
}

/// SHA-256 of a token, as tables keep it.
pub fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

// === impl TokenTable ===

impl TokenTable {
    pub fn new() -> Self {
        Self::default()
    }

    /// Kubernetes' `--token-auth-file`: CSV of token, user name, uid and, optionally, groups (comma separated, in quotes).
    /// Records without a token are skipped; of equal tokens the last counts.
    pub fn from_csv(text: &str) -> Result<Self, TokenFileError> {
        let mut table = Self::new();
        for Row { line, fields } in rows(text)? {
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                let what = "a record has at least three columns: token, user name, user uid";
                return Err(TokenFileError { line, what });
            };
            if token.is_empty() {
                tracing::warn!(line, "a record of the token file has no token");
                continue;
            }
            let groups = rest
                .first()
                .map(|groups| groups.split(',').map(str::to_owned).collect());
            let user = User {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups.unwrap_or_default(),
                ..User::default()
            };
            if table.insert(token, user).is_some() {
                tracing::warn!(line, "the token file has a token twice");
            }
        }
        Ok(table)
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Answers whose token it was before.
    pub fn insert(&mut self, token: &str, user: User) -> Option<User> {
        self.insert_hashed(hash_token(token), user)
    }

    /// For a token of which only the hash is known.
    pub fn insert_hashed(&mut self, hash: [u8; 32], user: User) -> Option<User> {
        self.users.insert(hash, user)
    }

    pub fn user(&self, token: &str) -> Option<&User> {
        self.users.get(&hash_token(token))
    }
}

#[async_trait]
impl Authenticator for TokenTable {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        Ok(credentials.bearer_token.and_then(|token| self.user(token)).cloned())
    }
}

/// CSV as Go reads it: quoted fields may contain commas, line ends and doubled quotes; empty lines are nothing.
fn rows(text: &str) -> Result<Vec<Row>, TokenFileError> {
    let mut rows = Vec::new();
    let mut chars = text.chars().filter(|char| *char != '\r').peekable();
    let mut line = 1;
    while let Some(first) = chars.peek() {
        if *first == '\n' {
            line += 1;
            chars.next();
            continue;
        }
        let begun = line;
        let mut fields = Vec::new();
        loop {
            let quoted = chars.next_if_eq(&'"').is_some();
            let field = match quoted {
                true => quoted_field(&mut chars, &mut line)?,
                false => bare_field(&mut chars, line)?,
            };
            fields.push(field);
            match chars.next() {
                Some(',') => {}
                Some('\n') => {
                    line += 1;
                    break;
                }
                None => break,
                Some(_) => {
                    let what = "text behind the closing quote of a field";
                    return Err(TokenFileError { line, what });
                }
            }
        }
        rows.push(Row { line: begun, fields });
    }
    Ok(rows)
}

fn bare_field(
    chars: &mut std::iter::Peekable<impl Iterator<Item = char>>,
    line: usize,
) -> Result<String, TokenFileError> {
    let mut field = String::new();
    while let Some(char) = chars.next_if(|char| !matches!(char, ',' | '\n')) {
        if char == '"' {
            let what = "a quote within a field that is not quoted";
            return Err(TokenFileError { line, what });
        }
        field.push(char);
    }
    Ok(field)
}

/// Behind the opening quote, to the closing one.
fn quoted_field(
    chars: &mut std::iter::Peekable<impl Iterator<Item = char>>,
    line: &mut usize,
) -> Result<String, TokenFileError> {
    let begun = *line;
    let mut field = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' if chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => return Ok(field),
            char => {
                *line += usize::from(char == '\n');
                field.push(char);
            }
        }
    }
    let what = "a quoted field has no end";
    Err(TokenFileError { line: begun, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kubernetes_token_files() {
        let text = "abc,jane,u-1,\"dev,ops\"\r\n\n,nobody,u-2\n\"d\"\"e\",joe,\"\"";
        let table = TokenTable::from_csv(text).unwrap();
        let jane = table.user("abc").unwrap();
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "u-1"));
        assert_eq!(jane.groups, ["dev", "ops"]);
        assert_eq!(table.user("d\"e").unwrap().name, "joe");
        assert!(table.user("").is_none());
        assert!(table.user("ABC").is_none());
    }

    #[test]
    fn says_on_which_line_a_file_is_wrong() {
        let line = |text: &str| TokenTable::from_csv(text).err().map(|error| error.line);
        assert_eq!(line("a,b,c\nd,e\n"), Some(2));
        assert_eq!(line("a,b,c\nd\"e,f,g\n"), Some(2));
        assert_eq!(line("\"a\nb\",b,c\n\"x"), Some(3));
        assert_eq!(line("\"a\"b,c,d"), Some(1));
    }

    #[test]
    fn hashes_are_enough_to_know_a_token() {
        let mut table = TokenTable::new();
        table.insert_hashed(hash_token("kept-elsewhere"), User::new("admin", &[]));
        assert_eq!(table.user("kept-elsewhere").unwrap().name, "admin");
    }
}
