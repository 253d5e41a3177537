use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use machinery::object::ObjectExt;
use machinery::options::{FieldValidation, WriteOptions};
use machinery::status::Result;
use permit::{Permit, Scope};
use serde_json::{Value, json};

use crate::testing::{Fixture, config_map, refusal, widget};
use crate::{Admission, Attributes, Backend, Registry, Request, Target};

#[tokio::test(start_paused = true)]
async fn create_sets_system_fields() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let mut body = config_map("a");
    body["metadata"]["uid"] = json!("mine");
    body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    body["metadata"]["deletionTimestamp"] = json!("2001-01-01T00:00:00Z");
    let made = f.create(&at, body).await.unwrap();
    assert_eq!(made.uid().len(), 36);
    assert_ne!(made["metadata"]["creationTimestamp"], "2001-01-01T00:00:00Z");
    assert!(made.deletion_timestamp().is_none());
    assert_eq!(made.namespace(), "default");
    assert_eq!(made.annotation("kcp.io/cluster"), Some("root"));
    assert!(made.resource_version().parse::<u64>().unwrap() > 0);
    let managed = &made["metadata"]["managedFields"][0];
    assert_eq!(managed["manager"], "tester");
    assert_eq!(managed["operation"], "Update");
    assert_eq!(managed["fieldsV1"], json!({"f:data": {".": {}, "f:k": {}}}));
    assert_eq!(f.get(&at.named("a")).await.unwrap(), made);
}

#[tokio::test(start_paused = true)]
async fn create_refuses_resource_version_with_500_and_empty_reason() {
    let f = Fixture::new().await;
    let mut body = config_map("a");
    body["metadata"]["resourceVersion"] = json!("5");
    let status = f.create(&f.at("configmaps", "default", ""), body).await.unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (500, "resourceVersion should not be set on objects to be created")
    );
    assert!(status.to_value().get("reason").is_none());
}

