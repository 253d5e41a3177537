use proptest::prelude::*;
use serde_json::json;

use super::*;

// === Encoding by hand ===

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn wrapped(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
    [
        MAGIC.to_vec(),
        field(1, &type_meta),
        field(2, raw),
        field(3, b""),
        field(4, b""),
    ]
    .concat()
}

fn config_map() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "ConfigMap")
}

fn read(version: &str, kind: &str, raw: &[u8]) -> Value {
    decode(&wrapped(version, kind, raw), &config_map()).unwrap()
}

fn refusal(body: &[u8]) -> String {
    decode(body, &config_map()).unwrap_err().0
}

/// Bytes that Go's serializer wrote, and the JSON it writes of the same object; line by line.
fn golden() -> Vec<(Vec<u8>, Value)> {
    let lines: Vec<&str> = include_str!("golden.txt").lines().collect();
    let pairs = lines.chunks_exact(2).map(|pair| {
        let hex = pair[0].as_bytes().chunks_exact(2);
        let bytes = hex.map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
        (bytes.collect(), json::decode_value(pair[1].as_bytes()).unwrap())
    });
    pairs.collect()
}

#[test]
fn reads_what_go_writes() {
    let golden = golden();
    assert_eq!(golden.len(), 16);
    for (bytes, expected) in golden {
        assert_eq!(decode(&bytes, &config_map()).unwrap(), expected);
    }
}

#[test]
fn no_cut_of_a_body_panics() {
    for (bytes, _) in golden() {
        for len in 0..bytes.len() {
            let _ = decode(&bytes[..len], &config_map());
        }
    }
}

#[test]
fn every_kind_has_an_empty_object() {
    let kinds = include_str!("messages.txt")
        .lines()
        .filter_map(|line| line.strip_prefix("kind "));
    for kind in kinds {
        let [version, kind, _] = kind.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{kind}");
        };
        assert_eq!(read(version, kind, b"")["kind"], kind);
    }
}

#[test]
fn reads_options_of_any_version() {
    let raw = [
        int(1, 30),
        field(2, &field(1, b"abc")),
        int(3, 0),
        field(4, b"Foreground"),
        field(5, b"All"),
    ];
    let expected = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 30,
        "preconditions": {"uid": "abc"}, "orphanDependents": false, "propagationPolicy": "Foreground",
        "dryRun": ["All"],
    });
    assert_eq!(read("coordination.k8s.io/v1", "DeleteOptions", &raw.concat()), expected);
    assert_eq!(read("v1", "DeleteOptions", &int(1, u64::MAX))["gracePeriodSeconds"], -1);
}

#[test]
fn an_object_that_does_not_say_what_it_is_is_what_is_expected() {
    let body = [MAGIC, &field(2, &field(2, &[field(1, b"k"), field(2, b"v")].concat()))].concat();
    assert_eq!(
        decode(&body, &config_map()).unwrap(),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"k": "v"}})
    );
}

#[test]
fn empty_values_are_members_where_go_writes_them() {
    let object = read("rbac.authorization.k8s.io/v1", "Role", &field(2, b""));
    assert_eq!(object["rules"], json!([{"verbs": null}]));
    let object = read(
        "v1",
        "ConfigMap",
        &[field(2, b""), field(3, b""), int(4, 0), int(99, 1)].concat(),
    );
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"": ""}, "binaryData": {"": ""},
            "immutable": false})
    );
}

#[test]
fn zero_times_are_left_out() {
    let time = |bytes: &[u8]| {
        read(
            "v1",
            "ConfigMap",
            &field(1, &[field(8, bytes), field(9, bytes)].concat()),
        )
    };
    assert_eq!(time(b"")["metadata"], json!({}));
    let epoch = "1970-01-01T00:00:00Z";
    assert_eq!(
        time(&int(2, 7))["metadata"],
        json!({"creationTimestamp": epoch, "deletionTimestamp": epoch})
    );
}

#[test]
fn refuses_what_is_no_body() {
    assert_eq!(
        refusal(b"{}"),
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    );
    assert_eq!(
        refusal(&wrapped("v1", "Pod", b"")),
        "no kind \"Pod\" is registered for version \"v1\""
    );
    let broken = "proto: the message is cut or broken";
    assert_eq!(
        refusal(b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        broken
    );
    assert_eq!(refusal(&wrapped("v1", "ConfigMap", b"\x0a\x05a")), broken);
    assert_eq!(
        refusal(&wrapped("v1", "ConfigMap", &int(2, 1))),
        "proto: wrong wireType"
    );
    let late = field(1, &field(8, &int(1, 1 << 60)));
    assert_eq!(
        refusal(&wrapped("v1", "ConfigMap", &late)),
        "proto: a time is out of range"
    );
    let managed = field(1, &field(17, &field(7, &field(1, b"{"))));
    assert!(!refusal(&wrapped("v1", "ConfigMap", &managed)).is_empty());
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let mut schema = field(5, b"object");
    for _ in 0..2000 {
        schema = field(28, &schema);
    }
    let version = field(4, &field(1, &schema));
    let crd = wrapped(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &field(2, &field(7, &version)),
    );
    assert_eq!(refusal(&crd), "proto: exceeded max depth");
    let nested = format!("{}{}", "[".repeat(510), "]".repeat(510));
    let managed = field(1, &field(17, &field(7, &field(1, nested.as_bytes()))));
    assert_eq!(refusal(&wrapped("v1", "ConfigMap", &managed)), "exceeded max depth");
    let owners = field(1, &field(13, b"").repeat(200_000));
    assert_eq!(refusal(&wrapped("v1", "ConfigMap", &owners)), "proto: too many values");
}

fn kinds() -> impl Strategy<Value = (String, String)> {
    let all: Vec<(String, String)> = include_str!("messages.txt")
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("kind ")?.split(' ');
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect();
    prop::sample::select(all)
}

/// Bytes that are often messages.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop::collection::vec(any::<u8>(), 0..12);
    leaf.prop_recursive(5, 64, 6, |inner| {
        let one = prop_oneof![
            4 => (1u64..45, inner.clone()).prop_map(|(number, bytes)| field(number, &bytes)),
            1 => (1u64..45, any::<u64>()).prop_map(|(number, value)| int(number, value)),
        ];
        prop::collection::vec(one, 0..6).prop_map(|fields| fields.concat())
    })
}

proptest! {
    #[test]
    fn no_bytes_panic((version, kind) in kinds(), raw in messages(), any in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode(&wrapped(&version, &kind, &raw), &config_map());
        let _ = decode(&wrapped(&version, &kind, &any), &config_map());
        let _ = decode(&[MAGIC, &any].concat(), &config_map());
        let _ = decode(&any, &config_map());
    }
}
