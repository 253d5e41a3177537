//! Definitions and schemas by content: equal ones exist once, and go with their last user (law 1).

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use machinery::apply::ObjectType;
use machinery::schema::{CompiledSchema, Pool, content_key};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{CustomDefinition, ResourceDef, SchemaBundle};

/// Shares schemas and definitions of equal content. Holds none of them itself.
#[derive(Default)]
pub struct DefinitionCache {
    schemas: Mutex<Interned<SchemaBundle>>,
    /// Parts that different schemas have alike.
    pool: Mutex<Pool>,
    definitions: Mutex<Interned<ResourceDef>>,
}

struct Interned<T> {
    by_content: BTreeMap<[u8; 32], Weak<T>>,
    /// The dead are swept out when the map has grown to this.
    sweep_at: usize,
    /// There was a sweep since this was last looked at.
    swept: bool,
}

const SWEEP_LEN_MIN: usize = 64;

// === impl DefinitionCache ===

impl DefinitionCache {
    /// The definition of this content, made if nobody has it.
    pub fn definition(&self, of: &CustomDefinition) -> Arc<ResourceDef> {
        let key = of.content_key();
        if let Some(known) = self.definitions.lock().get(&key) {
            return known;
        }
        // Built unlocked: compiling takes its time. Of two built at once the first is kept.
        let built = Arc::new(of.build(self));
        self.definitions.lock().keep(key, built)
    }

    /// The bundle of this schema, compiled if nobody has it.
    pub fn schema(&self, raw: &Arc<Value>) -> Arc<SchemaBundle> {
        let content = content_key(raw);
        if let Some(known) = self.schemas.lock().get(&content) {
            return known;
        }
        let bundle = SchemaBundle {
            content,
            raw: Arc::clone(raw),
            compiled: raw
                .is_object()
                .then(|| CompiledSchema::with_pool(raw, &mut self.pool.lock())),
            shape: None,
            types: Arc::new(ObjectType::structural(Arc::clone(raw))),
        };
        let mut schemas = self.schemas.lock();
        let kept = schemas.keep(content, Arc::new(bundle));
        if schemas.swept {
            schemas.swept = false;
            let mut pool = self.pool.lock();
            while pool.sweep() {}
        }
        kept
    }

    /// How many schemas and definitions are in use.
    pub fn len(&self) -> (usize, usize) {
        (self.schemas.lock().live(), self.definitions.lock().live())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

// === impl Interned ===

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            by_content: BTreeMap::new(),
            sweep_at: SWEEP_LEN_MIN,
            swept: false,
        }
    }
}

impl<T> Interned<T> {
    fn get(&self, key: &[u8; 32]) -> Option<Arc<T>> {
        self.by_content.get(key).and_then(Weak::upgrade)
    }

    fn keep(&mut self, key: [u8; 32], fresh: Arc<T>) -> Arc<T> {
        if let Some(known) = self.get(&key) {
            return known;
        }
        self.by_content.insert(key, Arc::downgrade(&fresh));
        if self.by_content.len() >= self.sweep_at {
            self.by_content.retain(|_, weak| weak.strong_count() > 0);
            self.swept = true;
            self.sweep_at = (self.by_content.len() * 2).max(SWEEP_LEN_MIN);
        }
        fresh
    }

    fn live(&self) -> usize {
        self.by_content.values().filter(|weak| weak.strong_count() > 0).count()
    }
}
