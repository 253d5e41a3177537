use serde_json::json;

use super::*;
use crate::keys::condition;

const T1: &str = "2026-11-22T16:58:46Z";
const T2: &str = "2026-11-22T16:58:53Z";

#[test]
fn ready_sorts_first_and_the_rest_by_type() {
    let mut object = json!({});
    for kind in ["PermissionClaimsValid", "APIExportValid", "Ready", "BindingUpToDate"] {
        assert!(mark_true(&mut object, kind, T1));
    }
    let kinds: Vec<String> = all(&object).into_iter().map(|c| c.kind).collect();
    assert_eq!(
        kinds,
        ["Ready", "APIExportValid", "BindingUpToDate", "PermissionClaimsValid"]
    );
}

#[test]
fn the_same_state_keeps_its_time() {
    let mut object = json!({});
    mark_false(&mut object, "A", "Why", Severity::Info, "text", T1);
    let before = object.clone();
    assert!(!mark_false(&mut object, "A", "Why", Severity::Info, "text", T2));
    assert_eq!(object, before);
}

#[test]
fn a_new_message_moves_the_time() {
    let mut object = json!({});
    mark_false(&mut object, "A", "Why", Severity::Info, "text", T1);
    assert!(mark_false(&mut object, "A", "Why", Severity::Info, "other", T2));
    assert_eq!(object["status"]["conditions"][0]["lastTransitionTime"], T2);
}

#[test]
fn true_has_neither_severity_nor_reason() {
    let mut object = json!({});
    mark_false(&mut object, "A", "Why", Severity::Error, "text", T1);
    mark_true(&mut object, "A", T2);
    let expected = json!([{"type": "A", "status": "True", "lastTransitionTime": T2}]);
    assert_eq!(object["status"]["conditions"], expected);
}

#[test]
fn summary_repeats_the_worst() {
    let mut object = json!({});
    mark_true(&mut object, condition::API_EXPORT_VALID, T1);
    mark_false(
        &mut object,
        condition::BINDING_UP_TO_DATE,
        "Slow",
        Severity::Info,
        "i",
        T1,
    );
    mark_false(
        &mut object,
        condition::INITIAL_BINDING_COMPLETED,
        "Broken",
        Severity::Error,
        "e",
        T1,
    );
    set_summary(&mut object, &[], T1);
    let ready = get(&object, READY).unwrap();
    assert_eq!(
        (ready.reason.as_str(), ready.severity, ready.message.as_str()),
        ("Broken", Some(Severity::Error), "e")
    );

    set_summary(&mut object, &[condition::API_EXPORT_VALID], T2);
    assert!(is_true(&object, READY));
}

#[test]
fn summary_of_nothing_sets_nothing() {
    let mut object = json!({});
    assert!(!set_summary(&mut object, &["A"], T1));
    assert_eq!(object, json!({}));
}

#[test]
fn reads_past_what_is_no_condition() {
    let mut object = json!({"status": {"conditions": [7, {"type": "B"}, {"type": "A", "status": "True"}]}});
    assert!(is_true(&object, "A"));
    assert_eq!(get(&object, "B"), None);
    mark_true(&mut object, "B", T1);
    assert!(is_true(&object, "B"));
    let mut wrong = json!({"status": "text"});
    assert!(mark_true(&mut wrong, "A", T1));
    assert!(is_true(&wrong, "A"));
}

#[test]
fn mirrors_another_object() {
    let mut from = json!({});
    mark_false(&mut from, "A", "Why", Severity::Info, "text", T1);
    let mut to = json!({});
    assert!(mirror(&from, &mut to, "A", T2));
    assert_eq!(get(&to, "A"), get(&from, "A"));
    assert!(mirror(&json!({}), &mut to, "A", T2));
    assert_eq!(to, json!({"status": {}}));
}