#[tokio::test(start_paused = true)]
async fn create_refuses_foreign_namespace() {
    let f = Fixture::new().await;
    let mut body = config_map("a");
    body["metadata"]["namespace"] = json!("other");
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!(
        refusal(f.create(&f.at("configmaps", "default", ""), body).await),
        (400, text.to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn create_over_all_clusters_is_405() {
    let f = Fixture::new().await;
    let at = f.at("namespaces", "", "");
    let mut request = f.request();
    request.permit = Permit::internal(Scope::All);
    let body = json!({"metadata": {"name": "x"}});
    let status = f
        .registry
        .create(&request, &at.target, body, &WriteOptions::default())
        .await
        .err()
        .unwrap();
    assert_eq!(status.code, 405);
    assert_eq!(
        status.message,
        "create is not supported on resources of kind \"namespaces\" in the `*` logical cluster"
    );
}

#[tokio::test(start_paused = true)]
async fn generated_names_end_in_five_characters() {
    let f = Fixture::new().await;
    let mut body = config_map("");
    body["metadata"] = json!({"generateName": "base-"});
    let made = f.create(&f.at("configmaps", "default", ""), body).await.unwrap();
    assert!(made.name().starts_with("base-"));
    assert_eq!(made.name().len(), 10);
}

/// Takes every generated name just before it would be stored, as long as it is told to.
#[derive(Default)]
struct Rival {
    registry: OnceLock<(Registry, Target)>,
    taken: AtomicUsize,
    stop_after: usize,
}

#[async_trait]
impl Admission for Rival {
    fn name(&self) -> &'static str {
        "Rival"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        let Some((registry, target)) = self.registry.get() else {
            return Ok(());
        };
        if attributes.request.agent == "rival" || self.taken.load(Ordering::Relaxed) == self.stop_after {
            return Ok(());
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        let request = Request::new(
            attributes.request.permit.clone(),
            attributes.request.user.clone(),
            "rival",
        );
        let body = config_map(attributes.name);
        registry
            .create(&request, target, body, &WriteOptions::default())
            .await
            .map(drop)
    }
}

async fn create_against_rival(stop_after: usize) -> (Result<Value>, usize) {
    let rival = Arc::new(Rival {
        stop_after,
        ..Rival::default()
    });
    let f = Fixture::with_admission(vec![rival.clone()]).await;
    let at = f.at("configmaps", "default", "");
    rival
        .registry
        .set((f.registry.clone(), at.target.clone()))
        .ok()
        .expect("set once");
    let mut body = config_map("");
    body["metadata"] = json!({"generateName": "base-"});
    (f.create(&at, body).await, rival.taken.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn taken_generated_names_are_tried_anew_eight_times() {
    let (made, taken) = create_against_rival(7).await;
    assert!(made.is_ok());
    assert_eq!(taken, 7);
    let (refused, taken) = create_against_rival(usize::MAX).await;
    let status = refused.unwrap_err();
    assert_eq!((status.code, taken), (409, 8));
    assert!(
        status
            .message
            .ends_with("already exists, the server was not able to generate a unique name for the object"),
        "{}",
        status.message
    );
    assert_eq!(status.retry_after_seconds(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_required_and_checked() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let (code, text) = refusal(f.create(&at, json!({"data": {}})).await);
    assert_eq!(code, 422);
    assert_eq!(
        text,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
    let (code, text) = refusal(f.create(&at, config_map("Bad_Name")).await);
    assert_eq!(code, 422);
    assert!(text.starts_with(
        "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123"
    ));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_there_is_not_created_again() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let mut body = config_map("a");
    body["metadata"]["finalizers"] = json!(["example.io/hold"]);
    f.create(&at, body.clone()).await.unwrap();
    let exists = "configmaps \"a\" already exists";
    assert_eq!(refusal(f.create(&at, body.clone()).await), (409, exists.to_owned()));
    f.delete(&at.named("a")).await.unwrap();
    assert_eq!(
        refusal(f.create(&at, body).await),
        (409, format!("object is being deleted: {exists}"))
    );
}

#[tokio::test(start_paused = true)]
async fn dry_run_checks_everything_and_stores_nothing() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let dry = WriteOptions {
        dry_run: true,
        ..WriteOptions::default()
    };
    let shown = f.create_with(&at, config_map("a"), &dry).await.unwrap();
    assert_eq!(shown.resource_version(), "");
    assert_eq!(shown.annotation("kcp.io/cluster"), None);
    assert_eq!(shown.uid().len(), 36);
    assert_eq!(
        refusal(f.get(&at.named("a")).await),
        (404, "configmaps \"a\" not found".to_owned())
    );
    f.create(&at, config_map("a")).await.unwrap();
    assert_eq!(refusal(f.create_with(&at, config_map("a"), &dry).await).0, 409);
    let (code, _) = refusal(f.create_with(&at, config_map("B"), &dry).await);
    assert_eq!(code, 422);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_warn_refuse_or_pass() {
    let f = Fixture::new().await;
    let at = f.at("namespaces", "", "");
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "foo": 1});
    let strict = WriteOptions {
        field_validation: FieldValidation::Strict,
        ..WriteOptions::default()
    };
    assert_eq!(
        refusal(f.create_with(&at, body.clone(), &strict).await),
        (
            400,
            "Namespace in version \"v1\" cannot be handled as a Namespace: strict decoding error: unknown field \"foo\""
                .to_owned()
        )
    );
    let request = f.request();
    f.registry
        .create(&request, &at.target, body.clone(), &WriteOptions::default())
        .await
        .unwrap();
    assert_eq!(*request.warnings.lock(), ["unknown field \"foo\""]);
    let made = f.get(&at.named("x")).await.unwrap();
    assert!(made.get("foo").is_none());

    let mut request = f.request();
    request.duplicates = vec!["spec.size".to_owned()];
    let at = f.at("widgets.example.io", "default", "");
    let status = f
        .registry
        .create(&request, &at.target, widget("w"), &strict)
        .await
        .err()
        .unwrap();
    assert_eq!(
        status.message,
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: duplicate field \"spec.size\""
    );
}

#[tokio::test(start_paused = true)]
async fn repeated_owner_references_are_dropped_with_a_warning() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u1"});
    let mut body = config_map("a");
    body["metadata"]["ownerReferences"] = json!([owner, owner]);
    let request = f.request();
    f.registry
        .create(&request, &at.target, body, &WriteOptions::default())
        .await
        .unwrap();
    let made = f.get(&at.named("a")).await.unwrap();
    assert_eq!(made["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    assert!(request.warnings.lock()[0].ends_with("duplicate UID(s) observed: u1"));
}

/// Labels what is created and refuses what is named `no`.
struct Labels;

#[async_trait]
impl Admission for Labels {
    fn name(&self) -> &'static str {
        "Labels"
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<()> {
        if let Some(object) = attributes.object.as_deref_mut() {
            object.set_label("by", "admission");
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        let object: Option<&Value> = attributes.object.as_deref();
        assert!(
            object.is_none_or(|o| o.label("by").is_some()),
            "validation sees what mutation made"
        );
        if attributes.name == "no" {
            let of = attributes.def.group_resource();
            return Err(machinery::status::Status::forbidden(&of, "no", "named no"));
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn admission_changes_objects_without_owning_fields() {
    let f = Fixture::with_admission(vec![Arc::new(Labels)]).await;
    let at = f.at("configmaps", "default", "");
    let made = f.create(&at, config_map("a")).await.unwrap();
    assert_eq!(made.label("by"), Some("admission"));
    assert!(!made["metadata"]["managedFields"].to_string().contains("f:labels"));
    assert_eq!(
        refusal(f.create(&at, config_map("no")).await),
        (403, "configmaps \"no\" is forbidden: named no".to_owned())
    );
    assert!(f.get(&at.named("no")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_permit_for_other_resources_is_refused() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let mut request = f.request();
    request.permit = Permit::granted(
        Scope::One(f.cluster.clone()),
        permit::Resources::One(machinery::object::GroupResource::new("", "secrets")),
        permit::Verbs::ALL,
        machinery::selector::LabelSelector::everything(),
    );
    let status = f
        .registry
        .create(&request, &at.target, config_map("a"), &WriteOptions::default())
        .await
        .err()
        .unwrap();
    assert_eq!(status.code, 403);
}
