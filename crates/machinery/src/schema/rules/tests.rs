use serde_json::{Value, json};

use super::*;

fn evaluate(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
    let rules = Rules::compile(&Schema::parse(schema), true).expect("rules");
    rules
        .evaluate(value, old, &Path::root())
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn with_rules(rules: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": rules, "properties": {
        "a": {"type": "integer"}, "b": {"type": "integer"}, "s": {"type": "string"},
        "m": {"type": "object", "additionalProperties": {"type": "string"}}}}}})
}

#[test]
fn a_failed_rule_says_its_message() {
    let object = json!({"spec": {"a": 2, "b": 1}});
    let said = |rule: Value| evaluate(&with_rules(json!([rule])), &object, None);
    assert_eq!(
        said(json!({"rule": "self.a < self.b"})),
        ["spec: Invalid value: failed rule: self.a < self.b"]
    );
    assert_eq!(
        said(json!({"rule": "self.a < self.b", "message": " m "})),
        ["spec: Invalid value: m"]
    );
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "messageExpression": "'a is %d'.format([self.a])"})),
        ["spec: Invalid value: a is 2"]
    );
    // An unusable result gives way to the message.
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "messageExpression": "' '"})),
        ["spec: Invalid value: m"]
    );
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "messageExpression": "'a\\nb'"})),
        ["spec: Invalid value: m"]
    );
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "messageExpression": "string(self.a / 0)"})),
        ["spec: Invalid value: m"]
    );
}

#[test]
fn reason_and_field_path_shape_the_error() {
    let object = json!({"spec": {"a": 2}});
    let said = |rule: Value| evaluate(&with_rules(json!([rule])), &object, None);
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "reason": "FieldValueForbidden"})),
        ["spec: Forbidden: m"]
    );
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "reason": "FieldValueRequired"})),
        ["spec: Required value: m"]
    );
    assert_eq!(
        said(json!({"rule": "false", "reason": "FieldValueDuplicate"})),
        ["spec: Duplicate value"]
    );
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "fieldPath": ".a"})),
        ["spec.a: Invalid value: m"]
    );
    assert_eq!(
        said(json!({"rule": "false", "message": "m", "fieldPath": ".m['x']"})),
        ["spec.m[x]: Invalid value: m"]
    );
}

#[test]
fn scalars_are_printed_and_errors_told() {
    let schema = json!({"type": "object", "properties": {"s": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self == 'x'", "message": "must be x"}]}}});
    assert_eq!(
        evaluate(&schema, &json!({"s": "y"}), None),
        [r#"s: Invalid value: "y": must be x"#]
    );
    let schema = with_rules(json!([{"rule": "self.a > 0"}]));
    assert_eq!(
        evaluate(&schema, &json!({"spec": {}}), None),
        [r#"spec: Invalid value: "object": no such key: a evaluating rule: self.a > 0"#]
    );
    let schema = with_rules(json!([{"rule": "self.nope > 0"}]));
    assert!(evaluate(&schema, &json!({"spec": {}}), None)[0].starts_with(
        r#"spec: Invalid value: "object": rule compile error: compilation failed: ERROR: <input>:1:5: undefined field"#
    ));
}

#[test]
fn transition_rules_run_on_updates_only() {
    let schema = with_rules(json!([{"rule": "self.a >= oldSelf.a", "message": "no way back"}]));
    let (low, high) = (json!({"spec": {"a": 1}}), json!({"spec": {"a": 2}}));
    assert!(evaluate(&schema, &low, None).is_empty());
    assert!(evaluate(&schema, &high, Some(&low)).is_empty());
    assert_eq!(
        evaluate(&schema, &low, Some(&high)),
        ["spec: Invalid value: no way back"]
    );
    assert!(evaluate(&schema, &low, Some(&json!({}))).is_empty());
    let optional = with_rules(json!([{"rule": "oldSelf.hasValue() || self.a == 1", "optionalOldSelf": true}]));
    assert!(evaluate(&optional, &low, None).is_empty());
    assert_eq!(evaluate(&optional, &high, None).len(), 1);
    assert!(evaluate(&optional, &high, Some(&low)).is_empty());
}

#[test]
fn items_of_map_lists_know_their_old_selves() {
    let schema = json!({"type": "object", "properties": {"list": {"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"},
            "v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed"}]}}}}}});
    let old = json!({"list": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]});
    let new = json!({"list": [{"k": "b", "v": 3}, {"k": "c", "v": 9}, {"k": "a", "v": 1}]});
    assert_eq!(
        evaluate(&schema, &new, Some(&old)),
        ["list[0].v: Invalid value: 3: fixed"]
    );
}

#[test]
fn unchanged_parts_are_not_held_against_an_update() {
    let schema = with_rules(json!([{"rule": "self.a < 1", "message": "small"}]));
    let old = json!({"spec": {"a": 5}, "other": 1});
    assert!(evaluate(&schema, &json!({"spec": {"a": 5}, "other": 2}), Some(&old)).is_empty());
    assert_eq!(evaluate(&schema, &json!({"spec": {"a": 6}}), Some(&old)).len(), 1);
    // Transition rules are never let pass.
    let schema = with_rules(json!([{"rule": "self.a > oldSelf.a", "message": "grow"}]));
    assert_eq!(evaluate(&schema, &old, Some(&old)).len(), 1);
}

#[test]
fn a_spent_limit_ends_the_evaluation() {
    let expensive = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, \
        [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, true))))))";
    let schema = with_rules(json!([{"rule": expensive, "message": "m"}, {"rule": "false"}]));
    assert_eq!(
        evaluate(&schema, &json!({"spec": {}}), None),
        [
            r#"spec: Invalid value: "object": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: m"#
        ]
    );
}
