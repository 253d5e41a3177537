//! JSON Web Tokens in their compact form: `header.payload.signature`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::service_account::{PublicKey, SigningKey};

/// A token that was taken apart. Nothing in it is verified.
pub struct Unverified<'a> {
    /// What the signature is of.
    message: &'a str,
    signature: Vec<u8>,
    header: Value,
    pub claims: Value,
}

/// Larger tokens are none: claims are a few hundred bytes.
const LEN_MAX: usize = 64 * 1024;

/// `None` only if the system has no randomness.
pub(super) fn sign(claims: &Value, key: &SigningKey) -> Option<String> {
    let public = key.public();
    let header = json!({"alg": public.algorithm().name(), "kid": public.id()});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes())?);
    Some(format!("{message}.{signature}"))
}

// === impl Unverified ===

impl<'a> Unverified<'a> {
    /// `None`: not a token in this form. (The signature may be empty: that of `alg: none` is, and holds nowhere.)
    pub fn parse(token: &'a str) -> Option<Self> {
        if token.len() > LEN_MAX {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let read = |part: &str| -> Option<Value> {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice(&bytes).ok().filter(Value::is_object)
        };
        Some(Self {
            message,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            header: read(header)?,
            claims: read(payload)?,
        })
    }

    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// A parameter of the header that is text, as the sender says.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// Whether the header names extensions that must be understood. None is.
    pub fn is_extended(&self) -> bool {
        self.header.get("crit").is_some()
    }

    /// What the signature is of.
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether one of the keys has signed it. A key is only asked for its own algorithm: what the token says of that is no
    /// choice of its maker's.
    pub fn is_signed_by(&self, keys: &[PublicKey]) -> bool {
        if self.is_extended() {
            return false;
        }
        let algorithm = self.parameter("alg").unwrap_or_default();
        let id = self.parameter("kid").filter(|id| !id.is_empty());
        let fitting = keys.iter().filter(|key| key.algorithm().name() == algorithm);
        let mut named = fitting.filter(|key| id.is_none_or(|id| id == key.id()));
        named.any(|key| key.verifies(self.message.as_bytes(), &self.signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_token_is_not_signed() {
        let (key, _) = SigningKey::generate().unwrap();
        let keys = [key.public().clone()];
        let token = sign(&json!({"iss": "us"}), &key).unwrap();
        assert!(Unverified::parse(&token).unwrap().is_signed_by(&keys));
        let (other, _) = SigningKey::generate().unwrap();
        assert!(
            !Unverified::parse(&token)
                .unwrap()
                .is_signed_by(&[other.public().clone()])
        );
        let forged = URL_SAFE_NO_PAD.encode(r#"{"iss":"them"}"#);
        let parts: Vec<&str> = token.split('.').collect();
        let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
        assert!(!Unverified::parse(&forged).unwrap().is_signed_by(&keys));
    }

    #[test]
    fn no_algorithm_is_no_signature() {
        let (key, _) = SigningKey::generate().unwrap();
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#, "{}"] {
            let token = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
            assert!(
                !Unverified::parse(&token).unwrap().is_signed_by(&[key.public().clone()]),
                "{header}"
            );
        }
    }

    #[test]
    fn a_key_signs_by_its_algorithm_under_its_name_and_without_extensions() {
        let (key, _) = SigningKey::generate().unwrap();
        let (own, id) = (key.public().algorithm().name(), key.public().id());
        let is_signed = |header: Value| {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let message = format!("{}.{}", part(&header), part(&json!({})));
            let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).unwrap());
            let token = format!("{message}.{signature}");
            Unverified::parse(&token).unwrap().is_signed_by(&[key.public().clone()])
        };
        for fine in [
            json!({"alg": own, "kid": id}),
            json!({"alg": own, "kid": ""}),
            json!({"alg": own}),
        ] {
            assert!(is_signed(fine.clone()), "{fine}");
        }
        for wrong in [
            json!({"alg": "none", "kid": id}),
            json!({"alg": "HS256", "kid": id}),
            json!({"alg": "PS512", "kid": id}),
            json!({"kid": id}),
            json!({"alg": own, "kid": "other"}),
            json!({"alg": own, "kid": id, "crit": ["b64"]}),
            json!({"alg": own, "kid": id, "crit": null}),
        ] {
            assert!(!is_signed(wrong.clone()), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        let (key, _) = SigningKey::generate().unwrap();
        let of_len = |padding: usize| sign(&json!({"padding": "x".repeat(padding)}), &key).unwrap();
        assert!(Unverified::parse(&of_len(LEN_MAX / 2)).is_some());
        assert!(Unverified::parse(&of_len(LEN_MAX)).is_none(), "too large");
        for text in ["", "a", "a.b", "a.b.c", "e30.W10.", "....", &"x".repeat(LEN_MAX + 1)] {
            assert!(Unverified::parse(text).is_none(), "{text}");
        }
    }
}
