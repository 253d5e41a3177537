//! `DeleteOptions` in protobuf: stock typed clients send nothing else with a delete, and it is all they send.

use machinery::status::{Result, Status};
use serde_json::{Map, Value, json};

/// What precedes every protobuf object of Kubernetes.
const MAGIC: &[u8] = b"k8s\0";

/// A field: its number, and its value.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The tree of a `runtime.Unknown` that wraps `meta.v1.DeleteOptions`.
pub(super) fn delete_options(body: &[u8]) -> Result<Value> {
    decode(body).ok_or_else(|| Status::bad_request("the body is not DeleteOptions in protobuf"))
}

fn decode(body: &[u8]) -> Option<Value> {
    let mut raw: &[u8] = &[];
    let mut kind = "";
    each(body.strip_prefix(MAGIC)?, |number, field| {
        match (number, field) {
            (1, Field::Bytes(type_meta)) => each(type_meta, |number, field| {
                if let (2, Field::Bytes(text)) = (number, field) {
                    kind = std::str::from_utf8(text).ok()?;
                }
                Some(())
            })?,
            (2, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
        Some(())
    })?;
    if !matches!(kind, "" | "DeleteOptions") {
        return None;
    }
    let mut options = Map::new();
    let mut dry_run = Vec::new();
    each(raw, |number, field| {
        match (number, field) {
            // int64: two's complement in a varint.
            (1, Field::Varint(seconds)) => {
                options.insert("gracePeriodSeconds".to_owned(), json!(seconds.cast_signed()));
            }
            (2, Field::Bytes(bytes)) => {
                options.insert("preconditions".to_owned(), preconditions(bytes)?);
            }
            (3, Field::Varint(flag)) => {
                options.insert("orphanDependents".to_owned(), json!(flag != 0));
            }
            (4, Field::Bytes(text)) => {
                options.insert("propagationPolicy".to_owned(), json!(std::str::from_utf8(text).ok()?));
            }
            (5, Field::Bytes(text)) => dry_run.push(json!(std::str::from_utf8(text).ok()?)),
            _ => {}
        }
        Some(())
    })?;
    if !dry_run.is_empty() {
        options.insert("dryRun".to_owned(), Value::Array(dry_run));
    }
    Some(Value::Object(options))
}

fn preconditions(bytes: &[u8]) -> Option<Value> {
    let mut out = Map::new();
    each(bytes, |number, field| {
        let name = match number {
            1 => "uid",
            2 => "resourceVersion",
            _ => return Some(()),
        };
        if let Field::Bytes(text) = field {
            out.insert(name.to_owned(), json!(std::str::from_utf8(text).ok()?));
        }
        Some(())
    })?;
    Some(Value::Object(out))
}

/// Calls `visit` with each field; `None` where the message is broken.
fn each<'a>(mut message: &'a [u8], mut visit: impl FnMut(u64, Field<'a>) -> Option<()>) -> Option<()> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut message)?),
            1 => Field::Bytes(take(&mut message, 8)?),
            2 => {
                let len = varint(&mut message)?;
                Field::Bytes(take(&mut message, usize::try_from(len).ok()?)?)
            }
            5 => Field::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        visit(tag >> 3, field)?;
    }
    Some(())
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn wrapped(kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [
            MAGIC.to_vec(),
            field(1, &type_meta),
            field(2, raw),
            field(3, b""),
            field(4, b""),
        ]
        .concat()
    }

    #[test]
    fn reads_what_typed_clients_send() {
        let raw = [
            vec![0x08, 0x1e],
            field(2, &field(1, b"abc")),
            vec![0x18, 0x00],
            field(4, b"Foreground"),
            field(5, b"All"),
        ];
        let expected = json!({
            "gracePeriodSeconds": 30, "preconditions": {"uid": "abc"}, "orphanDependents": false,
            "propagationPolicy": "Foreground", "dryRun": ["All"],
        });
        assert_eq!(
            delete_options(&wrapped("DeleteOptions", &raw.concat())).unwrap(),
            expected
        );
        assert_eq!(delete_options(&wrapped("DeleteOptions", &[])).unwrap(), json!({}));
        let minus_one = [&[0x08][..], &[0xff; 9], &[0x01]].concat();
        assert_eq!(
            delete_options(&wrapped("DeleteOptions", &minus_one)).unwrap()["gracePeriodSeconds"],
            -1
        );
    }

    #[test]
    fn refuses_everything_else() {
        let cut = wrapped("DeleteOptions", &field(2, &field(1, b"abc")));
        for bad in [
            &b"{}"[..],
            b"",
            &cut[..cut.len() - 5],
            &wrapped("Pod", &[]),
            b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(delete_options(bad).unwrap_err().code, 400);
        }
    }
}
