//! What tokens and issuers may cost, and what is no key, no signature and no claim.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::jwt::Unverified;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{AUDIENCE, Place, refused, who};
use crate::client::Client;
use crate::issuer::WAITING_MAX;
use crate::key_set::{KEYS_MAX, KeySet};
use crate::testing::{TestKey, compact};
use crate::{Algorithm, JwtAuthenticator, Oidc};

/// An RSA key of 1024 bits, and a token that it has signed.
const SHORT_MODULUS: &str = "ytpkPuLYUPtbXQR8Pzh3m9K3lV-PG5ntWwIR9jiQ0ZZh3R8l9-F1G00Qv4G1-odZrO5dsfb4dU3dYlPQPbtnMjeGR1_Hfpi4lP0dnRiVtemrLbqHhrhs6bEtXytERQnTXlfY9lObkDZ307JINXHtl4yP4zf57txriDmR7vrKoBs";
const SHORT_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.WLyf-x1d7GsquTKzehjn3lRfAA6SBaoeuljciHktCk0uQqgg5JXsJosRa0Wnz7qjH7YYI3hXxqDIDIqqyzP0oYK3oyaPYHQpTCdkWn6QhaTNXqNLiBQJSNAfZiEUuTfLSwJDWl7mqfkTVP7RaxWjfwK76yWo6LAh_kafNfNbsFU";

#[test]
fn keys_that_are_short_are_no_keys() {
    let published = json!({"keys": [{"kty": "RSA", "n": SHORT_MODULUS, "e": "AQAB"}]});
    let keys = KeySet::parse(&published).unwrap();
    let token = Unverified::parse(SHORT_TOKEN).unwrap();
    for algorithm in Algorithm::ALL {
        assert!(!keys.verifies(&token, algorithm), "{algorithm:?}");
    }
}

