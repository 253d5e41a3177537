//! Making certificates, and judging those that are there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::list::Wanted;

/// A certificate with its key and the CA that it is verified with, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
    pub ca: String,
}

/// Clocks differ.
const BACKDATED_SECONDS: i64 = 300;
const DAY_SECONDS: i64 = 24 * 3600;

// === impl Issued ===

impl Issued {
    pub fn make(wanted: &Wanted, signer: Option<&Self>, now: i64) -> Result<Self> {
        let key = KeyPair::generate().context("making a key")?;
        let params = params(wanted, now)?;
        let Some(signer) = signer else {
            let certificate = params.self_signed(&key).context("signing")?.pem();
            return Ok(Self {
                ca: certificate.clone(),
                certificate,
                key: key.serialize_pem(),
            });
        };
        let signer_key = KeyPair::from_pem(&signer.key).context("the authority's key")?;
        let issuer = Issuer::from_ca_cert_pem(&signer.certificate, signer_key).context("the authority")?;
        let certificate = params.signed_by(&key, &issuer).context("signing")?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            ca: signer.certificate.clone(),
        })
    }

    /// Why it has to be made anew, if it has to.
    pub fn why_not(&self, wanted: &Wanted, signer: Option<&Self>, now: i64) -> Option<String> {
        let judged = self.judge(wanted, signer, now);
        judged.unwrap_or_else(|error| Some(format!("it cannot be read: {error:#}")))
    }

    fn judge(&self, wanted: &Wanted, signer: Option<&Self>, now: i64) -> Result<Option<String>> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).context("the certificate")?;
        let (_, certificate) = X509Certificate::from_der(&der).context("the certificate")?;
        let key = KeyPair::from_pem(&self.key).context("the key")?;
        if key.subject_public_key_info() != certificate.public_key().raw {
            return Ok(Some("key and certificate are not of each other".to_owned()));
        }
        if signer.is_some_and(|signer| signer.certificate != self.ca) {
            return Ok(Some("its authority is another one now".to_owned()));
        }
        let (begin, end) = (
            certificate.validity().not_before.timestamp(),
            certificate.validity().not_after.timestamp(),
        );
        // A CA is replaced when it has ended, not before: all that it signed goes with it.
        let renew_at = match wanted.is_authority {
            true => end,
            false => begin.saturating_add(end.saturating_sub(begin) / 3 * 2),
        };
        if !wanted.keep && now >= renew_at {
            return Ok(Some("it is near its end".to_owned()));
        }
        let fits = names(&certificate)? == wanted_names(wanted);
        // What others rely on is not replaced for the sake of a name.
        Ok((!fits && !wanted.keep && !wanted.is_authority).then(|| "its names or usages are others now".to_owned()))
    }
}

fn params(wanted: &Wanted, now: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let moment = |at: i64| time::OffsetDateTime::from_unix_timestamp(at).context("the clock");
    params.not_before = moment(now.saturating_sub(BACKDATED_SECONDS))?;
    params.not_after = moment(now.saturating_add(wanted.days.saturating_mul(DAY_SECONDS)))?;
    params.distinguished_name = DistinguishedName::new();
    for organization in &wanted.organizations {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, &wanted.common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if wanted.is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .key_usages
            .extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
    } else {
        params.use_authority_key_identifier_extension = wanted.authority.is_some();
    }
    if wanted.server {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if wanted.client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    for host in &wanted.hosts {
        let name = match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into().with_context(|| format!("{host} is no name"))?),
        };
        params.subject_alt_names.push(name);
    }
    Ok(params)
}

/// Everything that a certificate says and a list asks for, in one form.
fn wanted_names(wanted: &Wanted) -> BTreeSet<String> {
    let mut names = BTreeSet::from([format!("CN={}", wanted.common_name)]);
    names.extend(wanted.organizations.iter().map(|name| format!("O={name}")));
    names.extend(wanted.hosts.iter().map(|host| match host.parse::<IpAddr>() {
        Ok(address) => format!("IP:{address}"),
        Err(_) => format!("DNS:{host}"),
    }));
    names.extend(wanted.server.then(|| "server auth".to_owned()));
    names.extend(wanted.client.then(|| "client auth".to_owned()));
    names
}

fn names(certificate: &X509Certificate<'_>) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for name in certificate.subject().iter_common_name() {
        names.insert(format!("CN={}", name.as_str()?));
    }
    for name in certificate.subject().iter_organization() {
        names.insert(format!("O={}", name.as_str()?));
    }
    for name in certificate
        .subject_alternative_name()?
        .iter()
        .flat_map(|names| &names.value.general_names)
    {
        match name {
            GeneralName::DNSName(name) => names.insert(format!("DNS:{name}")),
            GeneralName::IPAddress(bytes) => names.insert(match <[u8; 4]>::try_from(*bytes) {
                Ok(four) => format!("IP:{}", IpAddr::from(four)),
                Err(_) => <[u8; 16]>::try_from(*bytes)
                    .map_or_else(|_| "IP:?".to_owned(), |six| format!("IP:{}", IpAddr::from(six))),
            }),
            other => names.insert(format!("{other:?}")),
        };
    }
    if let Some(usages) = certificate.extended_key_usage()? {
        names.extend(usages.value.server_auth.then(|| "server auth".to_owned()));
        names.extend(usages.value.client_auth.then(|| "client auth".to_owned()));
    }
    Ok(names)
}
