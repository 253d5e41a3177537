//! A running shard with two tenants, and clients for everybody who might come.

mod certificates;
mod client;

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clap::Parser;
use env::Env;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use shard::options::StartOptions;
use shard::start::Running;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use virtual_workspaces::program as views;

pub use certificates::{Authority, Identity};
pub use client::{Answer, Client};

pub struct World {
    runtime: Runtime,
    address: String,
    roots: Arc<RootCertStore>,
    /// Signs users' certificates.
    pub clients: Authority,
    /// Signs proxies' certificates.
    pub proxies: Authority,
    /// Does everything.
    pub master: Client,
    /// Names of the clusters of `root:alpha` and `root:beta`.
    pub alpha: String,
    pub beta: String,
    pub running: Running,
    directory: TempDir,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: StartOptions,
}

#[derive(Parser)]
struct ViewsLine {
    #[command(flatten)]
    options: views::ProgramOptions,
}

/// token,user,uid,groups. alice administers alpha, bob beta; mallory may do nothing anywhere; carol may enter alpha, and get
/// ConfigMaps; dave may enter it, and get workspaces that are called "deep".
const TOKENS: &str = "master-token,master,m,\"system:masters\"\n\
                      alice-token,alice,a\nbob-token,bob,b\nmallory-token,mallory,x\ncarol-token,carol,c\ndave-token,dave,d\n";

/// How long anything may take on a busy machine.
const BOUND: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(20);

pub static WORLD: LazyLock<World> = LazyLock::new(World::start);

// === impl World ===

impl World {
    pub fn start() -> Self {
        Self::start_with(&Env::real(), &[])
    }

