//! Server-side apply.

use super::*;

mod client_side;
mod laws;

fn types() -> ObjectType {
    let string = json!({"type": "string"});
    ObjectType::structural(Arc::new(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": string, "b": string, "n": {"type": "integer"},
            "map": {"type": "object", "additionalProperties": string},
            "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": string},
            "plain": {"type": "array", "items": string},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": string},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "properties": {"port": {"type": "integer"},
                    "protocol": {"type": "string", "default": "TCP"}, "name": string, "nested": {"type": "object",
                    "additionalProperties": string}}}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}}}),
    ))
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "spec": spec})
}

enum Step {
    /// Applies; `true`: forced.
    Apply(&'static str, Value, bool),
    /// Replaces `spec` by an update.
    Update(&'static str, Value),
    /// Applies and fails with conflicts at these paths.
    Conflict(&'static str, Value, &'static str),
}

use Step::{Apply, Conflict, Update};

/// Runs the steps and returns the object.
fn run(steps: Vec<Step>) -> Value {
    let types = types();
    let mut live: Option<Value> = None;
    for (number, step) in steps.into_iter().enumerate() {
        let now = format!("2026-01-01T00:00:{number:02}Z");
        let before = live.clone();
        live = Some(match step {
            Apply(manager, spec, force) => {
                apply(before.as_ref(), &config(spec), &ctx(&types, manager, &now), force).expect("applies")
            }
            Update(manager, spec) => {
                let mut object = before.clone().unwrap_or_else(|| config(json!({})));
                object["spec"] = spec;
                update(before.as_ref(), &mut object, &ctx(&types, manager, &now));
                object
            }
            Conflict(manager, spec, paths) => {
                let refused = apply(before.as_ref(), &config(spec), &ctx(&types, manager, &now), false).unwrap_err();
                let causes = refused.details.unwrap().causes;
                let found: Vec<String> = causes.into_iter().map(|cause| cause.field).collect();
                assert_eq!(found.join(" "), paths);
                continue;
            }
        });
    }
    live.unwrap()
}

#[test]
fn applied_configurations_merge_and_prune() {
    let p = |port: u16, name: &str| json!({"port": port, "name": name});
    let cases = [
        (
            "what is no longer applied goes",
            vec![
                Apply("m", json!({"a": "1", "b": "1"}), false),
                Apply("m", json!({"a": "1"}), false),
            ],
            json!({"a": "1"}),
        ),
        (
            "what another applied, too, stays",
            vec![
                Apply("m", json!({"a": "1", "b": "1"}), false),
                Apply("o", json!({"b": "1"}), false),
                Apply("m", json!({"a": "1"}), false),
            ],
            json!({"a": "1", "b": "1"}),
        ),
        (
            "what another wrote since stays",
            vec![
                Apply("m", json!({"a": "1", "b": "1"}), false),
                Update("u", json!({"a": "1", "b": "2"})),
                Apply("m", json!({"a": "1"}), false),
            ],
            json!({"a": "1", "b": "2"}),
        ),
        (
            "what only an update set stays",
            vec![
                Update("u", json!({"a": "1", "b": "1"})),
                Apply("m", json!({"n": 1}), false),
                Apply("m", json!({}), false),
            ],
            json!({"a": "1", "b": "1"}),
        ),
        (
            "the last of those sharing takes it along",
            vec![
                Apply("m", json!({"a": "1", "n": 1}), false),
                Apply("o", json!({"a": "1", "n": 1}), false),
                Apply("m", json!({"n": 1}), false),
                Apply("o", json!({"n": 1}), false),
            ],
            json!({"n": 1}),
        ),
        (
            "maps are owned by key",
            vec![
                Apply("m", json!({"map": {"x": "1", "y": "1"}}), false),
                Apply("o", json!({"map": {"z": "1"}}), false),
                Apply("m", json!({"map": {"x": "1"}}), false),
            ],
            json!({"map": {"x": "1", "z": "1"}}),
        ),
        (
            "sets are owned by item",
            vec![
                Apply("m", json!({"set": ["a", "b"]}), false),
                Apply("o", json!({"set": ["c"]}), false),
                Apply("m", json!({"set": ["b"]}), false),
            ],
            json!({"set": ["b", "c"]}),
        ),
        (
            "items of keyed lists go as a whole",
            vec![
                Apply("m", json!({"ports": [p(80, "a"), p(81, "b")]}), false),
                Apply("o", json!({"ports": [p(82, "c")]}), false),
                Apply("m", json!({"ports": [p(81, "b")]}), false),
            ],
            json!({"ports": [p(81, "b"), p(82, "c")]}),
        ),
        (
            "an item another owns a field of stays with that",
            vec![
                Apply("m", json!({"ports": [{"port": 80, "name": "a"}]}), false),
                Apply("o", json!({"ports": [{"port": 80, "nested": {"k": "v"}}]}), false),
                Apply("m", json!({}), false),
            ],
            json!({"ports": [{"port": 80, "nested": {"k": "v"}}]}),
        ),
        (
            "a struct nobody owns anything in goes with its last field",
            vec![
                Apply("m", json!({"map": {"x": "1"}, "a": "1"}), false),
                Apply("m", json!({"a": "1"}), false),
            ],
            json!({"a": "1"}),
        ),
        (
            "a map another made stays when it is emptied",
            vec![
                Update("u", json!({"map": {}})),
                Apply("m", json!({"map": {"x": "1"}}), false),
                Apply("m", json!({}), false),
            ],
            json!({"map": {}}),
        ),
    ];
    for (rule, steps, expected) in cases {
        assert_eq!(run(steps)["spec"], expected, "{rule}");
    }
}

#[test]
fn conflicts_arise_where_values_differ() {
    let cases = [
        (
            "a conflict names the field, and force takes it",
            vec![
                Apply("m", json!({"a": "1"}), false),
                Conflict("o", json!({"a": "2"}), ".spec.a"),
                Apply("o", json!({"a": "2"}), true),
                Apply("m", json!({}), false),
            ],
            json!({"a": "2"}),
        ),
        (
            "the same value is no conflict",
            vec![
                Apply("m", json!({"a": "1"}), false),
                Apply("o", json!({"a": "1"}), false),
                Apply("m", json!({}), false),
            ],
            json!({"a": "1"}),
        ),
        (
            "atomic maps are owned as a whole",
            vec![
                Apply("m", json!({"atom": {"x": "1"}}), false),
                Conflict("o", json!({"atom": {"y": "1"}}), ".spec.atom"),
                Apply("o", json!({"atom": {"y": "1"}}), true),
            ],
            json!({"atom": {"y": "1"}}),
        ),
        (
            "so are plain lists",
            vec![
                Apply("m", json!({"plain": ["a"]}), false),
                Conflict("o", json!({"plain": ["b"]}), ".spec.plain"),
            ],
            json!({"plain": ["a"]}),
        ),
        (
            "absent keys take their default",
            vec![
                Apply("m", json!({"ports": [{"port": 80, "name": "x"}]}), false),
                Apply(
                    "o",
                    json!({"ports": [{"port": 80, "protocol": "TCP", "nested": {"k": "v"}}]}),
                    false,
                ),
                Apply("m", json!({"ports": [{"port": 80, "name": "y"}]}), false),
                Conflict(
                    "o",
                    json!({"ports": [{"port": 80, "name": "z"}]}),
                    ".spec.ports[port=80,protocol=\"TCP\"].name",
                ),
            ],
            json!({"ports": [{"port": 80, "protocol": "TCP", "name": "y", "nested": {"k": "v"}}]}),
        ),
        (
            "unknown types are deduced",
            vec![
                Apply("m", json!({"any": {"x": {"y": "1", "z": [1]}}}), false),
                Apply("o", json!({"any": {"x": {"w": "1"}}}), false),
                Conflict("o", json!({"any": {"x": {"w": "1", "z": [2]}}}), ".spec.any.x.z"),
                Apply("m", json!({"any": {"x": {"y": "1"}}}), false),
            ],
            json!({"any": {"x": {"y": "1", "w": "1"}}}),
        ),
        (
            "updates after an apply are conflicts for it",
            vec![
                Apply("m", json!({"a": "1"}), false),
                Update("u", json!({"a": "2"})),
                Conflict("m", json!({"a": "1"}), ".spec.a"),
                Apply("m", json!({"a": "2"}), false),
            ],
            json!({"a": "2"}),
        ),
    ];
    for (rule, steps, expected) in cases {
        assert_eq!(run(steps)["spec"], expected, "{rule}");
    }
}

#[test]
fn conflicts_are_listed_by_owner() {
    let live = run(vec![
        Apply("b", json!({"a": "1"}), false),
        Apply("a", json!({"b": "1", "map": {"x": "1"}}), false),
        Update("u", json!({"a": "1", "b": "1", "map": {"x": "1"}, "n": 1})),
    ]);
    let wanted = config(json!({"a": "2", "b": "2", "map": {"x": "2"}, "n": 2}));
    let refused = apply(Some(&live), &wanted, &ctx(&types(), "c", T1), false).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, Reason::Conflict));
    assert_eq!(
        refused.message,
        "Apply failed with 4 conflicts: conflicts with \"a\":\n- .spec.b\n- .spec.map.x\nconflicts with \"b\":\n- .spec.a\n\
         conflicts with \"u\" using v1:\n- .spec.n"
    );
    let causes = refused.details.unwrap().causes;
    assert_eq!(causes.len(), 4);
    assert_eq!(causes[3].message, "conflict with \"u\" using v1");
    assert_eq!(causes[3].reason, "FieldManagerConflict");
}

