//! A shard and a front-proxy in front of it, over real TLS, in the process of the test.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use e2e::Client;
use env::Env;
use front_proxy::options::ProxyOptions;
use http::Method;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use shard::options::StartOptions;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long anything may take on a busy machine.
pub const BOUND: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(20);

/// token,user,uid,groups. alice administers `root:alpha`, mallory and eve may do nothing anywhere.
const TOKENS: &str = "admin-token,admin,admin,\"system:kcp:admin\"\n\
                      alice-token,alice,alice,\"team\"\nmallory-token,mallory,mallory\neve-token,eve,eve\n";
pub const WORKSPACES: &str = "/apis/tenancy.kcp.io/v1alpha1/workspaces";

/// See the module.
pub struct World {
    pub runtime: Runtime,
    pub port: u16,
    /// The cluster of `root:alpha`.
    pub alpha: String,
    _shard: shard::start::Running,
    _proxy: front_proxy::start::Running,
    files: Files,
}

/// What is on disk.
pub struct Files {
    directory: TempDir,
    /// Whom clients believe, and what signs servers' certificates.
    servers: Authority,
}

pub type Authority = CertifiedIssuer<'static, KeyPair>;

#[derive(Parser)]
struct ShardLine {
    #[command(flatten)]
    options: StartOptions,
}

#[derive(Parser)]
struct ProxyLine {
    #[command(flatten)]
    options: ProxyOptions,
}

// === impl World ===

impl World {
    /// `clients` signs components' certificates, `proxies` what the proxy shows when it speaks for others.
    pub fn start(clients: &Authority, proxies: &Authority) -> Self {
        // A process has one provider of cryptography; a second call finds it set.
        let _already_set = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let files = Files::new();
        files.write_clients(clients, proxies);
        files.write("clients.pem", &clients.pem());
        files.write("proxies.pem", &proxies.pem());
        let env = Env::real();
        let shard = runtime
            .block_on(shard::start::Running::start(&env, &files.shard()))
            .unwrap();
        let at = port_of(&shard.address);
        let options = files.proxy(at);
        let proxy = runtime
            .block_on(front_proxy::start::Running::start(&env, &options))
            .unwrap();
        let mut world = Self {
            port: port_of(&proxy.address),
            alpha: String::new(),
            runtime,
            _shard: shard,
            _proxy: proxy,
            files,
        };
        world.alpha = world.run(world.populate());
        world
    }

    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Somebody with a token, at the proxy, with a connection of its own.
    pub fn person(&self, name: &str) -> Client {
        Client::new(self.port, &self.files.path("servers.pem"), &format!("{name}-token"))
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    async fn populate(&self) -> String {
        let admin = self.person("admin");
        let cluster = self.workspace(&admin, "root", "alpha").await;
        let bindings = format!("/clusters/{cluster}/apis/rbac.authorization.k8s.io/v1/clusterrolebindings");
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "alice"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
        create(&admin, &bindings, &binding).await;
        cluster
    }

    /// The name of a new workspace's cluster, once it is ready.
    pub async fn workspace(&self, who: &Client, parent: &str, name: &str) -> String {
        let all = format!("/clusters/{parent}{WORKSPACES}");
        let body = json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}});
        // A proxy that was just started has yet to hear of root.
        eventually("the workspace is made", async || {
            let made = who.send(Method::POST, &all, Some(&body), BOUND).await.ok()?;
            matches!(made.code, 201 | 409).then_some(())
        })
        .await;
        let ready = eventually("the workspace is ready", async || {
            let workspace = who.get(&format!("{all}/{name}"), BOUND).await.ok()?.json();
            (workspace["status"]["phase"] == "Ready").then_some(workspace)
        });
        ready.await["spec"]["cluster"].as_str().unwrap().to_owned()
    }

    /// A TLS connection to the proxy, over which anything may be sent.
    pub async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.files.servers.der().clone()).unwrap();
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap()
    }

    /// HTTP/1.1 as it is written here: head lines, and a body. The answer's code, and all of it.
    pub async fn raw(&self, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = self.connect().await;
        let mut text = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n",
            body.len()
        );
        headers
            .iter()
            .for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        text.push_str(&format!("\r\n{body}"));
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = async {
            // Until it closes: an answer that was not asked for as the last one would not end.
            let mut part = vec![0; 1 << 16];
            while let Ok(read @ 1..) = stream.read(&mut part).await {
                answer.extend_from_slice(part.get(..read).unwrap_or_default());
            }
        };
        tokio::time::timeout(BOUND, reading)
            .await
            .expect("it answers, and closes");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.unwrap_or_default(), answer)
    }
}

