//! `shards`: which shard serves what, and what would be lost with one.
//!
//! All of it is in root: what stands on a shard it tells in its Shard object itself, so that it can be read of one that is lost.
//! Whether it is reached now, the metrics of the front-proxy say that is asked; who may not read them is not told.

mod names;

use std::collections::BTreeMap;

use anyhow::anyhow;
use api::keys::annotation;
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::output::Columns;
use crate::path::WorkspacePath;
use crate::server::{Client, Resource};
use crate::session::Session;
use names::Names;

/// Prints all shards, or what depends on one.
#[derive(Clone, Debug, Default)]
pub struct Shards {
    pub name: Option<String>,
    /// With a name: not in numbers alone.
    pub names: bool,
    pub json: bool,
}

/// A shard, as its object and the proxy tell.
#[derive(Clone, Debug, PartialEq)]
struct Shard {
    name: String,
    /// Not there: nobody says.
    is_reachable: Option<bool>,
    is_schedulable: bool,
    /// Not there: the shard has told nothing yet.
    serves: Option<Serves>,
}

/// What stands on a shard.
#[derive(Clone, Debug, Default, PartialEq)]
struct Serves {
    clusters: u64,
    exports: u64,
    /// Workspace objects, by the shard that holds their cluster.
    workspaces: BTreeMap<String, u64>,
    /// Bindings, by the shard that holds their export.
    bindings: BTreeMap<String, u64>,
}

/// What one shard needs of another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Needs {
    /// Bindings to exports of that one.
    bindings: u64,
    /// Clusters whose Workspace object is there.
    workspaces: u64,
}

/// The shard that has root.
const ROOT: &str = "root";
const REACHABLE: &str = "kcp_front_proxy_shard_reachable";
const SHARDS: Resource<'static> = Resource {
    group: "core.kcp.io",
    version: "v1alpha1",
    plural: "shards",
};

// === impl Shards ===

impl Shards {
    pub async fn run(&self, session: &Session) -> anyhow::Result<()> {
        let client = session.client().await?;
        let shards = read(&client).await?;
        let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) else {
            let text = match self.json {
                true => {
                    pretty(&json!({"shards": shards.iter().map(|shard| shown(shard, &shards)).collect::<Vec<_>>()}))?
                }
                false => Columns::KUBECTL.align(&table(&shards)),
            };
            return Ok(session.console.say(text.trim_end_matches('\n'))?);
        };
        let found = shards.iter().find(|shard| shard.name == name);
        let shard = found.ok_or_else(|| anyhow!("shards.core.kcp.io {name:?} not found"))?;
        let names = match self.names {
            true => Some(names(&client, &shards).await?),
            false => None,
        };
        let text = match (self.json, names) {
            (true, None) => pretty(&shown(shard, &shards))?,
            (true, Some(names)) => {
                let mut shown = shown(shard, &shards);
                shown["names"] = names.shown(name);
                pretty(&shown)?
            }
            (false, None) => lost_with(shard, &shards),
            (false, Some(names)) => format!("{}\n{}", lost_with(shard, &shards), names.table(name)),
        };
        Ok(session.console.say(text.trim_end_matches('\n'))?)
    }
}

async fn read(client: &Client) -> anyhow::Result<Vec<Shard>> {
    let root = WorkspacePath::new("root");
    let found = client.list(&root, SHARDS).await;
    let objects = found.map_err(|why| anyhow!("error listing shards in \"root\" workspace: {why}"))?;
    let metrics = client.text("/metrics").await.unwrap_or_default();
    let mut shards: Vec<Shard> = objects.iter().map(|object| shard(object, &metrics)).collect();
    shards.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(shards)
}

async fn names(client: &Client, shards: &[Shard]) -> anyhow::Result<Names> {
    let names: Vec<&str> = shards.iter().map(|shard| shard.name.as_str()).collect();
    Names::read(client, ROOT, &names).await
}

fn shard(object: &Value, metrics: &str) -> Shard {
    let name = object.name().to_owned();
    let told = object
        .annotation(annotation::SHARD_SERVES)
        .and_then(|text| serde_json::from_str(text).ok());
    Shard {
        is_reachable: gauge(metrics, REACHABLE, &name).map(|value| value > 0.0),
        is_schedulable: object.annotation(annotation::UNSCHEDULABLE).is_none() && object.deletion_timestamp().is_none(),
        serves: told.as_ref().map(serves),
        name,
    }
}