#[test]
fn creates_and_records() {
    let spec = json!({"set": ["a"], "ports": [{"port": 80}], "map": {}, "atom": {"x": "1"}});
    let object = run(vec![Apply("m", spec, false)]);
    let expected = json!([{"manager": "m", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
    "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {
        "f:atom": {}, "f:map": {},
        "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
        "f:set": {"v:\"a\"": {}},
    }}}]);
    assert_eq!(object["metadata"]["managedFields"], expected);
    assert_eq!(object["metadata"]["name"], "x");
}

#[test]
fn applying_the_same_changes_nothing() {
    let steps = || {
        vec![
            Update("u", json!({"a": "1"})),
            Apply("m", json!({"a": "1", "map": {"x": "1"}}), false),
        ]
    };
    let mut again = steps();
    again.push(Apply("m", json!({"a": "1", "map": {"x": "1"}}), false));
    assert_eq!(run(again), run(steps()));
}

#[test]
fn sharing_what_is_there_sets_no_time() {
    let object = run(vec![
        Apply("m", json!({"a": "1"}), false),
        Apply("o", json!({"a": "1"}), false),
    ]);
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert!(
        entries
            .iter()
            .any(|entry| entry["manager"] == "o" && entry.get("time").is_none())
    );
}

#[test]
fn an_update_takes_from_appliers() {
    let object = run(vec![
        Apply("m", json!({"a": "1", "b": "1"}), false),
        Update("u", json!({"a": "2", "b": "1"})),
    ]);
    assert_eq!(fields(&object, "m"), json!({"f:spec": {"f:b": {}}}));
    assert_eq!(fields(&object, "u"), json!({"f:spec": {"f:a": {}}}));
}

