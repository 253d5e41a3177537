//! Keys of tokens: RSA and ECDSA, in the PEM forms that Kubernetes reads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKey as RsaPublic;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::der::{self, Reader};

/// What tokens are signed with.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    /// Blinding and nonces. Not the environment's: `ring` takes no other source for what a leak would reveal the key by.
    random: SystemRandom,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
}

/// What signatures are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    algorithm: Algorithm,
    /// RSA: `RSAPublicKey` in DER. ECDSA: the uncompressed point.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Rs256,
    Es256,
    Es384,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key file cannot be read as PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("the key file contains no private key")]
    NoPrivateKey,
    #[error("the key file contains no RSA or ECDSA key")]
    NoKey,
    #[error("a key cannot be used: {0}")]
    Rejected(ring::error::KeyRejected),
    #[error("a key has a form that is not known: keys are RSA of at least 2048 bits, or ECDSA on P-256 or P-384")]
    Unknown,
}

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

// === impl KeyError ===

/// Without the standard library `ring`'s error is none.
impl From<ring::error::KeyRejected> for KeyError {
    fn from(why: ring::error::KeyRejected) -> Self {
        Self::Rejected(why)
    }
}

// === impl SigningKey ===

impl SigningKey {
    /// The first private key of a file: PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, bytes) = section?;
            if let Some(pair) = Pair::read(&kind, &bytes).transpose()? {
                return Ok(Self::of(pair));
            }
        }
        Err(KeyError::NoPrivateKey)
    }

    /// A new ECDSA key, and its PEM form. (RSA keys of existing installations are read, never made.)
    pub fn generate() -> Result<(Self, String), KeyError> {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(|_| KeyError::Unknown)?;
        let key = Self::of(Pair::pkcs8(document.as_ref())?);
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        let text = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
        for (index, char) in text.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                pem.push('\n');
            }
            pem.push(char);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        Ok((key, pem))
    }

    fn of(pair: Pair) -> Self {
        let public = pair.public();
        let random = SystemRandom::new();
        Self { pair, public, random }
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature as JWS has it. `None` only if the system has no randomness.
    pub(in crate::auth) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Pair::Ecdsa(pair) => Some(pair.sign(&self.random, message).ok()?.as_ref().to_vec()),
        }
    }
}

// === impl Pair ===

impl Pair {
    /// `None`: no private key.
    fn read(kind: &SectionKind, bytes: &[u8]) -> Option<Result<Self, KeyError>> {
        match kind {
            SectionKind::PrivateKey => Some(Self::pkcs8(bytes)),
            SectionKind::RsaPrivateKey => Some(Self::rsa(RsaKeyPair::from_der(bytes))),
            SectionKind::EcPrivateKey => Some(Self::sec1(bytes)),
            _ => None,
        }
    }

    fn rsa(pair: Result<RsaKeyPair, ring::error::KeyRejected>) -> Result<Self, KeyError> {
        Ok(Self::Rsa(Box::new(pair?)))
    }

    /// `PrivateKeyInfo`: version, algorithm, key.
    fn pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut info = Reader::new(Reader::new(bytes).take(der::SEQUENCE).ok_or(KeyError::Unknown)?);
        let algorithm = info.take(der::INTEGER).and_then(|_| info.take(der::SEQUENCE));
        let mut algorithm = Reader::new(algorithm.ok_or(KeyError::Unknown)?);
        match algorithm.take(der::OID) {
            Some(OID_RSA) => Self::rsa(RsaKeyPair::from_pkcs8(bytes)),
            Some(OID_EC) => {
                let curve = curve(algorithm.take(der::OID)).ok_or(KeyError::Unknown)?;
                Ok(Self::Ecdsa(EcdsaKeyPair::from_pkcs8(
                    curve,
                    bytes,
                    &SystemRandom::new(),
                )?))
            }
            _ => Err(KeyError::Unknown),
        }
    }

    /// `ECPrivateKey`: 1, the number, [0] the curve, [1] the point.
    fn sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        const CURVE: u8 = 0xa0;
        const POINT: u8 = 0xa1;
        let read = || {
            let mut key = Reader::new(Reader::new(bytes).take(der::SEQUENCE)?);
            key.take(der::INTEGER)?;
            let number = key.take(der::OCTET_STRING)?;
            let curve = curve(Reader::new(key.take(CURVE)?).take(der::OID))?;
            Some((number, curve, Reader::new(key.take(POINT)?).take_bits()?))
        };
        let (number, curve, point) = read().ok_or(KeyError::Unknown)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, number, point, &SystemRandom::new())?;
        Ok(Self::Ecdsa(pair))
    }

    fn public(&self) -> PublicKey {
        match self {
            Self::Rsa(pair) => PublicKey::new(Algorithm::Rs256, RsaPublic::as_ref(pair.public())),
            Self::Ecdsa(pair) => {
                let point = pair.public_key().as_ref();
                // An uncompressed point is one byte and two coordinates.
                let algorithm = if point.len() == 65 {
                    Algorithm::Es256
                } else {
                    Algorithm::Es384
                };
                PublicKey::new(algorithm, point)
            }
        }
    }
}

