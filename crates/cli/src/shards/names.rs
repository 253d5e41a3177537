//! `shards NAME --names`: what lies on a shard and what needs it, each by its name.
//!
//! The tree is walked from root as its reader may see it, so nothing beside the front-proxy has to answer, and of a shard that is lost
//! all is named that the others know: its workspaces by their parents, its exports by who binds them. What could not be
//! looked into is said. Logical clusters that are no workspace's (homes among them) are not in the tree.

use std::collections::BTreeMap;

use api::hashes::shard_hash;
use api::keys::annotation;
use machinery::object::ObjectExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::output::Columns;
use crate::path::WorkspacePath;
use crate::server::{CallError, Client, Resource};

/// Workspaces looked into at a time.
const AT_ONCE: usize = 16;
/// Where the shard's name is not to be had.
const UNKNOWN: &str = "<unknown>";
const EXPORTS: Resource<'static> = Resource {
    group: "apis.kcp.io",
    version: "v1alpha2",
    plural: "apiexports",
};
const BINDINGS: Resource<'static> = Resource {
    group: "apis.kcp.io",
    version: "v1alpha2",
    plural: "apibindings",
};

/// A workspace of the tree, or root.
#[derive(Clone, Debug)]
struct Place {
    path: WorkspacePath,
    /// `None` while it is not scheduled.
    shard: Option<String>,
    /// Where its Workspace object lies. `None`: it has none.
    parent: Option<String>,
}

/// What is in one of them.
#[derive(Debug, Default)]
struct Content {
    workspaces: Vec<Value>,
    exports: Vec<Value>,
    bindings: Vec<Value>,
}

#[derive(Debug)]
struct Binding {
    on: Option<String>,
    path: String,
    name: String,
    /// A path, or the name of a cluster.
    of: String,
    export: String,
}

/// All that can be seen of the tree.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: Vec<Place>,
    /// Paths and names, with their shard.
    exports: Vec<(Option<String>, String, String)>,
    bindings: Vec<Binding>,
    /// The shard of each place by path and by the cluster's name.
    shards: BTreeMap<String, String>,
    /// Paths that could not be looked into, and why.
    unseen: Vec<(String, String)>,
}

/// One thing that is away with a shard.
struct Row {
    what: &'static str,
    path: String,
    name: String,
    why: String,
}

// === impl Names ===

impl Names {
    /// Walks all that is below root. `root` is the name of the shard that has it, `shards` are all shards' names.
    pub(super) async fn read(client: &Client, root: &str, shards: &[&str]) -> anyhow::Result<Self> {
        let hashes: BTreeMap<String, &str> = shards.iter().map(|name| (shard_hash(name), *name)).collect();
        // Who is lost says so with Retry-After: here that is an answer.
        let client = client.clone().without_retries();
        let mut names = Self::default();
        let mut next = vec![Place {
            path: WorkspacePath::new("root"),
            shard: Some(root.to_owned()),
            parent: None,
        }];
        let mut looking = JoinSet::new();
        loop {
            while looking.len() < AT_ONCE
                && let Some(place) = next.pop()
            {
                let client = client.clone();
                looking.spawn(async move {
                    let content = Content::read(&client, &place.path).await;
                    (place, content)
                });
            }
            let Some(looked) = looking.join_next().await else {
                names.places.sort_by(|a, b| a.path.as_str().cmp(b.path.as_str()));
                names.exports.sort();
                names
                    .bindings
                    .sort_by(|a, b| (&a.path, &a.name).cmp(&(&b.path, &b.name)));
                names.unseen.sort();
                return Ok(names);
            };
            let (place, content) = looked?;
            next.extend(names.take(place, content, &hashes));
        }
    }

