//! One version of one object, as bytes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use machinery::json;
use machinery::object::{ObjectExt, encode_canonical};
use machinery::selector::LabelSelector;
use permit::Cluster;
use serde_json::Value;
use smallvec::SmallVec;

use crate::scan::{CLUSTER_ANNOTATION, Outline, outline, string_members};
use crate::segment::{Segment, Segments};
use crate::{ObjectKey, ResourceKey};

/// One version of one object: its key, its visible revision and its canonical body without resourceVersion.
///
/// The bytes are in one allocation, but for the parts that other objects have alike; those are held once. Nothing of the
/// body is parsed: labels and uid are read at offsets found when the entry was made.
#[derive(Clone)]
pub struct Entry {
    resource: Arc<ResourceKey>,
    /// The key below the resource's prefix, then the body's own bytes.
    own: Arc<[u8]>,
    /// What is spliced into the own bytes, in ascending order.
    shared: Option<Arc<[Splice]>>,
    revision: u64,
    body_len: u32,
    /// Offset in `own`: just behind `"metadata":{`.
    meta_at: u32,
    labels: (u32, u32),
    uid: (u32, u32),
    key_len: u16,
    cluster_len: u8,
    namespace_len: u8,
    meta_is_empty: bool,
    is_terminating: bool,
}

/// A shared part, and where in the own bytes it belongs.
#[derive(Clone, Debug)]
struct Splice {
    at: u32,
    segment: Arc<Segment>,
}

/// A stored value that is no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of {key} is not an object")]
pub(crate) struct NotAnObject {
    pub key: String,
}

/// A key below its resource's prefix, with the lengths of its parts.
#[derive(Clone, Copy)]
pub(crate) struct EntryKey<'a> {
    pub object: &'a str,
    pub cluster_len: usize,
    pub namespace_len: usize,
}

/// What splicing adds around the digits: `"resourceVersion":"",`.
const VERSION_LEN: usize = 21;

// === impl Entry ===

impl Entry {
    /// Reads a stored value. One that others wrote (members in another order, no annotation of the cluster) is brought into
    /// the canonical form first.
    pub(crate) fn read(
        resource: &Arc<ResourceKey>,
        key: EntryKey<'_>,
        value: &[u8],
        revision: u64,
        segments: &Segments,
    ) -> Result<Self, NotAnObject> {
        let cluster = key.object.get(..key.cluster_len).unwrap_or_default();
        if let Some(outline) = outline(value).filter(|o| value.get(o.cluster.clone()) == Some(cluster.as_bytes()))
            && let Some(entry) = Self::assemble(resource, key, value, &outline, revision, segments)
        {
            return Ok(entry);
        }
        let refused = || NotAnObject {
            key: format!("{resource}{}", key.object),
        };
        let mut object = json::decode_stored(value).map_err(|_| refused())?;
        if !object.is_object() {
            return Err(refused());
        }
        let body = canonical_body(&mut object, cluster);
        let outline = outline(&body).ok_or_else(refused)?;
        Self::assemble(resource, key, &body, &outline, revision, segments).ok_or_else(refused)
    }

    /// `None` if a length is beyond what the offsets hold.
    fn assemble(
        resource: &Arc<ResourceKey>,
        key: EntryKey<'_>,
        body: &[u8],
        outline: &Outline,
        revision: u64,
        segments: &Segments,
    ) -> Option<Self> {
        let mut own = Vec::with_capacity(key.object.len() + body.len());
        own.extend_from_slice(key.object.as_bytes());
        let mut splices: SmallVec<[Splice; 8]> = SmallVec::new();
        let mut moved = Moved {
            outline,
            meta_at: 0,
            labels: 0..0,
            uid: 0..0,
        };
        let mut from = 0;
        for range in outline.repeatable.iter() {
            // A part of what is shared already.
            if range.start < from {
                continue;
            }
            let Some(segment) = segments.share(body.get(range.clone())?) else {
                continue;
            };
            moved.copy(&mut own, body, from..range.start);
            splices.push(Splice {
                at: u32::try_from(own.len()).ok()?,
                segment,
            });
            from = range.end;
        }
        moved.copy(&mut own, body, from..body.len());
        let pair = |range: &Range<usize>| Some((u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?));
        Some(Self {
            resource: Arc::clone(resource),
            shared: (!splices.is_empty()).then(|| splices.into_iter().collect()),
            revision,
            body_len: u32::try_from(body.len()).ok()?,
            meta_at: u32::try_from(moved.meta_at).ok()?,
            labels: pair(&moved.labels)?,
            uid: pair(&moved.uid)?,
            key_len: u16::try_from(key.object.len()).ok()?,
            cluster_len: u8::try_from(key.cluster_len).ok()?,
            namespace_len: u8::try_from(key.namespace_len).ok()?,
            meta_is_empty: outline.meta_is_empty,
            is_terminating: outline.is_terminating,
            own: own.into(),
        })
    }

