use serde_json::{Value, json};

use super::*;

fn texts(schema: &Value, value: &Value) -> Vec<String> {
    update(schema, value, None)
}

fn update(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = Schema::parse(schema);
    validate_value(value, old, &schema, &Path::root())
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn spec(property: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": property}}}})
}

#[track_caller]
fn says(property: Value, value: Value, expected: &[&str]) {
    assert_eq!(texts(&spec(property), &json!({"spec": {"x": value}})), expected);
}

#[test]
fn wrong_types_are_named() {
    says(
        json!({"type": "integer"}),
        json!("a"),
        &[r#"spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#],
    );
    says(
        json!({"type": "string"}),
        json!(1),
        &[r#"spec.x: Invalid value: "integer": spec.x in body must be of type string: "integer""#],
    );
    says(
        json!({"type": "integer"}),
        json!(1.5),
        &[r#"spec.x: Invalid value: "number": spec.x in body must be of type integer: "number""#],
    );
    says(
        json!({"type": "object"}),
        json!([]),
        &[r#"spec.x: Invalid value: "array": spec.x in body must be of type object: "array""#],
    );
    says(
        json!({"type": "string"}),
        json!(null),
        &[r#"spec.x: Invalid value: "null": spec.x in body must be of type string: "null""#],
    );
    says(
        json!({"x-kubernetes-int-or-string": true}),
        json!(true),
        &[r#"spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean""#],
    );
    says(json!({"type": "integer"}), json!(2.0), &[]);
    says(json!({"type": "number"}), json!(2), &[]);
    says(json!({"x-kubernetes-int-or-string": true}), json!("80%"), &[]);
    says(json!({"type": "string", "nullable": true}), json!(null), &[]);
    says(json!({}), json!([1, "a"]), &[]);
}

#[test]
fn required_fields_are_missed_at_their_place() {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object",
        "required": ["a", "b"], "properties": {"a": {"type": "string"}}}}});
    assert_eq!(texts(&schema, &json!({})), ["spec: Required value"]);
    assert_eq!(texts(&schema, &json!({"spec": {"a": ""}})), ["spec.b: Required value"]);
}

#[test]
fn values_are_limited_in_upstreams_words() {
    says(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &[r#"spec.x: Unsupported value: "c": supported values: "a", "b""#],
    );
    says(
        json!({"type": "integer", "enum": [1, 2]}),
        json!(3),
        &[r#"spec.x: Unsupported value: 3: supported values: "1", "2""#],
    );
    says(
        json!({"type": "string", "pattern": "^a+$"}),
        json!("b"),
        &[r#"spec.x: Invalid value: "b": spec.x in body should match '^a+$'"#],
    );
    says(
        json!({"type": "string", "maxLength": 2}),
        json!("äöü"),
        &["spec.x: Too long: may not be more than 2 bytes"],
    );
    says(
        json!({"type": "string", "minLength": 2}),
        json!("ä"),
        &[r#"spec.x: Invalid value: "ä": spec.x in body should be at least 2 chars long"#],
    );
    says(
        json!({"type": "integer", "minimum": 1}),
        json!(0),
        &["spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1"],
    );
    says(
        json!({"type": "number", "maximum": 1.5, "exclusiveMaximum": true}),
        json!(1.5),
        &["spec.x: Invalid value: 1.5: spec.x in body should be less than 1.5"],
    );
    says(
        json!({"type": "integer", "multipleOf": 5}),
        json!(7),
        &["spec.x: Invalid value: 7: spec.x in body should be a multiple of 5"],
    );
    says(
        json!({"type": "integer", "format": "int32"}),
        json!(3_000_000_000_i64),
        &[r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.x"#],
    );
    says(
        json!({"type": "array", "maxItems": 1, "items": {"type": "integer"}}),
        json!([1, 2]),
        &["spec.x: Too many: 2: must have at most 1 item"],
    );
    says(
        json!({"type": "array", "minItems": 2, "items": {"type": "integer"}}),
        json!([1]),
        &["spec.x: Invalid value: 1: spec.x in body should have at least 2 items"],
    );
    says(
        json!({"type": "array", "uniqueItems": true, "items": {"type": "integer"}}),
        json!([1, 1]),
        &[r#"spec.x: Invalid value: "": spec.x in body shouldn't contain duplicates"#],
    );
    says(
        json!({"type": "object", "maxProperties": 1}),
        json!({"a": 1, "b": 2}),
        &["spec.x: Too many: 2: must have at most 1 item"],
    );
    says(
        json!({"type": "object", "minProperties": 1}),
        json!({}),
        &["spec.x: Invalid value: 0: spec.x in body should have at least 1 properties"],
    );
    says(
        json!({"type": "string", "format": "uri"}),
        json!("a b"),
        &[r#"spec.x: Invalid value: "a b": spec.x in body must be of type uri: "a b""#],
    );
    says(
        json!({"type": "string", "format": "date-time"}),
        json!(5),
        &[r#"spec.x: Invalid value: "int64": spec.x in body must be of type date-time: "int64""#],
    );
}

#[test]
fn maps_and_lists_are_walked() {
    says(
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        json!({"k": 1}),
        &[r#"spec.x.k: Invalid value: "integer": spec.x.k in body must be of type string: "integer""#],
    );
    says(
        json!({"type": "array", "items": {"type": "string"}}),
        json!(["a", 1]),
        &[r#"spec.x[1]: Invalid value: "integer": spec.x[1] in body must be of type string: "integer""#],
    );
}

#[test]
fn junctors_report_the_best_branch() {
    let one_of = json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    says(one_of.clone(), json!({"a": ""}), &[]);
    says(
        one_of.clone(),
        json!({"a": "", "b": ""}),
        &[
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ],
    );
    says(
        one_of,
        json!({}),
        &[
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid"#,
            "spec.x.a: Required value",
        ],
    );
    says(
        json!({"type": "string", "anyOf": [{"minLength": 3}, {"enum": ["a"]}]}),
        json!("b"),
        &[
            r#"<nil>: Invalid value: "": "spec.x" must validate at least one schema (anyOf)"#,
            r#"spec.x: Invalid value: "b": spec.x in body should be at least 3 chars long"#,
        ],
    );
    says(
        json!({"type": "string", "allOf": [{"minLength": 3}]}),
        json!("b"),
        &[
            r#"spec.x: Invalid value: "b": spec.x in body should be at least 3 chars long"#,
            r#"<nil>: Invalid value: "": "spec.x" must validate all the schemas (allOf). None validated"#,
        ],
    );
    says(
        json!({"type": "string", "not": {"enum": ["b"]}}),
        json!("b"),
        &[r#"<nil>: Invalid value: "": "spec.x" must not validate the schema (not)"#],
    );
}

#[test]
fn what_did_not_change_is_let_pass() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "minimum": 1}}}},
        "atomic": {"type": "array", "items": {"type": "integer", "minimum": 1}}}});
    let old = json!({"a": "long", "b": "x", "list": [{"k": "1", "v": 0}], "atomic": [0]});
    assert!(update(&schema, &old, Some(&old)).is_empty());
    let mut new = old.clone();
    new["b"] = json!("long");
    assert_eq!(
        update(&schema, &new, Some(&old)),
        ["b: Too long: may not be more than 1 byte"]
    );
    let mut new = old.clone();
    new["list"] = json!([{"k": "2", "v": 0}, {"k": "1", "v": 0}]);
    assert_eq!(
        update(&schema, &new, Some(&old)),
        ["list[0].v: Invalid value: 0: list[0].v in body should be greater than or equal to 1",]
    );
    let mut new = old.clone();
    new["atomic"] = json!([0, 1]);
    assert_eq!(update(&schema, &new, Some(&old)).len(), 1);
}
