//! An applied configuration wants what others own.

use super::element::{Element, print_path};
use super::entries::{Identity, Operation};
use super::fieldset::FieldSet;
use crate::status::{Cause, Status};
use crate::text::quote;

/// One path wanted by two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner, as messages name it: `"kubectl" using v1`.
    pub owner: String,
    pub path: Vec<Element>,
}

/// The conflicts with one owner.
pub fn conflicts(owner: Identity<'_>, paths: &FieldSet) -> impl Iterator<Item = Conflict> {
    let owner = print_owner(owner);
    paths.paths().into_iter().map(move |path| Conflict {
        owner: owner.clone(),
        path,
    })
}

fn print_owner(owner: Identity<'_>) -> String {
    let mut text = quote(owner.manager);
    if !owner.subresource.is_empty() {
        text.push_str(&format!(" with subresource {}", quote(owner.subresource)));
    }
    if owner.operation == Operation::Update {
        text.push_str(&format!(" using {}", owner.version));
    }
    text
}

/// The 409 that lists all conflicts, grouped by owner.
pub fn status(conflicts: &[Conflict]) -> Status {
    let causes = conflicts.iter().map(|conflict| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {}", conflict.owner),
        field: print_path(&conflict.path),
    });
    Status::apply_conflict(message(conflicts), causes.collect())
}

fn message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.owner,
            print_path(&only.path)
        );
    }
    let mut lines = Vec::new();
    let mut owner = None;
    for conflict in conflicts {
        if owner.replace(&conflict.owner) != Some(&conflict.owner) {
            lines.push(format!("conflicts with {}:", conflict.owner));
        }
        lines.push(format!("- {}", print_path(&conflict.path)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
