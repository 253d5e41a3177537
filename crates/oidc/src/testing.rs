//! An issuer for tests: a real HTTPS server with real keys.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use env::Env;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

/// What a test issuer says, and how often it was asked. Serves as long as its environment's tasks run.
pub struct TestIssuer {
    /// `https://host:port`.
    pub url: String,
    /// Of the CA that it is known by, in PEM.
    pub ca: String,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said {
    published: Mutex<Vec<Value>>,
    /// Instead of its own URL.
    named: Mutex<Option<String>>,
    is_down: Mutex<bool>,
    is_endless: Mutex<bool>,
    is_hanging: Mutex<bool>,
    is_failing: Mutex<bool>,
    asked: Mutex<usize>,
}

/// What tokens are signed with.
pub struct TestKey {
    id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ec384(EcdsaKeyPair),
}

// === impl TestKey ===

impl TestKey {
    /// One of the two RSA keys that there are.
    pub fn rsa(id: &str, which: usize) -> Self {
        let pem = [
            &include_bytes!("testdata/rsa-1.pem")[..],
            &include_bytes!("testdata/rsa-2.pem")[..],
        ][which];
        let der = PrivateKeyDer::from_pem_slice(pem).expect("a key");
        let pair = Pair::Rsa(RsaKeyPair::from_pkcs8(der.secret_der()).expect("an RSA key"));
        Self {
            id: id.to_owned(),
            pair,
        }
    }

    /// A new ECDSA key.
    pub fn ec(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            pair: Pair::Ec(ec_pair(&ECDSA_P256_SHA256_FIXED_SIGNING)),
        }
    }

    /// A new one of the larger curve.
    pub fn ec384(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            pair: Pair::Ec384(ec_pair(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        }
    }

    /// As it is published.
    pub fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "use": "sig", "kid": self.id, "n": text(&n), "e": text(&e)})
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "use": "sig", "kid": self.id, "crv": "P-256", "x": text(x), "y": text(y)})
            }
            Pair::Ec384(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
                json!({"kty": "EC", "use": "sig", "kid": self.id, "crv": "P-384", "x": text(x), "y": text(y)})
            }
        }
    }

    /// What an attacker could take for a shared secret: the public key's bytes.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public().as_ref().to_vec(),
            Pair::Ec(pair) | Pair::Ec384(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ec384(_) => "ES384",
        }
    }

    /// A token of these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_as(self.algorithm(), claims)
    }

    /// The same, saying that it is signed by another algorithm. PS256 is.
    pub fn token_as(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "kid": self.id});
        compact(&header, claims, |message| self.sign_as(algorithm, message))
    }

    /// By its own algorithm.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(self.algorithm(), message)
    }

    fn sign_as(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = if algorithm == "PS256" {
                    &RSA_PSS_SHA256 as &'static dyn ring::signature::RsaEncoding
                } else {
                    &RSA_PKCS1_SHA256
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Pair::Ec(pair) | Pair::Ec384(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
        }
    }
}

fn ec_pair(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key")
}

/// A new CA.
pub fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("a certificate");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

/// A token with whatever signature.
pub fn compact(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

// === impl TestIssuer ===

impl TestIssuer {
    /// Listens; `host` is how it is dialled, port 0 takes a free one.
    pub async fn start(env: &Env, host: &str, port: u16) -> Self {
        let ca = authority();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a certificate");
        let certificate = params.signed_by(&key, &ca).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a pair");
        let listener = env.net.listen(&format!("{host}:{port}")).await.expect("a port");
        let address = listener.address();
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let url = format!("https://{host}:{port}");
        let said = Arc::new(Said::default());
        let issuer = Self {
            url: url.clone(),
            ca: ca.pem(),
            said: said.clone(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let spawn = env.spawn.clone();
        let serving = async move {
            while let Ok(accepted) = listener.accept().await {
                if *said.is_down.lock() {
                    continue;
                }
                let (acceptor, said, url) = (acceptor.clone(), said.clone(), url.clone());
                let is_hanging = *said.is_hanging.lock();
                let connection = async move {
                    if is_hanging {
                        std::future::pending::<()>().await;
                    }
                    let Ok(stream) = acceptor.accept(accepted.stream).await else {
                        return;
                    };
                    let answer = move |request: Request<Incoming>| {
                        let answered = said.answer(&url, request.uri().path());
                        async move { Ok::<_, Infallible>(answered) }
                    };
                    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
                    drop(served.await);
                };
                spawn.spawn("test issuer's connection", connection).detach();
            }
        };
        env.spawn.spawn("test issuer", serving).detach();
        issuer
    }

    /// From now on these keys.
    pub fn publish(&self, keys: &[&TestKey]) {
        *self.said.published.lock() = keys.iter().map(|key| key.public()).collect();
    }

    /// From now on these, whatever they are.
    pub fn publish_raw(&self, keys: &[Value]) {
        *self.said.published.lock() = keys.to_vec();
    }

    /// While it hangs, connections are taken and never answered.
    pub fn set_hanging(&self, is_hanging: bool) {
        *self.said.is_hanging.lock() = is_hanging;
    }

    /// Claims that hold for an hour from this time on (Unix seconds), of a user, for an audience.
    pub fn claims(&self, now: i64, user: &str, audience: &str) -> Value {
        json!({"iss": self.url, "sub": user, "aud": audience, "exp": now + 3600, "iat": now})
    }

    /// While it is down, connections are closed as they come.
    pub fn set_down(&self, is_down: bool) {
        *self.said.is_down.lock() = is_down;
    }

    /// Its configuration names another issuer.
    pub fn name_another(&self, issuer: &str) {
        *self.said.named.lock() = Some(issuer.to_owned());
    }

    /// Its answers are larger than anybody should read.
    pub fn set_endless(&self) {
        *self.said.is_endless.lock() = true;
    }

    /// Its keys come with an error's status.
    pub fn set_failing(&self, is_failing: bool) {
        *self.said.is_failing.lock() = is_failing;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        *self.said.asked.lock()
    }
}

// === impl Said ===

impl Said {
    fn answer(&self, url: &str, path: &str) -> Response<Full<Bytes>> {
        let document = match path {
            "/.well-known/openid-configuration" => {
                let named = self.named.lock().clone();
                json!({"issuer": named.as_deref().unwrap_or(url), "jwks_uri": format!("{url}/keys")})
            }
            "/keys" => {
                *self.asked.lock() += 1;
                let padding = if *self.is_endless.lock() {
                    " ".repeat(2 << 20)
                } else {
                    String::new()
                };
                json!({"keys": *self.published.lock(), "padding": padding})
            }
            _ => {
                let mut nothing = Response::new(Full::default());
                *nothing.status_mut() = StatusCode::NOT_FOUND;
                return nothing;
            }
        };
        let mut answer = Response::new(Full::new(document.to_string().into()));
        if path == "/keys" && *self.is_failing.lock() {
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        answer
    }
}
