//! ServiceAccounts: references to Secrets keep their name only.

use serde_json::{Value, json};

use crate::{Strategy, StrategyContext};

pub struct ServiceAccounts;

// === impl Strategy for ServiceAccounts ===

impl Strategy for ServiceAccounts {
    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        strip_references(object);
    }

    fn prepare_for_update(&self, _ctx: &StrategyContext<'_>, object: &mut Value, _old: &Value) {
        strip_references(object);
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn strip_references(object: &mut Value) {
    let Some(Value::Array(list)) = object.get_mut("secrets") else {
        return;
    };
    for reference in list {
        let name = reference.get("name").cloned();
        *reference = name.map_or_else(|| json!({}), |name| json!({"name": name}));
    }
}
