//! Leases.

use machinery::field::{FieldError, Path};
use machinery::names;
use machinery::object::ObjectExt;
use serde_json::Value;

use crate::{Strategy, StrategyContext};

pub struct Leases;

// === impl Strategy for Leases ===

impl Strategy for Leases {
    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let Some(spec) = object.get("spec") else {
            return Vec::new();
        };
        let path = Path::new("spec");
        let mut errors = Vec::new();
        let number = |field: &str| spec.get(field).and_then(Value::as_i64);
        if let Some(seconds) = number("leaseDurationSeconds").filter(|n| *n <= 0) {
            let path = path.child("leaseDurationSeconds");
            errors.push(FieldError::invalid(&path, &seconds.into(), "must be greater than 0"));
        }
        if let Some(count) = number("leaseTransitions").filter(|n| *n < 0) {
            let path = path.child("leaseTransitions");
            errors.push(FieldError::invalid(
                &path,
                &count.into(),
                "must be greater than or equal to 0",
            ));
        }
        let strategy = spec.str_at(&["strategy"]);
        if let Some(strategy) = strategy {
            errors.extend(validate_strategy(strategy, &path.child("strategy").child("strategy")));
        }
        let holder = spec.str_at(&["preferredHolder"]).unwrap_or_default();
        if !holder.is_empty() && strategy.unwrap_or_default().is_empty() {
            let why = "may only be specified if `strategy` is defined";
            errors.push(FieldError::forbidden(&path.child("preferredHolder"), why));
        }
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate(ctx, object)
    }

    /// A PUT of an absent lease creates it.
    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_strategy(strategy: &str, path: &Path) -> Vec<FieldError> {
    const KNOWN: &str = "OldestEmulationVersion";
    match strategy.contains('/') {
        false if strategy != KNOWN => vec![FieldError::not_supported(path, &strategy.into(), &[KNOWN])],
        false => Vec::new(),
        true => {
            let texts = names::qualified_name(strategy);
            texts
                .into_iter()
                .map(|why| FieldError::invalid(path, &strategy.into(), why))
                .collect()
        }
    }
}
