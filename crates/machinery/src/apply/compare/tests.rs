use std::sync::Arc;

use serde_json::json;

use super::*;

fn types() -> ObjectType {
    ObjectType::structural(Arc::new(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "n": {"type": "number"},
            "s": {"type": "string"},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "properties": {"port": {"type": "integer"},
                    "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}}},
            "plain": {"type": "array", "items": {"type": "string"}},
            "atom": {"type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"x": {"type": "string"}, "y": {"type": "string"}}},
            "any": {"x-kubernetes-preserve-unknown-fields": true},
        }},
    }})))
}

#[test]
fn finds_what_changed() {
    // (before, after, added, modified, removed) of `spec`
    let cases = [
        (json!({"s": "a"}), json!({"s": "a"}), "", "", ""),
        (json!({"s": "a"}), json!({"s": "b"}), "", ".spec.s", ""),
        (json!({"n": 1}), json!({"n": 1.0}), "", "", ""),
        (json!({}), json!({"s": "a", "n": 1}), ".spec.n\n.spec.s", "", ""),
        (json!({"s": "a"}), json!({"n": 1}), ".spec.n", "", ".spec.s"),
        (json!({"s": "a"}), json!({"s": null}), "", ".spec.s", ""),
        (
            json!({"set": ["a", "b"]}),
            json!({"set": ["b", "c"]}),
            ".spec.set[=\"c\"]",
            "",
            ".spec.set[=\"a\"]",
        ),
        (json!({"set": ["a", "b"]}), json!({"set": ["b", "a"]}), "", "", ""),
        (json!({}), json!({"set": []}), ".spec.set", "", ""),
        (json!({}), json!({"set": ["a"]}), ".spec.set\n.spec.set[=\"a\"]", "", ""),
        (
            json!({"plain": ["a"]}),
            json!({"plain": ["a", "b"]}),
            "",
            ".spec.plain",
            "",
        ),
        (
            json!({"atom": {"x": "1"}}),
            json!({"atom": {"x": "1", "y": "2"}}),
            "",
            ".spec.atom",
            "",
        ),
        (
            json!({"ports": [{"port": 80}]}),
            json!({"ports": [{"port": 80, "protocol": "TCP", "name": "http"}]}),
            ".spec.ports[port=80,protocol=\"TCP\"].name\n.spec.ports[port=80,protocol=\"TCP\"].protocol",
            "",
            "",
        ),
        (
            json!({"ports": [{"port": 80, "protocol": "UDP"}]}),
            json!({"ports": [{"port": 80, "protocol": "SCTP"}]}),
            ".spec.ports[port=80,protocol=\"SCTP\"]\n.spec.ports[port=80,protocol=\"SCTP\"].port\n\
             .spec.ports[port=80,protocol=\"SCTP\"].protocol",
            "",
            ".spec.ports[port=80,protocol=\"UDP\"]\n.spec.ports[port=80,protocol=\"UDP\"].port\n\
             .spec.ports[port=80,protocol=\"UDP\"].protocol",
        ),
        // A value that changes its shape is modified, and walked as what it became.
        (
            json!({"any": "x"}),
            json!({"any": {"a": 1}}),
            ".spec.any.a",
            ".spec.any",
            "",
        ),
        (
            json!({"any": {"a": {"b": 1}}}),
            json!({"any": {"a": {"b": 2, "c": []}}}),
            ".spec.any.a.c",
            ".spec.any.a.b",
            "",
        ),
        // Duplicates count as one value of another kind than the single item.
        (
            json!({"set": ["a", "a"]}),
            json!({"set": ["a"]}),
            ".spec.set[=\"a\"]",
            "",
            ".spec.set[=\"a\"]",
        ),
        (
            json!({"set": ["a"]}),
            json!({"set": ["a", "a"]}),
            ".spec.set[=\"a\"]",
            "",
            ".spec.set[=\"a\"]",
        ),
        (
            json!({"set": ["a", "a"]}),
            json!({"set": ["a", "a", "a"]}),
            "",
            ".spec.set[=\"a\"]",
            "",
        ),
    ];
    let types = types();
    for (before, after, added, modified, removed) in cases {
        let [before, after] = [before, after].map(|spec| json!({"kind": "X", "spec": spec}));
        let found = compare(&types, &before, &after).unwrap();
        let texts = [&found.added, &found.modified, &found.removed].map(ToString::to_string);
        let expected = [added, modified, removed].map(str::to_owned);
        assert_eq!(texts, expected, "{before} -> {after}");
    }
}

#[test]
fn a_keyed_item_without_keys_is_an_error() {
    let [before, after] = [json!({"spec": {}}), json!({"spec": {"ports": [null]}})];
    let error = compare(&types(), &before, &after).unwrap_err();
    assert_eq!(
        error.to_string(),
        ".spec.ports: element 0: associative list with keys may not have a null element"
    );
}

#[test]
fn managed_fields_are_not_looked_at() {
    let before = json!({"metadata": {"managedFields": [{"manager": "a"}]}});
    assert!(
        compare(&types(), &before, &json!({"metadata": {"labels": {}}}))
            .unwrap()
            .removed
            .is_empty()
    );
    assert!(
        compare(&types(), &before, &json!({"metadata": {"managedFields": []}}))
            .unwrap()
            .is_empty()
    );
}