    /// Returns the workspaces in it.
    fn take(
        &mut self,
        place: Place,
        content: Result<Content, CallError>,
        hashes: &BTreeMap<String, &str>,
    ) -> Vec<Place> {
        let path = place.path.as_str().to_owned();
        if let Some(shard) = &place.shard {
            self.shards.insert(path.clone(), shard.clone());
        }
        let content = content.unwrap_or_else(|why| {
            self.unseen.push((path.clone(), why.to_string()));
            Content::default()
        });
        let mut inside = Vec::new();
        for workspace in &content.workspaces {
            let hash = workspace.annotation(annotation::SHARD_HASH).unwrap_or_default();
            let shard = hashes.get(hash).map(|shard| (*shard).to_owned());
            if let (Some(shard), Some(cluster)) = (&shard, workspace.str_at(&["spec", "cluster"])) {
                self.shards.insert(cluster.to_owned(), shard.clone());
            }
            // What is mounted there is another server's.
            if workspace.at(&["spec", "mount"]).is_none_or(Value::is_null) {
                inside.push(Place {
                    path: place.path.join(workspace.name()),
                    shard,
                    parent: place.shard.clone(),
                });
            }
        }
        for export in &content.exports {
            let name = export.name().to_owned();
            self.exports.push((place.shard.clone(), path.clone(), name));
        }
        for binding in &content.bindings {
            let Some(export) = binding.at(&["spec", "reference", "export"]) else {
                continue;
            };
            let of = export.str_at(&["path"]).filter(|path| !path.is_empty());
            self.bindings.push(Binding {
                on: place.shard.clone(),
                path: path.clone(),
                name: binding.name().to_owned(),
                of: of.unwrap_or(&path).to_owned(),
                export: export.str_at(&["name"]).unwrap_or_default().to_owned(),
            });
        }
        self.places.push(place);
        inside
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        let is_here = |shard: &Option<String>| shard.as_deref() == Some(name);
        let row = |what, path: &str, name: &str, why: String| Row {
            what,
            path: path.to_owned(),
            name: name.to_owned(),
            why,
        };
        let mut rows = Vec::new();
        for place in self.places.iter().filter(|place| is_here(&place.shard)) {
            let (parent, own) = place.path.split();
            rows.push(row("Workspace", parent.as_str(), own, "lies there".to_owned()));
        }
        for (_, path, export) in self.exports.iter().filter(|(shard, ..)| is_here(shard)) {
            rows.push(row("APIExport", path, export, "lies there".to_owned()));
        }
        // Needed by what lies elsewhere.
        let elsewhere = |shard: &Option<String>| shard.is_some() && !is_here(shard);
        for binding in self.bindings.iter().filter(|binding| elsewhere(&binding.on)) {
            if self.shards.get(&binding.of).is_some_and(|shard| shard == name) {
                let on = binding.on.as_deref().unwrap_or(UNKNOWN);
                let why = format!("on {on}, its export {}:{} lies there", binding.of, binding.export);
                rows.push(row("APIBinding", &binding.path, &binding.name, why));
            }
        }
        for place in self.places.iter().filter(|place| elsewhere(&place.shard)) {
            if is_here(&place.parent) {
                let (parent, own) = place.path.split();
                let on = place.shard.as_deref().unwrap_or(UNKNOWN);
                let why = format!("on {on}, its Workspace object lies there");
                rows.push(row("Workspace", parent.as_str(), own, why));
            }
        }
        rows
    }

    pub(super) fn table(&self, name: &str) -> String {
        let mut rows = vec![["KIND", "IN", "NAME", "WHY"].map(str::to_owned).to_vec()];
        for Row { what, path, name, why } in self.rows(name) {
            let path = if path.is_empty() { "<none>".to_owned() } else { path };
            rows.push(vec![what.to_owned(), path, name, why]);
        }
        let mut text = Columns::KUBECTL.align(&rows);
        if !self.unseen.is_empty() {
            let mut unseen = vec![["NOT SEEN", "WHY"].map(str::to_owned).to_vec()];
            let lines = self
                .unseen
                .iter()
                .map(|(path, why)| vec![format!("in {path}"), why.clone()]);
            unseen.extend(lines);
            text.push('\n');
            text.push_str(&Columns::KUBECTL.align(&unseen));
        }
        text
    }

    pub(super) fn shown(&self, name: &str) -> Value {
        let rows = self.rows(name).into_iter();
        let rows =
            rows.map(|Row { what, path, name, why }| json!({"kind": what, "in": path, "name": name, "why": why}));
        let unseen = self.unseen.iter().map(|(path, why)| json!({"in": path, "why": why}));
        json!({"items": rows.collect::<Vec<_>>(), "unseen": unseen.collect::<Vec<_>>()})
    }
}

// === impl Content ===

impl Content {
    async fn read(client: &Client, path: &WorkspacePath) -> Result<Self, CallError> {
        Ok(Self {
            workspaces: list(client, path, Resource::WORKSPACES).await?,
            exports: list(client, path, EXPORTS).await?,
            bindings: list(client, path, BINDINGS).await?,
        })
    }
}

