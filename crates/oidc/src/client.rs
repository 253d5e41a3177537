//! One GET over HTTPS, bounded in time and bytes.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use env::{Disk, Env};
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio_rustls::TlsConnector;

/// Knows servers by one set of CAs. A connection a request: issuers are asked rarely.
#[derive(Clone)]
pub struct Client {
    env: Env,
    tls: Arc<ClientConfig>,
}

/// Clients that share what the system trusts: that is a hundred and more CAs, and who names none may be anybody.
pub struct Clients {
    env: Env,
    system: OnceLock<Client>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0:?} is no https URL")]
    Url(String),
    #[error("{url}: {reason}")]
    Failed { url: String, reason: String },
}

/// Of a whole request, with dialling.
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where systems keep the CAs that they trust, as Go's programs look for them.
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The CAs that this system trusts, in PEM. `None`: there are none where they are looked for.
pub fn system_authorities(disk: &dyn Disk) -> Option<Vec<u8>> {
    SYSTEM_BUNDLES.iter().find_map(|file| disk.read(Path::new(file)).ok())
}

// === impl Clients ===

impl Clients {
    pub fn new(env: &Env) -> Self {
        let (env, system) = (env.clone(), OnceLock::new());
        Self { env, system }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// By these CAs; `None`: by the system's, as they were when they were first needed.
    pub(crate) fn get(&self, authorities: Option<&[u8]>) -> Result<Client, String> {
        if let Some(pem) = authorities {
            return Client::new(&self.env, pem);
        }
        if let Some(system) = self.system.get() {
            return Ok(system.clone());
        }
        let pem = system_authorities(&*self.env.disk);
        let pem = pem.ok_or("none is given, and this system keeps no CAs where they are looked for")?;
        let made = Client::new(&self.env, &pem)?;
        Ok(self.system.get_or_init(|| made).clone())
    }
}

// === impl Client ===

impl Client {
    /// # Errors
    /// In one sentence, if these are no CAs.
    pub fn new(env: &Env, authorities: &[u8]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|error| format!("the CA bundle cannot be read as PEM: {error}"))?;
            // A system's bundle may have one that is not understood; the others serve.
            if let Err(error) = roots.add(certificate) {
                tracing::debug!(%error, "a CA of an issuer's bundle cannot be used");
            }
        }
        if roots.is_empty() {
            return Err("the CA bundle contains no certificate that can be used".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut tls = builder
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            env: env.clone(),
            tls: Arc::new(tls),
        })
    }

    /// The JSON document behind a URL.
    pub async fn get(&self, url: &str) -> Result<Value, ClientError> {
        let failed = |reason: String| ClientError::Failed {
            url: url.to_owned(),
            reason,
        };
        let uri: Uri = url.parse().map_err(|_| ClientError::Url(url.to_owned()))?;
        let asked = self.env.clock.timeout(TIMEOUT, self.ask(&uri)).await;
        asked
            .map_err(|_| failed("it does not answer in time".to_owned()))?
            .map_err(failed)
    }

    async fn ask(&self, uri: &Uri) -> Result<Value, String> {
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("it is not https".to_owned());
        };
        let host = authority.host();
        let address = format!("{host}:{}", authority.port_u16().unwrap_or(443));
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
        let dialled = self.env.net.dial(&address).await;
        let stream = dialled.map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "kcp")
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| error.to_string())?;
        // The connection lives as long as this request: nothing of it is left behind in a task.
        let asking = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            if response.status() != StatusCode::OK {
                return Err(format!("it answers {}", response.status()));
            }
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| format!("its answer is no JSON: {error}"))
        };
        let mut asking = std::pin::pin!(asking);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            answered = &mut asking => answered,
            ended = &mut connection => match ended {
                // What it said before it closed may still be read.
                Ok(()) => asking.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestIssuer;
    use env::simulated::{SimOptions, World};

    #[tokio::test(start_paused = true)]
    async fn what_the_system_trusts_is_held_once() {
        let world = World::new(1, SimOptions::default());
        let host = world.host("server");
        let env = host.env();
        let clients = Clients::new(&env);
        assert!(clients.get(None).is_err());
        let issuer = TestIssuer::start(&env, "server", 443).await;
        let bundle = Path::new(SYSTEM_BUNDLES[0]);
        env.disk.write_atomic(bundle, issuer.ca.as_bytes()).unwrap();
        let one = clients.get(None).unwrap();
        let other = clients.get(None).unwrap();
        assert!(Arc::ptr_eq(&one.tls, &other.tls));
        let own = clients.get(Some(issuer.ca.as_bytes())).unwrap();
        assert!(!Arc::ptr_eq(&one.tls, &own.tls));
    }
}
