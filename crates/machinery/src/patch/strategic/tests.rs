use std::sync::Arc;

use serde_json::json;

use super::*;

fn types() -> ObjectType {
    let string = json!({"type": "string"});
    let item = json!({"type": "object", "properties": {"name": string, "value": string, "other": string,
        "map": {"type": "object", "additionalProperties": string},
        "inner": {"type": "array", "items": string, "x-kubernetes-patch-strategy": "merge"}}});
    ObjectType::structural(Arc::new(json!({"type": "object", "properties": {
        "name": string, "value": string,
        "merging": {"type": "array", "items": item, "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"},
        "plain": {"type": "array", "items": item},
        "set": {"type": "array", "items": string, "x-kubernetes-patch-strategy": "merge"},
        "scalars": {"type": "array", "items": string},
        "map": {"type": "object", "additionalProperties": string},
        "replaced": {"type": "object", "x-kubernetes-patch-strategy": "replace", "additionalProperties": string},
        "retained": {"type": "object", "x-kubernetes-patch-strategy": "retainKeys", "properties": {"a": string, "b": string}},
        "keyless": {"type": "array", "items": item, "x-kubernetes-patch-strategy": "merge"},
    }})))
}

fn patched(object: Value, patch: Value) -> Outcome<Value> {
    apply(&object, patch.as_object().unwrap(), &types())
}

/// Items of `merging` by name, with a value for `name=value`.
fn named(list: &str) -> Value {
    let items = list
        .split(' ')
        .filter(|item| !item.is_empty())
        .map(|item| match item.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value}),
            None => json!({"name": item}),
        });
    items.collect()
}

#[test]
fn maps_merge() {
    let cases = [
        (
            json!({"name": "a"}),
            json!({"value": "b"}),
            json!({"name": "a", "value": "b"}),
        ),
        (
            json!({"name": "a", "value": "b"}),
            json!({"value": null}),
            json!({"name": "a"}),
        ),
        (json!({}), json!({"value": null}), json!({})),
        (
            json!({"map": {"a": "1", "b": "1"}}),
            json!({"map": {"a": null, "c": "1"}}),
            json!({"map": {"b": "1", "c": "1"}}),
        ),
        (
            json!({}),
            json!({"map": {"a": null, "b": "1"}}),
            json!({"map": {"b": "1"}}),
        ),
        (
            json!({"map": {"a": "1"}}),
            json!({"map": {"$patch": "replace", "b": "1"}}),
            json!({"map": {"b": "1"}}),
        ),
        (
            json!({"map": {"a": "1"}}),
            json!({"map": {"$patch": "merge", "b": "1"}}),
            json!({"map": {"a": "1", "b": "1"}}),
        ),
        (
            json!({"map": {"a": "1"}}),
            json!({"map": {"$patch": "delete"}}),
            json!({"map": {}}),
        ),
        (
            json!({"name": "a"}),
            json!({"map": {"$patch": "delete"}}),
            json!({"name": "a"}),
        ),
        (
            json!({"name": "a", "value": "b"}),
            json!({"$patch": "replace", "value": "c"}),
            json!({"value": "c"}),
        ),
        (
            json!({"replaced": {"a": "1"}}),
            json!({"replaced": {"b": "1"}}),
            json!({"replaced": {"b": "1"}}),
        ),
        (
            json!({"name": "a"}),
            json!({"name": {"b": "1"}}),
            json!({"name": {"b": "1"}}),
        ),
        (
            json!({"retained": {"a": "1"}}),
            json!({"retained": {"$retainKeys": ["b"], "b": "1"}}),
            json!({"retained": {"b": "1"}}),
        ),
        (
            json!({"retained": {"a": "1", "c": "1"}}),
            json!({"retained": {"$retainKeys": ["a", "b"], "b": "1", "c": null}}),
            json!({"retained": {"a": "1", "b": "1"}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"b": "1"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "1"}}}),
        ),
        (
            json!({"unknown": {"a": [1]}}),
            json!({"unknown": {"a": [2], "b": 1}}),
            json!({"unknown": {"a": [2], "b": 1}}),
        ),
    ];
    for (object, patch, result) in cases {
        assert_eq!(patched(object.clone(), patch.clone()), Ok(result), "{object} {patch}");
    }
}

/// New items come first: they are nowhere in the live list, by which the rest is placed. Kubernetes documents it so.
#[test]
fn keyed_lists_merge_by_key() {
    let cases = [
        ("a b", named("b=1"), "a b=1"),
        ("a b", named("c"), "c a b"),
        ("a b", named("c b=1"), "c a b=1"),
        ("a b c", json!([{"name": "b", "$patch": "delete"}]), "a c"),
        ("a b", json!([{"name": "zzz", "$patch": "delete"}]), "a b"),
        ("a b", json!([{"$patch": "replace"}, {"name": "c"}]), "c"),
        ("a b", json!([{"$patch": "replace"}]), ""),
        ("a=1", json!([{"name": "a", "value": null}]), "a"),
        (
            "a=1 b",
            json!([{"name": "a", "$patch": "delete"}, {"name": "a", "value": "2"}]),
            "a=2 b",
        ),
        ("", named("b a"), "b a"),
    ];
    for (list, patch, result) in cases {
        let out = patched(json!({"merging": named(list)}), json!({"merging": patch}));
        assert_eq!(out, Ok(json!({"merging": named(result)})), "{list} {patch}");
    }
}

