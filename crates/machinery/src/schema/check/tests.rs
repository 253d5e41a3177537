use serde_json::{Value, json};

use super::*;

fn texts(schema: Value) -> Vec<String> {
    check_schema(&schema, false, &Path::new("schema"))
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

#[test]
fn every_value_needs_a_type() {
    assert_eq!(
        texts(object(json!({"spec": {}}))),
        ["schema.properties[spec].type: Required value: must not be empty for specified object fields",]
    );
    assert_eq!(
        texts(json!({})),
        ["schema.type: Required value: must not be empty at the root"]
    );
    assert_eq!(
        texts(json!({"type": "string"})),
        [r#"schema.type: Invalid value: "string": must be object at the root"#]
    );
    assert_eq!(
        texts(object(json!({"l": {"type": "array"}}))),
        ["schema.properties[l].items: Required value: must be specified"]
    );
    assert_eq!(
        texts(object(json!({"l": {"type": "array", "items": {}}}))),
        ["schema.properties[l].items.type: Required value: must not be empty for specified array items",]
    );
    assert!(texts(object(json!({"p": {"x-kubernetes-preserve-unknown-fields": true}}))).is_empty());
    assert!(
        texts(object(json!({"p": {"x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}]}})))
        .is_empty()
    );
}

#[test]
fn junctors_hold_validations_only() {
    assert_eq!(
        texts(object(
            json!({"a": {"type": "string", "anyOf": [{"type": "string", "description": "x"}]}})
        )),
        [
            "schema.properties[a].anyOf[0].description: Forbidden: must be empty to be structural",
            "schema.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ]
    );
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"properties": {"b": {}}}]});
    assert_eq!(
        texts(schema),
        ["schema.properties[b]: Required value: because it is defined in schema.oneOf[0].properties[b]"]
    );
}

#[test]
fn metadata_and_root_are_restricted() {
    let meta = |metadata: Value| texts(object(json!({"metadata": metadata})));
    assert!(meta(json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}})).is_empty());
    assert_eq!(
        meta(json!({"type": "object", "properties": {"labels": {"type": "object"}}})),
        [
            "schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ]
    );
    assert_eq!(
        texts(json!({"type": "object", "additionalProperties": {"type": "string"}})),
        ["schema.additionalProperties: Forbidden: must not be used at the root",]
    );
    let status = |schema: Value| check_schema(&schema, true, &Path::new("schema")).len();
    assert_eq!(status(json!({"type": "object", "maxProperties": 3})), 1);
    assert_eq!(status(json!({"type": "object", "required": ["spec"]})), 0);
}

#[test]
fn unsupported_keywords_are_refused() {
    assert_eq!(
        texts(object(json!({"a": {"$ref": "#/x", "type": "string"}}))),
        ["schema.properties[a].$ref: Forbidden: $ref is not supported",]
    );
    assert_eq!(
        texts(object(
            json!({"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}})
        )),
        [
            "schema.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ]
    );
    assert_eq!(
        texts(object(json!({"a": {"type": "foo"}}))),
        [
            r#"schema.properties[a].type: Unsupported value: "foo": supported values: "array", "boolean", "integer", "number", "object", "string""#,
        ]
    );
    assert_eq!(
        texts(object(
            json!({"a": {"type": "object", "properties": {"b": {"type": "string"}},
        "additionalProperties": {"type": "string"}}})
        )),
        [
            "schema.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ]
    );
    assert_eq!(
        texts(object(json!({"a": {"type": 1}}))),
        ["schema.properties[a].type: Invalid value: 1: must be a string"]
    );
    assert_eq!(texts(object(json!({"a": {"type": "string", "pattern": "("}}))).len(), 1);
}

#[test]
fn list_keys_must_be_there_for_sure() {
    let list = |extra: Value| {
        let mut list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}});
        list["items"]
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        texts(object(json!({"l": list})))
    };
    assert!(list(json!({"required": ["k"]})).is_empty());
    assert_eq!(
        list(json!({})),
        [
            "schema.properties[l].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ]
    );
    assert_eq!(
        texts(object(
            json!({"l": {"type": "array", "x-kubernetes-list-type": "bag", "items": {"type": "string"}}})
        )),
        [
            r#"schema.properties[l].x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", "map""#,
        ]
    );
}

#[test]
fn defaults_must_fit() {
    assert_eq!(texts(object(json!({"a": {"type": "integer", "default": "x"}}))), [
        r#"schema.properties[a].default: Invalid value: "string": schema.properties[a].default in body must be of type integer: "string""#,
    ].map(|text| text.replace("schema.properties[a].default in body", " in body")));
    assert_eq!(
        texts(object(json!({"a": {"type": "object", "default": {"b": 1}}}))),
        [r#"schema.properties[a].default: Invalid value: {"b":1}: must not have unknown fields"#,]
    );
    assert_eq!(
        texts(object(json!({"apiVersion": {"type": "string", "default": "v1"}}))),
        ["schema.properties[apiVersion].default: Forbidden: must not be set in top-level apiVersion",]
    );
    assert_eq!(
        texts(object(json!({"a": {"type": "integer", "default": 1,
        "x-kubernetes-validations": [{"rule": "self > 1", "message": "m"}]}}))),
        ["schema.properties[a].default: Invalid value: 1: m",]
    );
}

#[test]
fn rules_must_compile() {
    let rule = |rule: Value| {
        texts(object(
            json!({"s": {"type": "object", "properties": {"a": {"type": "integer"}},
        "x-kubernetes-validations": [rule]}}),
        ))
    };
    assert!(rule(json!({"rule": "self.a > 0", "messageExpression": "string(self.a)", "fieldPath": ".a"})).is_empty());
    let place = "schema.properties[s].x-kubernetes-validations[0]";
    assert_eq!(
        rule(json!({"rule": ""})),
        [format!("{place}.rule: Required value: rule is not specified")]
    );
    assert_eq!(
        rule(json!({"rule": "self.a"})),
        [format!(
            r#"{place}.rule: Invalid value: {{"Rule":"self.a","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}}: cel expression must evaluate to a bool"#
        )]
    );
    assert!(
        rule(json!({"rule": "self.b > 0"}))[0].contains("compilation failed: ERROR: <input>:1:5: undefined field 'b'")
    );
    assert!(
        rule(json!({"rule": "true", "messageExpression": "1"}))[0]
            .contains("messageExpression must evaluate to a string")
    );
    assert_eq!(rule(json!({"rule": "true", "fieldPath": ".b"})).len(), 1);
    assert_eq!(
        rule(json!({"rule": "true", "reason": "X"})),
        [format!(
            r#"{place}.reason: Unsupported value: "X": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired""#
        )]
    );
    assert_eq!(
        rule(json!({"rule": "true", "optionalOldSelf": true})),
        [format!(
            "{place}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        )]
    );
    assert_eq!(
        rule(json!({"rule": "a\nb"})),
        [format!(
            "{place}.message: Required value: message must be specified if rule contains line breaks"
        )]
    );
    let list = json!({"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 9,
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}});
    assert_eq!(
        texts(object(json!({"l": list}))),
        [
            r#"schema.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[l]"#,
        ]
    );
}

#[test]
fn costly_rules_are_refused() {
    let rule = |limits: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(x, self.exists_one(y, x == y))"}]});
        list.as_object_mut()
            .unwrap()
            .extend(limits.as_object().unwrap().clone());
        texts(object(json!({"l": list})))
    };
    let found = rule(json!({}));
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(
        found[0],
        "schema.properties[l].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of \
         more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, \
         and strings are declared)"
    );
    assert!(found[1].contains("contributed to estimated rule cost total exceeding cost limit"));
    assert!(found[2].starts_with("schema: Forbidden: x-kubernetes-validations estimated rule cost total"));
    assert!(rule(json!({"maxItems": 10, "items": {"type": "string", "maxLength": 63}})).is_empty());
    // Ordinary rules without limits are fine.
    assert!(
        texts(object(
            json!({"l": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "has(self.k)"}]}}})
        ))
        .is_empty()
    );
}
