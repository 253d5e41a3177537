use serde_json::json;

use super::*;

fn patched(document: Value, patch: Value) -> Result<Value, String> {
    let patch = JsonPatch::from_value(patch).map_err(|status| status.message)?;
    patch.apply(&document).map_err(|error| error.to_string())
}

#[test]
fn applies_as_the_rfc_says() {
    // (document, patch, result): RFC 6902, appendix A.
    let cases = [
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            json!({"baz": "qux", "foo": "bar"}),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            json!({"foo": ["bar", "qux", "baz"]}),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "remove", "path": "/baz"}]),
            json!({"foo": "bar"}),
        ),
        (
            json!({"foo": ["a", "b", "c"]}),
            json!([{"op": "remove", "path": "/foo/1"}]),
            json!({"foo": ["a", "c"]}),
        ),
        (
            json!({"baz": "qux"}),
            json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
            json!({"baz": "boo"}),
        ),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]),
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/child", "value": {"g": {}}}]),
            json!({"foo": "bar", "child": {"g": {}}}),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": 1, "xyz": 1}]),
            json!({"foo": "bar", "baz": 1}),
        ),
        (
            json!({"/": 9, "~1": 10}),
            json!([{"op": "test", "path": "/~01", "value": 10}]),
            json!({"/": 9, "~1": 10}),
        ),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["x"]}]),
            json!({"foo": ["bar", ["x"]]}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "copy", "from": "/a", "path": "/c"}]),
            json!({"a": {"b": 1}, "c": {"b": 1}}),
        ),
        (
            json!({"a/b": 1}),
            json!([{"op": "replace", "path": "/a~1b", "value": 2}]),
            json!({"a/b": 2}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "replace", "path": "", "value": {"b": 2}}]),
            json!({"b": 2}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "test", "path": "", "value": {"a": 1}}]),
            json!({"a": 1}),
        ),
        (json!({"a": null}), json!([{"op": "remove", "path": "/a"}]), json!({})),
        (json!({"a": 1}), json!([]), json!({"a": 1})),
        (json!({"a": 1}), json!(null), json!({"a": 1})),
    ];
    for (document, patch, result) in cases {
        assert_eq!(
            patched(document.clone(), patch.clone()),
            Ok(result),
            "{document} {patch}"
        );
    }
}

#[test]
fn takes_what_go_takes() {
    let cases = [
        (
            json!({"a": [1, 2, 3]}),
            json!([{"op": "remove", "path": "/a/-1"}]),
            json!({"a": [1, 2]}),
        ),
        (
            json!({"a": [1, 2]}),
            json!([{"op": "add", "path": "/a/-1", "value": 3}]),
            json!({"a": [1, 2, 3]}),
        ),
        (
            json!({"a": [1, 2]}),
            json!([{"op": "replace", "path": "/a/-2", "value": 3}]),
            json!({"a": [3, 2]}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "replace", "path": "/b", "value": 2}]),
            json!({"a": 1, "b": 2}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "test", "path": "/b", "value": null}]),
            json!({"a": 1}),
        ),
        (json!({"a": 1}), json!([{"op": "test", "path": "/b"}]), json!({"a": 1})),
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b"}]),
            json!({"a": 1, "b": null}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "copy", "from": "/b", "path": "/c"}]),
            json!({"a": 1, "c": null}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "ignored/b", "value": 2}]),
            json!({"a": 1, "b": 2}),
        ),
    ];
    for (document, patch, result) in cases {
        assert_eq!(
            patched(document.clone(), patch.clone()),
            Ok(result),
            "{document} {patch}"
        );
    }
}

#[test]
fn what_does_not_apply_is_unprocessable() {
    let cases = [
        json!([{"op": "test", "path": "/a", "value": 2}]),
        json!([{"op": "test", "path": "/l/0", "value": "1"}]),
        json!([{"op": "remove", "path": "/b"}]),
        json!([{"op": "remove", "path": "/l/2"}]),
        json!([{"op": "remove", "path": "/l/-3"}]),
        json!([{"op": "add", "path": "/b/c", "value": 1}]),
        json!([{"op": "add", "path": "/a/c", "value": 1}]),
        json!([{"op": "add", "path": "/l/3", "value": 1}]),
        json!([{"op": "add", "path": "/l/x", "value": 1}]),
        json!([{"op": "replace", "path": "/l/-", "value": 1}]),
        json!([{"op": "replace", "path": "", "value": 1}]),
        json!([{"op": "add", "path": "", "value": {}}]),
        json!([{"op": "move", "from": "/b", "path": "/c"}]),
        json!([{"op": "copy", "from": "/l/7", "path": "/c"}]),
        json!([{"op": "merge", "path": "/c"}]),
        json!([{"path": "/c"}]),
        json!([{"op": "add", "value": 1}]),
    ];
    let document = json!({"a": 1, "l": [1, 2]});
    for patch in cases {
        let error = JsonPatch::from_value(patch.clone())
            .unwrap()
            .apply(&document)
            .expect_err(&patch.to_string());
        let status = Status::from(error);
        assert_eq!((status.code, status.reason), (422, Reason::Invalid));
        assert_eq!(
            status.message,
            "the server rejected our request due to an error in our request"
        );
    }
}

