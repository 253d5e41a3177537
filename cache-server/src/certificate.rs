//! A certificate of its own, for who gives it none: clients take it as it is, for no CA has signed it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

/// `apiserver.crt` and `.key` of a directory, made if they are not there: for localhost, and where the server listens.
///
/// # Errors
/// When they can be neither read nor written.
pub fn own(disk: &dyn env::Disk, directory: &Path, listens_on: &str) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (directory.join("apiserver.crt"), directory.join("apiserver.key"));
    if disk.read(&certificate).is_ok() && disk.read(&key).is_ok() {
        return Ok((certificate, key));
    }
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !matches!(listens_on, "" | "0.0.0.0" | "::") && !hosts.iter().any(|host| host == listens_on) {
        hosts.push(listens_on.to_owned());
    }
    let mut params = CertificateParams::new(hosts).context("--bind-address is no host")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "cache-server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pair = KeyPair::generate().context("making a key")?;
    let signed = params.self_signed(&pair).context("signing the serving certificate")?;
    disk.create_dir_all(directory)
        .with_context(|| format!("making {}", directory.display()))?;
    for (file, text) in [(&key, pair.serialize_pem()), (&certificate, signed.pem())] {
        disk.write_atomic(file, text.as_bytes())
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok((certificate, key))
}
