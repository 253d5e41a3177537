use proptest::prelude::*;
use serde_json::json;

use super::*;

fn found(path: &str) -> Vec<String> {
    let document = json!({
        "metadata": {"name": "x", "annotations": {"kcp.io/path": "root:a"}},
        "spec": {"size": 3, "list": [1, 2, 3, 4]},
        "status": {"conditions": [
            {"type": "Ready", "status": "True", "weight": 2},
            {"type": "Other", "status": "False", "reason": "a]b"},
        ]},
    });
    JsonPath::parse(path)
        .unwrap()
        .find(&document)
        .into_iter()
        .map(text)
        .collect()
}

#[test]
fn paths_find_fields_and_items() {
    for (path, expected) in [
        (".metadata.name", vec!["x"]),
        ("metadata.name", vec!["x"]),
        ("{.metadata.name}", vec!["x"]),
        ("$.metadata.name", vec!["x"]),
        (r".metadata.annotations.kcp\.io/path", vec!["root:a"]),
        (".metadata.annotations['kcp.io/path']", vec!["root:a"]),
        (".metadata.annotations[\"kcp.io/path\"]", vec!["root:a"]),
        ("['spec']['size']", vec!["3"]),
        (".spec.list[0]", vec!["1"]),
        (".spec.list[-1]", vec!["4"]),
        (".spec.list[1:3]", vec!["2", "3"]),
        (".spec.list[::2]", vec!["1", "3"]),
        (".spec.list[-2:]", vec!["3", "4"]),
        (".spec.list[0,2]", vec!["1", "3"]),
        (".spec['size','list'][0]", vec!["1"]),
        (".spec.list[*]", vec!["1", "2", "3", "4"]),
        (".status.conditions[*].type", vec!["Ready", "Other"]),
        ("..type", vec!["Ready", "Other"]),
        (".spec.*", vec!["[1,2,3,4]", "3"]),
        (".spec.none.deeper", vec![]),
        (".spec.list[9]", vec![]),
        (".metadata.name.deeper", vec![]),
    ] {
        assert_eq!(found(path), expected, "{path}");
    }
}

#[test]
fn filters_compare_members() {
    for (path, expected) in [
        (".status.conditions[?(@.type==\"Ready\")].status", vec!["True"]),
        (".status.conditions[?(@.type == 'Ready')].status", vec!["True"]),
        (".status.conditions[?(@.type!='Ready')].status", vec!["False"]),
        (".status.conditions[?(@.reason==\"a]b\")].type", vec!["Other"]),
        (".status.conditions[?(@.reason)].type", vec!["Other"]),
        (".status.conditions[?(@.weight>=2)].type", vec!["Ready"]),
        (".status.conditions[?(@.weight<2)].type", vec![]),
        (".spec.list[?(@>2)]", vec!["3", "4"]),
        (".spec.list[?(@==$.spec.size)]", vec!["3"]),
        (".status.conditions[?(.type==\"Ready\")].status", vec!["True"]),
    ] {
        assert_eq!(found(path), expected, "{path}");
    }
}

#[test]
fn malformed_paths_are_refused() {
    for path in [
        ".a[",
        ".a[x]",
        ".a[?(@.b==)]",
        ".a b",
        ".a]",
        ".a[::0]",
        "a\\",
        ".a[?(b)]",
        ".a{",
        ".a[0]b",
    ] {
        assert!(JsonPath::parse(path).is_err(), "{path}");
    }
    let deep = format!("{}{}", ".a[?(@".repeat(100), ")]".repeat(100));
    assert!(JsonPath::parse(&deep).is_err());
}

#[test]
fn recursion_is_bounded() {
    let path = JsonPath::parse("..").unwrap();
    let wide: Value = (0..1000).collect::<Vec<i64>>().into();
    assert_eq!(path.find(&wide).len(), 1001);
    let explosive = JsonPath::parse("..[*]..[*]..[*]..[*]").unwrap();
    let mut deep = json!([]);
    for _ in 0..200 {
        deep = json!([deep, 1, 2, 3]);
    }
    let _bounded = explosive.find(&deep);
}

proptest! {
    #[test]
    fn never_panics(path in r"[.\[\]?()@$a-b'*0-9:,=<>!\\ -]{0,24}") {
        if let Ok(path) = JsonPath::parse(&path) {
            let _ = path.find(&json!({"a": [{"b": 1}, {"b": 2}], "b": {"a": []}}));
        }
    }
}
