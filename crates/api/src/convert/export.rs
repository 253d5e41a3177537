//! APIExport.

use machinery::object::ObjectExt;
use machinery::text::quote;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::claim::{NewClaim, OldClaim, restore};
use super::{keep, read_list, take, write_list};
use crate::keys::annotation::conversion as key;
use crate::keys::group;

const CLAIMS: [&str; 2] = ["spec", "permissionClaims"];
const RESOURCES: [&str; 2] = ["spec", "resources"];
const SCHEMAS: [&str; 2] = ["spec", "latestResourceSchemas"];

/// An entry of v1alpha2's `spec.resources`, in kcp's member order.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Resource {
    #[serde(default)]
    name: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    storage: Value,
}

pub(super) fn to_v1alpha2(object: &mut Value) -> Result<(), String> {
    let schemas: Option<Vec<String>> = read_list(object, &SCHEMAS);
    if let Some(schemas) = &schemas {
        let resources = schemas
            .iter()
            .map(|schema| resource_of(schema))
            .collect::<Result<Vec<_>, _>>()?;
        object.remove_at(&SCHEMAS);
        write_list(object, &RESOURCES, &resources);
    }
    let kept: Vec<Resource> = take(object, key::RESOURCE_SCHEMAS, "schemas")?;
    if !kept.is_empty() {
        let mut resources: Vec<Resource> = read_list(object, &RESOURCES).unwrap_or_default();
        resources.extend(kept);
        write_list(object, &RESOURCES, &resources);
    }

    let kept: Vec<NewClaim> = take(object, key::PERMISSION_CLAIMS, "claims")?;
    let Some(old) = read_list::<OldClaim>(object, &CLAIMS) else {
        return Ok(());
    };
    keep(object, key::V1ALPHA1_PERMISSION_CLAIMS, &old);
    let mut claims: Vec<NewClaim> = old.iter().map(OldClaim::to_export_claim).collect();
    restore(&mut claims, &kept, |claim, kept| {
        claim.verbs.clone_from(&kept.verbs);
        claim.default_selector.clone_from(&kept.default_selector);
    });
    claims.iter_mut().for_each(NewClaim::default_verbs);
    write_list(object, &CLAIMS, &claims);
    Ok(())
}

pub(super) fn to_v1alpha1(object: &mut Value) -> Result<(), String> {
    if let Some(resources) = read_list::<Resource>(object, &RESOURCES) {
        let (in_crds, elsewhere): (Vec<_>, Vec<_>) = resources
            .into_iter()
            .partition(|r| r.storage.get("crd").is_some_and(Value::is_object));
        keep(object, key::RESOURCE_SCHEMAS, &elsewhere);
        object.remove_at(&RESOURCES);
        if !in_crds.is_empty() {
            object.set_at(&SCHEMAS, in_crds.into_iter().map(|r| r.schema).collect());
        }
    }

    let kept: Vec<OldClaim> = take(object, key::V1ALPHA1_PERMISSION_CLAIMS, "v1alpha1 claims")?;
    let Some(new) = read_list::<NewClaim>(object, &CLAIMS) else {
        return Ok(());
    };
    let with_verbs: Vec<&NewClaim> = new.iter().filter(|claim| !claim.has_all_verbs()).collect();
    keep(object, key::PERMISSION_CLAIMS, &with_verbs);
    let mut claims: Vec<OldClaim> = new.iter().map(NewClaim::to_old).collect();
    restore(&mut claims, &kept, |claim, kept| {
        claim.all = kept.all;
        claim.resource_selector.clone_from(&kept.resource_selector);
    });
    write_list(object, &CLAIMS, &claims);
    Ok(())
}

/// From a schema's name, `<prefix>.<resource>.<group>`.
fn resource_of(schema: &str) -> Result<Resource, String> {
    let mut segments = schema.splitn(3, '.');
    let (Some(_prefix), Some(name), Some(group)) = (segments.next(), segments.next(), segments.next()) else {
        return Err(format!(
            "invalid schema {}: must have at least 3 dot-separated segments",
            quote(schema)
        ));
    };
    let group = if group == group::CORE_IN_NAMES { "" } else { group };
    let (name, group, schema) = (name.to_owned(), group.to_owned(), schema.to_owned());
    Ok(Resource {
        name,
        group,
        schema,
        storage: json!({"crd": {}}),
    })
}
