use std::sync::Arc;

use serde_json::json;

use super::*;

fn types() -> ObjectType {
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}});
    ObjectType::structural(Arc::new(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "s": {"type": "string"}, "set": set, "keyed": keyed,
            "plain": {"type": "array", "items": {"type": "integer"}},
            "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "any": {"x-kubernetes-preserve-unknown-fields": true},
        }}}}),
    ))
}

#[test]
fn the_configuration_wins_where_it_says_something() {
    let cases = [
        (
            json!({"s": "a", "map": {"x": "1"}}),
            json!({"map": {"y": "2"}}),
            json!({"s": "a", "map": {"x": "1", "y": "2"}}),
        ),
        (json!({"s": "a"}), json!({"s": "b"}), json!({"s": "b"})),
        (json!({"s": "a"}), json!({"s": null}), json!({"s": null})),
        (
            json!({"map": {"x": "1"}}),
            json!({"map": null}),
            json!({"map": {"x": "1"}}),
        ),
        (json!({"map": {}}), json!({"map": null}), json!({"map": null})),
        (
            json!({"map": {"x": "1"}}),
            json!({"map": {}}),
            json!({"map": {"x": "1"}}),
        ),
        (
            json!({"atom": {"x": "1"}}),
            json!({"atom": {"y": "2"}}),
            json!({"atom": {"y": "2"}}),
        ),
        (json!({"plain": [1, 2]}), json!({"plain": [3]}), json!({"plain": [3]})),
        (
            json!({"any": {"a": [1]}}),
            json!({"any": {"a": [2], "b": 1}}),
            json!({"any": {"a": [2], "b": 1}}),
        ),
        (json!({"any": 1}), json!({"any": {"a": 1}}), json!({"any": {"a": 1}})),
        (json!({"any": {"a": 1}}), json!({"any": 1}), json!({"any": 1})),
        (
            json!({"keyed": [{"name": "a", "v": 1, "labels": {"x": "1"}}, {"name": "b"}]}),
            json!({"keyed": [{"name": "a", "labels": {"y": "2"}}]}),
            json!({"keyed": [{"name": "a", "v": 1, "labels": {"x": "1", "y": "2"}}, {"name": "b"}]}),
        ),
    ];
    for (live, config, expected) in cases {
        let [live, config, expected] = [live, config, expected].map(|spec| json!({"spec": spec}));
        assert_eq!(merge(&types(), &live, &config).unwrap(), expected, "{live} + {config}");
    }
}

#[test]
fn lists_take_the_order_of_the_configuration() {
    let cases = [
        ("a b c", "b", "a b c"),
        ("a b c", "c a", "b c a"),
        ("a b c", "d", "a b c d"),
        ("a b c d", "d b", "a c d b"),
        ("b d", "a b c d", "a b c d"),
        ("", "b a", "b a"),
        ("a b", "", "a b"),
        ("a b c d e", "x c y", "a b x c d e y"),
        ("a a b", "b c", "a a b c"),
        ("a a b", "a", "a b"),
        ("1 2 3 4 5", "5 1 a 3", "2 4 5 1 a 3"),
    ];
    for (live, config, expected) in cases {
        let [live, config, expected] = [live, config, expected]
            .map(|list| json!({"spec": {"set": list.split(' ').filter(|x| !x.is_empty()).collect::<Vec<_>>()}}));
        assert_eq!(merge(&types(), &live, &config).unwrap(), expected, "{live} + {config}");
    }
}

#[test]
fn refuses_duplicates_in_the_configuration_only() {
    let twice = json!({"spec": {"set": ["a", "a"]}});
    assert_eq!(
        merge(&types(), &json!({}), &twice).unwrap_err().to_string(),
        ".spec.set: duplicate entries for key [=\"a\"]"
    );
    assert_eq!(merge(&types(), &twice, &json!({})).unwrap(), twice);
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    fn list() -> impl Strategy<Value = Vec<String>> {
        proptest::sample::subsequence(vec!["a", "b", "c", "d", "e", "f", "g"], 0..7)
            .prop_shuffle()
            .prop_map(|items| items.into_iter().map(str::to_owned).collect())
    }

    proptest! {
        #[test]
        fn merging_lists_is_a_union_in_the_configurations_order(live in list(), config in list()) {
            let [a, b] = [&live, &config].map(|list| json!({"spec": {"set": list}}));
            let merged = merge(&types(), &a, &b).unwrap();
            let out: Vec<&str> = merged["spec"]["set"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let mut sorted = out.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), out.len());
            prop_assert!(live.iter().chain(&config).all(|item| out.contains(&item.as_str())));
            let order: Vec<&str> = out.iter().copied().filter(|item| config.iter().any(|other| other == item)).collect();
            prop_assert_eq!(order, config.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(merge(&types(), &merged, &b).unwrap(), merged);
        }
    }
}
