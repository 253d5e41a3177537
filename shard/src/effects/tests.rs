use controllers::refs;
use permit::Cluster;
use plan::ResourceRef;

use super::*;

fn of(resource: &ResourceRef, namespace: &str, name: &str) -> ObjectRef {
    resource.object(&Cluster::well_known("abc"), namespace, name)
}

fn remove(resource: &ResourceRef, namespace: &str, name: &str) -> Effect {
    Effect::Remove {
        of: of(resource, namespace, name),
        resource_version: "1".to_owned(),
    }
}

fn delete(resource: &ResourceRef, namespace: &str, name: &str) -> Effect {
    Effect::Delete {
        of: of(resource, namespace, name),
        uid: String::new(),
        resource_version: None,
    }
}

fn sizes(effects: &[Effect]) -> Vec<usize> {
    groups(effects).map(<[Effect]>::len).collect()
}

#[test]
fn what_is_taken_away_shares_transactions_one_object_a_resource() {
    let effects = [
        remove(&refs::config_maps(), "n", "a"),
        remove(&refs::service_accounts(), "n", "a"),
        remove(&refs::namespaces(), "", "n"),
        remove(&refs::config_maps(), "m", "a"),
        remove(&refs::namespaces(), "", "m"),
        remove(&refs::logical_clusters(), "", "cluster"),
    ];
    assert_eq!(sizes(&effects), [3, 3]);
    assert_eq!(crowd(&effects), 3, "the cluster ends when all else is done");
}

#[test]
fn a_namespace_is_deleted_after_its_content() {
    let effects = [
        delete(&refs::config_maps(), "n", "a"),
        delete(&refs::config_maps(), "n", "b"),
        delete(&refs::namespaces(), "", "n"),
    ];
    assert_eq!(sizes(&effects), [1, 2], "or with it");
    assert_eq!(
        crowd(&effects),
        1,
        "what goes with a namespace waits for those before it"
    );
    assert_eq!(crowd(&effects[1..]), 0);
}

#[test]
fn removals_and_deletions_are_of_two_kinds() {
    let effects = [
        remove(&refs::config_maps(), "n", "a"),
        delete(&refs::workspaces(), "", "w"),
        delete(&refs::bindings(), "", "b"),
        Effect::Touch {
            of: of(&refs::bindings(), "", "b"),
        },
    ];
    assert_eq!(sizes(&effects), [1, 2, 1]);
    assert_eq!(crowd(&effects), 3);
    assert_eq!(sizes(&[]).len() + crowd(&[]), 0);
}

#[test]
fn the_garbage_collector_leaves_it_to_the_object_what_becomes_of_its_dependants() {
    let policy = |effect: &Effect| deletion(effect).unwrap().unwrap().1.propagation_policy;
    let background = machinery::options::PropagationPolicy::Background;
    assert_eq!(policy(&delete(&refs::config_maps(), "n", "a")), Some(background));
    let collected = Effect::Collect {
        of: of(&refs::config_maps(), "n", "a"),
        uid: String::new(),
        resource_version: None,
    };
    assert_eq!(policy(&collected), None);
}
