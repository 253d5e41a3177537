//! Identities of exports: a random key in a Secret, whose hash says whose API it is (E.1).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::keys::{namespace, object};

/// A new key, from 32 random bytes. Its text is what is hashed.
pub fn identity_key(random: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

/// The Secret of an export (or cached resource) of this name, in the export's cluster.
pub fn identity_secret(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": namespace::KCP_SYSTEM},
        "data": {object::IDENTITY_SECRET_KEY: STANDARD.encode(key)},
    })
}

/// The bytes of a Secret's key, for [`crate::hashes::identity_hash`]. `None` if there is none or it is no base64.
pub fn secret_key(secret: &Value) -> Option<Vec<u8>> {
    let encoded = secret.str_at(&["data", object::IDENTITY_SECRET_KEY])?;
    STANDARD.decode(encoded).ok().filter(|key| !key.is_empty())
}
