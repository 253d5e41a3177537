use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Value {
    decode_value(text.as_bytes()).unwrap()
}

#[test]
fn scalars_are_those_of_go_yaml() {
    assert_eq!(
        read("[yes, On, y, NO, off, 'yes', ~, null, '', 0777, 0o17, 0x1F, 0b11, 1_000, -5, 08]"),
        json!([
            true, true, true, false, false, "yes", null, null, "", 511, 15, 31, 3, 1000, -5, 8
        ])
    );
    assert_eq!(
        read("[1.5, 1e3, .5, 1., 12e3, 1:30, 2001-01-01, yEs, 1.2.3, +7, 0x, e3, 18446744073709551615]"),
        json!([
            1.5,
            1000,
            0.5,
            1,
            12000,
            "1:30",
            "2001-01-01",
            "yEs",
            "1.2.3",
            7,
            "0x",
            "e3",
            18446744073709551615.0
        ])
    );
    assert_eq!(
        read("[!!str 1, !!int \"7\", !foo 3, !!binary aGk=]"),
        json!(["1", 7, "3", "hi"])
    );
    assert!(
        decode(b"a: .inf")
            .unwrap_err()
            .to_string()
            .ends_with("json: unsupported value: +Inf")
    );
}

#[test]
fn keys_become_strings() {
    assert_eq!(
        read("on: 1\n2: b\n\"no\": c\n1.5: d\n"),
        json!({"true": 1, "2": "b", "no": "c", "1.5": "d"})
    );
    assert!(decode(b"? [a]\n: 1\n").is_err());
    assert!(decode(b"~: 1\n").is_err());
}

#[test]
fn repeated_keys_are_named_with_their_line_and_the_last_wins() {
    let decoded = decode(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").unwrap();
    assert_eq!(decoded.value, json!({"a": 3, "b": {"c": 2}}));
    assert_eq!(
        decoded.strict.texts(),
        [
            "error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"c\" already set in map\n  line 5: key \"a\" already set in map"
        ]
    );
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "base: &b {x: 1, z: 2}\nmerged:\n  <<: *b\n  z: 3\nsame: *b\n";
    assert_eq!(
        read(text),
        json!({"base": {"x": 1, "z": 2}, "merged": {"x": 1, "z": 3}, "same": {"x": 1, "z": 2}})
    );
    assert!(decode(b"<<: 1\n").is_err());
    assert!(decode(b"a: &x [*x]\n").is_err());
}

#[test]
fn first_document_counts() {
    assert_eq!(read("---\na: 1\n---\nb: 2\n"), json!({"a": 1}));
    assert_eq!(read(""), Value::Null);
    assert_eq!(read("# nothing\n"), Value::Null);
}

#[test]
fn hostile_documents_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(
        decode(bomb.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("excessive aliasing")
    );
    assert!(decode("[".repeat(100_000).as_bytes()).is_err());
    assert!(decode("- ".repeat(100_000).as_bytes()).is_err());
    assert!(decode(b"a: b: c").is_err());
    assert!(decode(b"\xff\xfe\xfd").is_err());
}

#[test]
fn errors_name_the_line() {
    let error = decode(b"a: 1\nb: [1, 2\n").unwrap_err().to_string();
    assert!(
        error.starts_with("error converting YAML to JSON: yaml: line "),
        "{error}"
    );
}

#[test]
fn json_is_read_as_json() {
    let decoded = decode_either(b" {\"a\":1,\"a\":2}").unwrap();
    assert_eq!(decoded.value, json!({"a": 2}));
    assert_eq!(decoded.strict.texts(), ["duplicate field \"a\""]);
    assert_eq!(decode_either(b"a: 1").unwrap().value, json!({"a": 1}));
}

#[test]
fn writes_as_kubectl_shows_it() {
    let object = json!({
        "apiVersion": "v1",
        "data": {"empty": "", "multi": "a\n  b\n", "no": "no", "num": "12", "star": "*", "time": "2026-11-22T17:01:10Z"},
        "kind": "ConfigMap",
        "list": [{"a": 1, "b": [1, 2]}, "x", [], {}, [["y"]]],
        "none": null,
    });
    assert_eq!(
        encode(&object),
        "apiVersion: v1\ndata:\n  empty: \"\"\n  multi: |\n    a\n      b\n  \"no\": \"no\"\n  num: \"12\"\n  star: '*'\n  \
         time: 2026-11-22T17:01:10Z\nkind: ConfigMap\nlist:\n- a: 1\n  b:\n  - 1\n  - 2\n- x\n- []\n- {}\n- - - \"y\"\nnone: null\n"
    );
}

#[test]
fn aliases_do_not_nest_deeper_than_text_may() {
    let doubled = |times: usize| {
        let mut text = format!("a0: &a0 {}1{}\n", "[".repeat(100), "]".repeat(100));
        for level in 1..=times {
            let before = level - 1;
            text += &format!("a{level}: &a{level} {}*a{before}{}\n", "[".repeat(100), "]".repeat(100));
        }
        decode_value(text.as_bytes())
    };
    assert!(doubled(4).is_ok());
    assert!(doubled(5).unwrap_err().to_string().contains("exceeded max depth"));
}

fn any_tree() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        r"[ \t\n:#'|>a-c,\[\]{}&*!%@`?=.-]{0,12}",
        r"[-+0-9_.:eExob]{1,6}",
        r"(yes|no|on|off|true|null|~|<<|\.inf|---|\.\.\.)( .)?",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("integral floats change", |f| f.is_finite() && f.fract() != 0.0)
            .prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_back_what_it_writes(tree in any_tree()) {
        let text = encode(&tree);
        prop_assert_eq!(decode_value(text.as_bytes()), Ok(tree), "{}", text);
    }

    #[test]
    fn never_panics(text in r"[ \t\n:#'|>a-c,\[\]{}&*!%@`?=.<0-9-]{0,40}") {
        let _ = decode(text.as_bytes());
    }
}
