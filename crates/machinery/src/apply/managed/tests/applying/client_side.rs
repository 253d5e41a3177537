//! Objects that kubectl applied on the client's side before.

use super::*;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn live(last: &Value, spec: Value) -> Value {
    let mut object = config(spec);
    object["metadata"]["annotations"] = json!({ANNOTATION: last.to_string()});
    update(None, &mut object, &ctx(&types(), "kubectl-client-side-apply", T1));
    object
}

#[test]
fn fields_applied_before_are_no_conflicts() {
    let live = live(&config(json!({"a": "1", "b": "1"})), json!({"a": "1", "b": "1"}));
    let wanted = config(json!({"a": "2", "b": "<1>"}));
    let object = apply(Some(&live), &wanted, &ctx(&types(), "kubectl", T2), false).unwrap();
    assert_eq!(object["spec"]["a"], "2");
    let text = wanted.to_string().replace('<', "\\u003c").replace('>', "\\u003e");
    assert_eq!(object["metadata"]["annotations"][ANNOTATION], format!("{text}\n"));
    assert!(apply(Some(&live), &wanted, &ctx(&types(), "other", T2), false).is_err());
}

#[test]
fn fields_changed_since_are_conflicts() {
    let live = live(&config(json!({"a": "1", "b": "1"})), json!({"a": "9", "b": "1"}));
    let wanted = config(json!({"a": "2", "b": "2"}));
    let refused = apply(Some(&live), &wanted, &ctx(&types(), "kubectl", T2), false).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .spec.a"
    );
}

#[test]
fn an_unreadable_annotation_forgives_nothing() {
    let live = live(&json!("no object"), json!({"a": "1"}));
    assert!(
        apply(
            Some(&live),
            &config(json!({"a": "2"})),
            &ctx(&types(), "kubectl", T2),
            false
        )
        .is_err()
    );
}

#[test]
fn an_annotation_that_grows_too_large_is_dropped() {
    let live = live(&config(json!({"a": "1"})), json!({"a": "1"}));
    let wanted = config(json!({"a": "x".repeat(256 * 1024)}));
    let object = apply(Some(&live), &wanted, &ctx(&types(), "kubectl", T2), false).unwrap();
    assert!(object["metadata"].get("annotations").is_none());
}
