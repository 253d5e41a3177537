use std::sync::Arc;

use serde_json::json;

use super::*;

mod applying;
mod golden;
mod speed;

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";
const T3: &str = "2026-01-01T00:00:03Z";

/// Versions that differ in nothing but their schema: a CRD's conversion strategy `None`.
struct SameShape {
    versions: Vec<(String, Arc<ObjectType>)>,
}

impl SameShape {
    fn new(versions: impl IntoIterator<Item = (String, Arc<ObjectType>)>) -> Self {
        Self {
            versions: versions.into_iter().collect(),
        }
    }
}

impl Versions for SameShape {
    fn types(&self, api_version: &str) -> Option<&ObjectType> {
        self.versions
            .iter()
            .find(|(name, _)| name == api_version)
            .map(|(_, types)| &**types)
    }

    fn convert<'a>(&self, object: &'a Value, api_version: &str) -> Option<Cow<'a, Value>> {
        self.types(api_version)?;
        if object.api_version() == api_version {
            return Some(Cow::Borrowed(object));
        }
        let mut converted = object.clone();
        converted.set_at(&["apiVersion"], api_version.into());
        Some(Cow::Owned(converted))
    }
}

fn config_map_type() -> ObjectType {
    ObjectType::structural(Arc::new(json!({"type": "object", "properties": {
        "data": {"type": "object", "additionalProperties": {"type": "string"}},
        "immutable": {"type": "boolean"},
    }})))
}

fn ctx<'a>(types: &'a ObjectType, manager: &'a str, now: &'a str) -> ManagedCtx<'a> {
    ManagedCtx {
        manager,
        subresource: "",
        api_version: "v1",
        kind: "ConfigMap",
        now,
        types,
        reset_fields: None,
        versions: None,
    }
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default", "uid": "u"}, "data": data})
}

fn created(manager: &str, data: Value) -> Value {
    let mut object = config_map(data);
    update(None, &mut object, &ctx(&config_map_type(), manager, T1));
    object
}

/// `data` replaced by a manager, the rest as it was.
fn written(live: &Value, manager: &str, now: &str, data: Value) -> Value {
    let mut object = live.clone();
    object["data"] = data;
    update(Some(live), &mut object, &ctx(&config_map_type(), manager, now));
    object
}

fn fields(object: &Value, manager: &str) -> Value {
    let list = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut found = list.iter().filter(|entry| entry["manager"] == manager);
    let fields = found.next().map_or(Value::Null, |entry| entry["fieldsV1"].clone());
    assert!(found.next().is_none(), "more than one entry of {manager}");
    fields
}

fn managers(object: &Value) -> Vec<(String, String)> {
    let list = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter()
        .map(|entry| (text(&entry["manager"]), text(&entry["time"])))
        .collect()
}

#[test]
fn creating_owns_everything_but_identity() {
    let mut object = config_map(json!({"a": "1"}));
    object["metadata"]["labels"] = json!({"app": "x"});
    object["metadata"]["finalizers"] = json!(["x/y"]);
    object["metadata"]["generateName"] = json!("x");
    object["metadata"]["managedFields"] = json!(null);
    update(None, &mut object, &ctx(&config_map_type(), "creator", T1));
    let expected = json!([{"manager": "creator", "operation": "Update", "apiVersion": "v1", "time": T1,
    "fieldsType": "FieldsV1", "fieldsV1": {
        "f:data": {".": {}, "f:a": {}},
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:generateName": {},
            "f:finalizers": {".": {}, "v:\"x/y\"": {}}},
    }}]);
    assert_eq!(object["metadata"]["managedFields"], expected);
}

#[test]
fn an_unnamed_manager_is_unknown() {
    assert_eq!(
        managers(&created("", json!({"a": "1"}))),
        [("unknown".to_owned(), T1.to_owned())]
    );
}

#[test]
fn changing_takes_ownership_and_the_rest_stays() {
    let live = created("one", json!({"a": "1", "b": "1"}));
    let object = written(&live, "two", T2, json!({"a": "2", "b": "1", "c": "1"}));
    assert_eq!(fields(&object, "one"), json!({"f:data": {".": {}, "f:b": {}}}));
    assert_eq!(fields(&object, "two"), json!({"f:data": {"f:a": {}, "f:c": {}}}));
    assert_eq!(
        managers(&object),
        [("one".to_owned(), T1.to_owned()), ("two".to_owned(), T2.to_owned())]
    );
}

