//! ResourceQuotas.

use machinery::field::{FieldError, Path};
use machinery::names;
use machinery::object::ObjectExt;
use serde_json::{Map, Value};

use crate::strategy::keep;
use crate::{Strategy, StrategyContext, Subresource, VersionDef};

/// What may be limited without a domain in its name.
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
    "hugepages",
];
const SCOPES: [&str; 8] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
    "requests",
];

pub struct ResourceQuotas;

// === impl Strategy for ResourceQuotas ===

impl Strategy for ResourceQuotas {
    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        object.set_at(&["status"], Value::Object(Map::new()));
    }

    fn prepare_for_update(&self, ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        let kept = if ctx.subresource == Subresource::Status {
            "spec"
        } else {
            "status"
        };
        keep(object, old, &[kept]);
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = validate_amounts(object, &["spec", "hard"]);
        errors.extend(validate_scopes(object));
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        if ctx.subresource == Subresource::Status {
            let mut errors = validate_amounts(object, &["status", "hard"]);
            errors.extend(validate_amounts(object, &["status", "used"]));
            return errors;
        }
        let mut errors = self.validate(ctx, object);
        if sorted_scopes(object) != sorted_scopes(old) {
            let scopes = object.at(&["spec", "scopes"]).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(
                &Path::new("spec").child("scopes"),
                &scopes,
                "field is immutable",
            ));
        }
        errors
    }

    fn reset_fields(&self, _version: &VersionDef, subresource: Subresource) -> &'static [&'static [&'static str]] {
        match subresource {
            Subresource::Status => &[&["spec"]],
            _ => &[&["status"]],
        }
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn sorted_scopes(object: &Value) -> Vec<&str> {
    let list = object.at(&["spec", "scopes"]).and_then(Value::as_array);
    let mut scopes: Vec<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
    scopes.sort_unstable();
    scopes
}

fn validate_scopes(object: &Value) -> Vec<FieldError> {
    let list = object.at(&["spec", "scopes"]).and_then(Value::as_array);
    let path = Path::new("spec").child("scopes");
    let texts = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|scope| !SCOPES.contains(scope));
    texts
        .map(|scope| FieldError::invalid(&path, &scope.into(), "unsupported scope"))
        .collect()
}

fn validate_amounts(object: &Value, at: &[&str]) -> Vec<FieldError> {
    let path = at.iter().fold(Path::root(), |path, member| path.child(member));
    let mut errors = Vec::new();
    for (name, amount) in object.at(at).and_then(Value::as_object).into_iter().flatten() {
        let path = path.key(name);
        for why in names::qualified_name(name) {
            errors.push(FieldError::invalid(&path, &name.as_str().into(), why));
        }
        if !name.contains('/') && !STANDARD.contains(&name.as_str()) && !name.starts_with("hugepages-") {
            errors.push(FieldError::invalid(
                &path,
                &name.as_str().into(),
                "must be a standard resource for quota",
            ));
        }
        match quantity(amount) {
            None => {
                let why = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                errors.push(FieldError::invalid(&path, amount, why));
            }
            Some((whole, _)) if whole < 0 => {
                errors.push(FieldError::invalid(&path, amount, "must be greater than or equal to 0"));
            }
            Some((_, true)) if name.starts_with("count/") => {
                errors.push(FieldError::invalid(&path, amount, "must be an integer"));
            }
            Some(_) => {}
        }
    }
    errors
}

/// The whole part of a quantity and whether there is a fraction; its suffix only scales.
fn quantity(value: &Value) -> Option<(i64, bool)> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scaled = matches!(suffix, "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E")
        || matches!(suffix, "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei")
        || suffix
            .strip_prefix(['e', 'E'])
            .is_some_and(|power| power.parse::<i32>().is_ok());
    let number: f64 = number.parse().ok().filter(|_| scaled)?;
    let fraction = number.fract() != 0.0 || (suffix == "m" && number % 1000.0 != 0.0) || matches!(suffix, "n" | "u");
    Some((number.floor() as i64, fraction))
}
