//! Who asks is what credentials say, whatever else a request says. What comes to the shard around the proxy is in
//! `shard/tests/hostile/identity.rs`.

use serde_json::Value;

use crate::WORLD;
use crate::world::World;

const REVIEW: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;

/// Everything by which requests say who they are, to whoever believes it.
const FORGED: [(&str, &str); 12] = [
    ("x-remote-user", "admin"),
    ("x-remote-group", "system:masters"),
    ("x-remote-group", "system:kcp:admin"),
    ("x-remote-uid", "admin"),
    ("x-remote-extra-authentication.kcp.io%2fscopes", "cluster:root"),
    (
        "x-remote-extra-authorization.kcp.io%2fwarrant",
        r#"{"user":"admin","groups":["system:masters"]}"#,
    ),
    ("x-kcp-fabric-proxy", "1"),
    ("x-kcp-fabric-delegation", "e30="),
    ("x-forwarded-user", "admin"),
    ("x-forwarded-client-cert", "Subject=\"CN=component,O=system:masters\""),
    ("forwarded", "for=127.0.0.1;by=system:masters"),
    ("authorization-original", "Bearer admin-token"),
];

fn review(world: &World, token: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let line = format!(
        "POST /clusters/{}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        world.alpha
    );
    let authorization = format!("Bearer {token}");
    let mut all = vec![
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    all.extend_from_slice(headers);
    if !headers.iter().any(|(name, _)| *name == "connection") {
        all.push(("connection", "close"));
    }
    let (code, answer) = world.run(world.raw(&line, &all, REVIEW));
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    // A chunked body has its length around it.
    let json = body
        .find('{')
        .zip(body.rfind('}'))
        .and_then(|(from, to)| body.get(from..=to));
    let json = serde_json::from_str(json.unwrap_or_default()).unwrap_or_default();
    (code, json)
}

#[test]
fn nobody_becomes_somebody_else_by_what_a_request_says() {
    let (code, honest) = review(&WORLD, "alice-token", &[]);
    assert_eq!(code, 201, "{honest}");
    let user = |review: &Value| {
        let mut user = review["status"]["userInfo"].clone();
        if let Some(members) = user.as_object_mut() {
            // Made anew for each request.
            members.remove("extra");
        }
        user
    };
    assert_eq!(honest["status"]["userInfo"]["username"], "alice");
    assert!(
        user(&honest)["groups"]
            .as_array()
            .is_some_and(|groups| groups.contains(&"team".into()))
    );
    for header in FORGED {
        let (code, told) = review(&WORLD, "alice-token", &[header]);
        assert_eq!((code, user(&told)), (201, user(&honest)), "{header:?}");
        assert_eq!(
            told["status"]["userInfo"]["extra"], honest["status"]["userInfo"]["extra"],
            "{header:?}"
        );
    }
    let (code, told) = review(&WORLD, "alice-token", &FORGED);
    assert_eq!((code, user(&told)), (201, user(&honest)));
}

/// `Connection` names headers that are of this connection alone, which whoever passes a request on takes off: what the proxy itself tells
/// of the user must not be among them.
#[test]
fn nobody_takes_off_what_the_proxy_tells_of_them() {
    let (_, honest) = review(&WORLD, "alice-token", &[]);
    for named in [
        "close, x-remote-user",
        "close, x-remote-group",
        "close, x-kcp-fabric-proxy",
        "close, x-remote-user, x-remote-group, x-remote-extra-authentication.kcp.io%2fscopes",
    ] {
        let (code, told) = review(&WORLD, "alice-token", &[("connection", named)]);
        assert_eq!(code, 201, "{named}: {told}");
        assert_eq!(told["status"]["userInfo"], honest["status"]["userInfo"], "{named}");
    }
}

#[test]
fn nobody_acts_as_somebody_else_without_the_right_to() {
    for headers in [
        &[("impersonate-user", "admin")][..],
        &[("impersonate-user", "alice"), ("impersonate-group", "system:masters")],
        &[("impersonate-user", "alice"), ("impersonate-group", "system:kcp:admin")],
        &[("impersonate-group", "system:masters")],
        &[
            ("impersonate-user", "alice"),
            ("impersonate-extra-authentication.kcp.io%2fscopes", "cluster:root"),
        ],
    ] {
        let (code, told) = review(&WORLD, "mallory-token", headers);
        assert!(matches!(code, 400 | 403), "{headers:?}: {code} {told}");
    }
}

#[test]
fn credentials_that_do_not_hold_are_401_whatever_comes_with_them() {
    let (code, _) = review(&WORLD, "no-such-token", &[]);
    assert_eq!(code, 401);
    let (code, told) = review(&WORLD, "no-such-token", &FORGED);
    assert_eq!(code, 401, "{told}");
}
