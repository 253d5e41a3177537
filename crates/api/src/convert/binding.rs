//! APIBinding.

use serde_json::Value;

use super::claim::{NewClaim, OldClaim, restore};
use super::{keep, read_list, take, write_list};
use crate::keys::annotation::conversion as key;

const CLAIMS: [&str; 2] = ["spec", "permissionClaims"];
const EXPORTED: [&str; 2] = ["status", "exportPermissionClaims"];
const APPLIED: [&str; 2] = ["status", "appliedPermissionClaims"];

/// One of the three lists of claims, and how it goes from version to version.
struct List {
    path: [&'static str; 2],
    /// Annotation for what v1alpha1 cannot say.
    new_key: &'static str,
    /// Annotation for what v1alpha2 cannot say.
    old_key: &'static str,
    /// Whether claims have selectors in v1alpha2.
    selects: bool,
}

const LISTS: [List; 3] = [
    List {
        path: CLAIMS,
        new_key: key::ACCEPTABLE_PERMISSION_CLAIMS,
        old_key: key::V1ALPHA1_PERMISSION_CLAIMS,
        selects: true,
    },
    List {
        path: EXPORTED,
        new_key: key::STATUS_EXPORT_CLAIMS,
        old_key: key::V1ALPHA1_STATUS_EXPORT_CLAIMS,
        selects: false,
    },
    List {
        path: APPLIED,
        new_key: key::STATUS_APPLIED_CLAIMS,
        old_key: key::V1ALPHA1_STATUS_APPLIED_CLAIMS,
        selects: true,
    },
];

pub(super) fn to_v1alpha2(object: &mut Value) -> Result<(), String> {
    for list in &LISTS {
        let kept: Vec<NewClaim> = take(object, list.new_key, "claims")?;
        let Some(old) = read_list::<OldClaim>(object, &list.path) else {
            continue;
        };
        // Exported claims say nothing of `all` in v1alpha2, so each of them is kept.
        let lost: Vec<&OldClaim> = old
            .iter()
            .filter(|claim| !list.selects || !claim.resource_selector.is_empty())
            .collect();
        keep(object, list.old_key, &lost);
        let convert = if list.selects {
            OldClaim::to_binding_claim
        } else {
            OldClaim::to_export_claim
        };
        let mut claims: Vec<NewClaim> = old.iter().map(convert).collect();
        restore(&mut claims, &kept, |claim, kept| {
            claim.verbs.clone_from(&kept.verbs);
            if list.selects {
                claim.selector.clone_from(&kept.selector);
            }
        });
        claims.iter_mut().for_each(NewClaim::default_verbs);
        if list.selects {
            claims.iter_mut().for_each(NewClaim::default_selector);
        }
        write_list(object, &list.path, &claims);
    }
    Ok(())
}

pub(super) fn to_v1alpha1(object: &mut Value) -> Result<(), String> {
    for list in &LISTS {
        let kept: Vec<OldClaim> = take(object, list.old_key, "schemas")?;
        let Some(new) = read_list::<NewClaim>(object, &list.path) else {
            continue;
        };
        let lost: Vec<&NewClaim> = new
            .iter()
            .filter(|claim| !claim.has_all_verbs() || (list.selects && !claim.matches_all()))
            .collect();
        keep(object, list.new_key, &lost);
        let mut claims: Vec<OldClaim> = new.iter().map(NewClaim::to_old).collect();
        restore(&mut claims, &kept, |claim, kept| {
            claim.all = kept.all;
            claim.resource_selector.clone_from(&kept.resource_selector);
        });
        write_list(object, &list.path, &claims);
    }
    Ok(())
}
