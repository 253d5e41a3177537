//! TLS: the serving certificate, client certificates, and changing both while running.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use env::{Clock, Env, Stream};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Connection;

/// What a TLS server is made of, in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsMaterial {
    /// Leaf first, then intermediates.
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// CAs of client certificates, several in one. Empty: client certificates are not asked for.
    pub client_ca: Vec<u8>,
}

/// Where [`TlsMaterial`] is kept.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Vec<PathBuf>,
}

/// The TLS side of a server. What it presents and accepts can change at any time; open connections keep what they began
/// with.
pub struct Tls {
    clock: Clock,
    state: ArcSwap<State>,
}

struct State {
    acceptor: TlsAcceptor,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} cannot be read as PEM: {source}")]
    Pem {
        what: &'static str,
        source: rustls_pki_types::pem::Error,
    },
    #[error("{0} contains no certificate")]
    Empty(&'static str),
    #[error("certificate and key cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    #[error("the client CA cannot be used: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
    #[error("{path} cannot be read: {source}")]
    File { path: String, source: io::Error },
}

/// Lets any certificate through the handshake, if the client has its key; whether it is trusted is looked at afterwards.
/// Kubernetes' servers do the same: a client may present a foreign certificate and a token that holds.
#[derive(Debug)]
struct AnyCertificate(Arc<dyn ClientCertVerifier>);

/// The seam's wall time, for TLS.
#[derive(Debug)]
struct WallTime(Clock);

// === impl TlsFiles ===

impl TlsFiles {
    /// Reads all of them; blocks.
    pub fn read(&self, disk: &dyn env::Disk) -> Result<TlsMaterial, TlsError> {
        let read = |path: &PathBuf| {
            disk.read(path).map_err(|source| TlsError::File {
                path: path.display().to_string(),
                source,
            })
        };
        let mut client_ca = Vec::new();
        for path in &self.client_ca {
            client_ca.extend(read(path)?);
            client_ca.push(b'\n');
        }
        Ok(TlsMaterial {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_ca,
        })
    }
}

// === impl Tls ===

impl Tls {
    pub fn new(env: &Env, material: &TlsMaterial) -> Result<Arc<Self>, TlsError> {
        let clock = env.clock.clone();
        let state = ArcSwap::from_pointee(State::new(&clock, material)?);
        Ok(Arc::new(Self { clock, state }))
    }

    /// New connections get the new material. On an error everything stays as it was.
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        self.state.store(Arc::new(State::new(&self.clock, material)?));
        Ok(())
    }

    /// Looks at the files every `period` and takes over what has changed. Never returns.
    pub async fn follow(&self, env: &Env, files: TlsFiles, period: Duration) {
        let mut known = None;
        let mut ticks = env.clock.interval(period);
        loop {
            ticks.tick().await;
            let (disk, to_read) = (env.disk.clone(), files.clone());
            let found = env.spawn.blocking(move || to_read.read(&*disk)).await;
            match found {
                Ok(material) if known.as_ref() == Some(&material) => {}
                // Certificate and key are two files: between the two writes they do not fit, and the next tick mends it.
                Ok(material) => match self.replace(&material) {
                    Ok(()) => known = Some(material),
                    Err(error) => tracing::warn!(%error, "the serving certificate on disk is not usable yet"),
                },
                Err(error) => tracing::warn!(%error, "the serving certificate could not be looked at"),
            }
        }
    }

    /// Shakes hands.
    pub async fn accept<S: Stream>(&self, stream: S, peer: String) -> io::Result<(TlsStream<S>, Connection)> {
        let state = self.state.load_full();
        let stream = state.acceptor.accept(stream).await?;
        let mut connection = Connection::plain(peer);
        let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if let (Some(clients), Some((leaf, intermediates))) = (&state.clients, presented.split_first()) {
            let now = unix_time(&self.clock);
            match clients.verify_client_cert(leaf, intermediates, now) {
                Ok(_) => connection.certificates = presented.to_vec().into(),
                Err(error) => {
                    tracing::debug!(peer = connection.peer, %error, "client certificate is not trusted");
                    connection.certificate_refused = true;
                }
            }
        }
        Ok((stream, connection))
    }
}

// === impl State ===

impl State {
    fn new(clock: &Clock, material: &TlsMaterial) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&material.certificate, "the serving certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&material.key).map_err(|source| TlsError::Pem {
            what: "the serving key",
            source,
        })?;
        let clients = match material.client_ca.is_empty() {
            true => None,
            false => Some(client_verifier(&material.client_ca, provider.clone())?),
        };
        let tickets = rustls::crypto::ring::Ticketer::new()?;
        let builder = ServerConfig::builder_with_details(provider, Arc::new(WallTime(clock.clone())))
            .with_safe_default_protocol_versions()?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::new(AnyCertificate(clients.clone()))),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // What a client resumes it brings along, as with Go's servers: nothing is kept of those that do not come back.
        config.ticketer = tickets;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            clients,
        })
    }
}

fn client_verifier(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "the client CA")? {
        roots.add(certificate)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(builder.allow_unauthenticated().build()?)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() {
        Err(TlsError::Empty(what))
    } else {
        Ok(found)
    }
}

fn unix_time(clock: &Clock) -> UnixTime {
    let seconds = u64::try_from(clock.now().as_secs()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

// === impl AnyCertificate ===

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

// === impl WallTime ===

impl rustls::time_provider::TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&self.0))
    }
}
