//! Finds the few parts of a canonical body that storage looks at, without building a tree.

use std::ops::Range;

use smallvec::SmallVec;

use crate::segment::SHARED_LEN_MIN;

/// Offsets into a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Just behind `"metadata":{`: where the resourceVersion is spliced in.
    pub meta_at: usize,
    pub meta_is_empty: bool,
    /// Between the braces of `metadata.labels`.
    pub labels: Range<usize>,
    /// Between the quotes.
    pub uid: Range<usize>,
    /// The value of the annotation `kcp.io/cluster`, between the quotes.
    pub cluster: Range<usize>,
    /// Has a deletionTimestamp.
    pub is_terminating: bool,
    /// Values that other objects may have alike: ascending, each before the parts of it that may be alike on their own.
    pub repeatable: SmallVec<[Range<usize>; 16]>,
}

/// The annotation that every object carries (kcp's facts, C.6).
pub(crate) const CLUSTER_ANNOTATION: &str = "kcp.io/cluster";

/// How deep within a value parts are looked for: `status`, its `conditions`, one condition.
const DEPTH_MAX: usize = 3;

struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
}

/// The body's outline; `None` if it is not canonical: `{"apiVersion":…,"kind":…,"metadata":{…},…}` without white space.
pub(crate) fn outline(body: &[u8]) -> Option<Outline> {
    let mut scanner = Scanner { body, at: 0 };
    let mut outline = Outline::default();
    scanner.expect(b"{\"apiVersion\":")?;
    scanner.skip_value()?;
    scanner.expect(b",\"kind\":")?;
    scanner.skip_value()?;
    scanner.expect(b",\"metadata\":{")?;
    outline.meta_at = scanner.at;
    outline.meta_is_empty = scanner.peek()? == b'}';
    scanner.members(|scanner, key| scanner.metadata_member(key, &mut outline))?;
    if scanner.peek()? == b',' {
        scanner.at += 1;
        scanner.members(|scanner, _| scanner.repeatable_value(&mut outline, DEPTH_MAX))?;
    } else {
        scanner.expect(b"}")?;
    }
    (scanner.at == body.len()).then_some(outline)
}