#[test]
fn a_manager_may_apply_and_update() {
    let object = run(vec![
        Apply("m", json!({"a": "1"}), false),
        Update("m", json!({"a": "1", "b": "1"})),
    ]);
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let operations: Vec<&str> = entries.iter().filter_map(|entry| entry["operation"].as_str()).collect();
    assert_eq!(operations, ["Apply", "Update"]);
}

#[test]
fn reset_fields_are_not_claimed_by_applying() {
    let types = types();
    let reset = FieldSet::of_fields(&[&["spec", "a"]]);
    let ctx = ManagedCtx {
        reset_fields: Some(&reset),
        ..ctx(&types, "m", T1)
    };
    let object = apply(None, &config(json!({"a": "1", "b": "1"})), &ctx, false).unwrap();
    assert_eq!(fields(&object, "m"), json!({"f:spec": {"f:b": {}}}));
}

#[test]
fn refuses_what_is_no_configuration_of_the_kind() {
    let live = run(vec![Apply("m", json!({"a": "1"}), false)]);
    let refuse = |config: Value| apply(Some(&live), &config, &ctx(&types(), "m", T1), false).unwrap_err();
    let mut other = config(json!({}));
    other["kind"] = json!("Other");
    assert_eq!(refuse(other).message, "invalid object type: /v1, Kind=Other");
    let mut other = config(json!({}));
    other["apiVersion"] = json!("apps/v1");
    let refused = refuse(other);
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (400, "invalid object type: apps/v1, Kind=ConfigMap")
    );
    let mut owned = config(json!({}));
    owned["metadata"]["managedFields"] = json!([]);
    let refused = refuse(owned);
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (400, "metadata.managedFields must be nil")
    );
    let texts = [
        (json!({"zzz": 1}), ".spec.zzz: field not declared in schema"),
        (
            json!({"n": "x"}),
            ".spec.n: expected numeric (int or float), got string",
        ),
        (json!({"map": 1}), ".spec.map: expected map, got &{1}"),
        (
            json!({"set": ["a", "a"]}),
            ".spec.set: duplicate entries for key [=\"a\"]",
        ),
        (
            json!({"ports": [{"name": "x", "protocol": null}, 1]}),
            ".spec.ports: element 1: associative list with keys may not have non-map elements",
        ),
    ];
    for (spec, text) in texts {
        let refused = refuse(config(spec));
        assert_eq!(refused.code, 500);
        assert_eq!(
            refused.message,
            format!("failed to create typed patch object (/x; /v1, Kind=ConfigMap): {text}")
        );
    }
}

