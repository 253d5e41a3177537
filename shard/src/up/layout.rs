//! The files and command lines of a control plane on one machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::keys::{cluster, identity};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use env::Env;
use serde_json::{Value, json};

use super::UpOptions;
use super::authority::{Authority, Pair};
use crate::pki;

/// A process to start.
#[derive(Clone)]
pub struct Process {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Where it answers.
    pub url: String,
    pub log: PathBuf,
}

/// Files that every process is told of.
pub struct Layout {
    options: UpOptions,
    directory: PathBuf,
    server_ca: PathBuf,
    client_ca: PathBuf,
    proxy_ca: PathBuf,
    service_account_key: PathBuf,
    tokens: PathBuf,
    mapping: PathBuf,
    proxy: Pair,
    cache: Pair,
    shards: Vec<Pair>,
    /// Of the processes of virtual workspaces, one a shard; none if these are inside.
    views: Vec<Pair>,
}

// === impl Layout ===

impl Layout {
    /// Makes what is not there yet.
    pub fn prepare(env: &Env, options: &UpOptions) -> Result<Self> {
        let disk = &*env.disk;
        let directory = std::path::absolute(&options.root_directory).context("the root directory")?;
        let keys = directory.join("pki");
        disk.create_dir_all(&keys)
            .with_context(|| format!("making {}", keys.display()))?;
        let servers = Authority::open(disk, &keys, "server-ca")?;
        let clients = Authority::open(disk, &keys, "client-ca")?;
        let proxies = Authority::open(disk, &keys, "requestheader-ca")?;
        let mut hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        if !hosts.contains(&options.external_hostname) {
            hosts.push(options.external_hostname.clone());
        }
        // The proxy as itself towards shards, and as somebody who speaks for others.
        let component = clients.client("component", "kcp-component", &[identity::MASTERS])?;
        let speaker = proxies.client("front-proxy-requestheader", "kcp-front-proxy", &[])?;
        pki::service_account_key(disk, &keys)?;
        let mut layout = Self {
            options: options.clone(),
            server_ca: servers.certificate().to_owned(),
            client_ca: clients.certificate().to_owned(),
            proxy_ca: proxies.certificate().to_owned(),
            service_account_key: keys.join("sa.key"),
            tokens: keys.join("tokens.csv"),
            mapping: directory.join("mapping.yaml"),
            proxy: servers.server("front-proxy", &hosts)?,
            cache: servers.server("cache-server", &hosts)?,
            shards: Vec::new(),
            views: Vec::new(),
            directory,
        };
        for index in 0..options.shards {
            let name = shard_name(index);
            disk.create_dir_all(&layout.directory.join(&name))
                .with_context(|| format!("making the directory of {name}"))?;
            layout.shards.push(servers.server(&format!("shard-{name}"), &hosts)?);
            if options.virtual_workspaces {
                let pair = servers.server(&format!("virtual-workspaces-{name}"), &hosts)?;
                layout.views.push(pair);
            }
        }
        layout.write(env, &component, &speaker)?;
        Ok(layout)
    }

    /// kubectl's, through the front-proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// Of the processes themselves, towards the root shard.
    pub fn component_kubeconfig(&self) -> PathBuf {
        self.directory.join("component.kubeconfig")
    }

    /// Of the processes themselves, towards the cache server.
    fn cache_kubeconfig(&self) -> PathBuf {
        self.directory.join("cache.kubeconfig")
    }

