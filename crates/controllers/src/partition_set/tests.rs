use super::*;
use crate::testing::{Event, Literals, cluster, context};

const OWN: &str = "blue";

fn controller() -> PartitionSets {
    PartitionSets::new(OWN)
}

fn key() -> Key {
    Key::new(&cluster("team"), "", "set")
}

/// Shards by name and labels, beside this one, and a set in a workspace.
fn world(shards: &[(&str, Value)], spec: Value) -> Literals {
    let mut world = Literals::default();
    shard(&mut world, OWN, json!({}));
    for (name, labels) in shards {
        shard(&mut world, name, labels.clone());
    }
    let set = json!({"metadata": {"name": "set", "uid": "u1"}, "spec": spec});
    world.put(&refs::partition_sets(), "team", set);
    world
}

fn shard(world: &mut Literals, name: &str, labels: Value) {
    let shard = json!({"metadata": {"name": name, "labels": labels}});
    world.put(&refs::shards(), "root", shard);
}

fn respecify(world: &mut Literals, spec: Value) {
    let of = refs::partition_sets().object(&cluster("team"), "", "set");
    world.objects.get_mut(&of).unwrap().set_at(&["spec"], spec);
}

fn partitions(world: &Literals) -> Vec<&Value> {
    let is_partition = |(of, _): &(&ObjectRef, &Value)| of.resource == refs::partitions();
    world
        .objects
        .iter()
        .filter(is_partition)
        .map(|(_, object)| object)
        .collect()
}

fn selectors(world: &Literals) -> Vec<Value> {
    let mut found: Vec<Value> = partitions(world)
        .iter()
        .map(|p| p["spec"]["selector"].clone())
        .collect();
    found.sort_by_key(Value::to_string);
    found
}

fn names(world: &Literals) -> Vec<&str> {
    partitions(world).iter().map(|p| p.name()).collect()
}

fn set(world: &Literals) -> &Value {
    world.object(&refs::partition_sets(), "team", "", "set").unwrap()
}

fn condition_of(world: &Literals, kind: &str) -> (bool, String, String) {
    let found = conditions::get(set(world), kind).unwrap();
    (conditions::is_true(set(world), kind), found.reason, found.message)
}

#[test]
fn one_partition_for_each_combination_that_shards_have() {
    let east = || json!({"region": "east", "cloud": "a"});
    let shards = [
        ("s1", east()),
        ("s2", east()),
        ("s3", json!({"region": "west", "cloud": "a"})),
        ("s4", json!({"region": "west", "cloud": "b", "old": "yes"})),
        ("s5", json!({"region": "north"})),
    ];
    let labels = |labels: Value| json!({"matchLabels": labels});
    let not_old = json!([{"key": "old", "operator": "DoesNotExist"}]);
    let a_and_b = json!([{"key": "cloud", "operator": "In", "values": ["a", "b"]}]);
    for (case, spec, expected) in [
        (
            "all values of one dimension",
            json!({"dimensions": ["region"]}),
            vec![
                labels(json!({"region": "east"})),
                labels(json!({"region": "north"})),
                labels(json!({"region": "west"})),
            ],
        ),
        (
            "of two, in whatever order and however often they are named, only shards that have both",
            json!({"dimensions": ["region", "cloud", "region"]}),
            vec![
                labels(json!({"cloud": "a", "region": "east"})),
                labels(json!({"cloud": "a", "region": "west"})),
                labels(json!({"cloud": "b", "region": "west"})),
            ],
        ),
        (
            "labels of the selector are labels of the partitions",
            json!({"dimensions": ["region"], "shardSelector": {"matchLabels": {"cloud": "b"}}}),
            vec![labels(json!({"cloud": "b", "region": "west"}))],
        ),
        (
            "expressions of the selector are expressions of the partitions",
            json!({"dimensions": ["region"], "shardSelector": {"matchExpressions": not_old}}),
            ["east", "north", "west"]
                .map(|region| json!({"matchLabels": {"region": region}, "matchExpressions": not_old}))
                .to_vec(),
        ),
        (
            "without dimensions, one of all that the selector's labels select",
            json!({"shardSelector": {"matchLabels": {"cloud": "a"}, "matchExpressions": a_and_b}}),
            vec![json!({"matchLabels": {"cloud": "a"}, "matchExpressions": a_and_b})],
        ),
        ("nothing to tell shards apart by", json!({"dimensions": []}), vec![]),
        (
            "only expressions",
            json!({"shardSelector": {"matchExpressions": not_old}}),
            vec![],
        ),
        ("a label that no shard has", json!({"dimensions": ["planet"]}), vec![]),
        (
            "an empty selector is none",
            json!({"dimensions": ["planet"], "shardSelector": {}}),
            vec![],
        ),
    ] {
        let mut world = world(&shards, spec);
        world.settle(&controller(), &key());
        let mut expected = expected;
        expected.sort_by_key(Value::to_string);
        assert_eq!(selectors(&world), expected, "{case}");
        let count = (!expected.is_empty()).then(|| json!(expected.len()));
        assert_eq!(set(&world).at(&["status", "count"]), count.as_ref(), "{case}");
        assert!(
            condition_of(&world, "PartitionSetValid").0 && condition_of(&world, "PartitionsReady").0,
            "{case}"
        );
    }
}

