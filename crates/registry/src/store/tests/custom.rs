use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::testing::{Fixture, refusal, widget, widget_crd, widgets};
use crate::{CustomDefinition, DefinitionCache, Origin, Patch, Resolved, Subresource};

#[tokio::test(start_paused = true)]
async fn schema_defaults_prunes_and_validates_in_upstreams_words() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "");
    let mut body = widget("w");
    body["spec"]["zz"] = json!(1);
    let made = f.create(&at, body).await.unwrap();
    assert_eq!(made["spec"], json!({"colour": "red", "size": 1}));
    assert_eq!(
        made["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {".": {}, "f:colour": {}, "f:size": {}}})
    );
    let invalid = |spec: Value| {
        let mut body = widget("w9");
        body["spec"] = spec;
        let at = at.clone();
        let f = &f;
        async move { refusal(f.create(&at, body).await) }
    };
    assert_eq!(
        invalid(json!({"size": 0})).await.1,
        "Widget.example.io \"w9\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than or equal \
         to 1"
    );
    assert_eq!(
        invalid(json!({"size": "x"})).await.1,
        "Widget.example.io \"w9\" is invalid: [spec.size: Invalid value: \"string\": spec.size in body must be of type \
         integer: \"string\", <nil>: Invalid value: null: some validation rules were not checked because the object was \
         invalid; correct the existing errors to complete validation]"
    );
    assert!(invalid(json!({"size": 13})).await.1.contains("13 is unlucky"));
    assert!(
        invalid(json!({"ports": [{"port": 1}, {"port": 1}]}))
            .await
            .1
            .contains("Duplicate value")
    );
}

#[tokio::test(start_paused = true)]
async fn the_kind_must_be_the_endpoints() {
    let f = Fixture::new().await;
    let mut body = widget("w9");
    body["kind"] = json!("Foo");
    let (code, text) = refusal(f.create(&f.at("widgets.example.io", "default", ""), body).await);
    assert_eq!(
        (code, text.as_str()),
        (
            422,
            "Foo.example.io \"w9\" is invalid: kind: Invalid value: \"Foo\": must be Widget"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn missing_names_keep_rules_from_running() {
    let f = Fixture::new().await;
    let body = json!({"apiVersion": "example.io/v1", "kind": "Widget"});
    let (_, text) = refusal(f.create(&f.at("widgets.example.io", "default", ""), body).await);
    assert_eq!(
        text,
        "Widget.example.io \"\" is invalid: [metadata.name: Required value: name or generateName is required, <nil>: Invalid \
         value: null: some validation rules were not checked because the object was invalid; correct the existing errors to \
         complete validation]"
    );
}

#[tokio::test(start_paused = true)]
async fn versions_differ_by_api_version_only() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    let made = f.create(&at, widget("w")).await.unwrap();
    let old = at.version(1);
    let shown = f.get(&old).await.unwrap();
    assert_eq!(shown.api_version(), "example.io/v1beta1");
    assert_eq!(shown["spec"], made["spec"]);
    let changed = f.patch(&old, Patch::Merge(json!({"spec": {"size": 4}}))).await.unwrap();
    assert_eq!(changed.api_version(), "example.io/v1beta1");
    let stored = f.get(&at).await.unwrap();
    assert_eq!(
        (stored.api_version(), &stored["spec"]["size"]),
        ("example.io/v1", &json!(4))
    );
}

#[tokio::test(start_paused = true)]
async fn a_terminating_definition_takes_no_new_objects() {
    let f = Fixture::new().await;
    let mut at = f.at("widgets.example.io", "default", "w");
    f.create(&at, widget("w")).await.unwrap();
    let going = CustomDefinition {
        terminating: true,
        ..widgets()
    };
    at.target.resolved = Resolved {
        def: DefinitionCache::default().definition(&going),
        version: 0,
    };
    let text = "create not allowed while custom resource definition is terminating";
    assert_eq!(refusal(f.create(&at, widget("x")).await), (403, text.to_owned()));
    assert!(f.get(&at).await.is_ok());
    assert!(f.delete(&at).await.unwrap().gone);
}

#[tokio::test(start_paused = true)]
async fn scale_reads_and_writes_replicas() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    f.create(&at, widget("w")).await.unwrap();
    let scale = at.sub(Subresource::Scale);
    let (code, text) = refusal(f.get(&scale).await);
    assert_eq!(
        (code, text.as_str()),
        (
            500,
            "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist"
        )
    );
    f.patch(&at, Patch::Merge(json!({"spec": {"replicas": 2}})))
        .await
        .unwrap();
    let shown = f.get(&scale).await.unwrap();
    assert_eq!((shown.api_version(), shown.kind()), ("autoscaling/v1", "Scale"));
    assert_eq!(shown["spec"]["replicas"], 2);
    let scaled = f
        .patch(&scale, Patch::Merge(json!({"spec": {"replicas": 5}})))
        .await
        .unwrap();
    assert_eq!(scaled["spec"]["replicas"], 5);
    let object = f.get(&at).await.unwrap();
    assert_eq!((&object["spec"]["replicas"], object.generation()), (&json!(5), 3));
    let (code, _) = refusal(f.patch(&scale, Patch::Merge(json!({"spec": {"replicas": -1}}))).await);
    assert_eq!(code, 422);
}

#[test]
fn equal_definitions_exist_once_and_go_with_their_last_user() {
    let cache = DefinitionCache::default();
    let one = cache.definition(&widgets());
    let two = cache.definition(&widgets());
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    assert_eq!(cache.len(), (1, 1), "both versions have one schema");
    let mut other = widget_crd();
    other["metadata"]["annotations"]["kcp.io/cluster"] = json!("elsewhere");
    let elsewhere = cache.definition(&CustomDefinition::from_crd(&other, Origin::Local).unwrap());
    assert!(
        std::sync::Arc::ptr_eq(&one.versions[0].schema, &elsewhere.versions[0].schema),
        "schemas know no cluster"
    );
    assert_ne!(one.storage_version_hash, elsewhere.storage_version_hash);
    drop((one, two, elsewhere));
    assert!(cache.is_empty());
}

#[test]
fn hash_of_discovery_is_kcps() {
    assert_eq!(crate::storage_version_hash("", "", "v1", "ConfigMap"), "BcsYVNKF43M=");
}
