//! The keys of a control plane on one machine: three CAs and what they sign. Made once; what is there is kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use env::Disk;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A CA, as two files.
pub struct Authority<'d> {
    disk: &'d dyn Disk,
    directory: PathBuf,
    certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

// === impl Authority ===

impl<'d> Authority<'d> {
    /// `<name>.crt` and `<name>.key` in a directory.
    pub fn open(disk: &'d dyn Disk, directory: &Path, name: &str) -> Result<Self> {
        let pair = Pair::at(directory, name);
        if disk.read(&pair.certificate).is_err() || disk.read(&pair.key).is_err() {
            let key = KeyPair::generate().context("making a key")?;
            let params = ca_params(name);
            let certificate = params.self_signed(&key).context("signing a CA")?;
            pair.write(disk, &certificate.pem(), &key)?;
        }
        let key = text(disk, &pair.key)?;
        let key = KeyPair::from_pem(&key).with_context(|| format!("{} is no key", pair.key.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&text(disk, &pair.certificate)?, key)
            .with_context(|| format!("{} is no CA", pair.certificate.display()))?;
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            certificate: pair.certificate,
            issuer,
        })
    }

    /// The file that others know this CA by.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// A server's certificate for `hosts`, followed by its CA.
    pub fn server(&self, name: &str, hosts: &[String]) -> Result<Pair> {
        let mut params = crate::pki::leaf_params(hosts)?;
        params.distinguished_name = subject(name, &[]);
        self.leaf(&format!("{name}-serving"), &params)
    }

    /// A client's certificate: user and groups.
    pub fn client(&self, file: &str, user: &str, groups: &[&str]) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(user, groups);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.leaf(file, &params)
    }

    fn leaf(&self, file: &str, params: &CertificateParams) -> Result<Pair> {
        let pair = Pair::at(&self.directory, file);
        if self.disk.read(&pair.certificate).is_ok() && self.disk.read(&pair.key).is_ok() {
            return Ok(pair);
        }
        let key = KeyPair::generate().context("making a key")?;
        let leaf = params.signed_by(&key, &self.issuer).context("signing a certificate")?;
        let chain = format!("{}{}", leaf.pem(), text(self.disk, &self.certificate)?);
        pair.write(self.disk, &chain, &key)?;
        Ok(pair)
    }
}

// === impl Pair ===

impl Pair {
    fn at(directory: &Path, name: &str) -> Self {
        Self {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        }
    }

    fn write(&self, disk: &dyn Disk, certificate: &str, key: &KeyPair) -> Result<()> {
        for (file, contents) in [
            (&self.key, key.serialize_pem()),
            (&self.certificate, certificate.to_owned()),
        ] {
            disk.write_atomic(file, contents.as_bytes())
                .with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn subject(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for group in groups {
        subject.push(DnType::OrganizationName, *group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn text(disk: &dyn Disk, file: &Path) -> Result<String> {
    let bytes = disk.read(file).with_context(|| format!("reading {}", file.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is no text", file.display()))
}