/// The members of a flat map of strings, given what stands between its braces. Escapes are left as they are.
pub(crate) fn string_members(map: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut scanner = Scanner { body: map, at: 0 };
    std::iter::from_fn(move || {
        let key = scanner.string()?;
        scanner.expect(b":")?;
        let value = scanner.string()?;
        scanner.at += 1;
        Some((
            std::str::from_utf8(map.get(key)?).ok()?,
            std::str::from_utf8(map.get(value)?).ok()?,
        ))
    })
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.body
            .get(self.at..)?
            .starts_with(text)
            .then(|| self.at += text.len())
    }

    /// Calls `visit` at each value of the map whose opening brace was just read; reads the closing brace.
    fn members(&mut self, mut visit: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.expect(b":")?;
            let body = self.body;
            visit(self, body.get(key)?)?;
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// As [`Self::members`], for the list whose opening bracket was just read.
    fn elements(&mut self, mut visit: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            visit(self)?;
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn metadata_member(&mut self, key: &[u8], outline: &mut Outline) -> Option<()> {
        match key {
            b"labels" if self.peek()? == b'{' => {
                let start = self.at + 1;
                self.skip_value()?;
                outline.labels = start..self.at - 1;
            }
            b"uid" if self.peek()? == b'"' => outline.uid = self.string()?,
            b"annotations" if self.peek()? == b'{' => {
                self.at += 1;
                self.members(|scanner, key| scanner.annotation(key, outline))?;
            }
            b"managedFields" if self.peek()? == b'[' => self.managed_fields(outline)?,
            b"deletionTimestamp" => {
                outline.is_terminating = true;
                self.skip_value()?;
            }
            // Spliced in at output; a body that holds one would show two.
            b"resourceVersion" => return None,
            _ => self.skip_value()?,
        }
        Some(())
    }

    fn annotation(&mut self, key: &[u8], outline: &mut Outline) -> Option<()> {
        if key == CLUSTER_ANNOTATION.as_bytes() {
            outline.cluster = self.string()?;
            return Some(());
        }
        self.repeatable_value(outline, 0)
    }

    /// Of each owner all that stands before the time is alike in many objects, its field set even where managers differ.
    fn managed_fields(&mut self, outline: &mut Outline) -> Option<()> {
        self.expect(b"[")?;
        self.elements(|scanner| {
            let (start, noted) = (scanner.at, outline.repeatable.len());
            scanner.expect(b"{")?;
            let (mut end, mut is_before_time) = (scanner.at, true);
            scanner.members(|scanner, key| {
                match key {
                    b"fieldsV1" => scanner.repeatable_value(outline, DEPTH_MAX)?,
                    _ => scanner.skip_value()?,
                }
                is_before_time &= key != b"time";
                if is_before_time {
                    end = scanner.at;
                }
                Some(())
            })?;
            if end - start >= SHARED_LEN_MIN {
                outline.repeatable.insert(noted, start..end);
            }
            Some(())
        })
    }

    /// Reads a value, and notes it and its parts. A part that is most of its whole is not noted: it would be compared
    /// twice.
    fn repeatable_value(&mut self, outline: &mut Outline, depth: usize) -> Option<()> {
        let (start, first) = (self.at, self.peek()?);
        let noted = outline.repeatable.len();
        outline.repeatable.push(start..start);
        match first {
            b'{' if depth > 0 => {
                self.at += 1;
                self.members(|scanner, _| scanner.repeatable_value(outline, depth - 1))?;
            }
            b'[' if depth > 0 => {
                self.at += 1;
                self.elements(|scanner| scanner.repeatable_value(outline, depth - 1))?;
            }
            _ => self.skip_value()?,
        }
        let len = self.at - start;
        if len < SHARED_LEN_MIN {
            outline.repeatable.truncate(noted);
            return Some(());
        }
        if let Some(whole) = outline.repeatable.get_mut(noted) {
            *whole = start..self.at;
        }
        if outline
            .repeatable
            .get(noted + 1)
            .is_some_and(|part| part.len() * 4 > len * 3)
        {
            outline.repeatable.remove(noted + 1);
        }
        Some(())
    }

    /// The range between the quotes; stands behind the closing one afterwards.
    fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b"\"")?;
        let start = self.at;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.body.get(self.at..)?)?;
            if self.peek()? == b'"' {
                self.at += 1;
                return Some(start..self.at - 1);
            }
            self.at += 2;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => self.skip_nested(),
            b' ' | b'\n' | b'\r' | b'\t' => None,
            _ => {
                let rest = self.body.get(self.at..)?;
                let len = rest.iter().position(|b| matches!(b, b',' | b'}' | b']'))?;
                self.at += len;
                (len > 0).then_some(())
            }
        }
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                b' ' | b'\n' | b'\r' | b'\t' => return None,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use machinery::object::encode_canonical;
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_what_storage_looks_at() {
        let long = "x".repeat(200);
        let body = encode_canonical(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "a\"b", "uid": "u-1", "labels": {"a": "1", "b/c": "2"},
                "annotations": {"kcp.io/cluster": "root", "note": long},
                "managedFields": [
                    {"fieldsV1": {"f:data": {"f:k": {}}}, "manager": "m", "time": "2020-01-01T00:00:00Z"},
                    {"fieldsV1": {"f:data": {}}, "manager": "a manager whose name is long", "time": "2020-01-01T00:00:00Z"},
                    {"fieldsV1": {long.clone(): {}}, "manager": "n"},
                ],
            },
            "data": {"k": "}\\\"{"}, "binaryData": {"z": long},
        }));
        let outline = outline(&body).unwrap();
        let text = |range: &Range<usize>| std::str::from_utf8(&body[range.clone()]).unwrap();
        assert_eq!(text(&outline.uid), "u-1");
        assert_eq!(text(&outline.cluster), "root");
        assert_eq!(text(&outline.labels), r#""a":"1","b/c":"2""#);
        assert_eq!(
            string_members(&body[outline.labels.clone()]).collect::<Vec<_>>(),
            [("a", "1"), ("b/c", "2")]
        );
        assert!(body[..outline.meta_at].ends_with(b"\"metadata\":{"));
        let parts: Vec<&str> = outline.repeatable.iter().map(text).collect();
        let [note, to_time, owner, fields, data] = parts[..] else {
            panic!("{parts:#?}")
        };
        assert_eq!((&note[..3], note.len()), ("\"xx", 202));
        assert_eq!(
            to_time,
            r#"{"fieldsV1":{"f:data":{}},"manager":"a manager whose name is long""#
        );
        assert!(owner.ends_with(r#"{}},"manager":"n""#), "{owner}");
        assert!(fields.starts_with("{\"xx") && owner.contains(fields), "{fields}");
        assert!(data.starts_with("{\"z\":\"xx"), "{data}");
        assert!(!outline.is_terminating && !outline.meta_is_empty);
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"kind":"A","apiVersion":"v1","metadata":{}}"#,
            r#"{"apiVersion":"v1","kind":"A","metadata":{ }}"#,
            r#"{"apiVersion":"v1","kind":"A","metadata":{}"#,
            r#"{"apiVersion":"v1","kind":"A","metadata":{"resourceVersion":"1"}}"#,
            r#"{"apiVersion":"v1","kind":"A","metadata":{}} "#,
            r#"{"apiVersion":"v1","kind":"A","metadata":{"name":"x"#,
            r#"{"apiVersion":"v1","kind":"A","metadata":{"managedFields":[1]}}"#,
        ] {
            assert_eq!(outline(body.as_bytes()), None, "{body}");
        }
        assert!(
            outline(br#"{"apiVersion":"v1","kind":"A","metadata":{}}"#)
                .unwrap()
                .meta_is_empty
        );
    }

    #[test]
    fn never_panics_on_damaged_bodies() {
        let body = encode_canonical(
            &json!({"apiVersion": "v1", "kind": "A", "metadata": {"labels": {"a": "1"},
            "managedFields": [{"fieldsV1": {"f:a": {}}}], "annotations": {"kcp.io/cluster": "x"}}, "spec": [1, {"a": "\\"}]}),
        );
        for cut in 0..body.len() {
            outline(&body[..cut]);
            for byte in [b'"', b'{', b'}', b']', b'\\', b' '] {
                let mut damaged = body.clone();
                damaged[cut] = byte;
                outline(&damaged);
            }
        }
    }
}