    fn write(&self, env: &Env, component: &Pair, speaker: &Pair) -> Result<()> {
        let (admin, others) = self.known_tokens(env)?;
        let put = |file: &Path, text: String| {
            env.disk
                .write_atomic(file, text.as_bytes())
                .with_context(|| format!("writing {}", file.display()))
        };
        let line = format!(
            "{admin},{0},{0},\"{1}\"\n{others}",
            identity::KCP_ADMIN,
            identity::KCP_ADMIN_GROUP
        );
        put(&self.tokens, line)?;
        let ca = STANDARD.encode(env.disk.read(&self.server_ca).context("reading the CA")?);
        put(
            &self.kubeconfig(),
            machinery::yaml::encode(&self.admin_kubeconfig(&ca, &admin)),
        )?;
        let to = |name: &str, server: String| {
            machinery::yaml::encode(&json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
                "users": [{"name": "component", "user": {
                    "client-certificate": component.certificate, "client-key": component.key}}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": "component"}}],
                "current-context": name,
            }))
        };
        let to_shard = |index: u16| to(&shard_name(index), self.shard_url(index));
        put(&self.component_kubeconfig(), to_shard(0))?;
        put(&self.cache_kubeconfig(), to("cache", self.cache_url()))?;
        for (index, _) in (0u16..).zip(&self.views) {
            put(&self.views_kubeconfig(index), to_shard(index))?;
        }
        let entry = |path: &str, backend: String| {
            json!({
                "path": path,
                "backend": backend,
                "backend_server_ca": self.server_ca,
                "proxy_client_cert": speaker.certificate,
                "proxy_client_key": speaker.key,
            })
        };
        let mapping = json!([
            entry("/clusters/", self.shard_url(0)),
            entry("/services/", self.views_url(0))
        ]);
        put(&self.mapping, machinery::yaml::encode(&mapping))
    }

    /// The administrator's token, of an earlier start or a new one, and the lines behind it: users of one's own, who are kept.
    fn known_tokens(&self, env: &Env) -> Result<(String, String)> {
        if let Ok(known) = env.disk.read(&self.tokens) {
            let known = String::from_utf8(known).context("the token file is no text")?;
            let (first, others) = known.split_once('\n').unwrap_or((&known, ""));
            if let Some((token, _)) = first.split_once(',') {
                return Ok((token.to_owned(), others.to_owned()));
            }
        }
        let mut random = [0; 16];
        env.rng.fill(&mut random);
        Ok((machinery::ids::uid(random), String::new()))
    }

    fn admin_kubeconfig(&self, ca: &str, token: &str) -> Value {
        let server = self.proxy_url();
        let to = |name: &str, path: &str| json!({"name": name, "cluster": {"server": format!("{server}{path}"), "certificate-authority-data": ca}});
        let context = |name: &str| json!({"name": name, "context": {"cluster": name, "user": identity::KCP_ADMIN}});
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [to("base", ""), to("root", &format!("/clusters/{}", cluster::ROOT))],
            "users": [{"name": identity::KCP_ADMIN, "user": {"token": token}}],
            "contexts": [context("base"), context("root")],
            "current-context": "root",
        })
    }

    fn proxy_url(&self) -> String {
        format!(
            "https://{}:{}",
            self.options.external_hostname, self.options.secure_port
        )
    }

    fn shard_url(&self, index: u16) -> String {
        format!("https://localhost:{}", self.shard_port(index))
    }

    /// Any of them is enough for a proxy to begin with.
    fn shard_urls(&self) -> Vec<String> {
        (0..self.options.shards).map(|index| self.shard_url(index)).collect()
    }

    fn shard_port(&self, index: u16) -> u16 {
        self.options.secure_port.saturating_add(1).saturating_add(index)
    }

    /// Where the virtual workspaces of a shard are.
    fn views_url(&self, index: u16) -> String {
        match self.views.is_empty() {
            true => self.shard_url(index),
            false => format!("https://localhost:{}", self.views_port(index)),
        }
    }

    fn views_port(&self, index: u16) -> u16 {
        self.shard_port(self.options.shards).saturating_add(index)
    }

    /// Of a process of virtual workspaces, towards its shard.
    fn views_kubeconfig(&self, index: u16) -> PathBuf {
        self.directory
            .join(shard_name(index))
            .join("virtual-workspaces.kubeconfig")
    }

    /// Behind all others.
    fn cache_port(&self) -> u16 {
        self.views_port(self.options.shards)
    }

    fn cache_url(&self) -> String {
        format!("https://localhost:{}", self.cache_port())
    }

    /// In the order in which they are started.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let own = std::env::current_exe().context("the path of this program")?;
        let mut processes = vec![self.cache_server(&own)];
        for (index, pair) in (0u16..).zip(&self.shards) {
            processes.push(self.shard(index, pair, &own));
        }
        for (index, pair) in (0u16..).zip(&self.views) {
            processes.push(self.virtual_workspaces(index, pair, &own));
        }
        let log = self.directory.join("front-proxy.log");
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let mut arguments = vec![
            file("mapping-file", &self.mapping),
            file("shards-kubeconfig", &self.component_kubeconfig()),
            format!("--shard-urls={}", self.shard_urls().join(",")),
            file("root-directory", &self.directory),
            file("tls-cert-file", &self.proxy.certificate),
            file("tls-private-key-file", &self.proxy.key),
            file("client-ca-file", &self.client_ca),
            file("token-auth-file", &self.tokens),
            file("service-account-key-file", &self.service_account_key),
            format!("--secure-port={}", self.options.secure_port),
            format!("--bind-address={}", self.options.bind_address),
            format!("--v={}", self.options.verbosity),
        ];
        arguments.extend(self.features());
        arguments.extend(self.options.oidc.arguments());
        processes.push(Process {
            name: "front-proxy".to_owned(),
            program: own.with_file_name("kcp-front-proxy"),
            arguments,
            url: format!("https://localhost:{}", self.options.secure_port),
            log,
        });
        Ok(processes)
    }

    fn cache_server(&self, own: &Path) -> Process {
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let directory = self.directory.join("cache-server");
        Process {
            name: "cache-server".to_owned(),
            program: own.with_file_name("cache-server"),
            arguments: vec![
                file("root-directory", &directory),
                file("tls-cert-file", &self.cache.certificate),
                file("tls-private-key-file", &self.cache.key),
                file("client-ca-file", &self.client_ca),
                format!("--secure-port={}", self.cache_port()),
                format!("--bind-address={}", self.options.bind_address),
                format!("--v={}", self.options.verbosity),
            ],
            url: self.cache_url(),
            log: self.directory.join("cache-server.log"),
        }
    }

    fn shard(&self, index: u16, pair: &Pair, program: &Path) -> Process {
        let name = shard_name(index);
        let directory = self.directory.join(&name);
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let url = self.shard_url(index);
        let mut arguments = vec![
            "start".to_owned(),
            format!("--shard-name={name}"),
            file("root-directory", &directory),
            format!("--secure-port={}", self.shard_port(index)),
            format!("--bind-address={}", self.options.bind_address),
            file("tls-cert-file", &pair.certificate),
            file("tls-private-key-file", &pair.key),
            file("client-ca-file", &self.client_ca),
            file("requestheader-client-ca-file", &self.proxy_ca),
            "--requestheader-allowed-names=kcp-front-proxy".to_owned(),
            file("token-auth-file", &self.tokens),
            file("service-account-signing-key-file", &self.service_account_key),
            file("service-account-key-file", &self.service_account_key),
            format!("--shard-base-url={url}"),
            format!("--shard-external-url={}", self.proxy_url()),
            format!("--shard-virtual-workspace-url={}", self.views_url(index)),
            format!("--run-virtual-workspaces={}", self.views.is_empty()),
            file("logical-cluster-admin-kubeconfig", &self.component_kubeconfig()),
            file("cache-kubeconfig", &self.cache_kubeconfig()),
            format!("--v={}", self.options.verbosity),
        ];
        if index > 0 {
            arguments.push(file("root-shard-kubeconfig-file", &self.component_kubeconfig()));
        }
        if let Some(etcd) = self.options.etcd_servers.get(usize::from(index)) {
            arguments.push(format!("--etcd-servers={etcd}"));
        }
        arguments.extend(self.features());
        arguments.extend(self.options.oidc.arguments());
        arguments.extend(self.options.shard_flags.iter().cloned());
        Process {
            log: directory.join("kcp.log"),
            name: format!("shard {name}"),
            program: program.to_owned(),
            arguments,
            url,
        }
    }
}