#[test]
fn what_an_issuer_publishes_is_read_up_to_a_limit_and_as_it_has_to_be() {
    let key = TestKey::ec("1").public();
    let many = |count: usize| KeySet::parse(&json!({"keys": vec![key.clone(); count]})).unwrap().len();
    assert_eq!(many(KEYS_MAX), KEYS_MAX);
    assert_eq!(many(KEYS_MAX + 1), KEYS_MAX);
    for none in [json!({}), json!([]), json!({"keys": {}}), json!({"keys": "x"})] {
        assert_eq!(KeySet::parse(&none), None, "{none}");
    }
    // Coordinates are as long as the curve's, each of them.
    let mut moved = key.clone();
    (moved["x"], moved["y"]) = (json!("A".repeat(40)), json!("A".repeat(44 + 2)));
    let mut short = key;
    short["x"] = json!("AAAA");
    for wrong in [moved, short] {
        assert_eq!(KeySet::parse(&json!({"keys": [wrong]})).unwrap().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_by_the_key_and_the_algorithm_that_it_names() {
    let place = Place::new().await;
    let (ec, ec384) = (TestKey::ec("1"), TestKey::ec384("2"));
    place.issuer.publish(&[&ec, &ec384]);
    let oidc = place.authenticator();
    let claims = place.claims();
    assert!(who(&oidc, &ec384.token(&claims)).await.is_ok());
    for name in ["ES256", "RS256", "RS384", "PS384"] {
        refused(&oidc, &ec384.token_as(name, &claims), "failed to verify signature").await;
    }
    for name in ["ES384", "RS384", "PS256"] {
        refused(&oidc, &ec.token_as(name, &claims), "failed to verify signature").await;
    }
    // By one key under the name of the other.
    for (id, holds) in [("1", true), ("", true), ("2", false), ("3", false)] {
        let token = compact(&json!({"alg": "ES256", "kid": id}), &claims, |message| ec.sign(message));
        assert_eq!(who(&oidc, &token).await.is_ok(), holds, "{id}");
    }
    // An extension that is not understood, on a signature that holds.
    for extensions in [json!(["b64"]), json!([]), Value::Null] {
        let header = json!({"alg": "ES256", "kid": "1", "crit": extensions});
        let token = compact(&header, &claims, |message| ec.sign(message));
        refused(&oidc, &token, "extensions").await;
    }
}

#[tokio::test(start_paused = true)]
async fn googles_tokens_name_it_in_two_ways_and_nobody_elses_do() {
    let place = Place::new().await;
    let google = JwtAuthenticator {
        issuer: "https://accounts.google.com".to_owned(),
        ..place.config(json!({}))
    };
    let google = Oidc::new(&place.env, google).unwrap();
    let key = TestKey::ec("1");
    let token = |issuer: &str| key.token(&place.claims_with(json!({ "iss": issuer })));
    for own in ["accounts.google.com", "https://accounts.google.com"] {
        refused(&google, &token(own), "cannot be had").await;
    }
    let host = place.issuer.url.strip_prefix("https://").unwrap();
    assert_eq!(who(&place.authenticator(), &token(host)).await, Ok(None));
    assert_eq!(
        who(&place.authenticator(), &token("accounts.google.com")).await,
        Ok(None)
    );
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_over_https_that_is_fine_is_read() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let client = Client::new(&place.env, place.issuer.ca.as_bytes()).unwrap();
    let why = async |url: &str| client.get(url).await.unwrap_err().to_string();
    let url = &place.issuer.url;
    assert!(client.get(&format!("{url}/keys")).await.is_ok());
    let plain = format!("{}/keys", url.replacen("https", "http", 1));
    assert!(why(&plain).await.contains("not https"));
    for none in ["", "/keys", "a b"] {
        assert!(client.get(none).await.is_err(), "{none:?}");
    }
    assert!(why(&format!("{url}/other")).await.contains("404"));
    place.issuer.set_failing(true);
    refused(&place.authenticator(), &key.token(&place.claims()), "500").await;
}

#[tokio::test(start_paused = true)]
async fn so_many_tokens_wait_for_an_issuer() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    place.issuer.set_hanging(true);
    let oidc = Arc::new(place.authenticator());
    let token = key.token(&place.claims());
    let all = (0..WAITING_MAX + 5).map(|_| who(&oidc, &token));
    let answers = join_all(all).await;
    let beyond = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert_eq!(beyond.filter(|why| why.contains("too many tokens wait")).count(), 5);
    // Who has gone waits no more.
    place.issuer.set_hanging(false);
    place.env.clock.sleep(Duration::from_secs(2)).await;
    assert!(who(&oidc, &token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_asked_for_again_by_one_at_a_time() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.authenticator();
    let token = key.token(&place.claims());
    assert!(who(&oidc, &token).await.is_ok());
    place.env.clock.sleep(Duration::from_secs(601)).await;
    place.issuer.set_failing(true);
    for _ in 0..50 {
        assert!(who(&oidc, &token).await.is_ok());
    }
    place.env.clock.sleep(Duration::from_millis(500)).await;
    assert_eq!(place.issuer.asked(), 2, "while one asks");
    // Nor is one that fails asked by everybody who comes.
    for _ in 0..50 {
        assert!(who(&oidc, &token).await.is_ok());
        place.env.clock.sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(place.issuer.asked(), 2, "just after it has failed");
    // Of a token that none of the old keys has made nobody can say now whether it holds.
    let unknown = TestKey::ec("2").token(&place.claims());
    refused(&oidc, &unknown, "cannot be had").await;
    assert_eq!(place.issuer.asked(), 2);
    place.env.clock.sleep(Duration::from_secs(1)).await;
    assert!(who(&oidc, &token).await.is_ok());
    place.env.clock.sleep(Duration::from_millis(500)).await;
    assert_eq!(place.issuer.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn claims_of_other_kinds_are_none() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let token = |changes: Value| key.token(&place.claims_with(changes));
    let oidc = place.with(json!({
        "claimValidationRules": [{"claim": "hd", "requiredValue": "7"}],
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "uid": {"claim": "uid"}},
    }));
    assert!(who(&oidc, &token(json!({"hd": "7", "uid": "u"}))).await.is_ok());
    for hd in [json!(7), json!(["7"]), json!({"7": "7"}), json!("")] {
        refused(&oidc, &token(json!({"hd": hd, "uid": "u"})), "does not match").await;
    }
    for uid in [Value::Null, json!(7), json!(["u"])] {
        refused(&oidc, &token(json!({"hd": "7", "uid": uid})), "uid claim").await;
    }
    // What expressions make has to be of the right kind, and somebody.
    let oidc = place.with(json!({
        "claimMappings": {
            "username": {"expression": "claims.name"},
            "groups": {"expression": "claims.roles"},
            "uid": {"expression": "claims.uid"},
            "extra": [{"key": "acme.io/x", "valueExpression": "claims.x"}],
        },
        "claimValidationRules": [{"expression": "claims.holds"}],
    }));
    let fine = json!({"name": "j", "roles": ["a"], "uid": "u", "x": "x", "holds": true});
    assert!(who(&oidc, &token(fine.clone())).await.is_ok());
    for (name, value, because) in [
        ("name", json!(""), "empty username"),
        ("name", json!(7), "must return a string"),
        ("name", json!(["j"]), "must return a string"),
        ("roles", json!({"a": "b"}), "group claim expression"),
        ("roles", json!(true), "group claim expression"),
        ("uid", json!(7), "uid claim expression"),
        ("x", json!(true), "extra claim expression"),
        ("holds", json!(false), "failed"),
        ("holds", json!("true"), "must return a boolean"),
        ("holds", json!(1), "must return a boolean"),
    ] {
        let mut changed = fine.clone();
        changed[name] = value;
        refused(&oidc, &token(changed), because).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rules_cost_a_bounded_time() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.with(json!({"claimValidationRules": [
        {"expression": "claims.a.all(x, claims.a.all(y, claims.a.all(z, x + y + z >= 0.0)))"},
    ]}));
    let token = |len: usize| {
        let claims =
            json!({"iss": place.issuer.url, "aud": AUDIENCE, "sub": "x", "exp": place.now() + 60, "a": vec![1; len]});
        key.token(&claims)
    };
    assert!(who(&oidc, &token(3)).await.is_ok());
    refused(&oidc, &token(300), "cost").await;
}