fn serves(told: &Value) -> Serves {
    let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or_default();
    let by_shard = |name: &str| {
        let counts = told.get(name).and_then(Value::as_object).into_iter().flatten();
        counts
            .map(|(shard, count)| (shard.clone(), count.as_u64().unwrap_or_default()))
            .collect()
    };
    Serves {
        clusters: number("logicalClusters"),
        exports: number("apiExports"),
        workspaces: by_shard("workspaces"),
        bindings: by_shard("apiBindings"),
    }
}

/// The value of a series with one label, of a page in Prometheus' format.
fn gauge(page: &str, family: &str, shard: &str) -> Option<f64> {
    let series = format!("{family}{{shard=\"{shard}\"}} ");
    page.lines()
        .find_map(|line| line.strip_prefix(&series))?
        .trim()
        .parse()
        .ok()
}

/// What other shards need of one, by their names: those that need nothing are left out.
fn needed_by(shard: &Shard, all: &[Shard]) -> BTreeMap<String, Needs> {
    let count = |counts: Option<&BTreeMap<String, u64>>, name: &str| {
        counts.and_then(|counts| counts.get(name)).copied().unwrap_or_default()
    };
    let others = all.iter().filter(|other| other.name != shard.name);
    let needs = others.map(|other| {
        let needs = Needs {
            bindings: count(other.serves.as_ref().map(|serves| &serves.bindings), &shard.name),
            workspaces: count(shard.serves.as_ref().map(|serves| &serves.workspaces), &other.name),
        };
        (other.name.clone(), needs)
    });
    needs.filter(|(_, needs)| *needs != Needs::default()).collect()
}

