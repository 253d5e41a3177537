//! Paths that lead nowhere. That shards are asked few questions about them, and that not all are asked, is in
//! `front-proxy/src/proxy/tests/names.rs`, where each question can be counted.

use std::time::{Duration, Instant};

use crate::WORLD;
use crate::world::BOUND;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Long, deep, half-known, and none at all: refused at once, and nobody else is worse off.
#[test]
fn paths_that_lead_nowhere_are_refused_at_once() {
    let long = "a".repeat(60_000);
    let deep = |of: &str, levels: usize| format!("{of}{}", ":x".repeat(levels));
    let segments = [
        "root:nope".to_owned(),
        "root:alpha:nope".to_owned(),
        "root:alpha:nope:nope:nope".to_owned(),
        "nope".to_owned(),
        "0000000000000000".to_owned(),
        format!("{}:nope", WORLD.alpha),
        deep("root", 1000),
        deep("root:alpha", 1000),
        deep("nope", 1000),
        deep("root", 20_000),
        long.clone(),
        format!("root:{long}"),
        format!("{}:{long}", WORLD.alpha),
        ":".to_owned(),
        "root::alpha".to_owned(),
        "root:alpha:".to_owned(),
        "system:admin".to_owned(),
        "%2e%2e".to_owned(),
        "root%3Anope".to_owned(),
        "root%00".to_owned(),
        "user:mallory:nope".to_owned(),
    ];
    for who in ["mallory", "alice"] {
        for segment in &segments {
            let begun = Instant::now();
            let path = format!("/clusters/{segment}{MAPS}");
            let (code, answer) = WORLD.run(async {
                let headers = [
                    ("authorization", format!("Bearer {who}-token")),
                    ("connection", "close".to_owned()),
                ];
                let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
                WORLD.raw(&format!("GET {path}"), &headers, "").await
            });
            let shown: String = segment.chars().take(60).collect();
            let said: String = answer.chars().take(600).collect();
            assert!(matches!(code, 400 | 403 | 404 | 414 | 431), "{who} {shown}: {said}");
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{who} {shown}: {:?}",
                begun.elapsed()
            );
            // Kubernetes' refusals name the path, and may.
            assert!(
                answer.len() < 3 * segment.len() + 4000,
                "{who} {shown}: {} bytes",
                answer.len()
            );
        }
    }
    let fine = WORLD.run(WORLD.person("alice").get(&format!("/clusters/root:alpha{MAPS}"), BOUND));
    assert_eq!(fine.unwrap().code, 200);
}

#[test]
fn who_guesses_paths_waits_and_nobody_else_does() {
    WORLD.run(async {
        let (eve, alice) = (WORLD.person("eve"), WORLD.person("alice"));
        let guesses = async {
            let mut codes = std::collections::BTreeMap::<u16, usize>::new();
            for round in 0..40 {
                // Half-known: what is behind a workspace that there is.
                let asked = (0..100).map(|at| format!("/clusters/root:alpha:nope-{round}-{at}{MAPS}"));
                let answers = asked.map(|path| {
                    let eve = &eve;
                    async move { eve.get(&path, BOUND).await.unwrap() }
                });
                for answer in futures_util::future::join_all(answers).await {
                    if answer.code == 429 {
                        assert_eq!(answer.json()["reason"], "TooManyRequests", "{}", answer.json());
                    }
                    *codes.entry(answer.code).or_default() += 1;
                }
                if codes.contains_key(&429) {
                    break;
                }
            }
            codes
        };
        let others = async {
            for _ in 0..50 {
                let answer = alice.get(&format!("/clusters/root:alpha{MAPS}"), BOUND).await.unwrap();
                assert_eq!(answer.code, 200, "{}", answer.json());
            }
            // Her own guesses are hers.
            let answer = alice
                .get(&format!("/clusters/root:alpha:nope{MAPS}"), BOUND)
                .await
                .unwrap();
            assert_ne!(answer.code, 429, "{}", answer.json());
        };
        let (codes, ()) = tokio::join!(guesses, others);
        assert!(codes.contains_key(&429), "{codes:?}");
        assert!(codes.keys().all(|code| matches!(code, 403 | 404 | 429)), "{codes:?}");
    });
}
