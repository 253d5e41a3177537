//! Workspace paths as users type them, and the URLs that carry them (`https://host/clusters/root:a:b`).

use std::fmt;

/// An absolute path of workspaces, `root:a:b`, or the name of one logical cluster. May be empty, as the parent of a single
/// segment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspacePath(String);

/// Why what was typed leads nowhere.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    #[error("cannot go up from root")]
    AboveRoot,
    #[error("invalid workspace path: {0}")]
    Invalid(String),
}

/// A server URL taken apart around `/clusters/<path>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterUrl {
    /// All before `/clusters/`, without a slash at its end.
    pub base: String,
    pub path: WorkspacePath,
}

const PREFIX: &str = "/clusters/";

// === impl WorkspacePath ===

impl WorkspacePath {
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_root(&self) -> bool {
        self.0 == "root"
    }

    /// Whether every segment could name a workspace: lower-case letters, digits and inner hyphens, at most 63.
    pub fn is_valid(&self) -> bool {
        let segment = |part: &str| {
            let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            let bytes = part.as_bytes();
            edge(bytes.first())
                && edge(bytes.last())
                && bytes.len() <= 63
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        };
        self.0.split(':').all(segment)
    }

    /// The path below this one. Joined to nothing it is `name` itself.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        if self.is_empty() {
            Self::new(name)
        } else {
            Self(format!("{}:{name}", self.0))
        }
    }

    /// The parent, empty for a single segment, and the last segment.
    pub fn split(&self) -> (Self, &str) {
        match self.0.rsplit_once(':') {
            Some((parent, name)) => (Self::new(parent), name),
            None => (Self::default(), &self.0),
        }
    }

    /// The first segment: where the way up ends.
    #[must_use]
    pub fn top(&self) -> Self {
        Self::new(self.0.split(':').next().unwrap_or_default())
    }

    /// Where `typed` leads from here: `:a:b` is absolute, everything else relative; `.` stays, `..` goes up.
    pub fn resolve(&self, typed: &str) -> Result<Self, PathError> {
        let whole = match typed.strip_prefix(':') {
            Some(absolute) => Self::new(absolute),
            None => self.join(typed),
        };
        let mut found = Self::default();
        for part in whole.0.split(':') {
            match part {
                "." => {}
                ".." if found.is_empty() => return Err(PathError::AboveRoot),
                ".." => found = found.split().0,
                name => found = found.join(name),
            }
        }
        if found.is_valid() {
            Ok(found)
        } else {
            Err(PathError::Invalid(typed.to_owned()))
        }
    }
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl ClusterUrl ===

impl ClusterUrl {
    /// `None` for a URL that does not point to a workspace. What follows the path is dropped.
    pub fn parse(url: &str) -> Option<Self> {
        let (base, rest) = url.split_once(PREFIX)?;
        let path = WorkspacePath::new(rest.split(['/', '?', '#']).next().unwrap_or_default());
        path.is_valid().then(|| Self {
            base: base.trim_end_matches('/').to_owned(),
            path,
        })
    }

    /// The same server, another workspace.
    #[must_use]
    pub fn at(&self, path: WorkspacePath) -> Self {
        Self {
            base: self.base.clone(),
            path,
        }
    }
}

impl fmt::Display for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{PREFIX}{}", self.base, self.path)
    }
}

/// The path in a URL of the form `…/clusters/<path>`, whatever it looks like.
pub fn path_in_url(url: &str) -> Option<WorkspacePath> {
    ClusterUrl::parse(url).map(|url| url.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(here: &str, typed: &str) -> Result<String, PathError> {
        WorkspacePath::new(here).resolve(typed).map(|path| path.to_string())
    }

    #[test]
    fn relative_absolute_and_dotted_paths_resolve() {
        for (here, typed, there) in [
            ("root:a", "b", "root:a:b"),
            ("root:a", "b:c", "root:a:b:c"),
            ("root:a", ":root:x", "root:x"),
            ("root:a:b", "..", "root:a"),
            ("root:a:b", "..:..", "root"),
            ("root:a:b", "..:.:c", "root:a:c"),
            ("root:a:b", "..:..:..:x", "x"),
        ] {
            assert_eq!(from(here, typed), Ok(there.to_owned()), "{typed} from {here}");
        }
    }

    #[test]
    fn refuses_to_go_above_root_and_bad_names() {
        assert_eq!(from("root", "..:..:x"), Err(PathError::AboveRoot));
        assert_eq!(from("root", ".."), Err(PathError::Invalid("..".into())));
        assert_eq!(from("root", "Up"), Err(PathError::Invalid("Up".into())));
        assert_eq!(from("root", "-a"), Err(PathError::Invalid("-a".into())));
        assert_eq!(from("root", "a::b"), Err(PathError::Invalid("a::b".into())));
    }

    #[test]
    fn a_single_segment_has_an_empty_parent() {
        assert_eq!(
            WorkspacePath::new("kvdk2spgmbix").split(),
            (WorkspacePath::default(), "kvdk2spgmbix")
        );
        assert_eq!(
            WorkspacePath::new("root:a:b").split(),
            (WorkspacePath::new("root:a"), "b")
        );
        assert_eq!(WorkspacePath::new("root:a:b").top().as_str(), "root");
    }

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        let url = ClusterUrl::parse("https://h:6443/clusters/root:a/api/v1").expect("a workspace's URL");
        assert_eq!((url.base.as_str(), url.path.as_str()), ("https://h:6443", "root:a"));
        assert_eq!(
            url.at(WorkspacePath::new("root")).to_string(),
            "https://h:6443/clusters/root"
        );
        assert_eq!(ClusterUrl::parse("https://h:6443"), None);
        assert_eq!(ClusterUrl::parse("https://h/clusters/*/api"), None);
        assert!(ClusterUrl::parse("https://h/clusters/system:admin").is_some());
    }
}
