use std::path::Path;

use super::rules::Rules;
use super::source::Source;

fn findings(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    Rules::new()
        .unwrap()
        .source(&Source::new(Path::new(path), text), &mut findings);
    findings
}

#[test]
fn refuses_time_outside_the_seams() {
    let text = "fn f() {\n    let _ = std::time::Instant::now();\n}\n";
    assert_eq!(
        findings("crates/kv/src/a.rs", text),
        ["crates/kv/src/a.rs:2: `Instant::now`: take it from crate env"]
    );
    assert!(findings("crates/env/src/a.rs", text).is_empty());
    assert!(findings("crates/kv/src/a/tests.rs", text).is_empty());
}

#[test]
fn pins_who_makes_permits() {
    let text = "fn f() { Permit::granted(a, b, c, d); }\n";
    assert_eq!(findings("crates/storage/src/a.rs", text).len(), 1);
    assert!(findings("crates/apiserver/src/stage/permitted.rs", text).is_empty());
    assert_eq!(
        findings("shard/src/stack.rs", "let p = Permit::internal(Scope::All);\n").len(),
        1
    );
    assert!(findings("shard/src/facts.rs", "let p = Permit::internal(Scope::All);\n").is_empty());
}

#[test]
fn planted_faults_are_not_in_release_builds() {
    let of = |condition: &str| {
        findings(
            "crates/kv/src/a.rs",
            &format!("    #[cfg({condition})]\n    skip_sync: bool,\n"),
        )
    };
    assert_eq!(of("feature = \"simulation\"").len(), 1);
    assert_eq!(of("feature = \"planted\"").len(), 1);
    assert!(of("all(feature = \"planted\", debug_assertions)").is_empty());
}

#[test]
fn refuses_a_select_that_picks_at_random() {
    assert_eq!(
        findings("crates/kv/src/a.rs", "tokio::select! {\n    _ = a => {}\n}\n").len(),
        1
    );
    assert!(
        findings(
            "crates/kv/src/a.rs",
            "tokio::select! {\n    biased;\n    _ = a => {}\n}\n"
        )
        .is_empty()
    );
}

#[test]
fn tenancy_words_are_for_domain_crates() {
    assert_eq!(findings("crates/storage/src/a.rs", "struct WorkspaceCache;\n").len(), 1);
    assert!(findings("crates/tenancy/src/a.rs", "struct WorkspacePath;\n").is_empty());
    assert!(findings("crates/storage/src/a.rs", "// Workspace\nlet kind = \"Workspace\";\n").is_empty());
}

#[test]
fn comments_and_own_tests_are_not_code() {
    let text = "// Instant::now()\n#[cfg(test)]\nmod tests {\n    fn f() { Instant::now(); }\n}\n";
    assert!(findings("crates/kv/src/a.rs", text).is_empty());
}

#[test]
fn a_crate_says_what_it_is_for() {
    assert_eq!(findings("crates/kv/src/lib.rs", "mod a;\n").len(), 2);
    assert!(findings("crates/kv/src/lib.rs", "//! Purpose.\n#![forbid(unsafe_code)]\n").is_empty());
}

#[test]
fn who_waits_is_not_woken_by_chance() {
    let text = "struct A(tokio::sync::watch::Sender<u8>);\n";
    assert!(findings("crates/kv/src/etcd/a.rs", text).is_empty());
    assert_eq!(findings("crates/kv/src/embedded/a.rs", text).len(), 1);
}

#[test]
fn two_files_are_unsafe() {
    let text = "fn f() { unsafe { g() } }\n";
    for path in ["crates/sim/src/system_clock.rs", "crates/allocator/src/thread_cache.rs"] {
        assert!(findings(path, text).is_empty(), "{path}");
    }
    for path in ["crates/sim/src/a.rs", "crates/allocator/src/a.rs", "crates/kv/src/a.rs"] {
        assert_eq!(findings(path, text).len(), 1, "{path}");
    }
    let lowered = "//! Purpose.\n#![deny(unsafe_code)]\n";
    for path in ["crates/sim/src/lib.rs", "crates/allocator/src/lib.rs"] {
        assert!(findings(path, lowered).is_empty(), "{path}");
    }
    assert_eq!(findings("crates/kv/src/lib.rs", lowered).len(), 1);
}

#[test]
fn pure_crates_have_no_runtime() {
    let check = |path: &str, text: &str| {
        let mut findings = Vec::new();
        Rules::new().unwrap().manifest(Path::new(path), text, &mut findings);
        findings
    };
    let text = "[dependencies]\ntokio.workspace = true\n";
    assert_eq!(
        check("crates/plan/Cargo.toml", text),
        ["crates/plan/Cargo.toml:2: a pure crate may not depend on `tokio`"]
    );
    assert!(check("crates/kv/Cargo.toml", text).is_empty());
    assert!(check("crates/plan/Cargo.toml", "[dev-dependencies]\ntokio.workspace = true\n").is_empty());
}
