//! Headers that tell a shard who asks.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, header};
use machinery::user::User;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Which groups shards are told of.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    /// Empty: all.
    pub pass: Vec<String>,
    pub drop: Vec<String>,
}

/// Names of the headers that tell who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    pub user: String,
    pub group: String,
    pub extra_prefix: String,
}

/// What may not stand in a header's name as it is: kcp and Kubernetes escape it as in a URL's path.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

/// Of one connection, not of the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

// === impl GroupFilter ===

impl GroupFilter {
    /// The groups that are told, sorted.
    pub fn apply(&self, groups: &[String]) -> Vec<String> {
        let matches = |pattern: &String, group: &str| match pattern.strip_suffix('*') {
            Some(prefix) => group.starts_with(prefix),
            None => pattern == group,
        };
        let is_told = |group: &&String| {
            let passes = self.pass.is_empty() || self.pass.iter().any(|pattern| matches(pattern, group));
            passes && !self.drop.iter().any(|pattern| matches(pattern, group))
        };
        let mut told: Vec<String> = groups.iter().filter(is_told).cloned().collect();
        told.sort();
        told.dedup();
        told
    }
}

// === impl IdentityHeaders ===

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            user: "x-remote-user".to_owned(),
            group: "x-remote-group".to_owned(),
            extra_prefix: "x-remote-extra-".to_owned(),
        }
    }
}

impl IdentityHeaders {
    /// Takes off everything by which a client could say who it is, under these names and the usual ones, and what is of its
    /// connection alone. `Impersonate-*` stays: shards allow it, or not, to whom these headers name.
    pub fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(AUTHORIZATION);
        // Of the body as the client sent it: not all methods' bodies are passed on.
        headers.remove(header::CONTENT_LENGTH);
        HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
        let usual = Self::default();
        let tells_identity = |name: &HeaderName| {
            let name = name.as_str();
            [self, &usual].iter().any(|names| {
                let is_named = [&names.user, &names.group]
                    .iter()
                    .any(|own| name.eq_ignore_ascii_case(own));
                is_named || name.starts_with(&names.extra_prefix.to_ascii_lowercase())
            }) || name.starts_with("x-remote-")
                || name.starts_with("x-kcp-fabric-")
        };
        let found: Vec<HeaderName> = headers.keys().filter(|name| tells_identity(name)).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }

    /// Tells who asks. A name that no header can carry makes nobody, not somebody else: `None`.
    #[must_use]
    pub fn tell(&self, user: &User, groups: &[String], headers: &mut HeaderMap) -> Option<()> {
        let name = |text: &str| HeaderName::try_from(text.to_ascii_lowercase()).ok();
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
        headers.insert(name(&self.user)?, value(&user.name)?);
        for group in groups {
            headers.append(name(&self.group)?, value(group)?);
        }
        for (key, values) in &user.extra {
            let escaped = utf8_percent_encode(key, ESCAPED);
            let header = name(&format!("{}{escaped}", self.extra_prefix))?;
            for text in values {
                headers.append(header.clone(), value(text)?);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_identities_are_taken_off() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "x-remote-user",
            "x-remote-group",
            "x-remote-uid",
            "x-remote-extra-scopes",
            "x-kcp-fabric-proxy",
            "x-mine-user",
            "connection",
            "te",
            "content-length",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("forged"));
        }
        headers.append("impersonate-user", HeaderValue::from_static("jane"));
        headers.append("accept", HeaderValue::from_static("*/*"));
        let names = IdentityHeaders {
            user: "X-Mine-User".to_owned(),
            ..IdentityHeaders::default()
        };
        names.strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "impersonate-user"]);
    }

    #[test]
    fn users_are_told_with_escaped_extras() {
        let user = User {
            name: "jane".to_owned(),
            extra: [("acme.io/project".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into(),
            ..User::default()
        };
        let mut headers = HeaderMap::new();
        let names = IdentityHeaders::default();
        assert!(
            names
                .tell(&user, &["dev".to_owned(), "ops".to_owned()], &mut headers)
                .is_some()
        );
        assert_eq!(headers["x-remote-user"], "jane");
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 2);
        assert_eq!(headers.get_all("x-remote-extra-acme.io%2fproject").iter().count(), 2);
        let unspeakable = User::new("a\nb", &[]);
        assert!(names.tell(&unspeakable, &[], &mut HeaderMap::new()).is_none());
    }

    #[test]
    fn privileged_groups_are_dropped() {
        let filter = GroupFilter {
            pass: Vec::new(),
            drop: vec!["system:masters".to_owned(), "system:kcp:initializer:*".to_owned()],
        };
        let groups = ["system:masters", "b", "system:kcp:initializer:x", "a", "b"].map(str::to_owned);
        assert_eq!(filter.apply(&groups), ["a", "b"]);
        let only = GroupFilter {
            pass: vec!["a".to_owned()],
            ..filter
        };
        assert_eq!(only.apply(&groups), ["a"]);
    }
}
