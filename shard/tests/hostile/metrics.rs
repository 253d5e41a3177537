//! What `/metrics` says, and that it does not grow with tenants.

use std::collections::BTreeSet;

use serde_json::json;

use crate::world::{World, eventually};

/// A server of one's own: what others do is counted, too.
async fn read(world: &World) -> String {
    let answer = world.master.get("/metrics").await;
    assert_eq!(answer.code, 200);
    answer.text()
}

/// Names and labels of all series.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// A definition of a tenant, an object of it, and requests for both.
async fn define(world: &World, cluster: &str, number: usize) {
    // Neither the look of a group's name makes it the server's own.
    let domain = ["example.org", "kcp.io"][number % 2];
    let group = format!("group{number}.{domain}");
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{number}.{group}")},
        "spec": {"group": group, "scope": "Cluster",
            "names": {"plural": format!("things{number}"), "singular": format!("thing{number}"),
                "kind": format!("Thing{number}"), "listKind": format!("Thing{number}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let crds = format!("/clusters/{cluster}/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
    world.master.create(&crds, &crd).await;
    let things = format!("/clusters/{cluster}/apis/{group}/v1/things{number}");
    eventually("the definition is served", async || {
        (world.master.get(&things).await.code == 200).then_some(())
    })
    .await;
    let thing =
        json!({"apiVersion": format!("{group}/v1"), "kind": format!("Thing{number}"), "metadata": {"name": "one"}});
    world.master.create(&things, &thing).await;
    assert_eq!(world.master.get(&format!("{things}/one")).await.code, 200);
    assert_eq!(world.master.get(&format!("{things}/none")).await.code, 404);
}

async fn tenant(world: &World, number: usize) {
    let cluster = world.workspace("root", &format!("tenant{number}")).await;
    for own in 0..3 {
        define(world, &cluster, number * 10 + own).await;
    }
    let path = format!("/clusters/root:tenant{number}/api/v1/namespaces/default/configmaps");
    assert_eq!(world.master.get(&path).await.code, 200);
}

#[test]
fn law_1_series_do_not_grow_with_tenants() {
    let world = World::start();
    world.run(async {
        for number in 1..=2 {
            tenant(&world, number).await;
        }
        // One reading is itself a request.
        read(&world).await;
        let before = series(&read(&world).await);
        for number in 3..=8 {
            tenant(&world, number).await;
        }
        let text = read(&world).await;
        let after = series(&text);
        let new: Vec<&String> = after.difference(&before).collect();
        // Codes, phases and operations that happen not to have been seen before are no tenants; their number is bounded.
        let of_tenants: Vec<_> = new
            .iter()
            .filter(|name| name.contains("tenant") || name.contains("example"))
            .collect();
        assert!(of_tenants.is_empty(), "{of_tenants:#?}");
        assert!(new.len() <= 20, "{} new series: {new:#?}", new.len());
        assert!(after.len() < 2000, "{} series", after.len());
    });
}

#[test]
fn families_of_kubernetes_and_kcp_are_fed() {
    let world = World::start();
    world.run(async {
        tenant(&world, 1).await;
        let text = read(&world).await;
        let at_least = |series: &str, least: f64| {
            let found = value(&text, series);
            assert!(found.is_some_and(|found| found >= least), "{series}: {found:?}\n{text}");
        };
        at_least(r#"kcp_logicalcluster_count{shard="root",phase="Ready"}"#, 4.0);
        assert_eq!(
            value(&text, r#"kcp_workspace_count{shard="root",phase="Ready"}"#),
            Some(4.0)
        );
        at_least(r#"kcp_apibinding_phase{shard="root",phase="Bound"}"#, 4.0);
        at_least(
            r#"kcp_apibinding_condition_status{shard="root",condition="Ready",status="True"}"#,
            4.0,
        );
        at_least(
            r#"kcp_apiexport_condition_status{shard="root",condition="IdentityValid",status="True"}"#,
            2.0,
        );
        at_least(r#"etcd_request_duration_seconds_count{operation="update"}"#, 10.0);
        at_least(r#"apiserver_storage_objects{group="",resource="configmaps"}"#, 2.0);
        assert_eq!(
            value(&text, r#"apiserver_storage_objects{group="custom",resource="custom"}"#),
            Some(3.0)
        );
        at_least(r#"workqueue_adds_total{name="kcp-workspace"}"#, 1.0);
        at_least(r#"workqueue_work_duration_seconds_count{name="kcp-workspace"}"#, 1.0);
        at_least(r#"workqueue_queue_duration_seconds_count{name="kcp-workspace"}"#, 1.0);
        assert!(value(&text, r#"workqueue_depth{name="kcp-workspace"}"#).is_some());
        let durations = "apiserver_admission_controller_admission_duration_seconds_count";
        at_least(
            &format!(r#"{durations}{{name="tenancy",operation="CREATE",type="validate"}}"#),
            1.0,
        );
        at_least("process_resident_memory_bytes", 1e6);
        at_least("process_cpu_seconds_total", 0.0);
    });
}
