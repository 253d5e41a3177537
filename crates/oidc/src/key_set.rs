//! What an issuer signs with: JSON Web Keys, and which of them has signed a token.

use apiserver::auth::jwt::Unverified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

/// Of JWS, as far as Kubernetes allows them and they can be verified here. (Not ES512: the library has no P-521.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
}

/// The keys of an issuer that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    id: String,
    /// The one algorithm that its owner uses it with, if said.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// Issuers have a handful.
pub(crate) const KEYS_MAX: usize = 256;

// === impl Algorithm ===

impl Algorithm {
    pub const ALL: [Self; 8] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
    ];

    /// `alg` of JWS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 => return None,
        })
    }
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JSON Web Key Set. Keys of other kinds and uses are left out: an issuer may publish them for others. `None`: it is
    /// no key set.
    pub fn parse(document: &Value) -> Option<Self> {
        let keys = document.get("keys")?.as_array()?;
        Some(Self(keys.iter().take(KEYS_MAX).filter_map(Key::parse).collect()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of the keys has signed it, by this algorithm.
    pub fn verifies(&self, token: &Unverified<'_>, algorithm: Algorithm) -> bool {
        let id = token.parameter("kid").unwrap_or_default();
        self.0
            .iter()
            .filter(|key| id.is_empty() || key.id == id)
            .any(|key| key.verifies(algorithm, token.message(), token.signature()))
    }
}

// === impl Key ===

impl Key {
    fn parse(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        let point = |len: usize| -> Option<Vec<u8>> {
            let (x, y) = (number("x")?, number("y")?);
            // Each of the curve's full length (RFC 7518, 6.2.1.2).
            (x.len() == len && y.len() == len).then(|| [&[4], &*x, &*y].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let significant = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect();
                Material::Rsa {
                    modulus: significant(number("n")?),
                    exponent: significant(number("e")?),
                }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            _ => return None,
        };
        let algorithm = match text("alg") {
            None => None,
            // One that is for another algorithm than these is for none of these.
            Some(name) => Some(Algorithm::of_name(name)?),
        };
        Some(Self {
            id: text("kid").unwrap_or_default().to_owned(),
            algorithm,
            material,
        })
    }

    /// A key is only asked for algorithms of its own kind: what a token says of that is no choice of its maker's.
    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return false;
        }
        let ecdsa = |by: &'static dyn VerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(by, point).verify(message, signature).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, rsa) => rsa.rsa().is_some_and(|parameters| {
                let components = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                components.verify(parameters, message, signature).is_ok()
            }),
            (Material::P256(point), Algorithm::Es256) => ecdsa(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Material::P384(point), Algorithm::Es384) => ecdsa(&signature::ECDSA_P384_SHA384_FIXED, point),
            _ => false,
        }
    }
}