#[test]
fn partitions_belong_to_their_set_and_are_named_by_it() {
    let mut world = world(
        &[("s", json!({"region": "EU_West.1"}))],
        json!({"dimensions": ["region"]}),
    );
    world.settle(&controller(), &key());
    let [partition] = partitions(&world)[..] else {
        panic!("one partition")
    };
    assert_eq!(partition["kind"], "Partition");
    assert_eq!(partition["apiVersion"], "topology.kcp.io/v1alpha1");
    let owner = json!([{"apiVersion": "topology.kcp.io/v1alpha1", "kind": "PartitionSet", "name": "set", "uid": "u1",
        "controller": true, "blockOwnerDeletion": true}]);
    assert_eq!(partition["metadata"]["ownerReferences"], owner);
    assert_eq!(
        partition["metadata"]["generateName"], "set-eu-west-1-",
        "an underscore is in no name"
    );
    assert!(partition.name().starts_with("set-eu-west-1-") && partition.name().len() == "set-eu-west-1-".len() + 5);
    assert_eq!(
        partition["spec"]["selector"],
        json!({"matchLabels": {"region": "EU_West.1"}}),
        "as it is"
    );
}

#[test]
fn long_names_are_cut_as_generated_ones_are() {
    let value = "v-12345678901234567890123456789012345678901234567890";
    let keys = ["a", "b", "c", "d", "e", "f"];
    let labels: Value = keys
        .iter()
        .map(|key| ((*key).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut world = world(&[("s", labels)], json!({"dimensions": keys}));
    world.settle(&controller(), &key());
    let whole = format!("set-{}", [value; 6].join("-"));
    let name = names(&world)[0];
    assert_eq!((name.len(), &name[..58]), (63, &whole[..58]));
    let prefix = partitions(&world)[0]["metadata"]["generateName"].as_str().unwrap();
    assert_eq!(
        (prefix.len(), &prefix[..252], &prefix[252..]),
        (253, &whole[..252], "-")
    );
}

#[test]
fn shards_that_come_go_and_change_make_and_unmake_partitions() {
    let mut world = world(&[("s1", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    let mut after = |change: &dyn Fn(&mut Literals)| -> Vec<String> {
        change(&mut world);
        world.settle(&controller(), &key());
        let regions = selectors(&world);
        regions
            .iter()
            .map(|s| s["matchLabels"]["region"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(after(&|_| {}), ["east"]);
    assert_eq!(
        after(&|world| shard(world, "s2", json!({"region": "west"}))),
        ["east", "west"]
    );
    assert_eq!(after(&|world| shard(world, "s2", json!({"region": "east"}))), ["east"]);
    assert_eq!(
        after(&|world| shard(world, "s1", json!({}))),
        ["east"],
        "another has it still"
    );
    assert_eq!(after(&|world| shard(world, "s2", json!({}))), [""; 0]);
}

#[test]
fn a_partition_that_was_deleted_comes_back_under_its_name() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    let name = names(&world)[0].to_owned();
    let of = refs::partitions().object(&cluster("team"), "", &name);
    world.objects.remove(&of);
    world.settle(&controller(), &key());
    assert_eq!(names(&world), [&*name], "slices know it by that");
}

#[test]
fn a_partition_that_does_not_fit_is_mended() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    let (name, uid) = (names(&world)[0].to_owned(), partitions(&world)[0].uid().to_owned());
    let of = refs::partitions().object(&cluster("team"), "", &name);
    for wrong in [json!({"matchLabels": {"region": "moon"}}), json!({}), Value::Null] {
        world.objects.get_mut(&of).unwrap().set_at(&["spec", "selector"], wrong);
        world.settle(&controller(), &key());
        assert_eq!(selectors(&world), [json!({"matchLabels": {"region": "east"}})]);
    }
    let only = json!([{"key": "old", "operator": "DoesNotExist"}]);
    respecify(
        &mut world,
        json!({"dimensions": ["region"], "shardSelector": {"matchExpressions": only}}),
    );
    world.settle(&controller(), &key());
    assert_eq!(
        selectors(&world),
        [json!({"matchLabels": {"region": "east"}, "matchExpressions": only})]
    );
    assert_eq!(
        (names(&world)[0], partitions(&world)[0].uid()),
        (&*name, &*uid),
        "slices see one and the same"
    );
}

#[test]
fn what_others_made_is_left_alone() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    let name = names(&world)[0].to_owned();
    let of = refs::partitions().object(&cluster("team"), "", &name);
    world.objects.remove(&of);
    // Somebody has the very name, and a further set of the same name but another life has one that nobody wants.
    let stranger = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"region": "moon"}}}});
    world.put(&refs::partitions(), "team", stranger);
    let owner = json!({"apiVersion": "topology.kcp.io/v1alpha1", "kind": "PartitionSet", "name": "set", "uid": "u0"});
    let former = json!({"metadata": {"name": "former", "ownerReferences": [owner]}, "spec": {}});
    world.put(&refs::partitions(), "team", former);
    // The right uid alone is no owner.
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "set", "uid": "u1"});
    let mistaken = json!({"metadata": {"name": "mistaken", "ownerReferences": [owner]}, "spec": {}});
    world.put(&refs::partitions(), "team", mistaken);
    world.settle(&controller(), &key());
    assert_eq!(partitions(&world).len(), 4);
    assert_eq!(
        selectors(&world)
            .iter()
            .filter(|s| s["matchLabels"]["region"] == "east")
            .count(),
        1
    );
    assert_eq!(world.objects[&of]["spec"]["selector"]["matchLabels"]["region"], "moon");
}

