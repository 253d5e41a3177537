use machinery::object::ObjectExt;
use machinery::options::{FieldValidation, WriteOptions};
use serde_json::json;

use crate::testing::{Fixture, config_map, refusal, widget, widget_crd};
use crate::{Backend, Patch};

#[tokio::test(start_paused = true)]
async fn apply_creates_then_updates() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    let (made, created) = f.apply(&at, "a", widget("w"), false).await.unwrap();
    assert!(created);
    assert_eq!(made["spec"], json!({"colour": "red", "size": 1}));
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Apply");
    assert_eq!(made.generation(), 1);
    let (same, created) = f.apply(&at, "a", widget("w"), false).await.unwrap();
    assert!(!created);
    assert_eq!(same, made, "applying the same again changes nothing");
}

#[tokio::test(start_paused = true)]
async fn apply_conflicts_as_recorded_unless_forced() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "ssa");
    f.apply(&at, "a", widget("ssa"), false).await.unwrap();
    let mut other = widget("ssa");
    other["spec"]["size"] = json!(2);
    let status = f.apply(&at, "b", other.clone(), false).await.err().unwrap();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.size"
    );
    assert_eq!(status.details.unwrap().causes[0].reason, "FieldManagerConflict");
    let (forced, _) = f.apply(&at, "b", other, true).await.unwrap();
    assert_eq!((&forced["spec"]["size"], forced.generation()), (&json!(2), 2));
}

#[tokio::test(start_paused = true)]
async fn fields_nobody_applies_any_more_go() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let mut config = config_map("a");
    config["data"]["l"] = json!("w");
    f.apply(&at, "m", config, false).await.unwrap();
    let (left, _) = f.apply(&at, "m", config_map("a"), false).await.unwrap();
    assert_eq!(left["data"], json!({"k": "v"}));
}

#[tokio::test(start_paused = true)]
async fn apply_of_what_get_showed_does_not_own_the_cluster_annotation() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let mut config = config_map("a");
    config["metadata"]["annotations"] = json!({"kcp.io/cluster": "root", "mine": "x"});
    let (made, _) = f.apply(&at, "m", config, false).await.unwrap();
    let owned = made["metadata"]["managedFields"].to_string();
    assert!(owned.contains("f:mine") && !owned.contains("kcp.io/cluster"), "{owned}");
    assert_eq!(made.annotation("kcp.io/cluster"), Some("root"));
}

#[tokio::test(start_paused = true)]
async fn apply_needs_the_right_type_and_no_managed_fields() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let mut config = config_map("a");
    config["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        refusal(f.apply(&at, "m", config, false).await),
        (400, "metadata.managedFields must be nil".to_owned())
    );
    let (code, _) = refusal(f.apply(&at, "m", widget("a"), false).await);
    assert_eq!(code, 400);
}

#[tokio::test(start_paused = true)]
async fn repeated_members_of_a_configuration_are_refused_when_strict() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let mut request = f.request();
    request.duplicates = vec!["data.k".to_owned()];
    let apply = |field_validation| WriteOptions {
        field_manager: "m".to_owned(),
        field_validation,
        ..WriteOptions::default()
    };
    let patch = Patch::Apply(config_map("a"));
    let refused = f
        .registry
        .patch(&request, &at.target, patch.clone(), &apply(FieldValidation::Strict))
        .await;
    assert_eq!(
        refusal(refused),
        (400, "error strict decoding YAML: duplicate field \"data.k\"".to_owned())
    );
    f.registry
        .patch(&request, &at.target, patch, &apply(FieldValidation::Warn))
        .await
        .unwrap();
    assert_eq!(*request.warnings.lock(), ["duplicate field \"data.k\""]);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_changes_the_version_loses_no_field_of_the_new_one() {
    let mut f = Fixture::new().await;
    let mut crd = widget_crd();
    let new_fields = &mut crd["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    new_fields["weight"] = json!({"type": "integer"});
    f.define(&crd);
    let old = f.at("widgets.example.io", "default", "w");
    let new = old.version(1);
    let mut config = widget("w");
    config["spec"]["replicas"] = json!(2);
    f.apply(&old, "m", config, false).await.unwrap();
    let mut config = widget("w");
    config["apiVersion"] = json!("example.io/v1beta1");
    config["spec"]["weight"] = json!(7);
    let (made, _) = f.apply(&new, "m", config.clone(), false).await.unwrap();
    assert_eq!(made["spec"], json!({"colour": "red", "size": 1, "weight": 7}));
    assert!(made["metadata"]["managedFields"].to_string().contains("f:weight"));
    assert_eq!(f.get(&new).await.unwrap()["spec"], made["spec"]);
    // And back: what is not applied any more goes.
    f.apply(&old, "m", widget("w"), false).await.unwrap();
    assert_eq!(f.get(&new).await.unwrap()["spec"], json!({"colour": "red", "size": 1}));
}
