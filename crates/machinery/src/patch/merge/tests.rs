use serde_json::json;

use super::*;

fn merged(document: Value, patch: Value) -> Value {
    let mut out = document;
    apply(&mut out, patch.as_object().unwrap());
    out
}

#[test]
fn merges_as_the_rfc_says() {
    // RFC 7396, appendix A, as far as the patch is an object.
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (document, patch, result) in cases {
        assert_eq!(merged(document.clone(), patch.clone()), result, "{document} {patch}");
    }
}

#[test]
fn nulls_in_new_lists_go_as_in_go() {
    assert_eq!(
        merged(json!({}), json!({"l": [{"a": null, "b": 1}, null]})),
        json!({"l": [{"b": 1}, null]})
    );
    assert_eq!(
        merged(json!({"l": [1]}), json!({"l": [{"a": null}]})),
        json!({"l": [{}]})
    );
    assert_eq!(
        merged(json!({"l": {"x": 1}}), json!({"l": [{"a": null}]})),
        json!({"l": [{"a": null}]})
    );
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    fn any_object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!(null)), (0..5i32).prop_map(Value::from), Just(json!([1, 2]))];
        let tree = leaf.prop_recursive(3, 16, 4, |inner| {
            proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|members| json!(members))
        });
        proptest::collection::btree_map("[a-d]", tree, 0..4).prop_map(|members| json!(members))
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(document in any_object(), patch in any_object()) {
            let mut expected = document.clone();
            json_patch::merge(&mut expected, &patch);
            prop_assert_eq!(merged(document, patch), expected);
        }

        #[test]
        fn merging_twice_is_merging_once(document in any_object(), patch in any_object()) {
            let once = merged(document, patch.clone());
            prop_assert_eq!(merged(once.clone(), patch), once);
        }
    }
}
