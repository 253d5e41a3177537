//! Keys and certificates that the server makes for itself: a CA, its serving certificate, the key of service account
//! tokens. ECDSA P-256; what is there already is kept.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// The serving certificate, as files, and the CA that clients verify it with.
#[derive(Clone, Debug)]
pub struct Serving {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca_pem: String,
}

/// Reads `apiserver.crt` and `.key` of the root directory, or makes them: a leaf for `hosts`, followed by its CA.
pub fn serving(disk: &dyn env::Disk, directory: &Path, hosts: &[String]) -> Result<Serving> {
    let (certificate, key) = (directory.join("apiserver.crt"), directory.join("apiserver.key"));
    if let (Ok(pem), Ok(_)) = (disk.read(&certificate), disk.read(&key)) {
        return Ok(Serving {
            certificate,
            key,
            ca_pem: last_certificate(&String::from_utf8_lossy(&pem)),
        });
    }
    let ca = authority("kcp-serving-ca")?;
    let leaf_key = KeyPair::generate().context("making a key")?;
    let leaf = leaf_params(hosts)?
        .signed_by(&leaf_key, &ca)
        .context("signing the serving certificate")?;
    let ca_pem = ca.pem();
    let chain = format!("{}{ca_pem}", leaf.pem());
    disk.write_atomic(&certificate, chain.as_bytes())
        .with_context(|| format!("writing {}", certificate.display()))?;
    disk.write_atomic(&key, leaf_key.serialize_pem().as_bytes())
        .with_context(|| format!("writing {}", key.display()))?;
    Ok(Serving {
        certificate,
        key,
        ca_pem,
    })
}

/// The key that service account tokens are signed with: `sa.key` of the root directory, made if it is not there.
pub fn service_account_key(disk: &dyn env::Disk, directory: &Path) -> Result<Vec<u8>> {
    let file = directory.join("sa.key");
    if let Ok(pem) = disk.read(&file) {
        return Ok(pem);
    }
    let pem = KeyPair::generate()
        .context("making a key")?
        .serialize_pem()
        .into_bytes();
    disk.write_atomic(&file, &pem)
        .with_context(|| format!("writing {}", file.display()))?;
    Ok(pem)
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate().context("making a key")?;
    CertifiedIssuer::self_signed(params, key).context("signing the CA")
}

/// A server's certificate for `hosts`: addresses or names.
pub fn leaf_params(hosts: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("kcp");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for host in hosts {
        let name = match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(
                host.as_str()
                    .try_into()
                    .with_context(|| format!("{host} is no host name"))?,
            ),
        };
        params.subject_alt_names.push(name);
    }
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// The last certificate of a chain: the CA of those that are made here.
pub fn last_certificate(pem: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    pem.rfind(BEGIN)
        .map_or_else(|| pem.to_owned(), |at| pem[at..].to_owned())
}
