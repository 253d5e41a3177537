use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    let split = |pair: &str| {
        pair.split_once('=')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap_or_default()
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(split).collect()
}

fn list(text: &str) -> Result<ListOptions, Status> {
    ListOptions::parse(Query(&pairs(text)), false)
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (u16, String) {
    let status = answer.unwrap_err();
    (status.code, status.message)
}

#[test]
fn list_options_are_read() {
    let options = list("limit=5&labelSelector=a=b&fieldSelector=metadata.name=x&watch=0&timeoutSeconds=30").unwrap();
    assert_eq!(options.limit, 5);
    assert_eq!(options.label_selector.to_string(), "a=b");
    assert_eq!(options.field_selector.exact("metadata.name"), Some("x"));
    assert_eq!(options.timeout_seconds, Some(30));
    assert!(!options.watch);
    assert!(list("watch=&resourceVersion=5").unwrap().watch);
    assert!(!list("watch=FALSE").unwrap().watch);
    let exact = list("resourceVersion=5&resourceVersionMatch=Exact").unwrap();
    assert_eq!(
        (exact.resource_version_match, exact.version()),
        (Some(VersionMatch::Exact), Ok(5))
    );
}

#[test]
fn watches_from_now_send_the_present_state() {
    for query in ["watch=1", "watch=true&resourceVersion=0"] {
        let options = list(query).unwrap();
        assert_eq!(options.send_initial_events, Some(true));
        assert_eq!(options.resource_version_match, Some(VersionMatch::NotOlderThan));
    }
    assert_eq!(list("watch=1&resourceVersion=7").unwrap().send_initial_events, None);
}

#[test]
fn bad_list_options_are_refused_as_recorded() {
    assert_eq!(
        refusal(list("watch=1&sendInitialEvents=true")),
        (
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
             resourceVersionMatch to NotOlderThan"
                .to_owned()
        )
    );
    assert_eq!(
        refusal(list("labelSelector===")),
        (
            400,
            "found '==', expected: !, identifier, or 'end of string'".to_owned()
        )
    );
    assert_eq!(
        refusal(list("resourceVersion=abc").unwrap().version()),
        (
            400,
            "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid \
             syntax"
                .to_owned()
        )
    );
    assert_eq!(
        refusal(list("limit=x")),
        (400, "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned())
    );
    assert_eq!(
        refusal(list("limit=99999999999999999999")),
        (
            400,
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned()
        )
    );
    assert_eq!(
        refusal(list("resourceVersionMatch=Foo&continue=x&sendInitialEvents=1")).1,
        "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless \
         resourceVersion is provided, resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is \
         provided, resourceVersionMatch: Unsupported value: \"Foo\": supported values: \"Exact\", \"NotOlderThan\", \"\", \
         sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]"
    );
    assert!(
        refusal(list("resourceVersion=0&resourceVersionMatch=Exact"))
            .1
            .contains("\"exact\" is forbidden for")
    );
    assert!(parse_resource_version("+1").is_err());
}

#[test]
fn a_named_watch_selects_its_name() {
    let mut options = list("watch=1&resourceVersion=1").unwrap();
    options.select_name("x").unwrap();
    assert_eq!(options.field_selector.exact("metadata.name"), Some("x"));
    assert_eq!(
        refusal(options.select_name("y")).1,
        "fieldSelector metadata.name doesn't match requested name"
    );
}

#[test]
fn continue_tokens_are_kubernetes() {
    let recorded = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoieFx1MDAwMCJ9";
    let token = ContinueToken::after("x", ContinueToken::INCONSISTENT);
    assert_eq!(token.encode(), recorded);
    assert_eq!(ContinueToken::decode(recorded), Ok(token));
}

#[test]
fn bad_continue_tokens_are_refused_as_recorded() {
    let text = |raw: &str| refusal(ContinueToken::decode(raw)).1;
    assert_eq!(
        text("abc"),
        "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"
    );
    assert!(text("a!c").ends_with("continue key is not valid: illegal base64 data at input byte 1"));
    let encoded = |value: Value| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, value.to_string());
    let token = |rv: i64, start: &str| encoded(json!({"v": "meta.k8s.io/v1", "rv": rv, "start": start}));
    assert!(text(&token(0, "x")).contains("incorrect encoded start resourceVersion"));
    assert!(text(&token(1, "")).contains("encoded start key empty"));
    for bad in ["../x", "a/../../x", "a//b", "/", "a/./b", "a/"] {
        assert!(text(&token(1, bad)).ends_with(&format!("not valid: {bad}")), "{bad}");
    }
    assert!(text(&encoded(json!({"v": "x"}))).ends_with("does not recognize this encoded version x"));
    assert_eq!(ContinueToken::decode(&token(1, "/a/b\0")).unwrap().start, "a/b\0");
    let both = list("continue=x&resourceVersion=5").unwrap();
    assert!(both.continuation().is_err());
}

#[test]
fn write_options_are_read() {
    let query = pairs("dryRun=All&fieldManager=m&fieldValidation=Strict&pretty=true");
    let options = WriteOptions::create(Query(&query)).unwrap();
    assert!(options.dry_run);
    assert_eq!(
        (options.field_manager.as_str(), options.field_validation),
        ("m", FieldValidation::Strict)
    );
    assert_eq!(WriteOptions::update(Query(&[])).unwrap(), WriteOptions::default());
    let forced = pairs("force=true&fieldManager=m");
    assert_eq!(
        WriteOptions::patch(Query(&forced), PatchKind::Apply).unwrap().force,
        Some(true)
    );
}

#[test]
fn bad_write_options_are_refused() {
    let create = |text: &str| refusal(WriteOptions::create(Query(&pairs(text)))).1;
    assert_eq!(
        create("dryRun=Some"),
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
    );
    assert_eq!(
        create("fieldValidation=x"),
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported values: \"\", \
         \"Ignore\", \"Strict\", \"Warn\""
    );
    assert!(
        create(&format!("fieldManager={}", "x".repeat(129)))
            .contains("fieldManager: Too long: may not be more than 128")
    );
    let patch = |text: &str, kind| refusal(WriteOptions::patch(Query(&pairs(text)), kind)).1;
    assert_eq!(
        patch("", PatchKind::Apply),
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    assert_eq!(
        patch("force=1", PatchKind::Other),
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
}

#[test]
fn the_user_agent_names_the_manager() {
    assert_eq!(field_manager("m", "kubectl/1"), "m");
    assert_eq!(field_manager("", "kub\u{7}ectl/v1.32 (linux)"), "kubectl");
    assert_eq!(field_manager("", &"ä".repeat(100)).len(), 128);
}

#[test]
fn delete_options_come_from_body_or_query() {
    let query = pairs("gracePeriodSeconds=-5&propagationPolicy=Foreground&dryRun=All&uid=u");
    let options = DeleteOptions::parse(Query(&query), None).unwrap();
    assert_eq!(options.grace_period_seconds, Some(1));
    assert_eq!(options.propagation_policy, Some(PropagationPolicy::Foreground));
    assert_eq!(options.preconditions.uid.as_deref(), Some("u"));
    assert!(options.dry_run);
    let body = json!({"kind": "DeleteOptions", "preconditions": {"uid": "x", "resourceVersion": "7"}, "orphanDependents": true});
    let options = DeleteOptions::parse(Query(&query), Some(&body)).unwrap();
    assert_eq!(options.orphan_dependents, Some(true));
    assert_eq!(options.preconditions.resource_version.as_deref(), Some("7"));
    assert!(!options.dry_run && options.grace_period_seconds.is_none());
}

#[test]
fn bad_delete_options_are_refused() {
    let body = |body: Value| refusal(DeleteOptions::parse(Query(&[]), Some(&body)));
    assert_eq!(
        body(json!({"propagationPolicy": "Later", "orphanDependents": false})).1,
        "DeleteOptions.meta.k8s.io \"\" is invalid: [propagationPolicy: Invalid value: \"Later\": orphanDependents and \
         deletionPropagation cannot be both set, propagationPolicy: Unsupported value: \"Later\": supported values: \
         \"Foreground\", \"Background\", \"Orphan\", \"nil\"]"
    );
    assert_eq!(
        body(json!({"gracePeriodSeconds": "x"})),
        (
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
                .to_owned()
        )
    );
    assert_eq!(body(json!({"kind": "Pod"})).0, 400);
    assert_eq!(body(json!([])).0, 400);
}

#[test]
fn table_options_are_checked() {
    let parse = |text: &str| IncludeObject::parse(Query(&pairs(text)));
    assert_eq!(parse(""), Ok(IncludeObject::Metadata));
    assert_eq!(parse("includeObject=None"), Ok(IncludeObject::None));
    assert!(
        refusal(parse("includeObject=All"))
            .1
            .contains("must be 'Metadata', 'Object', 'None', or empty")
    );
}

proptest! {
    #[test]
    fn continue_tokens_survive_a_round_trip(revision in prop_oneof![1..i64::MAX, Just(-1)], key in "[a-z0-9.-]{1,8}x(/[a-z0-9]{1,8}){0,3}") {
        let token = ContinueToken::after(&key, revision);
        prop_assert_eq!(ContinueToken::decode(&token.encode()), Ok(token));
    }

    #[test]
    fn never_panics(token in "[A-Za-z0-9_=-]{0,40}", body in "[\\[\\]{}:,\"a-z0-9]{0,30}") {
        let _ = ContinueToken::decode(&token);
        if let Ok(body) = serde_json::from_str::<Value>(&body) {
            let _ = DeleteOptions::parse(Query(&[]), Some(&body));
        }
    }
}
