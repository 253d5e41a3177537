//! CAs of client certificates, which may change while the server runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use env::Env;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};

use super::{Now, now};

/// Verifies client certificates against one set of CAs.
///
/// A TLS handshake is checked against all CAs together; which of them vouches for a certificate decides what it is good
/// for, so each kind of certificate has its own bundle and is verified once more.
pub struct CaBundle {
    now: Now,
    state: ArcSwap<State>,
}

#[derive(Default)]
struct State {
    /// `None`: no CA is configured (yet).
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Chains that were verified, by hash, and until when (Unix seconds) that is believed. With the state, so that nothing
    /// outlives a change of CAs.
    known: Mutex<BTreeMap<[u8; 32], i64>>,
}

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("the CA bundle cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("the CA bundle cannot be read as PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("the CA bundle contains no certificate")]
    Empty,
    #[error("a certificate of the CA bundle cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    #[error("the CA bundle cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Connections make many requests with one certificate: as long as Kubernetes believes a token.
const BELIEVED_SECONDS: i64 = 10;
const KNOWN_MAX: usize = 4096;
/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(10);

// === impl CaBundle ===

impl CaBundle {
    /// Without CAs: nothing is verified, and nothing is refused either.
    pub fn new(now: Now) -> Arc<Self> {
        Arc::new(Self {
            now,
            state: ArcSwap::default(),
        })
    }

    pub fn from_pem(now: Now, pem: &[u8]) -> Result<Arc<Self>, CaError> {
        let bundle = Self::new(now);
        bundle.replace(pem)?;
        Ok(bundle)
    }

    /// The CAs in a file, and whatever they become there for as long as anybody holds this.
    ///
    /// # Errors
    /// If there are none now.
    pub fn open(env: &Env, file: &Path) -> Result<Arc<Self>, CaError> {
        let bundle = Self::from_pem(now(&env.clock), &env.disk.read(file)?)?;
        let (followed, own, file) = (Arc::downgrade(&bundle), env.clone(), file.to_owned());
        let following = async move { follow(&followed, &own, &file).await };
        env.spawn.spawn("client CA", following).detach();
        Ok(bundle)
    }

    /// From now on these CAs, several in one. On an error everything stays as it was.
    pub fn replace(&self, pem: &[u8]) -> Result<(), CaError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err(CaError::Empty);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        self.state.store(Arc::new(State {
            verifier: Some(verifier),
            known: Mutex::default(),
        }));
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.state.load().verifier.is_none()
    }

    /// Whether a chain, leaf first, leads to one of the CAs and is valid now, for a client. Errors say why not.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let state = self.state.load_full();
        let (Some(verifier), Some((leaf, intermediates))) = (&state.verifier, chain.split_first()) else {
            return Err("there is nothing to verify".to_owned());
        };
        let now = (self.now)();
        let key = fingerprint(chain);
        if state.known.lock().get(&key).is_some_and(|until| now < *until) {
            return Ok(());
        }
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        let verified = verifier.verify_client_cert(leaf, intermediates, time);
        verified.map_err(|error| format!("verifying the client certificate failed: {error}"))?;
        let mut known = state.known.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, now.saturating_add(BELIEVED_SECONDS));
        Ok(())
    }
}

/// Looks at a file again and again and takes over what has changed, until nobody holds the bundle any more.
async fn follow(bundle: &Weak<CaBundle>, env: &Env, file: &Path) {
    let mut known = None;
    let mut ticks = env.clock.interval(PERIOD);
    loop {
        ticks.tick().await;
        let (disk, to_read) = (env.disk.clone(), file.to_owned());
        let found = env.spawn.blocking(move || disk.read(&to_read)).await;
        let Some(bundle) = bundle.upgrade() else { return };
        match found {
            Ok(pem) if known.as_ref() == Some(&pem) => {}
            Ok(pem) => match bundle.replace(&pem) {
                Ok(()) => known = Some(pem),
                Err(error) => tracing::warn!(%error, "the CA bundle on disk is not usable"),
            },
            Err(error) => tracing::warn!(%error, "the CA bundle could not be looked at"),
        }
    }
}

fn fingerprint(chain: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for certificate in chain {
        // With their lengths, so that no two chains read the same.
        hash.update((certificate.len() as u64).to_le_bytes());
        hash.update(certificate);
    }
    hash.finalize().into()
}