fn curve(oid: Option<&[u8]>) -> Option<&'static EcdsaSigningAlgorithm> {
    match oid? {
        OID_P256 => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
        OID_P384 => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => None,
    }
}

// === impl PublicKey ===

impl PublicKey {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut key = Self {
            id: String::new(),
            algorithm,
            bytes: bytes.to_vec(),
        };
        // Kubernetes' id: the hash of the key's standard form.
        key.id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.to_spki()));
        key
    }

    /// All keys of a file, each by its public part: private keys, `PUBLIC KEY`, certificates.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, bytes) = section?;
            if let Some(pair) = Pair::read(&kind, &bytes).transpose()? {
                keys.push(pair.public());
                continue;
            }
            let key = match kind {
                SectionKind::PublicKey => Self::from_spki(&bytes),
                SectionKind::Certificate => X509Certificate::from_der(&bytes)
                    .ok()
                    .and_then(|(_, certificate)| Self::from_spki(certificate.public_key().raw)),
                _ => continue,
            };
            keys.push(key.ok_or(KeyError::Unknown)?);
        }
        if keys.is_empty() {
            Err(KeyError::NoKey)
        } else {
            Ok(keys)
        }
    }

    /// `SubjectPublicKeyInfo`: algorithm, key.
    fn from_spki(bytes: &[u8]) -> Option<Self> {
        let mut info = Reader::new(Reader::new(bytes).take(der::SEQUENCE)?);
        let mut algorithm = Reader::new(info.take(der::SEQUENCE)?);
        let (kind, curve) = (algorithm.take(der::OID)?, algorithm.take(der::OID));
        let key = info.take_bits()?;
        match (kind, curve) {
            (OID_RSA, _) => Some(Self::new(Algorithm::Rs256, key)),
            (OID_EC, Some(OID_P256)) if key.len() == 65 => Some(Self::new(Algorithm::Es256, key)),
            (OID_EC, Some(OID_P384)) if key.len() == 97 => Some(Self::new(Algorithm::Es384, key)),
            _ => None,
        }
    }

    fn to_spki(&self) -> Vec<u8> {
        let oid = |oid: &[u8]| der::element(der::OID, &[oid]);
        let algorithm = match self.algorithm {
            Algorithm::Rs256 => [oid(OID_RSA), der::element(der::NULL, &[])],
            Algorithm::Es256 => [oid(OID_EC), oid(OID_P256)],
            Algorithm::Es384 => [oid(OID_EC), oid(OID_P384)],
        };
        let algorithm = der::element(der::SEQUENCE, &[&algorithm[0], &algorithm[1]]);
        let key = der::element(der::BIT_STRING, &[&[0], &self.bytes]);
        der::element(der::SEQUENCE, &[&algorithm, &key])
    }

    /// `kid` of tokens.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(in crate::auth) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes)
            .verify(message, signature)
            .is_ok()
    }

    /// A JSON Web Key.
    pub fn to_jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = json!({"use": "sig", "kid": self.id, "alg": self.algorithm.name()});
        let (parts, kind): (Vec<(&str, String)>, _) = match self.algorithm {
            Algorithm::Rs256 => {
                let (modulus, exponent) = self.rsa_numbers().unwrap_or_default();
                (vec![("n", text(modulus)), ("e", text(exponent))], "RSA")
            }
            Algorithm::Es256 | Algorithm::Es384 => {
                let coordinates = self.bytes.get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                let curve = if self.algorithm == Algorithm::Es256 {
                    "P-256"
                } else {
                    "P-384"
                };
                (vec![("crv", curve.to_owned()), ("x", text(x)), ("y", text(y))], "EC")
            }
        };
        key["kty"] = kind.into();
        for (name, value) in parts {
            key[name] = value.into();
        }
        key
    }

    /// Modulus and exponent, big-endian, without leading zeros.
    fn rsa_numbers(&self) -> Option<(&[u8], &[u8])> {
        let mut numbers = Reader::new(Reader::new(&self.bytes).take(der::SEQUENCE)?);
        let mut next = || {
            let number = numbers.take(der::INTEGER)?;
            Some(number.strip_prefix(&[0]).unwrap_or(number))
        };
        Some((next()?, next()?))
    }
}

// === impl Algorithm ===

impl Algorithm {
    /// `alg` of JWS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }
}

#[cfg(test)]
mod tests;
