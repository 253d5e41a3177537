use proptest::prelude::*;

use super::*;

fn any_spec() -> impl Strategy<Value = Value> {
    let text = || proptest::option::of("[x-z]");
    let letters = || proptest::sample::subsequence(vec!["p", "q", "r"], 0..=3);
    (text(), text(), letters(), letters(), letters(), letters()).prop_map(|(a, b, set, map, ports, any)| {
        let mut spec = json!({});
        if let Some(a) = a {
            spec["a"] = json!(a);
        }
        if let Some(b) = b {
            spec["atom"] = json!({"k": b});
        }
        if !set.is_empty() {
            spec["set"] = json!(set);
        }
        for key in map {
            spec["map"][key] = json!("v");
        }
        if !ports.is_empty() {
            spec["ports"] = ports
                .iter()
                .map(|name| json!({"port": name.as_bytes()[0], "name": name}))
                .collect();
        }
        for key in any {
            spec["any"][key] = json!({"deep": [key]});
        }
        spec
    })
}

/// Items keep the order they were first applied in, unless a configuration says otherwise.
fn without_order(mut spec: Value) -> Value {
    for list in ["set", "ports"] {
        if let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
            items.sort_by_key(Value::to_string);
        }
    }
    spec
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(base in any_spec(), first in any_spec(), second in any_spec()) {
        let object = run(vec![Update("u", base), Apply("m", first, true)]);
        let types = types();
        let once = apply(Some(&object), &config(second.clone()), &ctx(&types, "n", T2), true).unwrap();
        let twice = apply(Some(&once), &config(second), &ctx(&types, "n", T3), false).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn the_object_of_a_sole_applier_is_what_it_applied(first in any_spec(), second in any_spec()) {
        let object = run(vec![Apply("m", first, false), Apply("m", second.clone(), false)]);
        prop_assert_eq!(without_order(object["spec"].clone()), without_order(second));
    }

    #[test]
    fn no_path_has_two_updaters(steps in proptest::collection::vec((any_spec(), 0..3usize), 1..6)) {
        let names = ["u", "v", "w"];
        let object = run(steps.into_iter().map(|(spec, who)| Update(names[who], spec)).collect());
        let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let sets: Vec<FieldSet> =
            list.iter().map(|entry| FieldSet::from_value(&entry["fieldsV1"]).unwrap()).collect();
        for (at, set) in sets.iter().enumerate() {
            for other in sets.iter().skip(at + 1) {
                prop_assert!(set.intersection(other).is_empty());
            }
        }
    }
}