#[test]
fn malformed_and_oversized_patches_are_refused() {
    for body in [json!({}), json!([1]), json!([{"op": 1}]), json!("x")] {
        let status = JsonPatch::from_value(body.clone()).unwrap_err();
        assert_eq!((status.code, status.reason), (400, Reason::BadRequest), "{body}");
    }
    let operations = |count: usize| vec![json!({"op": "test", "path": "/a", "value": 1}); count];
    assert!(JsonPatch::from_value(operations(OPERATIONS_MAX).into()).is_ok());
    let status = JsonPatch::from_value(operations(OPERATIONS_MAX + 1).into()).unwrap_err();
    assert_eq!((status.code, status.reason), (413, Reason::RequestEntityTooLarge));
    assert_eq!(
        status.message,
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
}

#[test]
fn copies_are_bounded() {
    let document = json!({"a": "x".repeat(1 << 20)});
    let copy = |n: usize| json!({"op": "copy", "from": "/a", "path": format!("/b{n}")});
    assert!(patched(document.clone(), (0..2).map(copy).collect()).is_ok());
    assert!(
        patched(document, (0..3).map(copy).collect())
            .unwrap_err()
            .contains("exceeding the limit 3145728")
    );
}

#[test]
fn the_result_nests_no_deeper_than_a_body_may() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
    let below = |levels: usize| "/a".repeat(levels);
    let depth = |value: &Value| nesting(value, &mut 0);
    // Each copy into its own innermost member doubles the depth.
    let doubling = |from: usize| json!([{"op": "copy", "from": "/a", "path": below(from)}]);
    let half = DEPTH_MAX / 2;
    assert_eq!(
        patched(deep(half), doubling(half)).map(|value| depth(&value)),
        Ok(DEPTH_MAX - 1)
    );
    let (document, deeper) = (deep(half), "nests deeper than 512 levels");
    let patches = [
        json!([{"op": "add", "path": below(half), "value": deep(half + 1)}]),
        json!([{"op": "replace", "path": below(half), "value": deep(half + 1)}]),
        json!([{"op": "copy", "from": "/a", "path": below(half)},
            {"op": "copy", "from": "/a", "path": below(2 * half - 1)}]),
        json!([{"op": "add", "path": "/m", "value": deep(half)}, {"op": "add", "path": below(half), "value": {}},
            {"op": "move", "from": "/m", "path": below(half + 1)}]),
        json!([{"op": "add", "path": below(half), "value": [1]},
            {"op": "replace", "path": below(half) + "/0", "value": deep(half)}]),
    ];
    for patch in patches {
        let refused = patched(document.clone(), patch.clone()).map(|value| depth(&value));
        assert!(
            refused.as_ref().is_err_and(|why| why.contains(deeper)),
            "{patch}: {refused:?}"
        );
    }
}

#[test]
fn what_ten_thousand_operations_shift_and_move_is_bounded() {
    let long = |items: usize| json!({"l": vec![0; items], "o": {}});
    let insert = |times: usize| json!(vec![json!({"op": "add", "path": "/l/0", "value": 1}); times]);
    let there = json!({"op": "move", "from": "/l", "path": "/o/l"});
    let back = json!({"op": "move", "from": "/o/l", "path": "/l"});
    let moves: Vec<Value> = (0..1000).flat_map(|_| [there.clone(), back.clone()]).collect();
    assert!(patched(long(1000), insert(2000)).is_ok());
    for patch in [insert(2000), moves.into()] {
        let refused = patched(long(100_000), patch).unwrap_err();
        assert!(refused.contains("more than 50000000 values"), "{refused}");
    }
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            (0..5i32).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-d/~]", inner, 0..4).prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_difference_of_two_documents_makes_one_from_the_other(a in any_json(), b in any_json()) {
            let (a, b) = (json!({"root": a}), json!({"root": b}));
            let difference = serde_json::to_value(json_patch::diff(&a, &b)).unwrap();
            prop_assert_eq!(patched(a, difference), Ok(b));
        }
    }
}