#[test]
fn broken_live_fields_refuse_the_apply() {
    let mut live = config(json!({}));
    live["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let refused = apply(Some(&live), &config(json!({})), &ctx(&types(), "m", T1), false).unwrap_err();
    assert_eq!(
        refused.message,
        "failed to decode managed fields: operation must be `Apply` or `Update`"
    );
}

#[test]
fn an_applied_version_may_change() {
    let types = types();
    let mut live = run(vec![Apply("m", json!({"a": "1", "b": "1"}), false)]);
    live["apiVersion"] = json!("v2");
    let mut wanted = config(json!({"a": "1"}));
    wanted["apiVersion"] = json!("v2");
    let both = SameShape::new(["v1", "v2"].map(|version| (version.to_owned(), Arc::new(self::types()))));
    let in_v2 = ManagedCtx {
        api_version: "v2",
        versions: Some(&both),
        ..ctx(&types, "m", T2)
    };
    let object = apply(Some(&live), &wanted, &in_v2, false).unwrap();
    assert_eq!(object["spec"], json!({"a": "1"}));
    assert_eq!(object["apiVersion"], "v2");
    assert_eq!(managers(&object), [("m".into(), T2.into())]);
    assert_eq!(object["metadata"]["managedFields"][0]["apiVersion"], "v2");
    // Without the old version nothing is known of what was applied: it stays.
    let alone = ManagedCtx {
        versions: None,
        ..in_v2
    };
    assert_eq!(
        apply(Some(&live), &wanted, &alone, false).unwrap()["spec"],
        json!({"a": "1", "b": "1"})
    );
}