#[test]
fn removing_is_recorded_by_nobody() {
    let live = created("one", json!({"a": "1", "b": "1"}));
    let object = written(&live, "two", T2, json!({"a": "1"}));
    assert_eq!(fields(&object, "one"), json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(managers(&object), [("one".to_owned(), T1.to_owned())]);
}

#[test]
fn changing_nothing_changes_no_time() {
    let live = created("one", json!({"a": "1"}));
    for sent in [live["metadata"]["managedFields"].clone(), json!(null)] {
        let mut object = live.clone();
        object["metadata"]["managedFields"] = sent;
        update(Some(&live), &mut object, &ctx(&config_map_type(), "two", T2));
        assert_eq!(object, live);
    }
    let mut without = live.clone();
    without.meta_mut().remove("managedFields");
    update(Some(&live), &mut without, &ctx(&config_map_type(), "two", T2));
    assert_eq!(without, live);
}

#[test]
fn own_changes_move_the_time_only_when_something_was_set() {
    let live = created("one", json!({"a": "1", "b": "1"}));
    assert_eq!(
        managers(&written(&live, "one", T2, json!({"a": "2", "b": "1"}))),
        [("one".into(), T2.into())]
    );
    assert_eq!(
        managers(&written(&live, "one", T2, json!({"a": "1"}))),
        [("one".into(), T1.into())]
    );
}

#[test]
fn a_manager_left_with_nothing_goes() {
    let live = created("one", json!({"a": "1"}));
    let live = written(&live, "two", T2, json!({"a": "1", "b": "1"}));
    let object = written(&live, "three", T3, json!({"a": "1"}));
    assert_eq!(managers(&object), [("one".into(), T1.into())]);
}

#[test]
fn clearing_stops_tracking_until_the_next_apply() {
    let live = created("one", json!({"a": "1"}));
    for clearing in [json!([]), json!([{}])] {
        let mut object = live.clone();
        object["metadata"]["managedFields"] = clearing;
        update(Some(&live), &mut object, &ctx(&config_map_type(), "two", T2));
        assert!(object["metadata"].get("managedFields").is_none());
        let again = written(&object, "two", T2, json!({"a": "2"}));
        assert!(again["metadata"].get("managedFields").is_none());
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"b": "1"}});
        let applied = apply(Some(&again), &config, &ctx(&config_map_type(), "applier", T3), false).unwrap();
        assert_eq!(
            fields(&applied, "before-first-apply"),
            json!({"f:data": {".": {}, "f:a": {}}})
        );
        assert_eq!(fields(&applied, "applier"), json!({"f:data": {"f:b": {}}}));
    }
}

#[test]
fn clearing_on_create_tracks_nevertheless() {
    let mut object = config_map(json!({"a": "1"}));
    object["metadata"]["managedFields"] = json!([]);
    update(None, &mut object, &ctx(&config_map_type(), "one", T1));
    assert_eq!(managers(&object), [("one".into(), T1.into())]);
}

#[test]
fn sent_managed_fields_are_taken_unless_they_are_broken_or_on_a_subresource() {
    let live = created("one", json!({"a": "1"}));
    let entry = |manager: &str, kind: &str| {
        json!([{"manager": manager, "operation": "Update", "apiVersion": "v1", "time": T1, "fieldsType": kind, "junk": 1,
            "fieldsV1": {"f:data": {"f:a": {}}}}])
    };
    let send = |list: Value, subresource: &'static str| {
        let types = config_map_type();
        let mut object = live.clone();
        object["metadata"]["managedFields"] = list;
        update(
            Some(&live),
            &mut object,
            &ManagedCtx {
                subresource,
                ..ctx(&types, "two", T2)
            },
        );
        object
    };
    let taken = send(entry("other", "FieldsV1"), "");
    assert_eq!(managers(&taken), [("other".into(), T1.into())]);
    assert!(taken["metadata"]["managedFields"][0].get("junk").is_none());
    assert_eq!(send(entry("other", "FieldsV9"), ""), live);
    assert_eq!(send(entry("other", "FieldsV1"), "status"), live);
    assert_eq!(send(json!([]), "status"), live);
}

