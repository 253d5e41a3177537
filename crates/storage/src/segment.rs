//! Parts of bodies that many objects have alike, held once by content.
//!
//! A part becomes shared the second time it is seen: what is never repeated costs no entry in the table. A shared part
//! leaves the table with its last user.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Parts shorter than this are kept in place: a pointer and its place cost 16 bytes, the table's entry more.
pub(crate) const SHARED_LEN_MIN: usize = 64;

/// How many contents are remembered as seen once. A power of two; 4 bytes each.
const SEEN: usize = 1 << 15;

/// The shared parts of one store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Segments {
    table: Arc<Mutex<Table>>,
}

struct Table {
    /// Fingerprints of contents seen, each in the place that its hash gives; newer ones overwrite.
    seen: Box<[u32]>,
    /// By hash of the content. Of two contents with one hash the first is shared.
    shared: BTreeMap<u64, Weak<Segment>>,
    bytes: usize,
}

/// Bytes that several entries use.
pub(crate) struct Segment {
    bytes: Box<[u8]>,
    hash: u64,
    home: Arc<Mutex<Table>>,
}

// === impl Segments ===

impl Segments {
    pub(crate) fn new() -> Self {
        let table = Table {
            seen: vec![0; SEEN].into_boxed_slice(),
            shared: BTreeMap::new(),
            bytes: 0,
        };
        Self {
            table: Arc::new(Mutex::new(table)),
        }
    }

    /// The shared form of `bytes`, if it is one of the repeated.
    pub(crate) fn share(&self, bytes: &[u8]) -> Option<Arc<Segment>> {
        if bytes.len() < SHARED_LEN_MIN {
            return None;
        }
        let hash = content_hash(bytes);
        let mut table = self.table.lock();
        if let Some(known) = table.shared.get(&hash).and_then(Weak::upgrade) {
            // Unlocked before `known` may be dropped: the last user's drop takes the lock.
            drop(table);
            return (*known.bytes == *bytes).then_some(known);
        }
        let place = (hash as usize) & (SEEN - 1);
        let fingerprint = (hash >> 32) as u32;
        let seen = table.seen.get(place).copied();
        if seen != Some(fingerprint) {
            if let Some(place) = table.seen.get_mut(place) {
                *place = fingerprint;
            }
            return None;
        }
        let segment = Arc::new(Segment {
            bytes: bytes.into(),
            hash,
            home: Arc::clone(&self.table),
        });
        table.shared.insert(hash, Arc::downgrade(&segment));
        table.bytes += bytes.len();
        Some(segment)
    }

    /// Number of shared parts, and their bytes.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let table = self.table.lock();
        (table.shared.len(), table.bytes)
    }
}

/// The same on every machine and in every run.
pub(crate) fn content_hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

// === impl Segment ===

impl Segment {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let mut table = self.home.lock();
        table.bytes -= self.bytes.len();
        // Another thread may have put a new one in its place since the last user went.
        if table
            .shared
            .get(&self.hash)
            .is_some_and(|held| held.strong_count() == 0)
        {
            table.shared.remove(&self.hash);
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shared_from_the_second_sight_and_gone_with_its_last_user() {
        let segments = Segments::new();
        let content = vec![b'x'; 500];
        assert!(segments.share(&content).is_none());
        let first = segments.share(&content).unwrap();
        let second = segments.share(&content).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(segments.usage(), (1, 500));
        drop(first);
        assert_eq!(segments.usage(), (1, 500));
        drop(second);
        assert_eq!(segments.usage(), (0, 0));
    }

    #[test]
    fn what_is_short_or_unique_costs_nothing() {
        let segments = Segments::new();
        assert!(segments.share(b"short").is_none());
        assert!(segments.share(b"short").is_none());
        for i in 0..1000 {
            assert!(segments.share(format!("{i:0>200}").as_bytes()).is_none());
        }
        assert_eq!(segments.usage(), (0, 0));
    }
}
