use proptest::prelude::*;
use serde_json::json;

use super::*;

fn error(text: &str) -> String {
    decode(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn malformed_text_is_reported_in_gos_words() {
    for (text, expected) in [
        ("", "unexpected end of JSON input"),
        ("{\"apiVersion\":", "unexpected end of JSON input"),
        ("i", "invalid character 'i' looking for beginning of value"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        (
            "{\"a\":1,}",
            "invalid character '}' looking for beginning of object key string",
        ),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 2", "invalid character '2' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[01]", "invalid character '1' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("tru!", "invalid character '!' in literal true (expecting 'e')"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+x", "invalid character 'x' in exponent of numeric literal"),
        ("\"\n\"", "invalid character '\\n' in string literal"),
        ("\"\\q\"", "invalid character 'q' in string escape code"),
        (
            "\"\\u00g0\"",
            "invalid character 'g' in \\u hexadecimal character escape",
        ),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
        (
            "1e999",
            "json: cannot unmarshal number 1e999 into Go value of type float64",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn body_that_cannot_be_read_is_summarized() {
    let answer = |kind: &str, body: &str| {
        let error = interpret_error(&decode(body.as_bytes()).unwrap_err());
        unrecognized(kind, &error, body.as_bytes()).message
    };
    assert_eq!(
        answer("Namespace", "{\"apiVersion\":"),
        "the object provided is unrecognized (must be of type Namespace): couldn't get version/kind; json parse error: \
         unexpected end of JSON input ({\"apiVersion\":)"
    );
    assert_eq!(
        answer("Widget", "{\"apiVersion\":\"example.io/v1alpha1\",\"kind\":"),
        "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse error: \
         unexpected end of JSON input ({\"apiVersion\":\"example.io/v1al ...)"
    );
    assert!(answer("Widget", "").ends_with("(<empty>)"));
    assert!(answer("Widget", "xyz").ends_with("(78797a)"));
}

#[test]
fn wrong_types_in_type_meta_are_errors() {
    let text = |value: Value| type_meta(&value).unwrap_err().to_string();
    assert_eq!(
        text(json!({"kind": 1})),
        "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string"
    );
    assert!(text(json!([])).contains("cannot unmarshal array into Go value of type struct {"));
    assert_eq!(
        type_meta(&json!({"apiVersion": "a/v1", "kind": "B"})).unwrap(),
        GroupVersionKind::new("a", "v1", "B")
    );
}

#[test]
fn duplicates_are_named_by_path_and_the_last_wins() {
    let body = br#"{"spec":{"size":1,"size":2,"items":[{"a":1},{"a":1,"a":2,"a":3}]},"kind":"A","kind":"B"}"#;
    let decoded = decode(body).unwrap();
    assert_eq!(decoded.duplicates, ["spec.size", "spec.items[1].a", "kind"]);
    assert_eq!(decoded.value["spec"]["size"], 2);
    assert_eq!(decoded.value["kind"], "B");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(decode(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(
        decode(&nested(DEPTH_MAX + 1)).unwrap_err().to_string(),
        "exceeded max depth"
    );
    assert_eq!(
        decode(&vec![b'['; 3 << 20]).unwrap_err().to_string(),
        "exceeded max depth"
    );
    assert_eq!(
        decode(&b"{\"a\":".repeat(1 << 18)).unwrap_err().to_string(),
        "exceeded max depth"
    );
}

#[test]
fn integral_floats_become_integers() {
    let decoded = decode_value(b"[1.0, 1e3, -0, -0.0, 1.5, 9223372036854775807, 9223372036854775808]").unwrap();
    assert_eq!(
        decoded,
        json!([1, 1000, 0, 0, 1.5, i64::MAX, 9_223_372_036_854_775_808.0_f64])
    );
}

#[test]
fn broken_unicode_is_replaced() {
    let decoded =
        decode_value(b"[\"\xff\xfea\", \"\\ud800\", \"\\ud83d\\ude00\", \"\\udc00x\", \"\\ud800\\u0041\"]").unwrap();
    assert_eq!(
        decoded,
        json!(["\u{fffd}\u{fffd}a", "\u{fffd}", "😀", "\u{fffd}x", "\u{fffd}A"])
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("integral floats change", |f| f.is_finite() && f.fract() != 0.0)
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_what_serde_json_writes(value in any_json()) {
        let compact = serde_json::to_vec(&value).unwrap();
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(decode(&compact).unwrap(), Decoded { value: value.clone(), duplicates: Vec::new() });
        prop_assert_eq!(decode_value(&pretty).unwrap(), value);
    }

    #[test]
    fn agrees_with_serde_json_on_what_is_json(text in r#"[\[\]{}:,"\\0-9eE+.\-truefalsn u]{0,24}"#) {
        // serde_json is stricter about surrogates and numbers out of range only.
        if serde_json::from_str::<Value>(&text).is_ok() {
            prop_assert!(decode(text.as_bytes()).is_ok());
        } else if let Ok(decoded) = decode(text.as_bytes()) {
            prop_assert!(text.contains("\\u"), "{text} read as {decoded:?}");
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode(&bytes);
    }
}
