//! Parsed objects, as long as they are news.
//!
//! One event is looked at by projections, triggers and plans within milliseconds, and the objects that all of them consult
//! (types, exports, schemas) are few: whoever is first parses, the others share. What is held is bounded in bytes, goes as it
//! came, and all of it when nobody works any more ([`Trees::clear`]): the caches proper hold bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use crate::Entry;

/// Memory that parsed objects may take, estimated.
const BUDGET: usize = 4 << 20;
/// What a tree takes in memory for each byte of its encoding, about.
const FACTOR: usize = 8;

#[derive(Default)]
pub(crate) struct Trees {
    recent: Mutex<Recent>,
    parses: AtomicU64,
}

/// By the address of the entry, which cannot be another's as long as it is held here.
#[derive(Default)]
struct Recent {
    trees: HashMap<usize, (Arc<Entry>, Arc<Value>)>,
    order: VecDeque<usize>,
    bytes: usize,
}

// === impl Trees ===

impl Trees {
    /// The object as a tree, resourceVersion included.
    pub(crate) fn of(&self, entry: &Arc<Entry>) -> Arc<Value> {
        let address = Arc::as_ptr(entry) as usize;
        if let Some((_, known)) = self.recent.lock().trees.get(&address) {
            return Arc::clone(known);
        }
        // Not under the lock: two may parse the same at once, which is rarer than one waiting for another's.
        self.parses.fetch_add(1, Ordering::Relaxed);
        let tree = Arc::new(entry.to_value());
        let cost = entry.encoded_len() * FACTOR;
        if cost <= BUDGET / 2 {
            self.recent.lock().insert(address, entry, &tree, cost);
        }
        tree
    }

    pub(crate) fn clear(&self) {
        *self.recent.lock() = Recent::default();
    }

    /// How often an object was parsed.
    pub(crate) fn parses(&self) -> u64 {
        self.parses.load(Ordering::Relaxed)
    }
}

// === impl Recent ===

impl Recent {
    fn insert(&mut self, address: usize, entry: &Arc<Entry>, tree: &Arc<Value>, cost: usize) {
        let held = (Arc::clone(entry), Arc::clone(tree));
        if self.trees.insert(address, held).is_some() {
            return;
        }
        self.order.push_back(address);
        self.bytes += cost;
        while self.bytes > BUDGET {
            let Some((oldest, _)) = self.order.pop_front().and_then(|address| self.trees.remove(&address)) else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(oldest.encoded_len() * FACTOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use machinery::object::encode_canonical;
    use serde_json::json;

    use super::*;
    use crate::ResourceKey;
    use crate::entry::EntryKey;
    use crate::segment::Segments;

    fn entry(name: &str, len: usize) -> Arc<Entry> {
        let path = format!("root/{name}");
        let object = json!({"apiVersion": "v1", "kind": "N", "metadata": {
            "annotations": {"kcp.io/cluster": "root"}, "name": name}, "data": "x".repeat(len)});
        let key = EntryKey {
            object: &path,
            cluster_len: 4,
            namespace_len: 0,
        };
        let resource = Arc::new(ResourceKey::builtin("", "n"));
        Arc::new(Entry::read(&resource, key, &encode_canonical(&object), 1, &Segments::new()).unwrap())
    }

    #[test]
    fn an_object_is_parsed_once_while_it_is_news() {
        let trees = Trees::default();
        let (one, two) = (entry("one", 10), entry("two", 10));
        let first = trees.of(&one);
        assert!(Arc::ptr_eq(&first, &trees.of(&one)));
        assert_eq!(trees.of(&two)["metadata"]["name"], "two");
        assert_eq!(trees.parses(), 2);
        trees.clear();
        assert!(!Arc::ptr_eq(&first, &trees.of(&one)));
    }

    #[test]
    fn what_is_held_is_bounded_in_bytes() {
        let trees = Trees::default();
        for round in 0..300 {
            trees.of(&entry(&format!("n{round}"), 16 << 10));
        }
        let recent = trees.recent.lock();
        assert!(recent.bytes <= BUDGET && recent.trees.len() == recent.order.len());
        let fit = BUDGET / FACTOR / (16 << 10);
        assert!(recent.trees.len() > fit / 2, "{}", recent.trees.len());
        drop(recent);
        let huge = entry("huge", BUDGET);
        trees.of(&huge);
        assert_eq!(
            Arc::strong_count(&huge),
            1,
            "what would push everything else out is not held"
        );
    }
}