    /// The same object at another revision: what a deletion shows. Shares all bytes.
    #[must_use]
    pub fn at_revision(&self, revision: u64) -> Self {
        Self {
            revision,
            ..self.clone()
        }
    }

    pub fn resource(&self) -> &Arc<ResourceKey> {
        &self.resource
    }

    pub fn cluster(&self) -> Cluster {
        Cluster::parse(self.cluster_name()).expect("a key's cluster was checked when it was read")
    }

    pub fn cluster_name(&self) -> &str {
        self.key_text(0..self.cluster_len.into())
    }

    /// `""` for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        let start = usize::from(self.cluster_len) + 1;
        self.key_text(start..start + usize::from(self.namespace_len))
    }

    pub fn name(&self) -> &str {
        let namespace = if self.namespace_len == 0 {
            0
        } else {
            usize::from(self.namespace_len) + 1
        };
        self.key_text(usize::from(self.cluster_len) + 1 + namespace..self.key_len.into())
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.cluster(), self.namespace(), self.name())
    }

    /// `cluster/name` or `cluster/namespace/name`: what entries are ordered by.
    pub(crate) fn path(&self) -> &[u8] {
        self.own.get(..self.key_len.into()).unwrap_or_default()
    }

    pub(crate) fn cluster_len(&self) -> usize {
        self.cluster_len.into()
    }

    pub(crate) fn namespace_len(&self) -> usize {
        self.namespace_len.into()
    }

    pub fn uid(&self) -> &str {
        self.own_text(self.uid)
    }

    /// The visible revision: the object's resourceVersion.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Has a deletionTimestamp.
    pub fn is_terminating(&self) -> bool {
        self.is_terminating
    }

    /// May have ownerReferences: their name is somewhere in the body. Cheap, and never wrong the other way.
    pub fn is_owned(&self) -> bool {
        self.mentions(b"\"ownerReferences\":[")
    }

    /// May have finalizers, a namespace's own included, in the same sense. (A long list may be shared: its name counts.)
    pub fn is_held(&self) -> bool {
        self.mentions(b"\"finalizers\":")
    }

    /// Whether the body has these bytes somewhere. Only whole values are shared, so a member's name is never torn apart; from
    /// the beginning of its value it may be.
    pub fn mentions(&self, text: &[u8]) -> bool {
        let has = |bytes: &[u8]| memchr::memmem::find(bytes, text).is_some();
        let mut shared = self.shared.iter().flat_map(|splices| splices.iter());
        has(&self.own) || shared.any(|splice| has(splice.segment.bytes()))
    }

    /// The value of the first member of this name, if it is a short string without escapes: of metadata, which come first, if
    /// they have one. Without parsing.
    pub fn short_text(&self, member: &str) -> Option<&str> {
        let name = format!("\"{member}\":\"");
        let at = memchr::memmem::find(&self.own, name.as_bytes())? + name.len();
        let rest = self.own.get(at..)?;
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        let value = rest.get(..end).filter(|_| rest.get(end) == Some(&b'"'))?;
        std::str::from_utf8(value).ok()
    }

    /// A label's value, as it stands in JSON (valid labels have nothing to escape).
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find_map(|(found, value)| (found == key).then_some(value))
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        string_members(self.own_text(self.labels).as_bytes())
    }

    pub fn labels_match(&self, selector: &LabelSelector) -> bool {
        selector.is_everything() || selector.matches(|key| self.label(key))
    }

    /// Length of what [`Self::encode_into`] writes.
    pub fn encoded_len(&self) -> usize {
        let comma = usize::from(!self.meta_is_empty);
        self.body_len as usize + VERSION_LEN - 1 + comma + itoa::Buffer::new().format(self.revision).len()
    }

    /// Appends the object as clients see it, resourceVersion included.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        self.encode_behind(0, out);
    }

    /// Whether the encoded object begins with `head`, which ends before the metadata.
    pub fn begins_with(&self, head: &[u8]) -> bool {
        let before_meta = self.own.get(self.key_len.into()..self.meta_at as usize);
        before_meta.is_some_and(|bytes| bytes.starts_with(head))
    }

    /// Appends the encoded object without the first `head_len` bytes, with which it [begins](Self::begins_with).
    pub fn encode_behind(&self, head_len: usize, out: &mut Vec<u8>) {
        let meta_at = self.meta_at as usize;
        let start = usize::from(self.key_len) + head_len;
        self.own_bytes(start, meta_at, |bytes| out.extend_from_slice(bytes));
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(itoa::Buffer::new().format(self.revision).as_bytes());
        out.push(b'"');
        if !self.meta_is_empty {
            out.push(b',');
        }
        self.own_bytes(meta_at, self.own.len(), |bytes| out.extend_from_slice(bytes));
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// The canonical body without resourceVersion, as it is stored.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body_len as usize);
        self.own_bytes(self.key_len.into(), self.own.len(), |bytes| {
            out.extend_from_slice(bytes)
        });
        out
    }

    /// The object as a tree, resourceVersion included. `Null`, and a line in the log, if another writer left damaged JSON in
    /// the store.
    pub fn to_value(&self) -> Value {
        json::decode_stored(&self.encode()).unwrap_or_else(|error| {
            tracing::error!(entry = ?self, %error, "a stored object cannot be read");
            Value::Null
        })
    }

    /// Bytes of memory that this entry alone holds; what it shares with others is not counted.
    pub fn own_len(&self) -> usize {
        self.own.len()
            + self
                .shared
                .as_ref()
                .map_or(0, |shared| shared.len() * size_of::<Splice>())
            + size_of::<Self>()
    }

    /// The body between two offsets of `own`, shared parts put in. They stand for values, so none is at either end.
    fn own_bytes(&self, start: usize, end: usize, mut write: impl FnMut(&[u8])) {
        let mut from = start;
        for splice in self.shared.iter().flat_map(|shared| shared.iter()) {
            let at = splice.at as usize;
            if at < start || at >= end {
                continue;
            }
            write(self.own.get(from..at).unwrap_or_default());
            write(splice.segment.bytes());
            from = at;
        }
        write(self.own.get(from..end).unwrap_or_default());
    }

    fn key_text(&self, range: Range<usize>) -> &str {
        text(self.own.get(range))
    }

    fn own_text(&self, (start, end): (u32, u32)) -> &str {
        text(self.own.get(start as usize..end as usize))
    }
}