#[test]
fn reset_fields_are_owned_by_nobody() {
    let types = ObjectType::deduced();
    let status = FieldSet::of_fields(&[&["status"]]);
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "spec": {"a": 1}, "status": {"b": 1}});
    update(
        None,
        &mut object,
        &ManagedCtx {
            reset_fields: Some(&status),
            ..ctx(&types, "one", T1)
        },
    );
    assert_eq!(fields(&object, "one"), json!({"f:spec": {".": {}, "f:a": {}}}));
    let live = object;
    let mut object = live.clone();
    object["status"]["b"] = json!(2);
    update(
        Some(&live),
        &mut object,
        &ManagedCtx {
            reset_fields: Some(&status),
            ..ctx(&types, "two", T2)
        },
    );
    assert_eq!(managers(&object), [("one".into(), T1.into())]);
    // Through the subresource it is the status that counts.
    let rest = FieldSet::of_fields(&[&["metadata"], &["spec"]]);
    let mut object = live.clone();
    object["status"]["b"] = json!(3);
    object["spec"]["a"] = json!(3);
    let through = ManagedCtx {
        reset_fields: Some(&rest),
        subresource: "status",
        ..ctx(&types, "one", T2)
    };
    update(Some(&live), &mut object, &through);
    let entries = &object["metadata"]["managedFields"];
    assert_eq!(entries[0]["fieldsV1"], json!({"f:spec": {".": {}, "f:a": {}}}));
    assert_eq!(entries[1]["fieldsV1"], json!({"f:status": {"f:b": {}}}));
    assert_eq!(entries[1]["subresource"], "status");
}

#[test]
fn more_than_ten_updaters_merge_the_oldest() {
    let mut live = created("m00", json!({"k00": "0"}));
    for n in 1..12 {
        let mut data = live["data"].clone();
        data[format!("k{n:02}")] = json!("0");
        let now = format!("2026-01-01T00:01:{n:02}Z");
        live = written(&live, &format!("m{n:02}"), &now, data);
    }
    let names: Vec<String> = managers(&live).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(names[0], "ancient-changes");
    assert_eq!(
        fields(&live, "ancient-changes"),
        json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}}})
    );
    assert_eq!(live["metadata"]["managedFields"][0]["time"], "2026-01-01T00:01:02Z");
}

#[test]
fn a_type_that_became_atomic_is_owned_as_a_whole() {
    let live = {
        let mut object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"uid": "u"}, "data": {"a": "1"}, "s": "1"});
        update(None, &mut object, &ctx(&ObjectType::deduced(), "one", T1));
        object
    };
    let atomic = ObjectType::structural(Arc::new(
        json!({"type": "object", "properties": {"s": {"type": "string"},
        "data": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}}}}),
    ));
    let mut object = live.clone();
    object["s"] = json!("2");
    update(Some(&live), &mut object, &ctx(&atomic, "two", T2));
    assert_eq!(fields(&object, "one"), json!({"f:data": {}}));
    assert_eq!(fields(&object, "two"), json!({"f:s": {}}));
}

#[test]
fn managers_of_other_versions_stay_if_the_version_is_served() {
    let live = created("one", json!({"a": "1", "b": "1"}));
    let types = config_map_type();
    let served = SameShape::new([
        ("v1".to_owned(), Arc::new(config_map_type())),
        ("v2".to_owned(), Arc::new(config_map_type())),
    ]);
    let in_v2 = |versions: Option<&dyn Versions>| {
        let mut before = live.clone();
        before["apiVersion"] = json!("v2");
        let mut object = before.clone();
        object["data"] = json!({"a": "2", "b": "1"});
        update(
            Some(&before),
            &mut object,
            &ManagedCtx {
                versions,
                api_version: "v2",
                ..ctx(&types, "two", T2)
            },
        );
        object
    };
    let object = in_v2(Some(&served));
    assert_eq!(fields(&object, "one"), json!({"f:data": {".": {}, "f:b": {}}}));
    assert_eq!(fields(&object, "two"), json!({"f:data": {"f:a": {}}}));
    assert_eq!(managers(&in_v2(None)), [("two".into(), T2.into())]);
}

#[test]
fn what_cannot_be_computed_keeps_the_live_fields() {
    let types = ObjectType::structural(Arc::new(json!({"type": "object", "properties": {"l": {"type": "array",
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object"}}}})));
    let mut live = json!({"apiVersion": "v1", "kind": "X", "metadata": {"uid": "u"}, "l": [{"k": 1}]});
    update(None, &mut live, &ctx(&types, "one", T1));
    let mut object = live.clone();
    object["l"] = json!([{"no": "key"}]);
    update(Some(&live), &mut object, &ctx(&types, "two", T2));
    assert_eq!(object["metadata"]["managedFields"], live["metadata"]["managedFields"]);
}

#[test]
fn times_alone_are_no_change() {
    let live = created("one", json!({"a": "1"}));
    let mut later = live.clone();
    later["metadata"]["managedFields"][0]["time"] = json!(T2);
    let mut object = later.clone();
    keep_times(&live, &mut object);
    assert_eq!(object, live);
    later["data"]["a"] = json!("2");
    let mut object = later.clone();
    keep_times(&live, &mut object);
    assert_eq!(object, later);
}
