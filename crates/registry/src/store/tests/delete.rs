use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, ListOptions, Preconditions, PropagationPolicy};
use machinery::selector::{LabelSelector, Requirement};
use machinery::status::{Result, Status};
use permit::Verb;
use serde_json::json;

use crate::testing::{Fixture, config_map, refusal, widget};
use crate::{Admission, Attributes, Backend, Patch};

#[tokio::test(start_paused = true)]
async fn without_finalizers_an_object_goes_at_once() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    f.create(&at, config_map("a")).await.unwrap();
    let outcome = f.delete(&at).await.unwrap();
    assert!(outcome.gone);
    assert_eq!(f.value(&at, &outcome.item).name(), "a");
    assert_eq!(
        refusal(f.delete(&at).await),
        (404, "configmaps \"a\" not found".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    let mut body = widget("w");
    body["metadata"]["finalizers"] = json!(["example.io/a", "example.io/b"]);
    f.create(&at, body).await.unwrap();
    let outcome = f.delete(&at).await.unwrap();
    assert!(!outcome.gone);
    let marked = f.value(&at, &outcome.item);
    assert!(marked.deletion_timestamp().is_some());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(marked.generation(), 2);

    let again = f.delete(&at).await.unwrap();
    assert_eq!(f.value(&at, &again.item), marked, "a second delete changes nothing");

    let added = f
        .patch(&at, Patch::Merge(json!({"metadata": {"finalizers": ["example.io/c"]}})))
        .await;
    let (code, text) = refusal(added);
    assert_eq!(code, 422);
    assert!(
        text.contains("metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted")
    );

    let left = f
        .patch(&at, Patch::Merge(json!({"metadata": {"finalizers": ["example.io/b"]}})))
        .await
        .unwrap();
    assert!(left.deletion_timestamp().is_some());
    let request = f.request();
    let patch = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    let last = f
        .registry
        .patch(&request, &at.target, patch, &Default::default())
        .await
        .unwrap();
    assert!(last.gone);
    assert_eq!(refusal(f.get(&at).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn preconditions_name_the_kind() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w1");
    let made = f.create(&at, widget("w1")).await.unwrap();
    let with = |preconditions| DeleteOptions {
        preconditions,
        ..DeleteOptions::default()
    };
    let uid = Preconditions {
        uid: Some("00000000".to_owned()),
        resource_version: None,
    };
    let (code, text) = refusal(f.delete_with(&at, &with(uid)).await);
    assert_eq!(code, 409);
    assert_eq!(
        text,
        format!(
            "Operation cannot be fulfilled on Widget.example.io \"w1\": the UID in the precondition (00000000) does not match \
             the UID in record ({}). The object might have been deleted and then recreated",
            made.uid()
        )
    );
    let version = Preconditions {
        uid: None,
        resource_version: Some("1".to_owned()),
    };
    let (code, text) = refusal(f.delete_with(&at, &with(version)).await);
    assert_eq!(code, 409);
    assert!(text.ends_with("The object might have been modified"));
    let both = Preconditions {
        uid: Some(made.uid().to_owned()),
        resource_version: Some(made.resource_version().to_owned()),
    };
    assert!(f.delete_with(&at, &with(both)).await.unwrap().gone);
}

#[tokio::test(start_paused = true)]
async fn propagation_is_a_finalizer() {
    let f = Fixture::new().await;
    for (policy, finalizer) in [
        (PropagationPolicy::Foreground, "foregroundDeletion"),
        (PropagationPolicy::Orphan, "orphan"),
    ] {
        let at = f.at("configmaps", "default", finalizer);
        let name = finalizer.to_lowercase();
        let at = at.named(&name);
        f.create(&at, config_map(&name)).await.unwrap();
        let options = DeleteOptions {
            propagation_policy: Some(policy),
            ..DeleteOptions::default()
        };
        let outcome = f.delete_with(&at, &options).await.unwrap();
        assert!(!outcome.gone);
        assert_eq!(f.value(&at, &outcome.item).finalizers(), [finalizer]);
        // Asking for background deletion takes the finalizer away again.
        let options = DeleteOptions {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteOptions::default()
        };
        assert!(f.delete_with(&at, &options).await.unwrap().gone);
    }
    let at = f.at("configmaps", "default", "c");
    f.create(&at, config_map("c")).await.unwrap();
    let options = DeleteOptions {
        orphan_dependents: Some(true),
        ..DeleteOptions::default()
    };
    assert!(!f.delete_with(&at, &options).await.unwrap().gone);
}

#[tokio::test(start_paused = true)]
async fn dry_run_of_a_delete_leaves_the_object() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let made = f.create(&at, config_map("a")).await.unwrap();
    let options = DeleteOptions {
        dry_run: true,
        ..DeleteOptions::default()
    };
    assert!(f.delete_with(&at, &options).await.unwrap().gone);
    assert_eq!(f.get(&at).await.unwrap(), made);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_its_selector() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    for n in 0..5 {
        let mut body = config_map(&format!("c{n}"));
        body["metadata"]["labels"] = json!({"odd": (n % 2 == 1).to_string()});
        f.create(&at, body).await.unwrap();
    }
    f.create(&f.at("configmaps", "other", ""), config_map("c9"))
        .await
        .unwrap();
    let odd = ListOptions {
        label_selector: LabelSelector::of(vec![Requirement::equals("odd", "true")]),
        ..ListOptions::default()
    };
    let gone = f
        .registry
        .delete_collection(&f.request(), &at.target, &odd, &DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(gone.items.len(), 2);
    assert_eq!(f.list(&at, &ListOptions::default()).await.unwrap(), ["c0", "c2", "c4"]);
    let all = ListOptions::default();
    f.registry
        .delete_collection(&f.request(), &at.target, &all, &DeleteOptions::default())
        .await
        .unwrap();
    assert!(f.list(&at, &all).await.unwrap().is_empty());
    assert_eq!(f.list(&f.at("configmaps", "other", ""), &all).await.unwrap(), ["c9"]);
}

/// A store that takes its time, as far as a deletion can tell, and refuses some.
#[derive(Default)]
struct Slow {
    clock: std::sync::OnceLock<env::Clock>,
    now: AtomicUsize,
    most: AtomicUsize,
    begun: AtomicUsize,
    refused: &'static str,
}

const WORK: Duration = Duration::from_millis(10);

#[async_trait]
impl Admission for Slow {
    fn name(&self) -> &'static str {
        "Slow"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        if attributes.verb != Verb::Delete {
            return Ok(());
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.most
            .fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.clock.get().unwrap().sleep(WORK).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        if attributes.name == self.refused {
            return Err(Status::forbidden(
                &attributes.def.group_resource(),
                attributes.name,
                "no",
            ));
        }
        Ok(())
    }
}

async fn slow(slow: Slow, in_default: usize, in_other: usize) -> (Fixture, Arc<Slow>) {
    let slow = Arc::new(slow);
    let f = Fixture::with_admission(vec![slow.clone()]).await;
    assert!(slow.clock.set(f.env.clock.clone()).is_ok());
    for (namespace, count) in [("default", in_default), ("other", in_other)] {
        for n in 0..count {
            let at = f.at("configmaps", namespace, "");
            f.create(&at, config_map(&format!("c{n:04}"))).await.unwrap();
        }
    }
    (f, slow)
}

async fn empty(f: &Fixture, namespace: &str) -> (Result<usize>, Duration) {
    let begun = f.env.clock.monotonic();
    let (request, at) = (f.request(), f.at("configmaps", namespace, ""));
    let (all, options) = (ListOptions::default(), DeleteOptions::default());
    let gone = f.registry.delete_collection(&request, &at.target, &all, &options).await;
    (gone.map(|gone| gone.items.len()), f.env.clock.monotonic() - begun)
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_many_at_a_time_and_no_more() {
    // More than a page.
    let (f, slow) = slow(Slow::default(), 1_200, 0).await;
    let (gone, took) = empty(&f, "default").await;
    assert_eq!(gone.unwrap(), 1_200);
    assert_eq!(slow.most.load(Ordering::Relaxed), 16);
    assert!(
        took < WORK * 1_200 / 12,
        "{took:?}: one after the other it would be {:?}",
        WORK * 1_200
    );
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_though_history_is_compacted_meanwhile() {
    // More than a page.
    let (f, slow) = slow(Slow::default(), 1_200, 0).await;
    let compacting = async {
        while slow.begun.load(Ordering::Relaxed) < 100 {
            f.env.clock.sleep(WORK).await;
        }
        f.registry
            .store()
            .compact_to(f.registry.store().revision())
            .await
            .unwrap();
    };
    let ((gone, _), ()) = tokio::join!(empty(&f, "default"), compacting);
    assert_eq!(gone.unwrap(), 1_200);
}

#[tokio::test(start_paused = true)]
async fn a_collection_ends_at_the_first_refusal_and_says_which() {
    let refused = Slow {
        refused: "c0100",
        ..Slow::default()
    };
    let (f, slow) = slow(refused, 400, 0).await;
    let (code, text) = refusal(empty(&f, "default").await.0);
    assert_eq!((code, text.as_str()), (403, "configmaps \"c0100\" is forbidden: no"));
    assert_eq!(
        slow.now.load(Ordering::Relaxed),
        0,
        "nothing is under way when it is answered"
    );
    let begun = slow.begun.load(Ordering::Relaxed);
    assert!((101..=101 + 16).contains(&begun), "{begun} were begun");
    let left = f
        .list(&f.at("configmaps", "default", ""), &ListOptions::default())
        .await
        .unwrap();
    assert_eq!(left.len(), 400 - begun + 1, "what was deleted stays deleted");
    assert!(left.contains(&"c0100".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_deletes_meanwhile_is_no_failure() {
    let (f, _) = slow(Slow::default(), 100, 0).await;
    let ((one, _), (other, _)) = tokio::join!(empty(&f, "default"), empty(&f, "default"));
    assert_eq!((one.unwrap(), other.unwrap()), (100, 100));
    let left = f
        .list(&f.at("configmaps", "default", ""), &ListOptions::default())
        .await;
    assert!(left.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_empties_much_does_not_hold_up_one_that_empties_little() {
    let (f, slow) = slow(Slow::default(), 2_000, 32).await;
    let alone = WORK * 2;
    // Eight at once want 128 turns.
    let greedy = futures_util::future::join_all((0..8).map(|_| empty(&f, "default")));
    let beside = async {
        f.env.clock.sleep(WORK * 3).await;
        empty(&f, "other").await
    };
    let (_, (gone, took)) = tokio::join!(greedy, beside);
    assert_eq!(gone.unwrap(), 32);
    assert!(slow.most.load(Ordering::Relaxed) <= 32, "of all collections together");
    assert!(took <= alone * 6, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn namespaces_wait_for_their_own_finalizers() {
    let f = Fixture::new().await;
    let at = f.at("namespaces", "", "n");
    let made = f.create(&at, json!({"metadata": {"name": "n"}})).await.unwrap();
    assert_eq!(made["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(made["status"], json!({"phase": "Active"}));
    assert_eq!(made.label("kubernetes.io/metadata.name"), Some("n"));
    let owned = made["metadata"]["managedFields"][0]["fieldsV1"].clone();
    assert_eq!(
        owned,
        json!({"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}}),
        "defaults are owned, what the strategy sets is not"
    );
    let outcome = f.delete(&at).await.unwrap();
    assert!(!outcome.gone);
    let marked = f.value(&at, &outcome.item);
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(marked["metadata"].get("deletionGracePeriodSeconds").is_none());

    let mut emptied = marked.clone();
    emptied["spec"]["finalizers"] = json!([]);
    let kept = f.update(&at, emptied.clone()).await.unwrap();
    assert_eq!(
        kept["spec"]["finalizers"],
        json!(["kubernetes"]),
        "only /finalize takes them away"
    );
    let finalize = at.sub(crate::Subresource::Finalize);
    let last = f
        .registry
        .update(&f.request(), &finalize.target, emptied, &Default::default())
        .await
        .unwrap();
    assert!(last.gone);
    assert_eq!(refusal(f.get(&at).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn definitions_wait_for_their_instances() {
    let f = Fixture::new().await;
    let at = f.at(
        "customresourcedefinitions.apiextensions.k8s.io",
        "",
        "widgets.example.io",
    );
    f.create(&at, crate::testing::widget_crd()).await.unwrap();
    let outcome = f.delete(&at).await.unwrap();
    let marked = f.value(&at, &outcome.item);
    assert_eq!(marked.finalizers(), ["customresourcecleanup.apiextensions.k8s.io"]);
    let terminating = marked["status"]["conditions"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        (&terminating["type"], &terminating["status"]),
        (&json!("Terminating"), &json!("True"))
    );
}