#[test]
fn more_combinations_than_a_set_may_have_are_refused_with_a_reason_and_touch_nothing() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    let before = names(&world).join(",");
    for number in 0..PARTITIONS_MAX {
        shard(
            &mut world,
            &format!("s{number}"),
            json!({"region": format!("r{number}")}),
        );
    }
    world.settle(&controller(), &key());
    assert_eq!(names(&world).join(","), before);
    assert_eq!(set(&world).at(&["status", "count"]), Some(&json!(1)));
    let (is_ready, reason, message) = condition_of(&world, "PartitionsReady");
    assert_eq!((is_ready, &*reason), (false, "ErrorGeneratingPartitions"));
    assert!(
        message.contains("have 501 combinations") && message.contains("500 Partitions at most"),
        "{message}"
    );
    // One less, and all of them are there.
    world.objects.remove(&refs::shards().object(&cluster("root"), "", "s7"));
    world.settle(&controller(), &key());
    assert_eq!(partitions(&world).len(), PARTITIONS_MAX);
    assert!(condition_of(&world, "PartitionsReady").0);
}

#[test]
fn a_selector_that_cannot_be_read_is_said_and_touches_nothing() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    let like = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
    respecify(&mut world, json!({"dimensions": ["region"], "shardSelector": like}));
    world.settle(&controller(), &key());
    let said = |kind| condition_of(&world, kind);
    let text = "\"Like\" is not a valid label selector operator";
    assert_eq!(
        said("PartitionSetValid"),
        (false, "InvalidSelector".to_owned(), text.to_owned())
    );
    assert_eq!(
        said("PartitionsReady"),
        (false, "ErrorGeneratingPartitions".to_owned(), String::new())
    );
    assert_eq!(partitions(&world).len(), 1);
}

