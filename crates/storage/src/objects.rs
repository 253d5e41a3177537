//! The objects of one resource, in the order of their keys, and the index of their declared labels.
#![expect(
    clippy::mutable_key_type,
    reason = "keys are compared by an entry's path and labels, which never change; only the table of shared parts is locked"
)]

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::ops::Bound;
use std::sync::Arc;

use crate::Entry;
use crate::key::behind;

/// The cache of one resource. Holds a pointer, and the first 16 bytes of its key, per object.
#[derive(Default)]
pub(crate) struct Objects {
    slots: BTreeSet<Slot>,
    /// One per object and declared label, ordered by the label, then as the objects.
    postings: BTreeSet<Posting>,
    /// The newest revision applied here.
    pub latest: u64,
}

/// A part of the key space of one resource: `start` included, `end` not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: Vec<u8>,
    /// Empty: to the end.
    pub end: Vec<u8>,
}

/// An entry's place in the order. The first bytes of its key (most often the cluster) are at hand, so that a search
/// follows pointers within one cluster only.
#[derive(Clone)]
struct Slot {
    head: [u64; 2],
    entry: Arc<Entry>,
}

struct Posting {
    label: u64,
    slot: Slot,
}

/// What slots, postings and searches are compared by.
trait Place {
    fn label(&self) -> u64;
    fn head(&self) -> [u64; 2];
    fn path(&self) -> &[u8];
}

struct Probe<'a> {
    label: u64,
    head: [u64; 2],
    path: &'a [u8],
}

// === impl Objects ===

impl Objects {
    /// From entries in ascending order of their keys: the fast way to fill an empty cache.
    pub(crate) fn from_sorted(entries: Vec<Arc<Entry>>, latest: u64, indexed: &[Box<str>]) -> Self {
        let postings = entries.iter().flat_map(|entry| postings_of(entry, indexed)).collect();
        Self {
            slots: entries.into_iter().map(Slot::new).collect(),
            postings,
            latest,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn get(&self, path: &[u8]) -> Option<&Arc<Entry>> {
        self.slots
            .get(&Probe::at(0, path) as &dyn Place)
            .map(|slot| &slot.entry)
    }

    /// Puts a version in the place of the one before, which is returned.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>, indexed: &[Box<str>]) -> Option<Arc<Entry>> {
        let replaced = self.slots.replace(Slot::new(Arc::clone(&entry))).map(|slot| slot.entry);
        if !indexed.is_empty() {
            self.unindex(replaced.as_ref(), indexed);
            self.postings.extend(postings_of(&entry, indexed));
        }
        replaced
    }

    pub(crate) fn remove(&mut self, path: &[u8], indexed: &[Box<str>]) -> Option<Arc<Entry>> {
        let removed = self.slots.take(&Probe::at(0, path) as &dyn Place)?.entry;
        self.unindex(Some(&removed), indexed);
        Some(removed)
    }

    fn unindex(&mut self, entry: Option<&Arc<Entry>>, indexed: &[Box<str>]) {
        for posting in entry.into_iter().flat_map(|entry| postings_of(entry, indexed)) {
            self.postings.remove(&posting);
        }
    }

    pub(crate) fn range<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.bounded(0, span, |low, high| self.slots.range::<dyn Place, _>((low, high)))
            .map(|slot| &slot.entry)
    }

    pub(crate) fn count(&self, span: &Span) -> usize {
        self.range(span).count()
    }

    /// Entries that have a label of this hash; a few may have another one of the same hash.
    pub(crate) fn labelled<'a>(&'a self, label: u64, span: &'a Span) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.bounded(label, span, |low, high| {
            self.postings.range::<dyn Place, _>((low, high))
        })
        .map(|posting| &posting.slot.entry)
    }

    fn bounded<R>(&self, label: u64, span: &Span, search: impl FnOnce(Bound<&dyn Place>, Bound<&dyn Place>) -> R) -> R {
        let start = Probe::at(label, &span.start);
        let (end, has_end) = match (span.end.as_slice(), label.checked_add(1)) {
            ([], Some(next)) if label > 0 => (Probe::at(next, &[]), true),
            ([], _) => (Probe::at(label, &[]), false),
            (end, _) => (Probe::at(label, end), true),
        };
        // A search panics if its end is before its start.
        let end = if has_end && (&end as &dyn Place) < (&start as &dyn Place) {
            Probe::at(label, &span.start)
        } else {
            end
        };
        search(
            Bound::Included(&start),
            if has_end {
                Bound::Excluded(&end)
            } else {
                Bound::Unbounded
            },
        )
    }
}

/// The hash that postings of a label are found by. Never 0.
pub(crate) fn label_hash(key: &str, value: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(key.as_bytes());
    hasher.write_u8(b'=');
    hasher.write(value.as_bytes());
    hasher.finish().max(1)
}

fn postings_of<'a>(entry: &'a Arc<Entry>, indexed: &'a [Box<str>]) -> impl Iterator<Item = Posting> + 'a {
    let is_declared = |key: &str| indexed.iter().any(|prefix| key.starts_with(&**prefix));
    let labels = (!indexed.is_empty()).then(|| entry.labels()).into_iter().flatten();
    labels
        .filter(move |(key, _)| is_declared(key))
        .map(|(key, value)| Posting {
            label: label_hash(key, value),
            slot: Slot::new(Arc::clone(entry)),
        })
}

// === impl Span ===

impl Span {
    pub(crate) fn all() -> Self {
        Self {
            start: Vec::new(),
            end: Vec::new(),
        }
    }

    /// Everything that begins with `prefix`.
    pub(crate) fn under(prefix: &[u8]) -> Self {
        Self {
            start: prefix.to_vec(),
            end: behind(prefix),
        }
    }

