//! Identity that a trusted proxy has established and passes on in headers.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use machinery::status::Result;
use machinery::user::User;
use rustls_pki_types::CertificateDer;

use super::x509::Subject;
use super::{Authenticator, CaBundle, Credentials, extra_key, refused};

/// Believes the headers of whoever has a certificate of the proxies' CA, and of nobody else.
pub struct RequestHeader {
    cas: Arc<CaBundle>,
    options: RequestHeaderOptions,
}

/// Kubernetes' `--requestheader-*`. Names are compared without case.
#[derive(Clone, Debug)]
pub struct RequestHeaderOptions {
    /// The first that has a value counts.
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    /// The values of all of them.
    pub group_headers: Vec<String>,
    pub extra_header_prefixes: Vec<String>,
    /// Common names of certificates. Empty: all that the CA vouches for.
    pub allowed_names: Vec<String>,
}

// === impl RequestHeaderOptions ===

impl Default for RequestHeaderOptions {
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_header_prefixes: one("X-Remote-Extra-"),
            allowed_names: Vec::new(),
        }
    }
}

// === impl RequestHeader ===

impl RequestHeader {
    pub fn new(cas: Arc<CaBundle>, options: RequestHeaderOptions) -> Self {
        Self { cas, options }
    }

    /// Takes everything from a request that says who sends it, before it is passed on to somebody who trusts this server.
    pub fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(AUTHORIZATION);
        let options = &self.options;
        let named = [&options.username_headers, &options.uid_headers, &options.group_headers];
        let is_named = |name: &HeaderName| named.iter().any(|list| list.iter().any(|own| same(own, name)));
        let is_extra = |name: &HeaderName| {
            let prefixes = options.extra_header_prefixes.iter();
            prefixes
                .map(|prefix| behind(name.as_str(), prefix))
                .any(|rest| rest.is_some())
        };
        let is_impersonation = |name: &HeaderName| name.as_str().starts_with("impersonate-");
        let found: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_named(name) || is_extra(name) || is_impersonation(name))
            .cloned()
            .collect();
        for name in found {
            headers.remove(name);
        }
    }

    /// Whether a certificate (leaf first) makes its owner such a proxy. `false`: there is none, or nobody is trusted.
    ///
    /// # Errors
    /// 401, for one that is not trusted.
    pub fn vouches_for(&self, certificates: &[CertificateDer<'_>]) -> Result<bool> {
        let Some(leaf) = certificates.first() else {
            return Ok(false);
        };
        if self.cas.is_empty() {
            return Ok(false);
        }
        self.cas.verify(certificates).map_err(refused)?;
        let allowed = &self.options.allowed_names;
        if !allowed.is_empty() {
            let name = Subject::of(leaf).unwrap_or_default().common_name;
            if !allowed.contains(&name) {
                return Err(refused(format!(
                    "x509: subject with cn={name} is not in the allowed list"
                )));
            }
        }
        Ok(true)
    }

    fn user(&self, headers: &HeaderMap) -> Result<Option<User>> {
        let options = &self.options;
        let Some(name) = first(headers, &options.username_headers)? else {
            return Ok(None);
        };
        let mut groups = Vec::new();
        for header in &options.group_headers {
            for value in headers.get_all(header.as_str()) {
                let group = text(value)?;
                if !group.is_empty() {
                    groups.push(group.to_owned());
                }
            }
        }
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &options.extra_header_prefixes {
            for (header, value) in headers {
                if let Some(rest) = behind(header.as_str(), prefix) {
                    extra.entry(extra_key(rest)).or_default().push(text(value)?.to_owned());
                }
            }
        }
        Ok(Some(User {
            name: name.to_owned(),
            uid: first(headers, &options.uid_headers)?.unwrap_or_default().to_owned(),
            groups,
            extra,
        }))
    }
}

#[async_trait]
impl Authenticator for RequestHeader {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        if !self.vouches_for(credentials.peer_certificates)? {
            return Ok(None);
        }
        self.user(credentials.headers)
    }
}

fn same(own: &str, name: &HeaderName) -> bool {
    own.eq_ignore_ascii_case(name.as_str())
}

/// What follows a prefix, compared without case.
fn behind<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn text(value: &http::HeaderValue) -> Result<&str> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| refused("a header about the user is not UTF-8"))
}

fn first<'a>(headers: &'a HeaderMap, names: &[String]) -> Result<Option<&'a str>> {
    for name in names {
        if let Some(value) = headers.get(name.as_str()) {
            let value = text(value)?;
            if !value.is_empty() {
                return Ok(Some(value));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rcgen::DnType;
    use rustls_pki_types::CertificateDer;

    use super::*;
    use crate::auth::testing::at;
    use crate::auth::x509::tests::{Ca, NOW};

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "jane"),
            ("x-remote-uid", "u-1"),
            ("x-remote-group", "dev"),
            ("x-remote-group", "ops"),
            ("x-remote-extra-acme.io%2fproject", "a"),
            ("x-remote-extra-acme.io%2fproject", "b"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    async fn ask(with: &RequestHeader, chain: &[CertificateDer<'static>], headers: &HeaderMap) -> Result<Option<User>> {
        let credentials = Credentials {
            peer_certificates: chain,
            bearer_token: None,
            headers,
            scope: None,
        };
        with.authenticate(&credentials).await
    }

    fn only(ca: &Ca, names: &[&str]) -> RequestHeader {
        let options = RequestHeaderOptions {
            allowed_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..RequestHeaderOptions::default()
        };
        RequestHeader::new(CaBundle::from_pem(at(NOW), ca.pem.as_bytes()).unwrap(), options)
    }

    #[tokio::test]
    async fn the_proxy_says_who_asks() {
        let ca = Ca::new("proxies");
        let proxy = [ca.client(&[(DnType::CommonName, "front")], 2040)];
        let user = ask(&only(&ca, &["front"]), &proxy, &headers()).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "u-1"));
        assert_eq!(user.groups, ["dev", "ops"]);
        assert_eq!(user.extra["acme.io/project"], ["a", "b"]);
        assert_eq!(ask(&only(&ca, &[]), &proxy, &HeaderMap::new()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn nobody_else_is_believed() {
        let (ca, other) = (Ca::new("proxies"), Ca::new("clients"));
        let with = only(&ca, &["front"]);
        assert_eq!(ask(&with, &[], &headers()).await.unwrap(), None);
        let stranger = [other.client(&[(DnType::CommonName, "front")], 2040)];
        assert_eq!(ask(&with, &stranger, &headers()).await.unwrap_err().code, 401);
        let misnamed = [ca.client(&[(DnType::CommonName, "back")], 2040)];
        let error = ask(&with, &misnamed, &headers()).await.unwrap_err();
        assert_eq!(error.message, "x509: subject with cn=back is not in the allowed list");
    }

    #[test]
    fn nothing_about_the_sender_is_passed_on() {
        let mut all = headers();
        for name in ["authorization", "impersonate-user", "impersonate-extra-x", "accept"] {
            all.append(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        only(&Ca::new("proxies"), &[]).strip(&mut all);
        assert_eq!(all.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