// === impl Files ===

impl Files {
    fn new() -> Self {
        let files = Self {
            directory: TempDir::new().unwrap(),
            servers: authority("servers"),
        };
        files.write("servers.pem", &files.servers.pem());
        files.write_pair("server", &files.servers, &[(DnType::CommonName, "localhost")]);
        files.write("tokens.csv", TOKENS);
        files
    }

    /// What components, and the proxy when it speaks for others, show.
    pub fn write_clients(&self, clients: &Authority, proxies: &Authority) {
        let component = [
            (DnType::CommonName, "component"),
            (DnType::OrganizationName, "system:masters"),
        ];
        self.write_pair("component", clients, &component);
        self.write_pair("speaker", proxies, &[(DnType::CommonName, "front-proxy")]);
    }

    fn write_pair(&self, name: &str, authority: &Authority, subject: &[(DnType, &str)]) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        subject
            .iter()
            .for_each(|(kind, name)| params.distinguished_name.push(kind.clone(), *name));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// In one step, as whoever issues certificates does it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        path
    }

    fn kubeconfig(&self, name: &str, port: u16) -> PathBuf {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: shard\n\
             clusters: [{{name: shard, cluster: {{server: 'https://localhost:{port}', certificate-authority: servers.pem}}}}]\n\
             users: [{{name: component, user: {{client-certificate: component.crt, client-key: component.key}}}}]\n\
             contexts: [{{name: shard, context: {{cluster: shard, user: component}}}}]\n"
        );
        self.write(name, &text)
    }

    fn flag(&self, flag: &str, name: &str) -> String {
        format!("--{flag}={}", self.path(name).display())
    }

    fn shard(&self) -> StartOptions {
        // Who it is towards others; it is the root shard itself.
        self.kubeconfig("others.kubeconfig", 1);
        let line = [
            "kcp".to_owned(),
            self.flag("root-directory", "kcp"),
            "--bind-address=127.0.0.1".to_owned(),
            "--external-hostname=localhost".to_owned(),
            "--secure-port=0".to_owned(),
            self.flag("tls-cert-file", "server.crt"),
            self.flag("tls-private-key-file", "server.key"),
            self.flag("token-auth-file", "tokens.csv"),
            self.flag("client-ca-file", "clients.pem"),
            self.flag("requestheader-client-ca-file", "proxies.pem"),
            "--requestheader-allowed-names=front-proxy".to_owned(),
            self.flag("logical-cluster-admin-kubeconfig", "others.kubeconfig"),
            // In the status of workspaces; nobody here goes by it.
            "--shard-external-url=https://localhost".to_owned(),
        ];
        ShardLine::parse_from(line).options
    }

    fn proxy(&self, shard: u16) -> ProxyOptions {
        self.kubeconfig("shards.kubeconfig", shard);
        let entry = |path: &str| {
            json!({"path": path, "backend": format!("https://localhost:{shard}"),
                "backend_server_ca": self.path("servers.pem"),
                "proxy_client_cert": self.path("speaker.crt"), "proxy_client_key": self.path("speaker.key")})
        };
        self.write(
            "mapping.yaml",
            &json!([entry("/clusters/"), entry("/services/")]).to_string(),
        );
        let line = [
            "kcp-front-proxy".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=0".to_owned(),
            self.flag("mapping-file", "mapping.yaml"),
            self.flag("shards-kubeconfig", "shards.kubeconfig"),
            self.flag("root-directory", "proxy"),
            self.flag("tls-cert-file", "server.crt"),
            self.flag("tls-private-key-file", "server.key"),
            self.flag("token-auth-file", "tokens.csv"),
            self.flag("client-ca-file", "clients.pem"),
        ];
        ProxyLine::parse_from(line).options
    }

    /// For a server that pretends to be a shard.
    pub fn serving(&self) -> ServerConfig {
        let read = |name: &str| std::fs::read(self.path(name)).unwrap();
        let chain = CertificateDer::pem_slice_iter(&read("server.crt"))
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(&read("server.key")).unwrap();
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

pub fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn port_of(address: &str) -> u16 {
    address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("an address has a port")
}

/// Creates an object, which must succeed.
pub async fn create(who: &Client, path: &str, body: &Value) -> Value {
    let answer = who.send(Method::POST, path, Some(body), BOUND).await.unwrap();
    assert_eq!(answer.code, 201, "{path}: {}", answer.json());
    answer.json()
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