    pub(crate) fn contains(&self, path: &[u8]) -> bool {
        self.start.as_slice() <= path && (self.end.is_empty() || path < self.end.as_slice())
    }
}

// === impl Place ===

impl Slot {
    fn new(entry: Arc<Entry>) -> Self {
        Self {
            head: head(entry.path()),
            entry,
        }
    }
}

impl<'a> Probe<'a> {
    fn at(label: u64, path: &'a [u8]) -> Self {
        Self {
            label,
            head: head(path),
            path,
        }
    }
}

/// The first 16 bytes, as numbers that compare as the bytes do.
fn head(path: &[u8]) -> [u64; 2] {
    let part = |from: usize| {
        let mut bytes = [0; 8];
        let rest = path.get(from..).unwrap_or_default();
        let len = rest.len().min(8);
        if let (Some(to), Some(from)) = (bytes.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        u64::from_be_bytes(bytes)
    };
    [part(0), part(8)]
}

impl Place for Slot {
    fn label(&self) -> u64 {
        0
    }
    fn head(&self) -> [u64; 2] {
        self.head
    }
    fn path(&self) -> &[u8] {
        self.entry.path()
    }
}

impl Place for Posting {
    fn label(&self) -> u64 {
        self.label
    }
    fn head(&self) -> [u64; 2] {
        self.slot.head
    }
    fn path(&self) -> &[u8] {
        self.slot.entry.path()
    }
}

impl Place for Probe<'_> {
    fn label(&self) -> u64 {
        self.label
    }
    fn head(&self) -> [u64; 2] {
        self.head
    }
    fn path(&self) -> &[u8] {
        self.path
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.label()
            .cmp(&other.label())
            .then_with(|| self.head().cmp(&other.head()))
            .then_with(|| self.path().cmp(other.path()))
    }
}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Place + '_ {}

macro_rules! placed {
    ($type:ty) => {
        impl<'a> Borrow<dyn Place + 'a> for $type {
            fn borrow(&self) -> &(dyn Place + 'a) {
                self
            }
        }
        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                (self as &dyn Place).cmp(other as &dyn Place)
            }
        }
        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }
        impl Eq for $type {}
    };
}

placed!(Slot);
placed!(Posting);

#[cfg(test)]
mod tests {
    use machinery::object::encode_canonical;
    use serde_json::json;

    use super::*;
    use crate::ResourceKey;
    use crate::entry::EntryKey;
    use crate::segment::Segments;

    fn entry(cluster: &str, name: &str, label: &str) -> Arc<Entry> {
        let path = format!("{cluster}/{name}");
        let body = encode_canonical(&json!({"apiVersion": "v1", "kind": "N", "metadata": {
            "annotations": {"kcp.io/cluster": cluster}, "labels": {"claimed/x": label, "other": "o"}, "name": name}}));
        let key = EntryKey {
            object: &path,
            cluster_len: cluster.len(),
            namespace_len: 0,
        };
        Arc::new(
            Entry::read(
                &Arc::new(ResourceKey::builtin("", "n")),
                key,
                &body,
                1,
                &Segments::new(),
            )
            .unwrap(),
        )
    }

    fn names<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Vec<String> {
        entries
            .map(|entry| String::from_utf8_lossy(entry.path()).into_owned())
            .collect()
    }

    #[test]
    fn order_is_that_of_the_bytes_of_the_keys() {
        let mut objects = Objects::default();
        let mut expected = Vec::new();
        for cluster in ["aa", "aa-b", "aab", "2x8kq0c7v4n1m5za", "2x8kq0c7v4n1m5zb"] {
            for name in ["x", "x-1", "x1"] {
                assert!(objects.insert(entry(cluster, name, "1"), &[]).is_none());
                expected.push(format!("{cluster}/{name}"));
            }
        }
        expected.sort();
        assert_eq!(names(objects.range(&Span::all())), expected);
        assert_eq!(names(objects.range(&Span::under(b"aa/"))), ["aa/x", "aa/x-1", "aa/x1"]);
        assert_eq!(objects.count(&Span::under(b"2x8kq0c7v4n1m5za/")), 3);
        assert!(objects.get(b"aa/x-1").is_some() && objects.get(b"aa/x-").is_none());
        assert!(objects.remove(b"aa/x", &[]).is_some() && objects.get(b"aa/x").is_none());
        assert_eq!(
            names(objects.range(&Span {
                start: b"aa/x-1\0".to_vec(),
                end: b"aa/a".to_vec()
            })),
            [""; 0]
        );
    }

    #[test]
    fn declared_labels_are_indexed_and_follow_changes() {
        let indexed: Vec<Box<str>> = vec!["claimed/".into()];
        let mut objects = Objects::from_sorted(vec![entry("aa", "x", "1"), entry("bb", "x", "1")], 1, &indexed);
        let (one, two) = (label_hash("claimed/x", "1"), label_hash("claimed/x", "2"));
        assert_eq!(names(objects.labelled(one, &Span::all())), ["aa/x", "bb/x"]);
        assert_eq!(names(objects.labelled(one, &Span::under(b"bb/"))), ["bb/x"]);
        objects.insert(entry("aa", "x", "2"), &indexed);
        assert_eq!(names(objects.labelled(one, &Span::all())), ["bb/x"]);
        assert_eq!(names(objects.labelled(two, &Span::all())), ["aa/x"]);
        objects.remove(b"bb/x", &indexed);
        assert_eq!(objects.postings.len(), 1);
        assert_eq!(names(objects.labelled(label_hash("other", "o"), &Span::all())), [""; 0]);
    }
}
