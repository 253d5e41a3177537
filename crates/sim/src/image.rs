//! What every run begins with: a shard on which a provider shares an API and three tenants use it. Made once; each run
//! gets a copy of its disk.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use env::simulated::{DiskImage, SimOptions, World};
use serde_json::{Value, json};

use crate::client::{Client, Outcome, Site};
use crate::server::{self, Server, ServerOptions};
use crate::trace::Trace;

/// Users besides the administrator.
pub const TENANTS: [&str; 3] = ["ada", "bob", "eve"];
pub const ADMIN: &str = "admin";
pub const EXPORT: &str = "gadgets";

/// A disk, and what is on it.
#[derive(Clone)]
pub struct Image {
    pub disk: DiskImage,
    /// The cluster of each tenant's workspace.
    pub homes: Vec<String>,
    pub provider: String,
}

// === impl Image ===

impl Image {
    /// Starts a shard on an empty disk, fills it, and stops it.
    pub async fn make() -> Result<Self> {
        let world = World::new(1, SimOptions::default());
        let host = world.host("shard");
        let env = host.env();
        let mut users = vec![(ADMIN, "system:masters")];
        users.extend(TENANTS.map(|name| (name, "")));
        server::write_users(&env, &users)?;
        let server = Server::start(&env, &ServerOptions::default(), |effects| effects).await?;
        server.shard.wait_for_root().await;
        let site = Site::new(world.host("clients").env(), world.faults().clone(), Trace::default());
        site.set_server(Some(server.into()));
        let mut setup = Setup(Client::new(&site, "setup", ADMIN, world.rng()));

        let provider = setup.workspace("provider", None).await?;
        setup.offer(&provider).await?;
        let mut homes = Vec::new();
        for tenant in TENANTS {
            let home = setup.workspace(tenant, None).await?;
            setup.furnish(&home, tenant).await?;
            homes.push(home);
        }
        let server = site.server().context("it runs")?;
        until_idle(&server, Duration::from_secs(60)).await?;
        server.stop().await;
        Ok(Self {
            disk: host.disk().image(),
            homes,
            provider,
        })
    }
}

/// Waits until the controllers have nothing to do.
pub async fn until_idle(server: &Server, bound: Duration) -> Result<()> {
    let clock = &server.env.clock;
    let end = clock.monotonic() + bound;
    let is_idle = || server.shard.driver.as_ref().is_none_or(controller::Driver::is_idle);
    while !is_idle() {
        ensure!(
            clock.monotonic() < end,
            "the controllers are still at work after {bound:?}"
        );
        clock.sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Somebody who prepares a world, and to whom every refusal is an error.
pub struct Setup(pub Client);

// === impl Setup ===

impl Setup {
    /// Offers an API from a workspace.
    pub async fn offer(&mut self, provider: &str) -> Result<()> {
        for (path, body) in export() {
            self.create(provider, path, &body).await?;
        }
        Ok(())
    }

    /// Makes a workspace a tenant's, with an API of its own and one that is shared.
    pub async fn furnish(&mut self, home: &str, tenant: &str) -> Result<()> {
        self.own(home, tenant).await?;
        self.create(home, CRDS, &widgets()).await?;
        self.create(home, BINDINGS, &binding()).await?;
        for path in ["/apis/example.io/v1/widgets", "/apis/provider.example/v1/gadgets"] {
            self.until_served(home, path).await?;
        }
        Ok(())
    }

    /// Lets a user do everything in a workspace.
    pub async fn own(&mut self, cluster: &str, user: &str) -> Result<()> {
        self.create(cluster, RBAC_BINDINGS, &owner(user)).await
    }

    pub async fn create(&mut self, cluster: &str, path: &str, body: &Value) -> Result<()> {
        let url = format!("/clusters/{cluster}{path}");
        match self.0.call("POST", &url, body).await {
            Outcome::Answered(answer) if answer.code == 201 => Ok(()),
            other => bail!("POST {url}: {other:?}"),
        }
    }

    /// Makes a workspace in root, and returns its cluster when it is ready.
    pub async fn workspace(&mut self, name: &str, shard: Option<&str>) -> Result<String> {
        let mut object = workspace(name);
        if let Some(shard) = shard {
            object["spec"] = json!({"location": {"selector": {"matchLabels": {"name": shard}}}});
        }
        self.create("root", WORKSPACES, &object).await?;
        let url = format!("/clusters/root{WORKSPACES}/{name}");
        for _ in 0..1000 {
            if let Outcome::Answered(answer) = self.0.call("GET", &url, &Value::Null).await
                && answer.body["status"]["phase"] == "Ready"
                && let Some(cluster) = answer.body["spec"]["cluster"].as_str()
            {
                return Ok(cluster.to_owned());
            }
            self.0.site.sleep_ms(10).await;
        }
        bail!("workspace {name} does not become ready")
    }

    pub async fn until_served(&mut self, cluster: &str, path: &str) -> Result<()> {
        let url = format!("/clusters/{cluster}{path}");
        for _ in 0..1000 {
            if let Outcome::Answered(answer) = self.0.call("GET", &url, &Value::Null).await
                && answer.code == 200
            {
                return Ok(());
            }
            self.0.site.sleep_ms(10).await;
        }
        bail!("{url} is not served")
    }
}

pub const WORKSPACES: &str = "/apis/tenancy.kcp.io/v1alpha1/workspaces";
pub const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const BINDINGS: &str = "/apis/apis.kcp.io/v1alpha2/apibindings";
const RBAC_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

pub fn workspace(name: &str) -> Value {
    json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}})
}

fn owner(user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "owner"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "additionalProperties": {"type": "string"}},
    }})
}

/// A definition of a cluster's own API.
pub fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.io"},
        "spec": {
            "group": "example.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()}}],
        },
    })
}

/// A binding of the provider's API.
pub fn binding() -> Value {
    json!({
        "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": {"name": "gadgets"},
        "spec": {"reference": {"export": {"path": "root:provider", "name": EXPORT}}},
    })
}

fn export() -> Vec<(&'static str, Value)> {
    let names = json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"});
    let role = "rbac.authorization.k8s.io";
    vec![
        (
            "/apis/apis.kcp.io/v1alpha1/apiresourceschemas",
            json!({
                "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema",
                "metadata": {"name": "v1.gadgets.provider.example"},
                "spec": {
                    "group": "provider.example", "scope": "Namespaced", "names": names,
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema()}],
                },
            }),
        ),
        (
            "/apis/apis.kcp.io/v1alpha2/apiexports",
            json!({
                "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": EXPORT},
                "spec": {"resources": [{
                    "name": "gadgets", "group": "provider.example", "schema": "v1.gadgets.provider.example",
                    "storage": {"crd": {}},
                }]},
            }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({
                "apiVersion": format!("{role}/v1"), "kind": "ClusterRole", "metadata": {"name": "bind"},
                "rules": [{"apiGroups": ["apis.kcp.io"], "resources": ["apiexports"], "verbs": ["bind"]}],
            }),
        ),
        (
            RBAC_BINDINGS,
            json!({
                "apiVersion": format!("{role}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "bind"},
                "roleRef": {"apiGroup": role, "kind": "ClusterRole", "name": "bind"},
                "subjects": [{"apiGroup": role, "kind": "Group", "name": "system:authenticated"}],
            }),
        ),
    ]
}