    /// A server of one's own, on what may fail, with further flags.
    pub fn start_with(env: &Env, flags: &[String]) -> Self {
        // A process has one provider of cryptography; a second call finds it set.
        let _already_set = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let directory = TempDir::new().unwrap();
        let (clients, proxies) = (Authority::new("clients"), Authority::new("proxies"));
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let own = [
            "kcp".to_owned(),
            format!("--root-directory={}", directory.path().join("kcp").display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=0".to_owned(),
            format!("--token-auth-file={}", file("tokens.csv", TOKENS)),
            format!("--client-ca-file={}", file("clients.pem", &clients.pem())),
            format!("--requestheader-client-ca-file={}", file("proxies.pem", &proxies.pem())),
            "--requestheader-allowed-names=front-proxy".to_owned(),
        ];
        let options = Line::parse_from(own.iter().chain(flags)).options;
        let running = runtime.block_on(Running::start(env, &options)).unwrap();
        let roots = Arc::new(roots(&directory.path().join("kcp/apiserver.crt")));
        let address = running.address.clone();
        let master = Client::new(&address, tls(&roots, None), &[("authorization", "Bearer master-token")]);
        let mut world = Self {
            runtime,
            address,
            roots,
            clients,
            proxies,
            master,
            alpha: String::new(),
            beta: String::new(),
            running,
            directory,
        };
        (world.alpha, world.beta) = world.run(world.populate());
        world
    }

    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Somebody with a token.
    pub fn person(&self, name: &str) -> Client {
        let token = format!("Bearer {name}-token");
        self.client(None, &[("authorization", &token)])
    }

    pub fn anonymous(&self) -> Client {
        self.client(None, &[])
    }

    /// Somebody whose credentials do not hold.
    pub fn impostor(&self) -> Client {
        self.client(None, &[("authorization", "Bearer no-such-token")])
    }

    pub fn client(&self, identity: Option<&Identity>, headers: &[(&str, &str)]) -> Client {
        Client::new(&self.address, tls(&self.roots, identity), headers)
    }

    /// Somebody with a token, at another address.
    pub fn person_at(&self, address: &str, name: &str) -> Client {
        let token = format!("Bearer {name}-token");
        self.client_at(address, None, &[("authorization", &token)])
    }

    pub fn client_at(&self, address: &str, identity: Option<&Identity>, headers: &[(&str, &str)]) -> Client {
        Client::new(address, tls(&self.roots, identity), headers)
    }

    /// The virtual workspaces of this shard as their own program serves them.
    pub fn start_views(&self) -> views::Running {
        self.start_views_of(self.address.rsplit(':').next().unwrap())
    }

    /// The same for whatever answers at a port.
    pub fn start_views_of(&self, port: &str) -> views::Running {
        let organization = rcgen::DnType::OrganizationName;
        let component = [
            (rcgen::DnType::CommonName, "component"),
            (organization, "system:masters"),
        ];
        let component = self.clients.client(&component);
        let file = |name: &str, text: &str| {
            let path = self.directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let below = |name: &str| self.directory.path().join(name).display().to_string();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: shard\n\
             clusters: [{{name: shard, cluster: {{server: 'https://localhost:{port}', certificate-authority: {}}}}}]\n\
             users: [{{name: component, user: {{client-certificate: {}, client-key: {}}}}}]\n\
             contexts: [{{name: shard, context: {{cluster: shard, user: component}}}}]\n",
            below("kcp/apiserver.crt"),
            file("component.crt", &component.certificate_pem()),
            file("component.key", &component.key_pem()),
        );
        let line = [
            "virtual-workspaces".to_owned(),
            format!(
                "--kubeconfig={}",
                file(&format!("component-{port}.kubeconfig"), &kubeconfig)
            ),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=0".to_owned(),
            format!("--external-hostname={}", self.address),
            format!("--tls-cert-file={}", below("kcp/apiserver.crt")),
            format!("--tls-private-key-file={}", below("kcp/apiserver.key")),
            format!("--client-ca-file={}", below("clients.pem")),
            format!("--requestheader-client-ca-file={}", below("proxies.pem")),
            "--requestheader-allowed-names=front-proxy".to_owned(),
        ];
        let options = ViewsLine::parse_from(line).options;
        self.runtime
            .block_on(views::Running::start(&Env::real(), &options))
            .unwrap()
    }

    async fn populate(&self) -> (String, String) {
        let (alpha, beta) = (
            self.workspace("root", "alpha").await,
            self.workspace("root", "beta").await,
        );
        self.workspace("root:alpha", "child").await;
        self.grant(&alpha, "alice", "cluster-admin").await;
        self.grant(&beta, "bob", "cluster-admin").await;
        let may = |group: &str, resource: &str, names: &[&str]| {
            json!([{"verbs": ["access"], "nonResourceURLs": ["/"]},
                   {"verbs": ["get"], "apiGroups": [group], "resources": [resource], "resourceNames": names}])
        };
        for (user, rules) in [
            ("carol", may("", "configmaps", &[])),
            ("dave", may("tenancy.kcp.io", "workspaces", &["deep"])),
        ] {
            let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": user}, "rules": rules});
            let roles = format!("/clusters/{alpha}/apis/rbac.authorization.k8s.io/v1/clusterroles");
            self.master.create(&roles, &role).await;
            self.grant(&alpha, user, user).await;
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there"}, "data": {"k": "v"}});
        let maps = format!("/clusters/{alpha}/api/v1/namespaces/default/configmaps");
        self.master.create(&maps, &map).await;
        self.export(&alpha).await;
        (alpha, beta)
    }

    /// The name of a new workspace's cluster, once it is ready.
    pub async fn workspace(&self, parent: &str, name: &str) -> String {
        let all = format!("/clusters/{parent}/apis/tenancy.kcp.io/v1alpha1/workspaces");
        let body = json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}});
        self.master.create(&all, &body).await;
        let path = format!("{all}/{name}");
        let ready = eventually("the workspace is ready", async || {
            let workspace = self.master.get(&path).await.json();
            (workspace["status"]["phase"] == "Ready").then_some(workspace)
        });
        ready.await["spec"]["cluster"].as_str().unwrap().to_owned()
    }

    async fn grant(&self, cluster: &str, user: &str, role: &str) {
        let path = format!("/clusters/{cluster}/apis/rbac.authorization.k8s.io/v1/clusterrolebindings");
        let body = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
        self.master.create(&path, &body).await;
    }

    /// The export `widgets` with a schema, and the type `typed`.
    async fn export(&self, cluster: &str) {
        let apis = format!("/clusters/{cluster}/apis/apis.kcp.io");
        let schema = json!({"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema",
            "metadata": {"name": "today.widgets.example.io"},
            "spec": {"group": "example.io", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}]}});
        self.master
            .create(&format!("{apis}/v1alpha1/apiresourceschemas"), &schema)
            .await;
        let export = json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": "widgets"},
            "spec": {"resources": [{"name": "widgets", "group": "example.io", "schema": "today.widgets.example.io",
                "storage": {"crd": {}}}]}});
        let exports = format!("{apis}/v1alpha2/apiexports");
        self.master.create(&exports, &export).await;
        eventually("the export has an identity", async || {
            let export = self.master.get(&format!("{exports}/widgets")).await.json();
            export["status"]["identityHash"].is_string().then_some(())
        })
        .await;
        let types = format!("/clusters/{cluster}/apis/tenancy.kcp.io/v1alpha1/workspacetypes");
        let body = json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType",
            "metadata": {"name": "typed"}, "spec": {"initializer": true}});
        self.master.create(&types, &body).await;
    }
}

/// What does not hold: a table is gone through to its end.
#[derive(Default)]
pub struct Findings(Vec<String>);

// === impl Findings ===

impl Findings {
    pub fn add(&mut self, text: String) {
        self.0.push(text.chars().take(2500).collect());
    }

    pub fn expect_code(&mut self, what: &str, answer: &Answer, code: u16) {
        if answer.code != code {
            self.add(format!("{what}: {} instead of {code}: {}", answer.code, answer.text()));
        }
    }

    #[track_caller]
    pub fn none(self) {
        assert!(self.0.is_empty(), "{} findings:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// Waits, within bounds, until something holds.
pub async fn eventually<T>(what: &str, holds: impl AsyncFn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = holds().await {
                return found;
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    let waited = tokio::time::timeout(BOUND, waiting).await;
    waited.unwrap_or_else(|_| panic!("not within {BOUND:?}: {what}"))
}

fn roots(file: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let chain = CertificateDer::pem_file_iter(file).unwrap();
    roots.add(chain.last().unwrap().unwrap()).unwrap();
    roots
}

fn tls(roots: &Arc<RootCertStore>, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder().with_root_certificates(roots.clone());
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
            .unwrap(),
    })
}

/// An object for bodies.
pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}