#[test]
fn items_merge_deeply_and_new_items_lose_their_directives() {
    let object = json!({"merging": [{"name": "a", "map": {"x": "1"}, "inner": ["1", "2"]}]});
    let patch = json!({"merging": [
        {"name": "a", "map": {"y": "1"}, "inner": ["3"], "$deleteFromPrimitiveList/inner": ["1"]},
        {"name": "b", "map": {"$patch": "delete"}, "$setElementOrder/inner": ["1"], "value": null},
    ]});
    let expected = json!({"merging": [{"name": "a", "map": {"x": "1", "y": "1"}, "inner": ["3", "2"]}, {"name": "b"}]});
    assert_eq!(patched(object, patch), Ok(expected));
}

#[test]
fn lists_without_strategy_are_replaced() {
    assert_eq!(
        patched(json!({"plain": named("a b")}), json!({"plain": named("c")})),
        Ok(json!({"plain": named("c")}))
    );
    assert_eq!(
        patched(json!({"scalars": ["a"]}), json!({"scalars": ["b"]})),
        Ok(json!({"scalars": ["b"]}))
    );
}

#[test]
fn scalar_lists_merge_as_sets() {
    let cases = [
        (
            json!({"set": ["a", "b"]}),
            json!({"set": ["c", "b"]}),
            json!({"set": ["c", "a", "b"]}),
        ),
        (
            json!({"set": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/set": ["a", "z"]}),
            json!({"set": ["b"]}),
        ),
        (
            json!({"set": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/set": ["a"], "set": ["c"]}),
            json!({"set": ["c", "b"]}),
        ),
        (
            json!({"scalars": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/scalars": ["a"]}),
            json!({"scalars": ["b"]}),
        ),
        (json!({}), json!({"$deleteFromPrimitiveList/set": ["a"]}), json!({})),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": ["c", "b"]}}),
        ),
    ];
    for (object, patch, result) in cases {
        assert_eq!(patched(object.clone(), patch.clone()), Ok(result), "{object} {patch}");
    }
}

#[test]
fn element_order_is_kept() {
    let cases = [
        ("a b c", json!({"$setElementOrder/merging": named("c b a")}), "c b a"),
        ("a b c", json!({"$setElementOrder/merging": named("c a")}), "b c a"),
        ("a x b", json!({"$setElementOrder/merging": named("b a")}), "x b a"),
        (
            "a b",
            json!({"$setElementOrder/merging": named("b c a"), "merging": named("c")}),
            "b c a",
        ),
        (
            "",
            json!({"$setElementOrder/merging": named("b a"), "merging": named("b a")}),
            "b a",
        ),
        (
            "a b c",
            json!({"$setElementOrder/merging": named("c a"), "merging": [{"name": "b", "$patch": "delete"}]}),
            "c a",
        ),
    ];
    for (list, patch, result) in cases {
        let out = patched(json!({"merging": named(list)}), patch.clone()).unwrap();
        assert_eq!(out, json!({"merging": named(result)}), "{list} {patch}");
    }
    let patch = json!({"$setElementOrder/set": ["c", "a"], "$deleteFromPrimitiveList/set": ["b"], "set": ["c"]});
    assert_eq!(
        patched(json!({"set": ["a", "b", "d"]}), patch),
        Ok(json!({"set": ["c", "a", "d"]}))
    );
    assert_eq!(
        patched(json!({"name": "x"}), json!({"$setElementOrder/set": ["a"]})),
        Ok(json!({"name": "x"}))
    );
}

#[test]
fn malformed_patches_say_so() {
    let object =
        json!({"merging": named("a"), "set": ["a"], "retained": {"a": "1"}, "keyless": named("a"), "name": "x"});
    let cases = [
        (
            json!({"$setElementOrder/merging": "a"}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"$setElementOrder": []}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"$deleteFromPrimitiveList": ["a"]}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"retained": {"$retainKeys": ["a"], "b": "1"}}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"retained": {"$retainKeys": "a"}}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"set": [["a"]]}),
            500,
            "list element types are not identical: [[\"a\"] [[\"a\"]]]",
        ),
        (
            json!({"merging": [{"value": "1"}]}),
            500,
            "map: {\"value\":\"1\"} does not contain declared merge key: name",
        ),
        (
            json!({"merging": [{"$patch": "delete"}]}),
            500,
            "map: {\"$patch\":\"delete\"} does not contain declared merge key: name",
        ),
        (
            json!({"merging": [{"name": "a", "$patch": "merge"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"merging": [{"name": "a", "$patch": "x"}]}),
            500,
            "unknown patch type: x in map: {\"$patch\":\"x\",\"name\":\"a\"}",
        ),
        (json!({"$patch": "x"}), 500, "unknown patch type: x in map: {}"),
        (
            json!({"keyless": named("b")}),
            500,
            "cannot merge lists without merge key for Struct",
        ),
        (
            json!({"$setElementOrder/set": ["a", "b"], "set": ["b", "a"]}),
            500,
            "The order in patch list",
        ),
        (
            json!({"$setElementOrder/name": ["a"]}),
            500,
            "expected a []interface {}, but received a string",
        ),
    ];
    for (patch, code, text) in cases {
        let status = Status::from(patched(object.clone(), patch.clone()).expect_err(&patch.to_string()));
        assert_eq!(status.code, code, "{patch}");
        assert!(status.message.starts_with(text), "{patch}: {}", status.message);
    }
    let status = Status::from(patched(json!({"set": [["a"]]}), json!({"set": [["b"]]})).unwrap_err());
    assert_eq!(status.code, 422);
}
