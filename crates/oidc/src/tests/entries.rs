//! What an entry of a configuration may say: whatever is wrong or not understood is refused, and said where.

use std::path::Path;

use clap::Parser as _;
use env::Env;
use env::simulated::{SimOptions, World};
use serde_json::{Value, json};

use super::Line;
use crate::client::Client;
use crate::{AuthenticationFile, JwtAuthenticator};

fn good() -> Value {
    json!({
        "issuer": {"url": "https://i", "audiences": ["a"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
    })
}

/// The good entry with something else at a place.
fn with(place: &str, value: Value) -> Value {
    let mut entry = good();
    let mut at = &mut entry;
    for name in place.split('.') {
        at = &mut at[name];
    }
    *at = value;
    entry
}

fn wrong(place: &str, value: Value) -> String {
    let entry = with(place, value);
    match JwtAuthenticator::parse(&entry, &["https://own".to_owned()]) {
        Ok(_) => panic!("{entry} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_entry_with_issuers_that_do_not_fit_is_refused() {
    assert!(JwtAuthenticator::parse(&good(), &[]).is_ok());
    for (place, value, why) in [
        ("issuer", json!("https://i"), "no object"),
        ("issuer.url", Value::Null, "required"),
        ("issuer.url", json!(7), "no text"),
        ("issuer.url", json!("https://own"), "disallowed issuers: https://own"),
        ("issuer.url", json!("http://i"), "scheme must be https"),
        ("issuer.url", json!("https://i#x"), "fragment"),
        ("issuer.url", json!("https://u@i"), "username or password"),
        ("issuer.url", json!("https://i?x"), "query"),
        ("issuer.discoveryURL", json!("http://d"), "scheme must be https"),
        ("issuer.discoveryURL", json!("https://u:p@d"), "username or password"),
        ("issuer.discoveryURL", json!("https://i"), "must be different"),
        ("issuer.discoveryURL", json!("https://i/"), "must be different"),
        ("issuer.audiences", json!([""]), "none may be empty"),
        ("issuer.audiences", json!("a"), "no list of texts"),
        ("issuer.audiences", json!(["a", 1]), "no list of texts"),
        ("issuer.audienceMatchPolicy", json!("MatchAll"), "empty or MatchAny"),
        ("issuer.egressSelectorType", json!("cluster"), "no egress selectors"),
        ("issuer.certificateAuthority", json!(["x"]), "no text"),
        ("issuer.other", json!("x"), "unknown field \"other\""),
        ("other", json!("x"), "unknown field \"other\""),
    ] {
        let said = wrong(place, value.clone());
        assert!(said.contains(why), "{place} {value}: {said}");
    }
    let twice = wrong(
        "issuer",
        json!({"url": "https://i", "audiences": ["a", "a"], "audienceMatchPolicy": "MatchAny"}),
    );
    assert!(twice.contains("twice"), "{twice}");
    let policy = wrong(
        "issuer",
        json!({"url": "https://i", "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAll"}),
    );
    assert!(policy.contains("MatchAny for multiple"), "{policy}");
}

#[test]
fn an_entry_with_mappings_that_do_not_fit_is_refused() {
    let extra = |key: &str| json!([{"key": key, "valueExpression": "claims.a"}]);
    for (place, value, why) in [
        ("claimMappings", json!({}), "claim or expression is required"),
        ("claimMappings.other", json!({}), "unknown field \"other\""),
        (
            "claimMappings.username",
            json!({"claim": "a", "prefix": "", "expression": "claims.a"}),
            "can't both be set",
        ),
        ("claimMappings.username.prefix", json!(7), "no text"),
        ("claimMappings.groups", json!({"claim": "g"}), "prefix is required"),
        (
            "claimMappings.groups",
            json!({"claim": "g", "prefix": "", "other": 1}),
            "unknown field",
        ),
        (
            "claimMappings.uid",
            json!({"claim": "a", "prefix": "x"}),
            "unknown field \"prefix\"",
        ),
        ("claimMappings.extra", json!({}), "no list"),
        (
            "claimMappings.extra",
            json!([{"valueExpression": "claims.a"}]),
            "required",
        ),
        ("claimMappings.extra", json!([{"key": "acme.io/a"}]), "required"),
        (
            "claimMappings.extra",
            json!([{"key": "acme.io/a", "valueExpression": "claims.a", "x": 1}]),
            "unknown field",
        ),
        ("claimMappings.extra", extra("a"), "domain-prefixed"),
        ("claimMappings.extra", extra("acme.io/"), "domain-prefixed"),
        ("claimMappings.extra", extra("ac_me/a"), "domain-prefixed"),
        ("claimMappings.extra", extra("acme.io/A"), "lowercase"),
        ("claimMappings.extra", extra("kubernetes.io/a"), "reserved"),
        (
            "claimMappings.extra",
            extra("authentication.kubernetes.io/a"),
            "reserved",
        ),
        ("claimMappings.extra", extra("x.k8s.io/a"), "reserved"),
        (
            "claimMappings.extra",
            json!([
                {"key": "acme.io/a", "valueExpression": "claims.a"},
                {"key": "acme.io/a", "valueExpression": "claims.b"},
            ]),
            "twice",
        ),
    ] {
        let said = wrong(place, value.clone());
        assert!(said.contains(why), "{place} {value}: {said}");
    }
}

#[test]
fn an_entry_with_rules_that_do_not_fit_is_refused() {
    let (claims, user) = ("claimValidationRules", "userValidationRules");
    for (place, value, why) in [
        (claims, json!({}), "no list"),
        (claims, json!([{}]), "claim or expression is required"),
        (
            claims,
            json!([{"claim": "a", "expression": "claims.a"}]),
            "can't both be set",
        ),
        (
            claims,
            json!([{"claim": "a", "message": "m"}]),
            "may not be specified when claim",
        ),
        (
            claims,
            json!([{"expression": "claims.a", "requiredValue": "x"}]),
            "may not be specified when expression",
        ),
        (claims, json!([{"claim": "a", "other": 1}]), "unknown field"),
        (claims, json!([{"claim": "a"}, {"claim": "a"}]), "twice"),
        (
            claims,
            json!([{"expression": "claims.a"}, {"expression": "claims.a"}]),
            "twice",
        ),
        (user, json!([{}]), "required"),
        (
            user,
            json!([{"expression": "user.name == 'x'"}]),
            "undefined field 'name'",
        ),
        (user, json!([{"expression": "claims.sub == 'x'"}]), "claims"),
        (
            user,
            json!([{"expression": "user.username == 'x'", "other": 1}]),
            "unknown field",
        ),
    ] {
        let said = wrong(place, value.clone());
        assert!(said.contains(why), "{place} {value}: {said}");
    }
}

#[test]
fn a_file_that_says_something_twice_or_is_of_another_kind_is_refused() {
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
    let parse = |text: &str| AuthenticationFile::parse(text.as_bytes(), &[]);
    assert!(parse(head).unwrap().issuers.is_empty());
    let entry = |name: &str, place: &str| {
        format!(
            "- issuer: {{url: 'https://{name}', discoveryURL: 'https://{place}', audiences: [a]}}\n  \
             claimMappings: {{username: {{claim: sub, prefix: ''}}}}\n"
        )
    };
    let two = |other: &str| parse(&format!("{head}jwt:\n{}{}", entry("a", "x"), entry("b", other)));
    assert_eq!(two("y").unwrap().issuers.len(), 2);
    assert!(two("x").unwrap_err().why.contains("twice"));
    for (text, at) in [
        (
            format!("{head}anonymous: {{enabled: false}}\nanonymous: {{enabled: true}}\n"),
            "file",
        ),
        (head.replace("AuthenticationConfiguration", "Other"), "kind"),
        (
            head.replace("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v2"),
            "kind",
        ),
        (format!("{head}jwt: {{}}\n"), "jwt"),
        (format!("{head}anonymous: {{}}\n"), "anonymous.enabled"),
        (format!("{head}anonymous: {{enabled: 'no'}}\n"), "anonymous.enabled"),
    ] {
        assert_eq!(parse(&text).unwrap_err().at, at, "{text}");
    }
}

#[test]
fn flags_are_looked_at_before_issuers_are_made_of_them() {
    let world = World::new(1, SimOptions::default());
    let host = world.host("server");
    let env: Env = host.env();
    let ca = crate::testing::authority().pem();
    env.disk.write_atomic(Path::new("/ca"), ca.as_bytes()).unwrap();
    let made = |args: &[&str], disallowed: &[String]| {
        let line = Line::try_parse_from(["kcp", "--oidc-ca-file=/ca"].iter().chain(args)).unwrap();
        let made = line.options.issuers(&env, disallowed);
        made.map(|issuers| issuers.authenticators.len())
            .map_err(|why| why.to_string())
    };
    let both = ["--oidc-issuer-url=https://i", "--oidc-client-id=kcp"];
    assert_eq!(made(&both, &["https://own".to_owned()]).unwrap(), 1);
    let own = made(&both, &["https://i".to_owned()]).unwrap_err();
    assert!(own.contains("this server's own tokens"), "{own}");
    // Without an audience every token of the issuer would be for us.
    assert!(
        made(&both[..1], &[])
            .unwrap_err()
            .contains("must be specified together")
    );
    let nameless = made(&[both[0], both[1], "--oidc-username-claim="], &[]).unwrap_err();
    assert!(nameless.contains("must not be empty"), "{nameless}");
}

#[test]
fn cas_that_are_none_are_refused() {
    let world = World::new(1, SimOptions::default());
    let host = world.host("server");
    for nothing in [
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let why = Client::new(&host.env(), nothing.as_bytes()).err();
        assert!(why.is_some_and(|why| why.contains("no certificate")), "{nothing}");
    }
}
