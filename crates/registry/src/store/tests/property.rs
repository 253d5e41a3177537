//! What holds for every sequence of writes.

use machinery::object::ObjectExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::testing::{Fixture, widget};
use crate::{Patch, Subresource};

#[derive(Clone, Debug)]
enum Step {
    Apply {
        manager: u8,
        size: Option<i64>,
        colour: Option<String>,
    },
    Merge {
        size: Option<i64>,
    },
    Status {
        phase: String,
    },
    Finalizers(Vec<u8>),
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop::option::of(1i64..4);
    let colour = prop::option::of(prop::sample::select(vec!["red".to_owned(), "blue".to_owned()]));
    prop_oneof![
        3 => (0u8..3, size.clone(), colour).prop_map(|(manager, size, colour)| Step::Apply { manager, size, colour }),
        2 => size.prop_map(|size| Step::Merge { size }),
        2 => prop::sample::select(vec!["A".to_owned(), "B".to_owned()]).prop_map(|phase| Step::Status { phase }),
        2 => prop::collection::vec(0u8..3, 0..3).prop_map(Step::Finalizers),
        1 => Just(Step::Delete),
    ]
}

async fn run(f: &Fixture, step: &Step) -> Option<Value> {
    let at = f.at("widgets.example.io", "default", "w");
    match step {
        Step::Apply { manager, size, colour } => {
            let mut spec = json!({});
            if let Some(size) = size {
                spec["size"] = json!(size);
            }
            if let Some(colour) = colour {
                spec["colour"] = json!(colour);
            }
            let mut config = widget("w");
            config["spec"] = spec;
            f.apply(&at, &format!("m{manager}"), config, true)
                .await
                .ok()
                .map(|(object, _)| object)
        }
        Step::Merge { size } => f.patch(&at, Patch::Merge(json!({"spec": {"size": size}}))).await.ok(),
        Step::Status { phase } => f
            .patch(
                &at.sub(Subresource::Status),
                Patch::Merge(json!({"status": {"phase": phase}})),
            )
            .await
            .ok(),
        Step::Finalizers(list) => {
            let names: Vec<String> = list.iter().map(|n| format!("example.io/f{n}")).collect();
            f.patch(&at, Patch::Merge(json!({"metadata": {"finalizers": names}})))
                .await
                .ok()
        }
        Step::Delete => f.delete(&at).await.ok().map(|outcome| f.value(&at, &outcome.item)),
    }
}

fn in_simulation<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Doing the same again changes nothing, generations never fall and count only what is not metadata or status, and an
    /// object that is being deleted is there exactly as long as it has finalizers.
    #[test]
    fn writes_are_idempotent_and_finalizers_decide(steps in prop::collection::vec(step(), 1..12)) {
        in_simulation(async {
            let f = Fixture::new().await;
            let at = f.at("widgets.example.io", "default", "w");
            let mut before: Option<Value> = None;
            for step in &steps {
                let done = run(&f, step).await;
                let now = f.get(&at).await.ok();
                if let (Some(old), Some(new)) = (&before, &now)
                    && old.uid() == new.uid()
                {
                    assert!(new.generation() >= old.generation());
                    let same_spec = old.get("spec") == new.get("spec");
                    let marked = old.deletion_timestamp().is_none() && new.deletion_timestamp().is_some();
                    assert_eq!(same_spec && !marked, old.generation() == new.generation(), "{step:?}");
                    if old == new {
                        assert_eq!(old.resource_version(), new.resource_version());
                    } else {
                        assert_ne!(old.resource_version(), new.resource_version());
                    }
                }
                if let Some(object) = &now {
                    assert!(object.deletion_timestamp().is_none() || !object.finalizers().is_empty());
                }
                if done.is_some() && now.is_some() && !matches!(step, Step::Delete) {
                    let version = now.as_ref().map(|o| o.resource_version().to_owned());
                    let again = run(&f, step).await;
                    assert_eq!(again.map(|o| o.resource_version().to_owned()), version, "{step:?} is not idempotent");
                }
                before = f.get(&at).await.ok();
            }
        });
    }
}