fn text(bytes: Option<&[u8]>) -> &str {
    bytes
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .unwrap_or_default()
}

/// The form in which an object is stored: canonical, without resourceVersion, with the annotation of its cluster, whatever
/// a client wrote there.
pub(crate) fn canonical_body(object: &mut Value, cluster: &str) -> Vec<u8> {
    object.meta_mut().remove("resourceVersion");
    if object.annotation(CLUSTER_ANNOTATION) != Some(cluster) {
        object.set_annotation(CLUSTER_ANNOTATION, cluster);
    }
    // The scanner wants both members to be there.
    for member in ["apiVersion", "kind"] {
        if let Value::Object(members) = object {
            members.entry(member).or_insert_with(|| Value::String(String::new()));
        }
    }
    encode_canonical(object)
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}@{}",
            self.resource,
            String::from_utf8_lossy(self.path()),
            self.revision
        )
    }
}

// === impl Moved ===

/// The outline's offsets, moved to where the bytes go.
struct Moved<'a> {
    outline: &'a Outline,
    meta_at: usize,
    labels: Range<usize>,
    uid: Range<usize>,
}

impl Moved<'_> {
    fn copy(&mut self, own: &mut Vec<u8>, body: &[u8], part: Range<usize>) {
        let to = own.len();
        let into = |at: usize| to + at - part.start;
        let holds = |range: &Range<usize>| part.start <= range.start && range.end <= part.end && !range.is_empty();
        if (part.start..=part.end).contains(&self.outline.meta_at) && self.meta_at == 0 {
            self.meta_at = into(self.outline.meta_at);
        }
        if holds(&self.outline.labels) {
            self.labels = into(self.outline.labels.start)..into(self.outline.labels.end);
        }
        if holds(&self.outline.uid) {
            self.uid = into(self.outline.uid.start)..into(self.outline.uid.end);
        }
        own.extend_from_slice(body.get(part).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use machinery::selector::Requirement;
    use serde_json::json;

    use super::*;

    fn read(key: &str, object: &Value, segments: &Segments) -> Entry {
        let parts: Vec<&str> = key.split('/').collect();
        let namespace_len = if parts.len() == 3 { parts[1].len() } else { 0 };
        let key = EntryKey {
            object: key,
            cluster_len: parts[0].len(),
            namespace_len,
        };
        let resource = Arc::new(ResourceKey::builtin("", "configmaps"));
        Entry::read(&resource, key, &encode_canonical(object), 42, segments).unwrap()
    }

    fn config_map(name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "annotations": {"kcp.io/cluster": "root", "long": "d".repeat(300)}, "labels": {"app": name},
                "managedFields": [{"fieldsV1": {"f:data": {"f:k": {}, "f:more": "m".repeat(200)}}, "manager": name}],
                "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            },
            "data": {"k": "v".repeat(500)},
        })
    }

    #[test]
    fn version_is_spliced_in_and_everything_else_kept() {
        let segments = Segments::new();
        for round in 0..3 {
            let name = format!("n{round}");
            let mut object = config_map(&name);
            let entry = read(&format!("root/default/{name}"), &object, &segments);
            assert_eq!(
                (entry.cluster_name(), entry.namespace(), entry.name()),
                ("root", "default", &*name)
            );
            assert_eq!(
                (entry.uid(), entry.label("app"), entry.label("b")),
                (&*format!("uid-{name}"), Some(&*name), None)
            );
            assert!(entry.labels_match(&LabelSelector::of(vec![Requirement::equals("app", name.as_str())])));
            assert_eq!(entry.body(), encode_canonical(&object));
            assert_eq!(entry.encode().len(), entry.encoded_len());
            object.meta_mut().insert("resourceVersion".into(), json!("42"));
            assert_eq!(entry.to_value(), object);
            let start = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"42","annotations":"#;
            assert!(entry.encode().starts_with(start.as_bytes()));
            let (head, mut behind) = (br#"{"apiVersion":"v1","kind":"ConfigMap","#, Vec::new());
            assert!(entry.begins_with(head) && !entry.begins_with(&entry.encode()));
            entry.encode_behind(head.len(), &mut behind);
            assert_eq!(behind, entry.encode()[head.len()..]);
            assert_eq!(entry.shared.is_some(), round > 0, "shared from the second sight on");
        }
        assert_eq!(segments.usage().0, 0, "nothing outlives its users");
    }

    #[test]
    fn alike_bodies_are_held_once() {
        let segments = Segments::new();
        let entries: Vec<Entry> = (0..100)
            .map(|i| read(&format!("root/default/n{i}"), &config_map(&format!("n{i}")), &segments))
            .collect();
        let own: usize = entries.iter().skip(1).map(Entry::own_len).sum();
        let encoded: usize = entries.iter().skip(1).map(Entry::encoded_len).sum();
        assert!(own * 2 < encoded, "{own} of {encoded}");
    }

    #[test]
    fn the_deepest_object_that_is_accepted_is_read_back() {
        let nested = |name: &str, levels: usize| (0..levels).fold(json!({}), |inner, _| json!({name: inner}));
        let mut object = config_map("deep");
        object["data"] = nested("a", json::DEPTH_MAX - 2);
        object["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:data": nested("f:a", json::DEPTH_MAX - 1)});
        object["metadata"]["finalizers"] = json!(["mine"]);
        let shown = read("root/default/deep", &object, &Segments::new()).to_value();
        assert_eq!(shown["metadata"]["finalizers"], json!(["mine"]));
        assert_eq!((&shown["data"], &shown["metadata"]["managedFields"]), {
            (&object["data"], &object["metadata"]["managedFields"])
        });
        // Not in canonical form, as others write it.
        let value = [b" ".as_slice(), &encode_canonical(&object)].concat();
        let key = EntryKey {
            object: "root/default/deep",
            cluster_len: 4,
            namespace_len: 7,
        };
        let resource = Arc::new(ResourceKey::builtin("", "configmaps"));
        let entry = Entry::read(&resource, key, &value, 9, &Segments::new()).unwrap();
        assert_eq!(entry.to_value()["data"], object["data"]);
    }

    #[test]
    fn foreign_writers_objects_are_brought_into_form() {
        let key = EntryKey {
            object: "root/x",
            cluster_len: 4,
            namespace_len: 0,
        };
        let resource = Arc::new(ResourceKey::builtin("", "namespaces"));
        let value = br#"{ "kind":"Namespace","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"x",
            "annotations":{"kcp.io/cluster":"another"}}}"#;
        let entry = Entry::read(&resource, key, value, 9, &Segments::new()).unwrap();
        let expected = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"resourceVersion":"9","annotations":{"kcp.io/cluster":"root"},"name":"x"}}"#;
        assert_eq!(String::from_utf8(entry.encode()).unwrap(), expected);
        assert!(Entry::read(&resource, key, b"k8s\0protobuf", 9, &Segments::new()).is_err());
    }
}
