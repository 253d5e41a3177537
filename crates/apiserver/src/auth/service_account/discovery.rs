//! The documents by which others verify this server's tokens (OpenID Connect discovery).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::key::PublicKey;

/// Where Kubernetes serves [`openid_configuration`], as `application/json`.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// Where Kubernetes serves [`key_set`], as `application/jwk-set+json`.
pub const KEY_SET_PATH: &str = "/openid/v1/jwks";
/// Both may be kept for so long (`Cache-Control: public, max-age=`).
pub const MAX_AGE_SECONDS: u32 = 3600;

/// `jwks_uri`: a full URL, or empty for [`KEY_SET_PATH`] at `external_address` (`host:port`). `None` for an issuer that is
/// no plain `https` URL: then Kubernetes does not serve these documents at all.
pub fn openid_configuration(issuer: &str, jwks_uri: &str, external_address: &str, keys: &[PublicKey]) -> Option<Value> {
    let is_plain = |url: &str| url.starts_with("https://") && !url.contains(['?', '#']);
    if !is_plain(issuer) || keys.is_empty() {
        return None;
    }
    let jwks_uri = match jwks_uri.is_empty() {
        true if external_address.is_empty() => return None,
        true => format!("https://{external_address}{KEY_SET_PATH}"),
        false if jwks_uri.starts_with("https://") => jwks_uri.to_owned(),
        false => return None,
    };
    let algorithms: BTreeSet<&str> = keys.iter().map(|key| key.algorithm().name()).collect();
    Some(json!({
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    }))
}

/// A JSON Web Key Set.
pub fn key_set(keys: &[PublicKey]) -> Value {
    json!({ "keys": keys.iter().map(PublicKey::to_jwk).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_lead_to_the_keys() {
        let keys = PublicKey::all_from_pem(include_bytes!("testdata/ec-public.pem")).unwrap();
        let document = openid_configuration("https://kcp.default.svc", "", "host:6443", &keys).unwrap();
        assert_eq!(document["jwks_uri"], "https://host:6443/openid/v1/jwks");
        assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
        assert_eq!(key_set(&keys)["keys"][0]["kid"], keys[0].id());
    }

    #[test]
    fn an_issuer_that_is_no_url_has_no_documents() {
        let keys = PublicKey::all_from_pem(include_bytes!("testdata/ec-public.pem")).unwrap();
        for issuer in ["kubernetes/serviceaccount", "http://x", "https://x?y"] {
            assert!(
                openid_configuration(issuer, "", "host:6443", &keys).is_none(),
                "{issuer}"
            );
        }
    }
}