/// Where a workspace has no such resource, or went away meanwhile, there are none.
async fn list(client: &Client, path: &WorkspacePath, of: Resource<'_>) -> Result<Vec<Value>, CallError> {
    match client.list(path, of).await {
        Err(why) if why.is_not_found() => Ok(Vec::new()),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fixture;

    fn workspace(name: &str, shard: &str) -> Value {
        let mut workspace = json!({"metadata": {"name": name}, "spec": {"cluster": format!("c-{name}")}});
        workspace.set_annotation(annotation::SHARD_HASH, &shard_hash(shard));
        workspace
    }

    fn binding(name: &str, of: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"reference": {"export": {"path": of, "name": "example.io"}}}})
    }

    fn serve(fixture: &Fixture, path: &str, workspaces: &[Value], exports: &[Value], bindings: &[Value]) {
        for (of, items) in [
            ("tenancy.kcp.io/v1alpha1/workspaces", workspaces),
            ("apis.kcp.io/v1alpha2/apiexports", exports),
            ("apis.kcp.io/v1alpha2/apibindings", bindings),
        ] {
            let request = format!("GET /clusters/{path}/apis/{of}");
            fixture.script.on(&request, 200, json!({"items": items}));
        }
    }

    async fn named(fixture: &Fixture, shard: &str) -> (Vec<String>, Value) {
        let client = fixture.session.client().await.unwrap();
        let names = Names::read(&client, "root", &["root", "shard-1"]).await.unwrap();
        let lines = names.rows(shard).into_iter();
        let lines = lines.map(|Row { what, path, name, why }| format!("{what} {path}:{name}: {why}"));
        (lines.collect(), names.shown(shard)["unseen"].take())
    }

    /// root and a:c on root; a, b, and what is below b, on the other shard.
    fn fixture() -> Fixture {
        let fixture = Fixture::at("root");
        let mounted = json!({"metadata": {"name": "m"}, "spec": {"mount": {"ref": {}}}});
        let below = [workspace("a", "shard-1"), workspace("b", "shard-1"), mounted];
        serve(&fixture, "root", &below, &[], &[binding("to-a", "root:a")]);
        serve(
            &fixture,
            "root:a",
            &[workspace("c", "root")],
            &[json!({"metadata": {"name": "example.io"}})],
            &[binding("own", "")],
        );
        serve(
            &fixture,
            "root:a:c",
            &[],
            &[],
            &[binding("by-cluster", "c-a"), binding("other", "root")],
        );
        fixture
    }

    #[tokio::test]
    async fn what_lies_on_a_shard_and_what_needs_it_is_named() {
        let fixture = fixture();
        serve(&fixture, "root:b", &[workspace("new", "")], &[], &[]);
        let (lines, unseen) = named(&fixture, "shard-1").await;
        let expected = [
            "Workspace root:a: lies there",
            "Workspace root:b: lies there",
            "APIExport root:a:example.io: lies there",
            "APIBinding root:to-a: on root, its export root:a:example.io lies there",
            "APIBinding root:a:c:by-cluster: on root, its export c-a:example.io lies there",
            "Workspace root:a:c: on root, its Workspace object lies there",
        ];
        assert_eq!(lines, expected);
        assert_eq!(unseen, json!([]));
        let (lines, _) = named(&fixture, "root").await;
        let needs = "Workspace root:a: on shard-1, its Workspace object lies there".to_owned();
        assert!(lines.contains(&needs), "{lines:?}");
    }

    #[tokio::test]
    async fn of_a_shard_that_is_lost_what_others_know_is_named_at_once() {
        let fixture = fixture();
        let lost = json!({"kind": "Status", "status": "Failure", "code": 503, "message": "shard-1 is away"});
        let request = "GET /clusters/root:b/apis/tenancy.kcp.io/v1alpha1/workspaces";
        fixture.script.on(request, 503, lost);
        let (lines, unseen) = named(&fixture, "shard-1").await;
        assert!(lines.contains(&"Workspace root:b: lies there".to_owned()), "{lines:?}");
        assert_eq!(unseen, json!([{"in": "root:b", "why": "shard-1 is away"}]));
        assert_eq!(fixture.asked().iter().filter(|asked| *asked == request).count(), 1);
    }
}
