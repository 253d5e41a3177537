use serde_json::json;

use super::*;

fn wire(manager: &str, operation: &str, time: Option<&str>, subresource: &str) -> Value {
    let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:a": {}}});
    if let Some(time) = time {
        entry["time"] = json!(time);
    }
    if !subresource.is_empty() {
        entry["subresource"] = json!(subresource);
    }
    entry
}

#[test]
fn entries_sort_by_operation_time_and_names() {
    let (t1, t2) = (Some("2026-01-01T00:00:01Z"), Some("2026-01-01T00:00:02Z"));
    let sorted = [
        wire("z", "Apply", None, ""),
        wire("b", "Apply", t1, ""),
        wire("a", "Apply", t2, ""),
        wire("b", "Update", t1, ""),
        wire("b", "Update", t1, "status"),
        wire("c", "Update", t1, ""),
        wire("a", "Update", t2, ""),
    ];
    let mut shuffled = sorted.to_vec();
    shuffled.reverse();
    assert_eq!(
        Entries::decode(shuffled).unwrap().encode().unwrap(),
        Value::Array(sorted.to_vec())
    );
}

#[test]
fn the_later_of_two_entries_of_one_manager_wins() {
    let mut second = wire("a", "Apply", None, "");
    second["apiVersion"] = json!("v2");
    let entries = Entries::decode(vec![wire("a", "Apply", None, ""), second.clone()]).unwrap();
    assert_eq!(entries.encode().unwrap(), json!([second]));
}

#[test]
fn broken_entries_say_what_is_wrong() {
    let with = |key: &str, value: Value| {
        let mut entry = wire("a", "Apply", None, "");
        entry[key] = value;
        json!([entry])
    };
    let cases = [
        (
            with("operation", json!("Other")),
            "operation must be `Apply` or `Update`",
        ),
        (with("apiVersion", json!("")), "apiVersion must not be empty"),
        (
            with("fieldsType", json!("")),
            "missing fieldsType in managed fields entry 0",
        ),
        (
            with("fieldsType", json!("V2")),
            "invalid fieldsType \"V2\" in managed fields entry 0",
        ),
        (
            with("fieldsV1", json!({"f": {}})),
            "error decoding set: key must be 2 characters long:",
        ),
        (json!({}), "managedFields must be a list"),
    ];
    for (list, text) in cases {
        assert_eq!(validate(&list).unwrap_err(), text);
    }
    assert_eq!(validate(&json!(null)), Ok(()));
    assert_eq!(validate(&with("fieldsV1", json!(null))), Ok(()));
}

#[test]
fn an_entry_of_old_changes_takes_in_more() {
    let mut list: Vec<Value> = (0..12)
        .map(|n| {
            wire(
                &format!("m{n:02}"),
                "Update",
                Some(&format!("2026-01-01T00:00:{n:02}Z")),
                "",
            )
        })
        .collect();
    list.push(wire("ancient-changes", "Update", Some("2026-01-01T00:00:01Z"), ""));
    list.push(wire("applier", "Apply", Some("2026-01-01T00:00:00Z"), ""));
    let mut entries = Entries::decode(list).unwrap();
    entries.cap_updaters();
    let list = entries.encode().unwrap();
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "applier",
            "ancient-changes",
            "m03",
            "m04",
            "m05",
            "m06",
            "m07",
            "m08",
            "m09",
            "m10",
            "m11"
        ]
    );
    assert_eq!(list[1]["time"], "2026-01-01T00:00:02Z");
}
