//! Every manifest fits the schemas of Kubernetes, and of the operators whose objects the chart may make.

use deploy::{Manifests, id};
use k8s_openapi::api::{apps, batch, core, networking, policy, rbac};
use machinery::object::ObjectExt;
use machinery::schema::CompiledSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A field that the type does not know is lost on the way through it; one that it needs and that is missing comes out empty.
fn passes<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    match differences(object, &again, "").as_slice() {
        [] => Ok(()),
        found => Err(found.join("; ")),
    }
}

fn differences(given: &Value, read: &Value, path: &str) -> Vec<String> {
    match (given, read) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let both = |name: &String| (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
            let of = |name: &String| differences(both(name).0, both(name).1, &format!("{path}.{name}"));
            names.into_iter().flat_map(of).collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs
                .flat_map(|(at, (a, b))| differences(a, b, &format!("{path}[{at}]")))
                .collect()
        }
        (a, b) if a == b => Vec::new(),
        (given, read) => vec![format!("{path}: {given} was read as {read}")],
    }
}

/// Definitions of cert-manager and prometheus-operator.
fn operators(object: &Value) -> Option<Result<(), String>> {
    let schemas: Value = serde_json::from_str(include_str!("schemas/operators.json")).ok()?;
    let name = format!("{}/{}", object.str_at(&["apiVersion"])?, object.str_at(&["kind"])?);
    let schema = CompiledSchema::new(schemas.get(&name)?);
    let mut pruned = object.clone();
    let mut wrong = schema.prune(&mut pruned);
    let errors = schema.validate(object, None, &machinery::field::Path::root());
    wrong.extend(errors.iter().map(|error| format!("{error:?}")));
    Some(match wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(wrong.join("; ")),
    })
}

fn check(object: &Value) -> Result<(), String> {
    let kind = object.str_at(&["kind"]).unwrap_or_default();
    let of = |version: &str| {
        format!("{version}/{kind}") == format!("{}/{kind}", object.str_at(&["apiVersion"]).unwrap_or_default())
    };
    match kind {
        "Service" if of("v1") => passes::<core::v1::Service>(object),
        "ServiceAccount" if of("v1") => passes::<core::v1::ServiceAccount>(object),
        "ConfigMap" if of("v1") => passes::<core::v1::ConfigMap>(object),
        "Deployment" if of("apps/v1") => passes::<apps::v1::Deployment>(object),
        "StatefulSet" if of("apps/v1") => passes::<apps::v1::StatefulSet>(object),
        "Job" if of("batch/v1") => passes::<batch::v1::Job>(object),
        "CronJob" if of("batch/v1") => passes::<batch::v1::CronJob>(object),
        "Role" if of("rbac.authorization.k8s.io/v1") => passes::<rbac::v1::Role>(object),
        "RoleBinding" if of("rbac.authorization.k8s.io/v1") => passes::<rbac::v1::RoleBinding>(object),
        "PodDisruptionBudget" if of("policy/v1") => passes::<policy::v1::PodDisruptionBudget>(object),
        "NetworkPolicy" if of("networking.k8s.io/v1") => passes::<networking::v1::NetworkPolicy>(object),
        _ => operators(object).unwrap_or_else(|| Err("no schema is known".to_owned())),
    }
}

#[test]
fn every_manifest_fits_its_schema() {
    for name in Manifests::names().unwrap() {
        let manifests = Manifests::rendered(&name).unwrap();
        assert!(manifests.0.len() > 10, "{name}");
        for object in &manifests.0 {
            assert_eq!(check(object), Ok(()), "{name}: {}", id(object));
        }
    }
}

#[test]
fn what_does_not_fit_is_found() {
    let manifests = Manifests::rendered("two-shards").unwrap();
    let found = |kind: &str, pointer: &str, field: &str, value: Value| {
        let mut object = manifests.of_kind(kind).next().unwrap().clone();
        object.pointer_mut(pointer).unwrap()[field] = value;
        check(&object).unwrap_err()
    };
    assert!(found("Deployment", "/spec/template/spec/containers/0", "comand", "x".into()).contains("comand"));
    assert!(found("Deployment", "/spec", "replicas", "two".into()).contains("invalid type"));
    assert!(found("Deployment", "/spec", "selector", Value::Null).contains("selector"));
    assert!(found("Certificate", "/spec", "isCa", true.into()).contains("isCa"));
    assert!(found("Certificate", "/spec", "issuerRef", Value::Null).contains("issuerRef"));
    assert!(found("ServiceMonitor", "/spec/endpoints/0", "schema", "https".into()).contains("schema"));
}
