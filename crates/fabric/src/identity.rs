//! Who a process is towards others: a client certificate, and the CA that it knows them by.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use env::{Disk, Env};
use machinery::object::ObjectExt;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::client_tls::{ClientTls, IdentityFiles};

/// What a kubeconfig's context, or files of their own, say about a connection. In PEM; secrets are never logged: no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `https://host:port[/path]`; empty where there is no kubeconfig.
    pub server: String,
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{path} cannot be read: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path} is no kubeconfig: {reason}")]
    Kubeconfig { path: String, reason: String },
    #[error("{what} cannot be read as PEM: {reason}")]
    Pem { what: &'static str, reason: String },
    #[error("certificate and key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

// === impl Identity ===

impl Identity {
    /// The current context of a kubeconfig, or another one by name. Files are relative to the kubeconfig.
    pub fn from_kubeconfig(disk: &dyn Disk, path: &Path, context: Option<&str>) -> Result<Self, IdentityError> {
        let text = read(disk, path)?;
        let wrong = |reason: String| IdentityError::Kubeconfig {
            path: path.display().to_string(),
            reason,
        };
        let config = machinery::yaml::decode_value(&text).map_err(|error| wrong(error.to_string()))?;
        let context = context
            .or_else(|| config.str_at(&["current-context"]))
            .ok_or_else(|| wrong("it has no current context".to_owned()))?;
        let named = |list: &str, kind: &str, name: &str| -> Result<Value, IdentityError> {
            let entries = config.get(list).and_then(Value::as_array);
            let found = entries
                .into_iter()
                .flatten()
                .find(|entry| entry.str_at(&["name"]) == Some(name));
            let found = found.and_then(|entry| entry.get(kind)).cloned();
            found.ok_or_else(|| wrong(format!("it has no {kind} {name:?}")))
        };
        let context = named("contexts", "context", context)?;
        let cluster = named("clusters", "cluster", context.str_at(&["cluster"]).unwrap_or_default())?;
        let user = named("users", "user", context.str_at(&["user"]).unwrap_or_default())?;
        let material = |object: &Value, field: &str| -> Result<Vec<u8>, IdentityError> {
            if let Some(data) = object.str_at(&[&format!("{field}-data")]) {
                return STANDARD
                    .decode(data.trim())
                    .map_err(|error| wrong(format!("{field}-data: {error}")));
            }
            match object.str_at(&[field]).filter(|file| !file.is_empty()) {
                Some(file) => read(disk, &path.parent().unwrap_or(Path::new(".")).join(file)),
                None => Ok(Vec::new()),
            }
        };
        Ok(Self {
            server: cluster.str_at(&["server"]).unwrap_or_default().to_owned(),
            ca: material(&cluster, "certificate-authority")?,
            certificate: material(&user, "client-certificate")?,
            key: material(&user, "client-key")?,
            token: match user.str_at(&["token"]) {
                Some(token) => Some(token.to_owned()),
                None => token_file(disk, path, &user)?,
            },
        })
    }

    /// From files, as mappings and flags name them.
    pub fn from_files(disk: &dyn Disk, ca: &Path, pair: Option<(&Path, &Path)>) -> Result<Self, IdentityError> {
        let (certificate, key) = match pair {
            Some((certificate, key)) => (read(disk, certificate)?, read(disk, key)?),
            None => Default::default(),
        };
        Ok(Self {
            ca: read(disk, ca)?,
            certificate,
            key,
            ..Self::default()
        })
    }

    /// As somebody else.
    pub(crate) fn with_pair(self, disk: &dyn Disk, (certificate, key): (&Path, &Path)) -> Result<Self, IdentityError> {
        Ok(Self {
            certificate: read(disk, certificate)?,
            key: read(disk, key)?,
            ..self
        })
    }

    /// As files say, and its TLS, which changes when they do.
    ///
    /// # Errors
    /// If they cannot be read or used now.
    pub fn open(env: &Env, files: IdentityFiles) -> Result<(Self, Arc<ClientTls>), IdentityError> {
        let identity = files.read(&*env.disk)?;
        let tls = identity.tls()?;
        tls.follow(env, files, identity.clone());
        Ok((identity, tls))
    }

    /// Whether it has no CA or no certificate where the other one has.
    pub(crate) fn lacks_of(&self, other: &Self) -> bool {
        let is_lost = |now: &[u8], before: &[u8]| now.is_empty() && !before.is_empty();
        is_lost(&self.ca, &other.ca) || is_lost(&self.certificate, &other.certificate)
    }

    /// The server without its path.
    pub fn base_url(&self) -> String {
        match self.server.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.split('/').next().unwrap_or_default();
                format!("{scheme}://{host}")
            }
            None => self.server.clone(),
        }
    }

    /// For HTTP/2 connections, as it is now.
    pub fn tls(&self) -> Result<Arc<ClientTls>, IdentityError> {
        Ok(ClientTls::new(self.config()?))
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca) {
            let certificate = certificate.map_err(|error| IdentityError::Pem {
                what: "the CA bundle",
                reason: error.to_string(),
            })?;
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = if self.certificate.is_empty() {
            builder.with_no_client_auth()
        } else {
            let wrong = |what: &'static str| {
                move |error: rustls_pki_types::pem::Error| IdentityError::Pem {
                    what,
                    reason: error.to_string(),
                }
            };
            let chain = CertificateDer::pem_slice_iter(&self.certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(wrong("the client certificate"))?;
            let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(wrong("the client key"))?;
            builder.with_client_auth_cert(chain, key)?
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// The token that a kubeconfig's user has in a file, as pods have theirs.
fn token_file(disk: &dyn Disk, kubeconfig: &Path, user: &Value) -> Result<Option<String>, IdentityError> {
    let Some(file) = user.str_at(&["tokenFile"]) else {
        return Ok(None);
    };
    let text = read(disk, &kubeconfig.parent().unwrap_or(Path::new(".")).join(file))?;
    Ok(Some(String::from_utf8_lossy(&text).trim().to_owned()))
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, IdentityError> {
    disk.read(path).map_err(|source| IdentityError::File {
        path: path.display().to_string(),
        source,
    })
}
