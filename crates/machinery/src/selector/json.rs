//! `metav1.LabelSelector` as JSON: `{matchLabels, matchExpressions}`.

use serde_json::Value;

use super::label::{LabelSelector, Operator, Requirement, SelectorParseError};
use super::syntax::checked_requirement;
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::names;
use crate::text::quote;

// === impl LabelSelector ===

impl LabelSelector {
    /// Absent selects nothing, the empty object everything. Call [`validate_label_selector`] first where the
    /// object has not been validated: members of wrong types read as absent here.
    pub fn from_json(selector: Option<&Value>) -> Result<Self, SelectorParseError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements: Vec<Requirement> = Vec::new();
        for (key, value) in match_labels(selector) {
            requirements.push(checked_requirement(key, Operator::In, vec![value.to_owned()])?);
        }
        for expression in match_expressions(selector) {
            let operator = match text(expression, "operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorParseError(format!(
                        "{} is not a valid label selector operator",
                        quote(other)
                    )));
                }
            };
            let values = values(expression).map(str::to_owned).collect();
            requirements.push(checked_requirement(text(expression, "key"), operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::of(requirements))
    }
}

/// What is wrong with a label selector of an object. `allow_invalid_values` is for updates of objects that already
/// hold such a value.
pub fn validate_label_selector(selector: &Value, path: &Path, allow_invalid_values: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = path.child("matchLabels");
    for (key, value) in match_labels(selector) {
        errors.extend(names::qualified_name(key).iter().map(|why| invalid(&at, key, why)));
        errors.extend(names::label_value(value).iter().map(|why| invalid(&at, value, why)));
    }
    for (index, expression) in match_expressions(selector).iter().enumerate() {
        let at = path.child("matchExpressions").index(index);
        let count = values(expression).count();
        match text(expression, "operator") {
            "In" | "NotIn" if count == 0 => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&at.child("values"), why));
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&at.child("values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(invalid(&at.child("operator"), other, "not a valid selector operator")),
        }
        let key = text(expression, "key");
        errors.extend(
            names::qualified_name(key)
                .iter()
                .map(|why| invalid(&at.child("key"), key, why)),
        );
        if !allow_invalid_values {
            for (index, value) in values(expression).enumerate() {
                let at = at.child("values").index(index);
                errors.extend(names::label_value(value).iter().map(|why| invalid(&at, value, why)));
            }
        }
    }
    errors
}

fn invalid(path: &Path, value: &str, why: &str) -> FieldError {
    FieldError::new(FieldErrorKind::Invalid, path, Some(quote(value)), why)
}

fn match_labels(selector: &Value) -> impl Iterator<Item = (&String, &str)> {
    let labels = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    labels.map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn match_expressions(selector: &Value) -> &[Value] {
    selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(expression: &'a Value, name: &str) -> &'a str {
    expression.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn values(expression: &Value) -> impl Iterator<Item = &str> {
    let list = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    list.map(|value| value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_selects_nothing_and_empty_everything() {
        assert!(LabelSelector::from_json(None).unwrap().is_nothing());
        assert!(LabelSelector::from_json(Some(&Value::Null)).unwrap().is_nothing());
        assert!(LabelSelector::from_json(Some(&json!({}))).unwrap().is_everything());
    }

    #[test]
    fn labels_and_expressions_are_anded() {
        let selector = json!({"matchLabels": {"b": "x"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["2", "1"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(
            LabelSelector::from_json(Some(&selector)).unwrap().to_string(),
            "a in (1,2),b=x,!c"
        );
        assert!(validate_label_selector(&selector, &Path::new("spec"), false).is_empty());
    }

    #[test]
    fn bad_selectors_are_refused() {
        let selector = json!({"matchLabels": {"-": "x"}, "matchExpressions": [
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Like", "values": ["-"]}]});
        let errors = validate_label_selector(&selector, &Path::new("s"), false);
        let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        assert!(texts[0].starts_with("s.matchLabels: Invalid value: \"-\": name part must"));
        assert_eq!(
            texts[1..4],
            [
                "s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "s.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                "s.matchExpressions[2].operator: Invalid value: \"Like\": not a valid selector operator",
            ]
        );
        assert!(texts[4].starts_with("s.matchExpressions[2].values[0]: Invalid value: \"-\": a valid label must"));
        assert_eq!(validate_label_selector(&selector, &Path::new("s"), true).len(), 4);

        let like = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
        let error = LabelSelector::from_json(Some(&like)).unwrap_err();
        assert_eq!(error.to_string(), "\"Like\" is not a valid label selector operator");
        let empty = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
        let error = LabelSelector::from_json(Some(&empty)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty"
        );
    }
}