// === impl Layout: beside the shards ===

impl Layout {
    fn features(&self) -> Option<String> {
        let gates = &self.options.feature_gates;
        (!gates.is_empty()).then(|| format!("--feature-gates={}", gates.join(",")))
    }

    fn virtual_workspaces(&self, index: u16, pair: &Pair, own: &Path) -> Process {
        let name = shard_name(index);
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        Process {
            name: format!("virtual-workspaces {name}"),
            program: own.with_file_name("virtual-workspaces"),
            arguments: vec![
                file("kubeconfig", &self.views_kubeconfig(index)),
                format!("--secure-port={}", self.views_port(index)),
                format!("--bind-address={}", self.options.bind_address),
                file("tls-cert-file", &pair.certificate),
                file("tls-private-key-file", &pair.key),
                file("client-ca-file", &self.client_ca),
                file("requestheader-client-ca-file", &self.proxy_ca),
                "--requestheader-allowed-names=kcp-front-proxy".to_owned(),
                format!("--v={}", self.options.verbosity),
            ],
            url: self.views_url(index),
            log: self.directory.join(&name).join("virtual-workspaces.log"),
        }
    }
}

fn shard_name(index: u16) -> String {
    match index {
        0 => "root".to_owned(),
        other => format!("shard-{other}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        options: UpOptions,
    }

    #[test]
    fn tokens_of_an_earlier_start_and_those_added_by_hand_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let root = format!("--root-directory={}", directory.path().display());
        let options = Given::parse_from(["up", &root]).options;
        let env = Env::real();
        let tokens = || std::fs::read_to_string(directory.path().join("pki/tokens.csv")).unwrap();
        Layout::prepare(&env, &options).unwrap();
        let first = tokens();
        assert_eq!(first.lines().count(), 1);
        let added = format!("{first}t0ken,alice,alice\n");
        std::fs::write(directory.path().join("pki/tokens.csv"), &added).unwrap();
        Layout::prepare(&env, &options).unwrap();
        assert_eq!(tokens(), added);
    }
}
