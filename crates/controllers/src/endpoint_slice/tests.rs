use super::*;
use crate::testing::{Event, Literals, cluster};

/// A consumer here of an export whose slice, with a partition or none, is on another shard.
fn world(selector: Option<&str>) -> Literals {
    let mut world = Literals {
        elsewhere: [cluster("prov")].into(),
        ..Literals::default()
    };
    world.put(&refs::exports(), "prov", json!({"metadata": {"name": "e"}}));
    let mut slice = json!({"metadata": {"name": "e"}, "spec": {"export": {"path": "prov", "name": "e"}},
        "status": {"endpoints": [{"url": "https://other/services/apiexport/prov/e"}], "conditions": [
            {"type": "APIExportValid", "status": "True"}, {"type": "PartitionValid", "status": "True"}]}});
    if let Some(selector) = selector {
        slice.set_at(&["spec", "partition"], json!("p"));
        slice.set_at(&["status", "shardSelector"], json!(selector));
    }
    world.put(&refs::endpoint_slices(), "prov", slice);
    let shard = json!({"metadata": {"name": "blue", "labels": {"region": "west"}}});
    world.put(&refs::shards(), "root", shard);
    let exported = hashes::export_label("prov", "e");
    let consumer = json!({"metadata": {"name": "b", "labels": {label::EXPORT: exported}}});
    world.put(&refs::bindings(), "abc", consumer);
    world
}

fn controller() -> EndpointSlices {
    EndpointSlices::new(Arc::new(ShardInfo {
        name: "blue".to_owned(),
        external_url: String::new(),
        virtual_workspace_url: "https://blue".to_owned(),
        ca_pem: String::new(),
    }))
}

fn urls(world: &mut Literals) -> Vec<String> {
    world.settle(&controller(), &Key::new(&cluster("prov"), "", "e"));
    let slice = world.object(&refs::endpoint_slices(), "prov", "", "e").unwrap();
    let endpoints = slice.at(&["status", "endpoints"]).and_then(Value::as_array);
    let urls = endpoints.into_iter().flatten().filter_map(|e| e.str_at(&["url"]));
    urls.map(str::to_owned).collect()
}

const OTHER: &str = "https://other/services/apiexport/prov/e";
const OWN: &str = "https://blue/services/apiexport/prov/e";

#[test]
fn a_shard_adds_its_own_url_to_a_slice_of_another_one_as_long_as_it_has_consumers() {
    let mut world = world(None);
    assert_eq!(urls(&mut world), [OTHER, OWN]);
    world.objects.retain(|of, _| of.resource != refs::bindings());
    assert_eq!(urls(&mut world), [OTHER], "others' are theirs");
}

#[test]
fn a_partition_of_another_shards_slice_selects_by_what_is_written_there() {
    assert_eq!(urls(&mut world(Some("region=west"))), [OTHER, OWN]);
    assert_eq!(urls(&mut world(Some("region=east"))), [OTHER]);
}

#[test]
fn an_invalid_slice_of_another_shard_is_left_alone() {
    let mut world = world(None);
    let of = refs::endpoint_slices().object(&cluster("prov"), "", "e");
    let slice = world.objects.get_mut(&of).unwrap();
    slice.set_at(
        &["status", "conditions"],
        json!([{"type": "APIExportValid", "status": "False"}]),
    );
    assert_eq!(urls(&mut world), [OTHER]);
}

/// A slice of this shard with a partition, consumed here.
fn own(partition: Option<Value>) -> Literals {
    let mut world = world(None);
    world.elsewhere.clear();
    let of = refs::endpoint_slices().object(&cluster("prov"), "", "e");
    let slice = world.objects.get_mut(&of).unwrap();
    slice.set_at(&["spec", "partition"], json!("p"));
    slice.remove_at(&["status", "conditions"]);
    if let Some(selector) = partition {
        let partition = json!({"metadata": {"name": "p"}, "spec": {"selector": selector}});
        world.put(&refs::partitions(), "prov", partition);
    }
    world
}

fn said(world: &Literals, kind: &str) -> (bool, String, String) {
    let slice = world.object(&refs::endpoint_slices(), "prov", "", "e").unwrap();
    let found = conditions::get(slice, kind).unwrap();
    (conditions::is_true(slice, kind), found.reason, found.message)
}

fn written(world: &Literals) -> Option<&str> {
    let slice = world.object(&refs::endpoint_slices(), "prov", "", "e").unwrap();
    slice.str_at(&["status", "shardSelector"])
}