fn table(shards: &[Shard]) -> Vec<Vec<String>> {
    let header = [
        "NAME",
        "REACHABLE",
        "SCHEDULABLE",
        "CLUSTERS",
        "EXPORTS",
        "BINDINGS",
        "NEEDED BY",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for shard in shards {
        let number = |of: fn(&Serves) -> u64| {
            let serves = shard.serves.as_ref();
            serves.map_or_else(|| "<unknown>".to_owned(), |serves| of(serves).to_string())
        };
        let needed = needed_by(shard, shards);
        let needed: Vec<String> = needed
            .iter()
            .map(|(name, needs)| {
                let parts = [
                    counted(needs.bindings, "binding"),
                    counted(needs.workspaces, "workspace"),
                ];
                format!(
                    "{name} ({})",
                    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
                )
            })
            .collect();
        rows.push(vec![
            shard.name.clone(),
            truth(shard.is_reachable).to_owned(),
            truth(Some(shard.is_schedulable)).to_owned(),
            number(|serves| serves.clusters),
            number(|serves| serves.exports),
            number(|serves| serves.bindings.values().sum()),
            if needed.is_empty() {
                "<none>".to_owned()
            } else {
                needed.join(", ")
            },
        ]);
    }
    rows
}

/// What there is not as long as a shard is away, and what goes on without it.
fn lost_with(shard: &Shard, all: &[Shard]) -> String {
    let serves = shard.serves.clone().unwrap_or_default();
    let mut rows = vec![
        ["LOST WITH IT", "NUMBER", "ON", "MEANWHILE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut row = |what: &str, number: u64, on: &str, meanwhile: &str| {
        if number > 0 {
            rows.push(vec![
                what.to_owned(),
                number.to_string(),
                on.to_owned(),
                meanwhile.to_owned(),
            ]);
        }
    };
    let name = &shard.name;
    row("clusters", serves.clusters, name, "answered with 503");
    row(
        "exports",
        serves.exports,
        name,
        "as they were; not changed, not watched by their providers there",
    );
    for (other, needs) in needed_by(shard, all) {
        row("bindings", needs.bindings, &other, "served; new ones to what is known");
        let meanwhile = "served; their Workspace objects are away: not deleted, and by path only where it is known";
        row("workspaces", needs.workspaces, &other, meanwhile);
    }
    let told = match shard.serves {
        Some(_) => Columns::KUBECTL.align(&rows),
        None => "It has not told what it serves.\n".to_owned(),
    };
    format!(
        "Name:          {name}\nReachable:     {}\nSchedulable:   {}\n\n{told}",
        truth(shard.is_reachable),
        truth(Some(shard.is_schedulable)),
    )
}

fn shown(shard: &Shard, all: &[Shard]) -> Value {
    let needs = needed_by(shard, all).into_iter();
    let needs: BTreeMap<String, Value> = needs
        .map(|(name, needs)| {
            (
                name,
                json!({"apiBindings": needs.bindings, "workspaces": needs.workspaces}),
            )
        })
        .collect();
    let mut shown = json!({
        "name": shard.name,
        "reachable": shard.is_reachable,
        "schedulable": shard.is_schedulable,
        "neededBy": needs,
    });
    if let Some(serves) = &shard.serves {
        shown["logicalClusters"] = json!(serves.clusters);
        shown["apiExports"] = json!(serves.exports);
        shown["workspaces"] = json!(serves.workspaces);
        shown["apiBindings"] = json!(serves.bindings);
    }
    shown
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

/// As kubectl shows conditions.
fn truth(is: Option<bool>) -> &'static str {
    match is {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    }
}

fn counted(number: u64, what: &str) -> Option<String> {
    match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        number => Some(format!("{number} {what}s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fixture;

    const LIST: &str = "GET /clusters/root/apis/core.kcp.io/v1alpha1/shards";

    fn object(name: &str, serves: Value) -> Value {
        let mut shard = json!({"metadata": {"name": name}});
        if !serves.is_null() {
            shard.set_annotation(annotation::SHARD_SERVES, &serves.to_string());
        }
        shard
    }

    /// Two shards that need each other, and one that has told nothing.
    fn fixture() -> Fixture {
        let fixture = Fixture::at("root:team");
        let mut third = object("third", Value::Null);
        third.set_annotation(annotation::UNSCHEDULABLE, "true");
        let shards = [
            object(
                "shard-1",
                json!({"logicalClusters": 2, "apiExports": 1,
                "workspaces": {"root": 1}, "apiBindings": {"root": 6, "shard-1": 1}}),
            ),
            third,
            object(
                "root",
                json!({"logicalClusters": 3, "apiExports": 6,
                "workspaces": {"": 1, "root": 1, "shard-1": 2}, "apiBindings": {"root": 9, "shard-1": 1}}),
            ),
        ];
        fixture.script.on(LIST, 200, json!({"items": shards}));
        fixture
    }

    const METRICS: &str = "# TYPE kcp_front_proxy_shard_reachable gauge\n\
        kcp_front_proxy_shard_reachable{shard=\"root\"} 1\nkcp_front_proxy_shard_reachable{shard=\"shard-1\"} 0\n";

    async fn printed(fixture: &Fixture, name: Option<&str>, json: bool) -> String {
        let name = name.map(str::to_owned);
        Shards {
            name,
            json,
            names: false,
        }
        .run(&fixture.session)
        .await
        .unwrap();
        fixture.out.text()
    }

    #[tokio::test]
    async fn shards_are_shown_with_who_needs_them() {
        let fixture = fixture();
        fixture
            .script
            .on("GET /metrics", 200, Value::String(METRICS.to_owned()));
        let expected = "\
NAME      REACHABLE   SCHEDULABLE   CLUSTERS    EXPORTS     BINDINGS    NEEDED BY
root      True        True          3           6           10          shard-1 (6 bindings, 2 workspaces)
shard-1   False       True          2           1           7           root (1 binding, 1 workspace)
third     Unknown     False         <unknown>   <unknown>   <unknown>   <none>
";
        assert_eq!(printed(&fixture, None, false).await, expected);
    }

    #[tokio::test]
    async fn who_may_not_read_metrics_sees_the_rest() {
        let fixture = fixture();
        fixture.script.on("GET /metrics", 403, Value::Null);
        let shown: Value = serde_json::from_str(&printed(&fixture, None, true).await).unwrap();
        let first = &shown["shards"][0];
        assert_eq!(first["reachable"], Value::Null);
        assert_eq!(
            first["neededBy"],
            json!({"shard-1": {"apiBindings": 6, "workspaces": 2}})
        );
        assert_eq!(first["workspaces"]["shard-1"], 2);
        assert_eq!(shown["shards"][2].get("logicalClusters"), None);
    }

    #[tokio::test]
    async fn what_is_lost_with_one_is_named() {
        let fixture = fixture();
        let text = printed(&fixture, Some("shard-1"), false).await;
        for (what, number, on) in [
            ("clusters", "2", "shard-1"),
            ("exports", "1", "shard-1"),
            ("bindings", "1", "root"),
            ("workspaces", "1", "root"),
        ] {
            let is_row = |line: &str| {
                let mut cells = line.split_whitespace();
                (cells.next(), cells.next(), cells.next()) == (Some(what), Some(number), Some(on))
            };
            assert!(text.lines().any(is_row), "{what}: {text}");
        }
        let missing = Shards {
            name: Some("nope".to_owned()),
            ..Shards::default()
        };
        let why = missing.run(&fixture.session).await.unwrap_err().to_string();
        assert_eq!(why, "shards.core.kcp.io \"nope\" not found");
    }
}
