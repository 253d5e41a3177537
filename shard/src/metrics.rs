//! What `/metrics` says of a shard beyond its requests. Nothing is kept for it: counted when it is read, from what is held
//! anyway. No label names a tenant, and what tenants define shares one value.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver::add_process_metrics;
use storage::Segment;
use telemetry::Metrics;
use telemetry::metrics::Sample;

use crate::definitions::Conditions;
use crate::shard::Shard;
use crate::standing::Standing;

/// The value of labels that would name a tenant's resource.
const TENANTS: &str = "custom";

/// Counts by label values.
type Counts<const N: usize> = BTreeMap<[String; N], usize>;

/// Adds the shard's own samples, its queues' and the process'.
pub fn add(shard: &Arc<Shard>, metrics: &Metrics) {
    add_process_metrics(&shard.env, metrics);
    metrics.registry.add(shard.admission_durations.clone());
    if let Some(driver) = &shard.driver {
        driver.workqueue().register(&metrics.registry);
    }
    let of = Arc::downgrade(shard);
    metrics.registry.add_computed(move || {
        let Some(shard) = of.upgrade() else { return Vec::new() };
        let mut samples = queues(&shard);
        samples.extend(stored(&shard));
        samples.extend(tenancy(&shard));
        samples.extend(standing(&shard));
        samples.extend(shard.replicas.samples());
        samples
    });
}

/// Keys waiting by controller, whose number is fixed.
fn queues(shard: &Shard) -> Vec<Sample> {
    let depths = shard.driver.iter().flat_map(controller::Driver::depths);
    let counts: Counts<1> = depths.map(|(name, depth)| ([name.to_owned()], depth)).collect();
    samples("workqueue_depth", "Keys waiting.", ["name"], counts)
}

fn stored(shard: &Shard) -> Vec<Sample> {
    let mut objects: Counts<2> = Counts::new();
    for resource in shard.store.resources() {
        let is_ours = match &resource.segment {
            Segment::Builtin => true,
            Segment::Custom => shard.definitions.common(&resource.group, &resource.resource).is_some(),
            Segment::Identity(_) => shard.definitions.is_root_identity(&resource),
        };
        let labels = match is_ours {
            true => [resource.group.to_string(), resource.resource.to_string()],
            false => [TENANTS.to_owned(), TENANTS.to_owned()],
        };
        *objects.entry(labels).or_default() += shard.store.count(&resource);
    }
    let mut all = samples(
        "apiserver_storage_objects",
        "Objects stored.",
        ["group", "resource"],
        objects,
    );
    let stats = shard.store.stats();
    for (name, help, value) in [
        ("kcp_store_watchers", "Open watches.", stats.watchers),
        (
            "kcp_store_log_events",
            "Events that watches can go back to.",
            stats.log_events,
        ),
        (
            "kcp_store_log_bytes",
            "Bytes of these events.",
            usize::try_from(stats.log_bytes).unwrap_or(usize::MAX),
        ),
        (
            "kcp_store_shared_bytes",
            "Bytes of contents that several objects share.",
            stats.shared_bytes,
        ),
        (
            "kcp_store_unreadable_values",
            "Stored values that are no objects.",
            usize::try_from(stats.unreadable).unwrap_or(usize::MAX),
        ),
    ] {
        all.extend(samples(name, help, [], Counts::from([([], value)])));
    }
    all
}

/// kcp's own gauges (kcp's facts, K.4).
fn tenancy(shard: &Shard) -> Vec<Sample> {
    let of = |phase: &str| [shard.name.clone(), phase.to_owned()];
    let (mut clusters, mut workspaces) = (Counts::new(), Counts::new());
    {
        let index = shard.facts.index.read();
        for (_, facts) in index.clusters() {
            *clusters.entry(of(facts.phase.as_str())).or_default() += 1;
        }
        for phase in index.workspace_phases() {
            *workspaces.entry(of(phase.as_str())).or_default() += 1;
        }
    }
    let count = |into: &mut Counts<3>, conditions: &Conditions| {
        for (condition, status) in conditions {
            let labels = [shard.name.clone(), condition.to_string(), status.to_string()];
            *into.entry(labels).or_default() += 1;
        }
    };
    let (mut phases, mut bindings, mut exports) = (Counts::new(), Counts::new(), Counts::new());
    shard.definitions.each_binding(|bound| {
        *phases.entry(of(&bound.phase)).or_default() += 1;
        count(&mut bindings, &bound.conditions);
    });
    shard.facts.each_export(|conditions| count(&mut exports, conditions));
    const PHASE: [&str; 2] = ["shard", "phase"];
    const CONDITION: [&str; 3] = ["shard", "condition", "status"];
    let mut all = samples(
        "kcp_logicalcluster_count",
        "Logical clusters by phase.",
        PHASE,
        clusters,
    );
    all.extend(samples(
        "kcp_workspace_count",
        "Workspaces by phase.",
        PHASE,
        workspaces,
    ));
    all.extend(samples("kcp_apibinding_phase", "APIBindings by phase.", PHASE, phases));
    let (name, help) = ("kcp_apibinding_condition_status", "APIBindings by condition.");
    all.extend(samples(name, help, CONDITION, bindings));
    let (name, help) = ("kcp_apiexport_condition_status", "APIExports by condition.");
    all.extend(samples(name, help, CONDITION, exports));
    all
}

/// What stands here, and on which shards what it belongs to is: as many series as there are shards.
fn standing(shard: &Shard) -> Vec<Sample> {
    let Standing {
        exports,
        workspaces,
        bindings,
        ..
    } = Standing::of(&shard.facts, &shard.neighbours);
    let own = || shard.name.clone();
    let by_shard = |counts: BTreeMap<String, usize>| {
        let counts = counts.into_iter().map(|(other, count)| ([own(), other], count));
        counts.collect::<Counts<2>>()
    };
    let mut all = samples(
        "kcp_apiexport_count",
        "APIExports on the shard.",
        ["shard"],
        Counts::from([([own()], exports)]),
    );
    all.extend(samples(
        "kcp_apibinding_export_shard_count",
        "APIBindings on the shard, by the shard that has their export.",
        ["shard", "export_shard"],
        by_shard(bindings),
    ));
    all.extend(samples(
        "kcp_workspace_cluster_shard_count",
        "Workspaces on the shard, by the shard that has their logical cluster.",
        ["shard", "cluster_shard"],
        by_shard(workspaces),
    ));
    all
}

fn samples<const N: usize>(
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    counts: Counts<N>,
) -> Vec<Sample> {
    let sample = |(values, count): ([String; N], usize)| Sample {
        name,
        help,
        kind: "gauge",
        labels: labels.into_iter().zip(values).collect(),
        value: count as f64,
    };
    counts.into_iter().map(sample).collect()
}
