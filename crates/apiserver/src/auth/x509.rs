//! Client certificates: the subject is the user.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::status::Result;
use machinery::user::User;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Authenticator, CREDENTIAL_ID, CaBundle, Credentials, refused};

/// Common name = user, organizations = groups, Kubernetes' own attribute = uid.
pub struct ClientCertificates {
    cas: Arc<CaBundle>,
}

/// What a subject says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub uids: Vec<String>,
}

/// OIDs of the attributes.
const COMMON_NAME: &str = "2.5.4.3";
const ORGANIZATION: &str = "2.5.4.10";
const UID: &str = "1.3.6.1.4.1.57683.2";

// === impl ClientCertificates ===

impl ClientCertificates {
    /// Certificates that one of these CAs vouches for.
    pub fn new(cas: Arc<CaBundle>) -> Self {
        Self { cas }
    }
}

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        let Some(leaf) = credentials.peer_certificates.first() else {
            return Ok(None);
        };
        if self.cas.is_empty() {
            return Ok(None);
        }
        self.cas.verify(credentials.peer_certificates).map_err(refused)?;
        let subject = Subject::of(leaf).ok_or_else(|| refused("the client certificate cannot be read"))?;
        subject.into_user(leaf)
    }
}

// === impl Subject ===

impl Subject {
    pub fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let mut subject = Self::default();
        for attribute in certificate.subject().iter_attributes() {
            let oid = attribute.attr_type().to_id_string();
            let is_ours = matches!(oid.as_str(), COMMON_NAME | ORGANIZATION | UID);
            if !is_ours {
                continue;
            }
            let text = attribute.as_str().ok()?.to_owned();
            match oid.as_str() {
                // Of several the last, as Go reads them.
                COMMON_NAME => subject.common_name = text,
                ORGANIZATION => subject.organizations.push(text),
                _ => subject.uids.push(text),
            }
        }
        Some(subject)
    }

    fn into_user(self, leaf: &CertificateDer<'_>) -> Result<Option<User>> {
        if self.common_name.is_empty() {
            return Ok(None);
        }
        let uid = match self.uids.as_slice() {
            [] => String::new(),
            [one] if one.is_empty() => return Err(refused("UID cannot be an empty string")),
            [one] => one.clone(),
            many => return Err(refused(format!("expected 1 UID, but found multiple: {many:?}"))),
        };
        let mut hex = String::from("X509SHA256=");
        for byte in Sha256::digest(leaf) {
            hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        Ok(Some(User {
            name: self.common_name,
            uid,
            groups: self.organizations,
            extra: [(CREDENTIAL_ID.to_owned(), vec![hex])].into(),
        }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::auth::testing::at;

    pub const NOW: i64 = 1_700_000_000;

    pub struct Ca {
        pub pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Ca {
        pub fn new(name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            let pem = params.self_signed(&key).unwrap().pem();
            Self {
                pem,
                issuer: Issuer::new(params, key),
            }
        }

        pub fn client(&self, attributes: &[(DnType, &str)], until_year: i32) -> CertificateDer<'static> {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
            params.distinguished_name = DistinguishedName::new();
            for (kind, text) in attributes {
                params.distinguished_name.push(kind.clone(), *text);
            }
            params.signed_by(&key, &self.issuer).unwrap().der().clone()
        }
    }

    pub async fn ask(with: &dyn Authenticator, chain: &[CertificateDer<'static>]) -> Result<Option<User>> {
        let headers = http::HeaderMap::new();
        let credentials = Credentials {
            peer_certificates: chain,
            bearer_token: None,
            headers: &headers,
            scope: None,
        };
        with.authenticate(&credentials).await
    }

    fn uid() -> DnType {
        DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2])
    }

    #[tokio::test]
    async fn subject_is_the_user() {
        let ca = Ca::new("ca");
        let clients = ClientCertificates::new(CaBundle::from_pem(at(NOW), ca.pem.as_bytes()).unwrap());
        let attributes = [
            (DnType::CommonName, "jane"),
            (DnType::OrganizationName, "dev"),
            (uid(), "u-1"),
        ];
        let user = ask(&clients, &[ca.client(&attributes, 2040)]).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "u-1"));
        assert_eq!(user.groups, ["dev"]);
        assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
        let nameless = ca.client(&[(DnType::OrganizationName, "dev")], 2040);
        assert_eq!(ask(&clients, &[nameless]).await.unwrap(), None);
        assert_eq!(ask(&clients, &[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn foreign_and_expired_certificates_do_not_hold() {
        let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
        let clients = ClientCertificates::new(CaBundle::from_pem(at(NOW), ours.pem.as_bytes()).unwrap());
        let jane = [(DnType::CommonName, "jane")];
        assert_eq!(
            ask(&clients, &[theirs.client(&jane, 2040)]).await.unwrap_err().code,
            401
        );
        assert_eq!(ask(&clients, &[ours.client(&jane, 2021)]).await.unwrap_err().code, 401);
    }

    #[tokio::test]
    async fn a_replaced_ca_vouches_for_nobody() {
        let (old, new) = (Ca::new("old"), Ca::new("new"));
        let bundle = CaBundle::new(at(NOW));
        let clients = ClientCertificates::new(bundle.clone());
        let jane = [old.client(&[(DnType::CommonName, "jane")], 2040)];
        assert_eq!(
            ask(&clients, &jane).await.unwrap(),
            None,
            "without a CA there is no opinion"
        );
        bundle.replace(old.pem.as_bytes()).unwrap();
        assert!(ask(&clients, &jane).await.unwrap().is_some());
        assert!(bundle.replace(b"nonsense").is_err());
        assert!(ask(&clients, &jane).await.unwrap().is_some());
        bundle.replace(new.pem.as_bytes()).unwrap();
        assert!(ask(&clients, &jane).await.is_err());
    }
}
