//! Tokens against a real issuer, in simulated time.

mod entries;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::CREDENTIAL_ID;
use clap::Parser;
use env::Env;
use env::simulated::{Host, SimOptions, World};
use machinery::user::User;
use ring::hmac;
use serde_json::{Value, json};

use crate::testing::{TestIssuer, TestKey, compact};
use crate::{Algorithm, AuthenticationFile, JwtAuthenticator, Oidc, OidcOptions};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: OidcOptions,
}

/// An issuer and a server, each a host of its own.
struct Place {
    issuer: TestIssuer,
    env: Env,
    _hosts: [Host; 2],
}

const AUDIENCE: &str = "kcp";

// === impl Place ===

impl Place {
    async fn new() -> Self {
        let world = World::new(1, SimOptions::default());
        let hosts = [world.host("issuer"), world.host("server")];
        let issuer = TestIssuer::start(&hosts[0].env(), "issuer", 443).await;
        let env = hosts[1].env();
        Self {
            issuer,
            env,
            _hosts: hosts,
        }
    }

    fn now(&self) -> i64 {
        self.env.clock.now().as_secs()
    }

    fn claims(&self) -> Value {
        self.issuer.claims(self.now(), "jane", AUDIENCE)
    }

    fn claims_with(&self, changes: Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    /// An entry of a configuration, with these members of it replaced.
    fn config(&self, changes: Value) -> JwtAuthenticator {
        let mut entry = json!({
            "issuer": {"url": self.issuer.url, "certificateAuthority": self.issuer.ca, "audiences": [AUDIENCE]},
            "claimMappings": {
                "username": {"claim": "sub", "prefix": "oidc:"},
                "groups": {"claim": "groups", "prefix": "oidc:"},
            },
        });
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        JwtAuthenticator::parse(&entry, &[]).unwrap()
    }

    fn authenticator(&self) -> Oidc {
        self.with(json!({}))
    }

    fn with(&self, changes: Value) -> Oidc {
        Oidc::new(&self.env, self.config(changes)).unwrap()
    }
}

/// Who it is, or why not; the token is in no reason.
async fn who(oidc: &Oidc, token: &str) -> Result<Option<User>, String> {
    let found = oidc.verify(token).await.map_err(|status| {
        assert_eq!(status.code, 401);
        status.message
    });
    if let Err(why) = &found {
        assert!(
            token.split('.').all(|part| part.is_empty() || !why.contains(part)),
            "{why}"
        );
    }
    found
}

async fn refused(oidc: &Oidc, token: &str, because: &str) {
    let why = who(oidc, token).await.unwrap_err();
    assert!(why.contains(because), "{why}");
}

#[tokio::test(start_paused = true)]
async fn tokens_of_rsa_and_ecdsa_keys_make_users() {
    let place = Place::new().await;
    let (rsa, ec) = (TestKey::rsa("1", 0), TestKey::ec("2"));
    place.issuer.publish(&[&rsa, &ec]);
    let oidc = place.authenticator();
    let claims = place.claims_with(json!({"groups": ["a", "b"], "jti": "7"}));
    let mut jane = User::new("oidc:jane", &["oidc:a", "oidc:b"]);
    jane.extra.insert(CREDENTIAL_ID.to_owned(), vec!["JTI=7".to_owned()]);
    for token in [rsa.token(&claims), ec.token(&claims), rsa.token_as("PS256", &claims)] {
        assert_eq!(who(&oidc, &token).await, Ok(Some(jane.clone())));
    }
    assert_eq!(place.issuer.asked(), 1, "keys are kept");
}

#[tokio::test(start_paused = true)]
async fn tokens_of_others_are_nobodys_here() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.authenticator();
    for issuer in [
        json!("https://other"),
        json!(format!("{}/", place.issuer.url)),
        json!(7),
        Value::Null,
    ] {
        let token = key.token(&place.claims_with(json!({ "iss": issuer })));
        assert_eq!(who(&oidc, &token).await, Ok(None));
    }
    for token in ["", "abc", "a.b.c", "{}"] {
        assert_eq!(oidc.verify(token).await.unwrap(), None);
    }
    assert_eq!(place.issuer.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn signatures_are_the_issuers() {
    let place = Place::new().await;
    let (rsa, ec) = (TestKey::rsa("1", 0), TestKey::ec("2"));
    place.issuer.publish(&[&rsa, &ec]);
    let oidc = place.authenticator();
    let claims = place.claims();
    // Somebody else's key of the same name.
    for forged in [
        TestKey::rsa("1", 1),
        TestKey::ec("2"),
        TestKey::rsa("2", 1),
        TestKey::rsa("", 1),
    ] {
        refused(&oidc, &forged.token(&claims), "failed to verify signature").await;
    }
    // Names of algorithms that are not what it was signed by.
    for name in ["ES256", "RS384", "PS256x", "rs256", ""] {
        let token = ec.token_as(name, &claims);
        assert!(who(&oidc, &token).await.is_ok() == (name == "ES256"), "{name}");
        assert!(who(&oidc, &rsa.token_as(name, &claims)).await.is_err(), "{name}");
    }
    let unsigned = |algorithm: &str| compact(&json!({"alg": algorithm, "kid": "1"}), &claims, |_| Vec::new());
    for name in ["none", "None", "RS256", "ES256"] {
        refused(&oidc, &unsigned(name), "verify token").await;
    }
    // The public key as a shared secret.
    for secret in [rsa.public_bytes(), rsa.public().to_string().into_bytes()] {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        for name in ["HS256", "RS256"] {
            let header = json!({"alg": name, "kid": "1"});
            let token = compact(&header, &claims, |message| {
                hmac::sign(&secret, message).as_ref().to_vec()
            });
            refused(&oidc, &token, "verify token").await;
        }
    }
    // Claims that were changed behind the signature.
    let good = rsa.token(&claims);
    let changed = rsa.token(&place.claims_with(json!({"sub": "root"})));
    let parts: Vec<&str> = good.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], changed.split('.').nth(1).unwrap(), parts[2]);
    refused(&oidc, &forged, "failed to verify signature").await;
    let header = json!({"alg": "ES256", "kid": "2", "crit": ["b64"], "b64": false});
    refused(&oidc, &compact(&header, &claims, |_| Vec::new()), "extensions").await;
    assert!(who(&oidc, &good).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keys_are_used_for_what_they_are_published_for() {
    let place = Place::new().await;
    let key = TestKey::rsa("1", 0);
    let claims = place.claims();
    for (change, holds) in [
        (json!({}), true),
        (json!({"alg": "RS256"}), true),
        (json!({"alg": "PS256"}), false),
        (json!({"alg": "RSA-OAEP"}), false),
        (json!({"use": "enc"}), false),
        (json!({"kty": "oct", "k": "AAAA"}), false),
    ] {
        let mut public = key.public();
        for (name, value) in change.as_object().unwrap() {
            public[name] = value.clone();
        }
        place.issuer.publish_raw(&[public]);
        let oidc = place.authenticator();
        assert_eq!(who(&oidc, &key.token(&claims)).await.is_ok(), holds, "{change}");
    }
    // Nor for algorithms that the flags do not name.
    place.issuer.publish(&[&key]);
    let only = JwtAuthenticator {
        algorithms: vec![Algorithm::Es256],
        ..place.config(json!({}))
    };
    let oidc = Oidc::new(&place.env, only).unwrap();
    refused(&oidc, &key.token(&claims), "unsupported algorithm").await;
}

#[tokio::test(start_paused = true)]
async fn audience_and_time_have_to_fit() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.authenticator();
    let now = place.now();
    for (changes, because) in [
        (json!({"aud": "other"}), "another audience"),
        (json!({"aud": ["other", "kcp2"]}), "another audience"),
        (json!({"aud": null}), "another audience"),
        (json!({"aud": {"kcp": "kcp"}}), "another audience"),
        (json!({"exp": now - 1}), "expired"),
        (json!({"exp": null}), "expired"),
        (json!({"exp": "never"}), "expired"),
        (json!({"nbf": now + 301}), "not valid yet"),
        (json!({"nbf": "now"}), "not valid yet"),
    ] {
        refused(&oidc, &key.token(&place.claims_with(changes)), because).await;
    }
    assert_eq!(
        place.issuer.asked(),
        0,
        "nobody is asked about tokens that are good for nothing"
    );
    for changes in [
        json!({"aud": ["other", AUDIENCE]}),
        json!({"nbf": now + 299}),
        json!({"exp": now + 60}),
    ] {
        assert!(who(&oidc, &key.token(&place.claims_with(changes))).await.is_ok());
    }
    let late = key.token(&place.claims_with(json!({"exp": now + 60})));
    place.env.clock.sleep(Duration::from_secs(61)).await;
    refused(&oidc, &late, "expired").await;
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_found_and_a_withdrawn_one_forgotten() {
    let place = Place::new().await;
    let (first, second) = (TestKey::rsa("1", 0), TestKey::rsa("2", 1));
    place.issuer.publish(&[&first]);
    let oidc = place.authenticator();
    assert!(who(&oidc, &first.token(&place.claims())).await.is_ok());
    place.issuer.publish(&[&second]);
    assert!(
        who(&oidc, &second.token(&place.claims())).await.is_ok(),
        "at the first request"
    );
    assert_eq!(place.issuer.asked(), 2);
    refused(&oidc, &first.token(&place.claims()), "failed to verify signature").await;
    // Under the name of the old one, too.
    let renamed = TestKey::rsa("2", 0);
    place.issuer.publish(&[&renamed]);
    assert!(who(&oidc, &renamed.token(&place.claims())).await.is_ok());
    // A key that nobody asks anew about is looked up again all the same.
    place.issuer.publish(&[]);
    assert!(who(&oidc, &renamed.token(&place.claims())).await.is_ok());
    place.env.clock.sleep(Duration::from_secs(601)).await;
    assert!(
        who(&oidc, &renamed.token(&place.claims())).await.is_ok(),
        "nobody waits for that"
    );
    place.env.clock.sleep(Duration::from_secs(1)).await;
    refused(&oidc, &renamed.token(&place.claims()), "failed to verify signature").await;
}

#[tokio::test(start_paused = true)]
async fn made_up_tokens_do_not_make_requests() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = Arc::new(place.authenticator());
    assert!(who(&oidc, &key.token(&place.claims())).await.is_ok());
    let begun = place.env.clock.monotonic();
    let forger = TestKey::ec("2");
    let claims = place.claims();
    let tokens: Vec<String> = (0..300)
        .map(|n| {
            forger.token_as(
                "ES256",
                &json!({"n": n, "iss": claims["iss"],
        "aud": AUDIENCE, "exp": claims["exp"], "sub": "x"}),
            )
        })
        .collect();
    let all = tokens.iter().map(|token| who(&oidc, token));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(Result::is_err));
    assert!(place.env.clock.monotonic() - begun < Duration::from_secs(3));
    assert!(place.issuer.asked() <= 3, "{}", place.issuer.asked());
    for token in &tokens[..20] {
        assert!(who(&oidc, token).await.is_err());
    }
    let seconds = (place.env.clock.monotonic() - begun).as_secs() as usize;
    assert!(
        place.issuer.asked() <= seconds + 3,
        "{} in {seconds} s",
        place.issuer.asked()
    );
    assert!(who(&oidc, &key.token(&place.claims())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_its_issuer_tokens_are_refused_until_it_is_back() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    place.issuer.set_down(true);
    let oidc = place.authenticator();
    let token = key.token(&place.claims());
    refused(&oidc, &token, "cannot be had").await;
    place.issuer.set_down(false);
    refused(&oidc, &token, "cannot be had").await;
    place.env.clock.sleep(Duration::from_secs(1)).await;
    assert!(who(&oidc, &token).await.is_ok());
    // Once known, keys serve without it.
    place.issuer.set_down(true);
    place.env.clock.sleep(Duration::from_secs(700)).await;
    assert!(who(&oidc, &token).await.is_ok());
    place.env.clock.sleep(Duration::from_secs(20)).await;
    assert!(who(&oidc, &token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_never_answers_costs_a_bounded_time() {
    let place = Place::new().await;
    place.issuer.publish(&[&TestKey::ec("1")]);
    place.issuer.set_hanging(true);
    let oidc = place.authenticator();
    let begun = place.env.clock.monotonic();
    refused(&oidc, &TestKey::ec("1").token(&place.claims()), "in time").await;
    assert!(place.env.clock.monotonic() - begun <= Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_the_issuer_is_not_believed() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let token = key.token(&place.claims());
    // Known by another CA.
    let other = TestIssuer::start(&place.env, "server", 443).await;
    let config = JwtAuthenticator {
        authorities: Some(other.ca.clone().into_bytes()),
        ..place.config(json!({}))
    };
    refused(&Oidc::new(&place.env, config).unwrap(), &token, "cannot be had").await;
    // An answer without end.
    place.issuer.set_endless();
    refused(&place.authenticator(), &token, "cannot be had").await;
    // A configuration of somebody else's.
    place.issuer.name_another("https://other");
    refused(&place.authenticator(), &token, "issuer did not match").await;
}

#[tokio::test(start_paused = true)]
async fn claims_become_names_and_groups_as_in_kubernetes() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.authenticator();
    let groups = async |claim: Value| {
        let token = key.token(&place.claims_with(json!({ "groups": claim })));
        who(&oidc, &token).await.map(|user| user.unwrap().groups)
    };
    assert_eq!(groups(json!("a")).await.unwrap(), ["oidc:a"]);
    assert_eq!(
        groups(json!(["a", "system:masters"])).await.unwrap(),
        ["oidc:a", "oidc:system:masters"]
    );
    assert!(groups(Value::Null).await.unwrap().is_empty());
    for wrong in [json!([1]), json!({"a": "b"}), json!(7), json!(["a", null])] {
        assert!(
            groups(wrong.clone()).await.unwrap_err().contains("groups claim"),
            "{wrong}"
        );
    }
    for wrong in [json!(7), json!(["jane"]), json!(""), Value::Null] {
        refused(
            &oidc,
            &key.token(&place.claims_with(json!({ "sub": wrong }))),
            "username claim",
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_have_to_be_verified_if_the_issuer_says_so() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.with(json!({"claimMappings": {"username": {"claim": "email", "prefix": ""}}}));
    for (verified, name) in [
        (json!(true), Some("j@x.io")),
        (Value::Null, Some("j@x.io")),
        (json!(false), None),
        (json!("true"), None),
    ] {
        let token = key.token(&place.claims_with(json!({"email": "j@x.io", "email_verified": verified})));
        let found = who(&oidc, &token).await.ok().flatten();
        assert_eq!(found.map(|user| user.name).as_deref(), name, "{verified}");
    }
}

#[tokio::test(start_paused = true)]
async fn required_claims_and_rules_have_to_hold() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.with(json!({
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "x.io"},
            {"expression": "claims.level >= 2", "message": "too low"},
        ],
        "userValidationRules": [{"expression": "!user.username.startsWith('oidc:system')", "message": "reserved"}],
    }));
    let token =
        |hd: &str, level: i64, sub: &str| key.token(&place.claims_with(json!({"hd": hd, "level": level, "sub": sub})));
    assert!(who(&oidc, &token("x.io", 2, "jane")).await.is_ok());
    refused(
        &oidc,
        &token("y.io", 2, "jane"),
        "required claim hd value does not match",
    )
    .await;
    refused(&oidc, &token("x.io", 1, "jane"), "too low").await;
    refused(&oidc, &token("x.io", 2, "system"), "reserved").await;
    refused(&oidc, &key.token(&place.claims()), "required claim hd not present").await;
    let without = key.token(&place.claims_with(json!({"hd": "x.io"})));
    refused(&oidc, &without, "no such key: level").await;
}

#[tokio::test(start_paused = true)]
async fn expressions_make_users() {
    let place = Place::new().await;
    let key = TestKey::ec("1");
    place.issuer.publish(&[&key]);
    let oidc = place.with(json!({"claimMappings": {
        "username": {"expression": "claims.sub + '@' + claims.tenant"},
        "groups": {"expression": "claims.roles.map(r, 'role:' + r)"},
        "uid": {"expression": "claims.uid"},
        "extra": [
            {"key": "acme.io/tenant", "valueExpression": "claims.tenant"},
            {"key": "acme.io/none", "valueExpression": "''"},
        ],
    }}));
    let claims = place.claims_with(json!({"tenant": "acme", "roles": ["a", "b"], "uid": "u-1"}));
    let user = who(&oidc, &key.token(&claims)).await.unwrap().unwrap();
    let expected = User {
        uid: "u-1".to_owned(),
        extra: [("acme.io/tenant".to_owned(), vec!["acme".to_owned()])].into(),
        ..User::new("jane@acme", &["role:a", "role:b"])
    };
    assert_eq!(user, expected);
    refused(&oidc, &key.token(&place.claims()), "no such key").await;
    let wrong = place.claims_with(json!({"tenant": "acme", "roles": [1], "uid": "u-1"}));
    assert!(who(&oidc, &key.token(&wrong)).await.is_err());
}

#[test]
fn flags_mean_what_they_mean_in_kubernetes() {
    let parse = |args: &[&str]| {
        let issuer = ["--oidc-issuer-url=https://i", "--oidc-client-id=kcp"];
        Line::try_parse_from(["kcp"].iter().chain(&issuer).chain(args))
            .unwrap()
            .options
    };
    let env = Env::real();
    let name = |args: &[&str]| {
        let config = parse(args).issuer(&env).unwrap();
        crate::claims::user(&config, &json!({"sub": "s", "email": "e", "g": ["a"]})).unwrap()
    };
    assert_eq!(name(&[]), User::new("https://i#s", &[]));
    assert_eq!(name(&["--oidc-username-prefix=-"]).name, "s");
    assert_eq!(name(&["--oidc-username-prefix=oidc:"]).name, "oidc:s");
    assert_eq!(name(&["--oidc-username-claim=email"]).name, "e");
    assert_eq!(
        name(&["--oidc-username-claim=email", "--oidc-username-prefix=x:"]).name,
        "x:e"
    );
    assert_eq!(name(&["--oidc-groups-claim=g"]).groups, ["a"]);
    assert_eq!(
        name(&["--oidc-groups-claim=g", "--oidc-groups-prefix=o:"]).groups,
        ["o:a"]
    );
    let required = parse(&["--oidc-required-claim=a=1,b=2", "--oidc-required-claim=c=x=y"]);
    assert_eq!(required.issuer(&env).unwrap().rules.len(), 3);
    assert_eq!(parse(&[]).issuer(&env).unwrap().algorithms, [Algorithm::Rs256]);
    let several = parse(&["--oidc-signing-algs=RS256,ES384"]).issuer(&env).unwrap();
    assert_eq!(several.algorithms, [Algorithm::Rs256, Algorithm::Es384]);
}

#[test]
fn flags_can_be_passed_on() {
    let given = [
        "--oidc-issuer-url=https://i",
        "--oidc-client-id=kcp",
        "--oidc-username-claim=email",
        "--oidc-username-prefix=-",
        "--oidc-groups-claim=g",
        "--oidc-groups-prefix=o:",
        "--oidc-signing-algs=RS256,ES256",
        "--oidc-required-claim=a=1",
        "--oidc-required-claim=b=2",
        "--oidc-ca-file=/ca",
    ];
    let parse = |arguments: &[String]| {
        let line = ["kcp".to_owned()].into_iter().chain(arguments.iter().cloned());
        Line::parse_from(line).options
    };
    let options = parse(&given.map(str::to_owned));
    assert_eq!(options.arguments(), given);
    assert_eq!(format!("{:?}", parse(&options.arguments())), format!("{options:?}"));
    assert!(parse(&[]).arguments().is_empty());
    assert_eq!(
        parse(&["--authentication-config=/f".to_owned()]).arguments(),
        ["--authentication-config=/f"]
    );
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let why = |args: &[&str]| {
        let line = Line::try_parse_from(["kcp"].iter().chain(args)).unwrap();
        line.options.validate().unwrap_err()
    };
    let both = ["--oidc-issuer-url=https://i", "--oidc-client-id=kcp"];
    let with = |flag: &'static str| [both[0], both[1], flag];
    assert!(why(&["--oidc-issuer-url=https://i"]).contains("must be specified together"));
    assert!(why(&["--oidc-groups-claim=g"]).contains("must be specified together"));
    assert!(why(&["--oidc-issuer-url=http://i", both[1]]).contains("scheme must be https"));
    assert!(why(&["--oidc-issuer-url=https://u:p@i", both[1]]).contains("username or password"));
    assert!(why(&["--oidc-issuer-url=https://i?x", both[1]]).contains("query"));
    assert!(why(&with("--oidc-signing-algs=none")).contains("unsupported signing alg"));
    assert!(why(&with("--oidc-signing-algs=HS256")).contains("unsupported signing alg"));
    assert!(why(&with("--oidc-required-claim=a")).contains("key=value"));
    assert!(why(&with("--authentication-config=/x")).contains("mutually exclusive"));
    assert!(Line::parse_from(["kcp"]).options.validate().is_ok());
}

#[test]
fn a_configuration_that_is_not_understood_is_refused() {
    let good = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://i', audiences: [a]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n";
    let parse = |text: &str| AuthenticationFile::parse(text.as_bytes(), &["https://own".to_owned()]);
    assert_eq!(parse(good).unwrap().issuers.len(), 1);
    let twice = format!("{good}{}", &good[good.find("- issuer").unwrap()..]);
    assert!(parse(&twice).unwrap_err().why.contains("twice"));
    for (from, to, at) in [
        ("config.k8s.io/v1\n", "config.k8s.io/v7\n", "kind"),
        ("https://i", "http://i", "jwt[0].issuer.url"),
        ("https://i", "https://own", "jwt[0].issuer.url"),
        ("[a]", "[]", "jwt[0].issuer.audiences"),
        ("[a]", "[a, b]", "jwt[0].issuer.audienceMatchPolicy"),
        ("[a]", "[a], certificateAuthorityData: x", "jwt[0].issuer"),
        (", prefix: ''", "", "jwt[0].username.prefix"),
        ("claim: sub", "expression: 'claims.sub'", "jwt[0].username.prefix"),
        (
            "claim: sub, prefix: ''",
            "expression: 'claims.'",
            "jwt[0].username.expression",
        ),
        (
            "claim: sub, prefix: ''",
            "expression: 'claims.email'",
            "jwt[0].claimMappings.username.expression",
        ),
        (
            "jwt:",
            "anonymous: {enabled: true, conditions: [{path: /livez}]}\njwt:",
            "anonymous.conditions",
        ),
        ("jwt:", "other: 1\njwt:", "file"),
    ] {
        let text = good.replace(from, to);
        let wrong = parse(&text).unwrap_err();
        assert_eq!(wrong.at, at, "{text}: {wrong}");
    }
    let expression = good.replace(
        "claim: sub, prefix: ''",
        "expression: 'claims.email_verified ? claims.email : \"\"'",
    );
    assert!(parse(&expression).is_ok());
    let anonymous = good.replace("jwt:", "anonymous: {enabled: false}\njwt:");
    assert_eq!(parse(&anonymous).unwrap().anonymous, Some(false));
}