#[test]
fn who_has_not_been_told_of_the_shards_deletes_nothing() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    world.objects.retain(|of, _| of.resource != refs::shards());
    world.settle(&controller(), &key());
    assert_eq!(partitions(&world).len(), 1);
}

#[test]
fn a_set_that_is_being_deleted_makes_none() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    let of = refs::partition_sets().object(&cluster("team"), "", "set");
    let gone = json!(context().now);
    world
        .objects
        .get_mut(&of)
        .unwrap()
        .set_at(&["metadata", "deletionTimestamp"], gone);
    world.settle(&controller(), &key());
    assert!(partitions(&world).is_empty());
}

#[test]
fn a_run_that_was_cut_off_anywhere_is_finished_by_the_next() {
    let begin = || {
        let shards = ["a", "b", "c"].map(|region| (region, json!({"region": region})));
        let mut world = world(&shards, json!({"dimensions": ["region"]}));
        world.settle(&controller(), &key());
        for (name, region) in [("a", "d"), ("b", "e"), ("f", "f")] {
            shard(&mut world, name, json!({"region": region}));
        }
        let effects = controller().plan(&key(), &world, &context()).effects;
        assert_eq!(effects.len(), 6, "two go, three come, and the set says so");
        (world, effects)
    };
    let finish = |mut world: Literals| {
        world.settle(&controller(), &key());
        (names(&world).join(","), set(&world)["status"].clone())
    };
    let (mut whole, effects) = begin();
    whole.carry_out(&effects);
    let whole = finish(whole);
    assert_eq!(whole.1["count"], 4);
    for done in 0..effects.len() {
        let (mut world, effects) = begin();
        world.carry_out(&effects[..done]);
        assert_eq!(finish(world), whole, "cut off after {done}");
    }
}

#[test]
fn what_is_there_once_is_not_written_again() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    assert_eq!(controller().plan(&key(), &world, &context()), Plan::done());
}

#[test]
fn it_is_woken_by_its_set_its_partitions_and_the_labels_of_shards() {
    let mut world = world(&[("s", json!({"region": "east"}))], json!({"dimensions": ["region"]}));
    world.settle(&controller(), &key());
    let (team, root) = (cluster("team"), cluster("root"));
    let keys = |resource: ResourceRef, cluster: &Cluster, name: &str, old: Option<&Value>, new: Option<&Value>| {
        let (old, new) = (old.cloned().map(Event), new.cloned().map(Event));
        let trigger = Trigger {
            resource: &resource,
            cluster,
            namespace: "",
            name,
            old: old.as_ref().map(|old| old as _),
            new: new.as_ref().map(|new| new as _),
        };
        controller().keys(&trigger, &world)
    };
    let set = set(&world);
    assert_eq!(keys(refs::partition_sets(), &team, "set", None, Some(set)), [key()]);
    assert_eq!(keys(refs::partition_sets(), &team, "set", Some(set), None), []);

    let partition = partitions(&world)[0];
    let partition_keys = |old, new| keys(refs::partitions(), &team, partition.name(), old, new);
    assert_eq!(partition_keys(Some(partition), None), [key()]);
    let mut disowned = partition.clone();
    disowned.remove_at(&["metadata", "ownerReferences"]);
    assert_eq!(
        partition_keys(Some(partition), Some(&disowned)),
        [key()],
        "it is this set's no more"
    );
    assert_eq!(partition_keys(None, Some(&disowned)), []);

    let shard = world.object(&refs::shards(), "root", "", "s").unwrap();
    let shard_keys = |old, new| keys(refs::shards(), &root, "s", old, new);
    let mut moved = shard.clone();
    moved.set_at(&["metadata", "labels", "region"], json!("west"));
    assert_eq!(shard_keys(Some(shard), Some(&moved)), [key()]);
    let mut noted = shard.clone();
    noted.set_annotation("seen", "now");
    assert_eq!(shard_keys(Some(shard), Some(&noted)), [], "labels alone count");
    assert_eq!(shard_keys(None, None), [key()], "told of by another shard");
}