#[test]
fn a_slice_announces_shards_that_its_partition_selects_and_writes_the_selector_down() {
    let labels = |labels: Value| json!({"matchLabels": labels});
    for (selector, is_announced, text) in [
        (labels(json!({"region": "west"})), true, Some("region=west")),
        (labels(json!({"region": "east"})), false, Some("region=east")),
        (
            labels(json!({"region": "west", "cloud": "a"})),
            false,
            Some("cloud=a,region=west"),
        ),
        (
            json!({"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["east"]}]}),
            true,
            Some("region!=east"),
        ),
        (json!({}), true, None),
        (Value::Null, true, None),
    ] {
        let mut world = own(Some(selector.clone()));
        let expected: &[&str] = if is_announced { &[OTHER, OWN] } else { &[OTHER] };
        assert_eq!(urls(&mut world), expected, "{selector}");
        assert_eq!(written(&world), text, "{selector}");
        assert!(said(&world, "PartitionValid").0 && said(&world, "APIExportValid").0);
    }
}

#[test]
fn a_slice_whose_partition_is_gone_announces_nothing_and_says_so() {
    let mut world = own(None);
    assert!(urls(&mut world).is_empty());
    let text = "partition.topology.kcp.io \"p\" not found".to_owned();
    assert_eq!(
        said(&world, "PartitionValid"),
        (false, "PartitionInvalidReference".to_owned(), text)
    );
    assert!(said(&world, "APIExportValid").0);
    // It comes back.
    let partition = json!({"metadata": {"name": "p"}, "spec": {"selector": {"matchLabels": {"region": "west"}}}});
    world.put(&refs::partitions(), "prov", partition);
    assert_eq!(urls(&mut world), [OWN]);
}

#[test]
fn a_partition_that_cannot_be_read_changes_nothing_that_is_announced() {
    let mut world = own(Some(
        json!({"matchExpressions": [{"key": "region", "operator": "Like"}]}),
    ));
    assert_eq!(urls(&mut world), [OTHER]);
    let text = "\"Like\" is not a valid label selector operator".to_owned();
    assert_eq!(
        said(&world, "PartitionValid"),
        (false, "PartitionInvalidReference".to_owned(), text)
    );
}

#[test]
fn a_slice_without_its_export_announces_nothing() {
    let mut world = own(Some(json!({})));
    world.objects.retain(|of, _| of.resource != refs::exports());
    assert!(urls(&mut world).is_empty());
    let text = "Error getting APIExport prov|e".to_owned();
    assert_eq!(
        said(&world, "APIExportValid"),
        (false, "APIExportNotFound".to_owned(), text)
    );
}

#[test]
fn a_shard_that_leaves_the_partition_stays_announced_as_long_as_it_has_consumers() {
    let mut world = own(Some(json!({"matchLabels": {"region": "west"}})));
    assert_eq!(urls(&mut world), [OTHER, OWN]);
    let shard = json!({"metadata": {"name": "blue", "labels": {"region": "east"}}});
    world.put(&refs::shards(), "root", shard);
    assert_eq!(
        urls(&mut world),
        [OTHER, OWN],
        "the provider's controllers are not done there"
    );
    world.objects.retain(|of, _| of.resource != refs::bindings());
    assert_eq!(urls(&mut world), [OTHER]);
}

#[test]
fn slices_are_woken_by_their_partition_and_by_the_labels_of_their_own_shard() {
    let world = own(Some(json!({})));
    let keys = |resource: ResourceRef, of: &str, name: &str, old: Option<Value>, new: Option<Value>| {
        let (old, new, of) = (old.map(Event), new.map(Event), cluster(of));
        let trigger = Trigger {
            resource: &resource,
            cluster: &of,
            namespace: "",
            name,
            old: old.as_ref().map(|old| old as _),
            new: new.as_ref().map(|new| new as _),
        };
        controller().keys(&trigger, &world).len()
    };
    assert_eq!(keys(refs::partitions(), "prov", "p", None, Some(json!({}))), 1);
    assert_eq!(keys(refs::partitions(), "prov", "another", None, Some(json!({}))), 0);
    assert_eq!(
        keys(refs::partitions(), "abc", "p", None, Some(json!({}))),
        0,
        "of another cluster"
    );
    let shard = |region: &str| Some(json!({"metadata": {"labels": {"region": region}}}));
    assert_eq!(keys(refs::shards(), "root", "blue", shard("west"), shard("east")), 1);
    assert_eq!(keys(refs::shards(), "root", "blue", shard("west"), shard("west")), 0);
    assert_eq!(
        keys(refs::shards(), "root", "blue", None, None),
        1,
        "told of by another shard"
    );
    assert_eq!(
        keys(refs::shards(), "root", "green", shard("west"), shard("east")),
        0,
        "for itself alone"
    );
    assert_eq!(keys(refs::exports(), "prov", "e", None, Some(json!({}))), 1);
    assert_eq!(keys(refs::exports(), "prov", "f", None, Some(json!({}))), 0);
}

#[test]
fn a_binding_counts_from_when_it_is_known_what_it_binds() {
    let world = world(None);
    let binding = |of: &str| {
        let label = hashes::export_label(of, "e");
        Event(json!({"metadata": {"name": "b", "labels": {label::EXPORT: label}}}))
    };
    let woken = |old: &str, new: &str| {
        let (old, new) = (binding(old), binding(new));
        let resource = refs::bindings();
        let consumer = cluster("cons");
        let trigger = Trigger {
            resource: &resource,
            cluster: &consumer,
            namespace: "",
            name: "b",
            old: Some(&old),
            new: Some(&new),
        };
        controller().keys(&trigger, &world).len()
    };
    assert_eq!(woken("root:prov", "prov"), 1);
    assert_eq!(woken("prov", "prov"), 0);
}
