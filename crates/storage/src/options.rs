//! What can be set when a store is opened.

use std::time::Duration;

/// A label whose values are indexed: every label of the resource whose key begins with `label_key_prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    pub group: String,
    pub resource: String,
    pub label_key_prefix: String,
}

/// Bounds and periods of a store. The defaults are those of production.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Prefix of all keys (`--etcd-prefix`).
    pub prefix: String,
    pub indexes: Vec<IndexSpec>,
    /// Budget of the log of events, all resources together.
    pub log_bytes: usize,
    /// How often history is compacted: what is kept is between one and two periods old. Zero: never.
    pub compaction_period: Duration,
    /// How often idle watchers that ask for bookmarks get one.
    pub bookmark_period: Duration,
    /// How long a read waits for the cache to catch up (Kubernetes: 3 s).
    pub read_wait: Duration,
    /// How long a write may take, until its outcome is reported as unknown.
    pub write_timeout: Duration,
    /// Keys read at a time when the store is opened.
    pub load_page: usize,
    /// Clusters besides `system:*` that need no fence: those that are never deleted.
    pub unfenced: Vec<String>,
    /// Objects are copies of other stores': clusters need no fence, for they end elsewhere, and the place of the namespace in a
    /// key names the store that a copy is from.
    pub copies: bool,
    /// The faults that the simulation's checkers have to find.
    #[cfg(all(feature = "planted", debug_assertions))]
    pub planted: Planted,
}

/// Faults put in on purpose. They do not exist in release builds, whatever their features.
#[cfg(all(feature = "planted", debug_assertions))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Planted {
    /// Writes do not compare the revision of what they replace.
    pub skip_revision: bool,
    /// Watchers are not shown events whose revision this divides; 0: they are shown all.
    pub drop_event_each: u64,
}

// === impl StoreOptions ===

impl StoreOptions {
    pub(crate) fn skips_revision(&self) -> bool {
        #[cfg(all(feature = "planted", debug_assertions))]
        return self.planted.skip_revision;
        #[cfg(not(all(feature = "planted", debug_assertions)))]
        false
    }

    pub(crate) fn drops_event(&self, _revision: u64) -> bool {
        #[cfg(all(feature = "planted", debug_assertions))]
        return self.planted.drop_event_each > 0 && _revision.is_multiple_of(self.planted.drop_event_each);
        #[cfg(not(all(feature = "planted", debug_assertions)))]
        false
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            prefix: "/registry".to_owned(),
            indexes: Vec::new(),
            log_bytes: 32 << 20,
            compaction_period: Duration::from_secs(300),
            bookmark_period: Duration::from_secs(60),
            read_wait: Duration::from_secs(3),
            write_timeout: Duration::from_secs(20),
            load_page: 2_000,
            unfenced: vec!["root".to_owned()],
            copies: false,
            #[cfg(all(feature = "planted", debug_assertions))]
            planted: Planted::default(),
        }
    }
}
