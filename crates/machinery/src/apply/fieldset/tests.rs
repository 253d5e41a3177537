use serde_json::json;

use super::*;

fn set(value: Value) -> FieldSet {
    FieldSet::from_value(&value).unwrap()
}

fn f(names: &[&str]) -> Vec<Element> {
    names.iter().map(|name| Element::field(name)).collect()
}

#[test]
fn reads_and_writes_fields_v1() {
    let cases = [
        json!({}),
        json!({"f:data": {"f:a": {}}}),
        json!({"f:data": {".": {}, "f:a": {}, "f:b": {".": {}, "f:c": {}}}}),
        json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}),
        json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"x/y\"": {}}}, "f:list": {"i:0": {}, "i:1": {}}}),
    ];
    for case in cases {
        let set = set(case.clone());
        assert_eq!(set.to_value(), case);
        assert_eq!(FieldSet::from_json(&set.to_json()).unwrap(), set);
    }
}

#[test]
fn dot_alone_is_a_leaf_and_unknown_kinds_are_dropped() {
    assert_eq!(set(json!({"f:a": {".": {}}})), set(json!({"f:a": {}})));
    assert_eq!(set(json!({"f:a": {"z:new": {"f:b": {}}}})), set(json!({"f:a": {}})));
    assert_eq!(set(json!({"f:a": null})), set(json!({"f:a": {}})));
    assert!(set(json!({".": {}})).is_empty());
    for bad in [json!([]), json!({"f:a": 1}), json!({"x": {}}), json!({"k:{": {}})] {
        assert!(FieldSet::from_value(&bad).is_err(), "{bad}");
    }
}

#[test]
fn equal_keys_of_other_spelling_are_one_element() {
    let a = set(json!({"f:l": {"k:{\"b\":1.0, \"a\":\"x\"}": {}}}));
    let b = set(json!({"f:l": {"k:{\"a\":\"x\",\"b\":1}": {}}}));
    assert_eq!(a, b);
}

#[test]
fn prints_one_path_per_line_members_first() {
    let set = set(json!({"f:b": {".": {}, "f:c": {}}, "f:a": {"f:x": {}}, "f:l": {"k:{\"name\":\"n\"}": {}}}));
    assert_eq!(set.to_string(), ".b\n.a.x\n.b.c\n.l[name=\"n\"]");
    assert_eq!(set.len(), 4);
}

#[test]
fn differences_keep_or_drop_what_is_below() {
    let all = set(json!({"f:a": {".": {}, "f:b": {".": {}, "f:c": {}}}, "f:d": {}}));
    let top = set(json!({"f:a": {}}));
    assert_eq!(
        all.difference(&top),
        set(json!({"f:a": {"f:b": {".": {}, "f:c": {}}}, "f:d": {}}))
    );
    let mut recursive = all.clone();
    assert!(recursive.subtract_recursive(&top));
    assert_eq!(recursive, set(json!({"f:d": {}})));
    assert!(!recursive.subtract_recursive(&top));
    assert!(!recursive.subtract(&set(json!({"f:d": {"f:x": {}}}))));
}

#[test]
fn contains_the_path_itself_only() {
    let all = set(json!({"f:a": {"f:b": {}}}));
    assert!(all.contains(&f(&["a", "b"])));
    assert!(!all.contains(&f(&["a"])));
    assert!(!all.contains(&[]));
    assert!(!all.contains(&f(&["a", "b", "c"])));
}

#[test]
fn sets_of_any_size_are_sorted() {
    let keys: Vec<String> = (0..40).rev().map(|n| format!("v:  {n}")).collect();
    let wire: Map<String, Value> = keys.iter().map(|key| (key.clone(), json!({}))).collect();
    let read = set(Value::Object(wire));
    let mut one_by_one = FieldSet::new();
    (0..40).for_each(|n| one_by_one.insert(&[Element::value(&json!(n))]));
    assert_eq!(read, one_by_one);
    let mut extended = set(json!({"v:17": {".": {}, "f:a": {}}, "v:99": {}}));
    extended.extend(&one_by_one);
    assert_eq!(extended.len(), 42);
    assert!(extended.contains(&[Element::value(&json!(17)), Element::field("a")]));
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    fn any_set() -> impl Strategy<Value = FieldSet> {
        let element = prop_oneof![
            "[a-d]".prop_map(|name| Element::field(&name)),
            (0..3u8).prop_map(|n| Element::value(&json!(n))),
            "[x-z]".prop_map(|name| Element::key([("name", &json!(name))])),
            (0..3usize).prop_map(Element::index),
        ];
        proptest::collection::vec(proptest::collection::vec(element, 1..4), 0..12).prop_map(|paths| {
            let mut set = FieldSet::new();
            paths.iter().for_each(|path| set.insert(path));
            set
        })
    }

    proptest! {
        #[test]
        fn sets_behave_as_sets(a in any_set(), b in any_set(), c in any_set()) {
            prop_assert_eq!(a.union(&b), b.union(&a));
            prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
            prop_assert_eq!(a.intersection(&b), b.intersection(&a));
            prop_assert_eq!(a.union(&a), a.clone());
            prop_assert_eq!(a.intersection(&a), a.clone());
            prop_assert!(a.difference(&a).is_empty());
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
            prop_assert!(a.difference(&b).intersection(&b).is_empty());
            prop_assert_eq!(a.union(&b).len(), a.len() + b.len() - a.intersection(&b).len());
            prop_assert_eq!(a.difference(&b.union(&c)), a.difference(&b).difference(&c));
        }

        #[test]
        fn membership_follows_the_operations(a in any_set(), b in any_set()) {
            for path in a.union(&b).paths() {
                let (in_a, in_b) = (a.contains(&path), b.contains(&path));
                prop_assert!(in_a || in_b);
                prop_assert_eq!(a.intersection(&b).contains(&path), in_a && in_b);
                prop_assert_eq!(a.difference(&b).contains(&path), in_a && !in_b);
            }
        }

        #[test]
        fn text_and_back_is_the_same_set(a in any_set()) {
            prop_assert_eq!(FieldSet::from_json(&a.to_json()).unwrap(), a.clone());
            prop_assert_eq!(FieldSet::from_value(&a.to_value()).unwrap(), a);
        }
    }
}
