//! What the chart renders, started here: as a kubelet would, but for what a machine is short of. Services are ports of
//! localhost, files of pods lie below a directory, Secrets come from where the bootstrap job wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deploy::{Container, Manifests, Source, array};
use machinery::object::ObjectExt;
use tempfile::TempDir;

use crate::etcd::{self, free_port};
use crate::kubectl::Kubectl;
use crate::server::{self, Server};

/// A rendering whose processes run. Dropping it ends them.
pub struct Chart {
    manifests: Manifests,
    directory: TempDir,
    /// By `service:port` as manifests name it, and by `workload:port` where a process listens.
    ports: BTreeMap<String, u16>,
    /// Addresses of somebody else's, as values name them, and where they are here.
    others: Vec<(String, String)>,
    /// The cluster that is deployed to.
    host: Server,
    /// Workloads that were started.
    started: BTreeSet<String>,
    running: Vec<Child>,
}

const NAMESPACE: &str = "kcp";
const EXTERNAL: &str = "kcp.example.com";

// === impl Chart ===

impl Chart {
    /// Starts what `deploy/rendered/<name>.yaml` has.
    pub fn start(name: &str) -> Self {
        let mut chart = Self::prepare(name);
        chart.run();
        chart
    }

    /// The same without starting it: certificates are issued, and what the values say is there can be given.
    pub fn prepare(name: &str) -> Self {
        let manifests = Manifests::rendered(name).expect("a rendering");
        let mut chart = Self {
            manifests,
            directory: TempDir::new().expect("a temporary directory"),
            ports: BTreeMap::new(),
            others: Vec::new(),
            host: Server::start(),
            started: BTreeSet::new(),
            running: Vec::new(),
        };
        chart.assign_ports();
        chart.run_bootstrap_job();
        chart
    }

    /// Starts what does not run, in the order in which each finds what it needs.
    pub fn run(&mut self) {
        for first in ["etcd", "cache-server", "kcp", "virtual-workspaces", "kcp-front-proxy"] {
            self.start_all(|program| program == first);
        }
        self.write_kubeconfig();
    }

    /// `helm upgrade` to a rendering that has more: what is new is started, what runs goes on as it is.
    pub fn upgrade(&mut self, name: &str) {
        self.manifests = Manifests::rendered(name).expect("a rendering");
        self.assign_ports();
        self.run_bootstrap_job();
        self.run();
    }

    /// A Secret that somebody else makes.
    pub fn give_secret(&self, name: &str, files: &[(&str, PathBuf)]) {
        let mut words: Vec<String> = ["-n", NAMESPACE, "create", "secret", "generic", name]
            .map(str::to_owned)
            .into();
        words.extend(
            files
                .iter()
                .map(|(key, file)| format!("--from-file={key}={}", file.display())),
        );
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.host().run_with(&words, "").ok();
    }

    /// Where an address of somebody else's leads to.
    pub fn give_address(&mut self, named: &str, here: &str) {
        self.others.push((named.to_owned(), here.to_owned()));
    }

    /// kubectl of the administrator, at the front-proxy.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.directory.path())
    }

    /// kubectl with the certificate of a Secret, at a service.
    pub fn kubectl_as(&self, secret: &str, service: &str) -> Kubectl {
        let url = format!("https://localhost:{}", self.port(service));
        let file = |key: &str| self.secret_file(secret, key);
        let flags = [("client-certificate", file("tls.crt")), ("client-key", file("tls.key"))];
        self.kubectl().at(url).with_flags(&flags)
    }

    /// The cluster that is deployed to.
    pub fn host(&self) -> Kubectl {
        self.host.kubectl()
    }

    /// Runs the job that issues certificates, as it is rendered, against the hosting cluster. Returns what it says.
    pub fn run_bootstrap_job(&self) -> String {
        self.host().run(&format!("create namespace {NAMESPACE}"));
        let job = self.manifests.of_kind("Job").next().expect("a job");
        let job = self.manifests.container(&deploy::id(job)).expect("its container");
        self.write_files(&job);
        let kubeconfig = self.file(&job.workload, Path::new("/etc/kcp/certificates/kubeconfig"));
        std::fs::copy(self.host.kubeconfig(), kubeconfig).expect("a kubeconfig");
        let mut words = self.words(&job, 0).into_iter();
        let program = words.next().expect("a program");
        let output = Command::new(program).args(words).output().expect("it can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    fn start_all(&mut self, is_meant: impl Fn(&str) -> bool) {
        let manifests = self.manifests.clone();
        for container in manifests.containers() {
            let words = container.command();
            let first = words.first().map(String::as_str).unwrap_or_default();
            let is_once = container.workload.contains("Job/");
            let is_new = || !self.started.contains(&container.workload);
            if is_once || !is_meant(first.trim_start_matches('/')) || !is_new() {
                continue;
            }
            // Of our own programs one replica does: they would share a port.
            let replicas = container.workload_object["spec"]["replicas"].as_u64().unwrap_or(1);
            for replica in 0..if first == "etcd" { replicas } else { 1 } {
                self.start_one(&container, replica);
            }
            self.started.insert(container.workload.clone());
        }
    }

    fn start_one(&mut self, container: &Container<'_>, replica: u64) {
        self.write_files(container);
        for directory in container.writable() {
            std::fs::create_dir_all(self.file(&container.workload, &directory)).expect("a directory");
        }
        let mut words = self.words(container, replica).into_iter();
        let program = words.next().expect("a program");
        let log = container.workload.replace('/', "-");
        let log = File::create(self.directory.path().join(format!("{log}-{replica}.log"))).expect("a log");
        let child = Command::new(program)
            .args(words)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the program can be started");
        self.running.push(child);
    }

    /// Each service's port is a free one; those of members are by member. What has one keeps it.
    fn assign_ports(&mut self) {
        for service in self.manifests.of_kind("Service") {
            let name = service.str_at(&["metadata", "name"]).unwrap_or_default();
            for port in array(&service["spec"], "ports") {
                let service = format!("{name}:{}", port["port"]);
                self.ports.entry(service).or_insert_with(free_port);
            }
        }
        for set in self.manifests.of_kind("StatefulSet") {
            let name = set.str_at(&["metadata", "name"]).unwrap_or_default();
            for member in 0..set["spec"]["replicas"].as_u64().unwrap_or_default() {
                for port in [2379, 2380, 8080] {
                    let own = self.ports.entry(format!("{name}-{member}:{port}"));
                    let own = *own.or_insert_with(free_port);
                    // A service leads to one of its members.
                    self.ports.insert(format!("{name}:{port}"), own);
                }
            }
        }
        if let Some(root) = self.ports.get("kcp-shard-root:6443").copied() {
            self.ports.insert("kcp-shards:6443".to_owned(), root);
        }
    }

    /// Where a service is.
    pub fn port(&self, service: &str) -> u16 {
        *self
            .ports
            .get(service)
            .unwrap_or_else(|| panic!("no service {service}"))
    }

    /// A container's command with files and addresses of here.
    fn words(&self, container: &Container<'_>, replica: u64) -> Vec<String> {
        let name = container.workload.split('/').next_back().unwrap_or_default();
        let member = format!("{name}-{replica}");
        let local = |word: String| {
            let is_etcd = word.contains("0.0.0.0:");
            let word = word.replace("$(POD_NAME)", &member);
            let word = match word.split_once("0.0.0.0:").filter(|_| is_etcd) {
                Some((before, port)) => format!("{before}127.0.0.1:{}", self.port(&format!("{member}:{port}"))),
                None => word,
            };
            if word.starts_with("--secure-port=") {
                let service = if name == "kcp-front-proxy" { 443 } else { 6443 };
                return format!("--secure-port={}", self.port(&format!("{name}:{service}")));
            }
            self.local(&container.workload, &member, &word)
        };
        let mut words: Vec<String> = container.command().into_iter().map(local).collect();
        if let Some(program) = words.first_mut() {
            let own = program.strip_prefix('/').map(server::program);
            *program = own.unwrap_or_else(etcd::binary).display().to_string();
        }
        words
    }

    /// A text with files and addresses of here.
    fn local(&self, workload: &str, member: &str, text: &str) -> String {
        let mut text = text.to_owned();
        for (named, here) in &self.others {
            text = text.replace(named, here);
        }
        for (service, port) in &self.ports {
            let (name, wanted) = service.split_once(':').unwrap_or_default();
            let set = name.rsplit_once('-').map_or(name, |(set, _)| set);
            for host in [
                format!("{name}.kcp.svc:{wanted}"),
                format!("{name}.{set}.kcp.svc:{wanted}"),
            ] {
                // Certificates of etcd are good for the address, those of our programs for the name.
                let here = if wanted.starts_with('2') {
                    "127.0.0.1"
                } else {
                    "localhost"
                };
                text = text.replace(&format!("//{host}"), &format!("//{here}:{port}"));
            }
        }
        text = text.replace(
            &format!("{EXTERNAL}:443"),
            &format!("localhost:{}", self.port("kcp-front-proxy:443")),
        );
        text = text.replace(EXTERNAL, "localhost");
        for directory in ["/etc/", "/var/lib/"] {
            // Members of one workload share files, and nothing that they write.
            let owner = if directory == "/var/lib/" { member } else { workload };
            let here = self.file(owner, Path::new(directory));
            text = text.replace(&format!("={directory}"), &format!("={}/", here.display()));
            text = text.replace(&format!(" {directory}"), &format!(" {}/", here.display()));
        }
        text
    }

    /// A path of a pod, here.
    fn file(&self, workload: &str, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        self.directory
            .path()
            .join("pods")
            .join(workload.replace('/', "-"))
            .join(relative)
    }

    /// Everything that is mounted; whole at any time, since members of the same workload may be reading it.
    fn write_files(&self, container: &Container<'_>) {
        for (path, source) in container.files(&self.manifests) {
            let here = self.file(&container.workload, &path);
            std::fs::create_dir_all(here.parent().expect("a directory")).expect("a directory");
            let new = here.with_extension("new");
            match source {
                Source::Secret { name, key } => {
                    std::fs::copy(self.secret_file(&name, &key), &new).expect("a file of a Secret");
                }
                Source::ConfigMap { name, key } => {
                    let map = self.manifests.get("ConfigMap", &name).expect("a ConfigMap");
                    let text = map["data"][&key].as_str().unwrap_or_default();
                    std::fs::write(&new, self.local(&container.workload, "", text)).expect("a file");
                }
            }
            std::fs::rename(&new, &here).expect("a file is put into its place");
        }
    }

    /// A key of a Secret of the hosting cluster, as a file.
    pub fn secret_file(&self, name: &str, key: &str) -> PathBuf {
        let file = self.directory.path().join("secrets").join(name).join(key);
        if !file.is_file() {
            let escaped = key.replace('.', "\\.");
            let template = format!("jsonpath={{.data.{escaped}}}");
            let asked = ["-n", NAMESPACE, "get", "secret", name, "-o", &template];
            let encoded = self.host().run_with(&asked, "").ok();
            let decoded = STANDARD.decode(encoded.trim()).expect("base64");
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            std::fs::write(&file, decoded).expect("a file");
        }
        file
    }

    /// The administrator's kubeconfig, as the chart's notes say to make it.
    fn write_kubeconfig(&self) {
        let file = |secret: &str, key: &str| self.secret_file(secret, key).display().to_string();
        let text = format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: kcp, cluster: {{server: 'https://localhost:{}/clusters/root', certificate-authority: {}}}}}]
users: [{{name: kcp-admin, user: {{client-certificate: {}, client-key: {}}}}}]
contexts: [{{name: kcp, context: {{cluster: kcp, user: kcp-admin}}}}]
current-context: kcp
",
            self.port("kcp-front-proxy:443"),
            file("kcp-ca", "tls.crt"),
            file("kcp-admin", "tls.crt"),
            file("kcp-admin", "tls.key"),
        );
        std::fs::write(self.directory.path().join("admin.kubeconfig"), text).expect("a kubeconfig");
    }

    /// Waits until something holds.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = std::time::Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < server::BOUND, "not in time: {what}\n{}", self.logs());
            self.assert_all_run();
            std::thread::sleep(server::INTERVAL);
        }
    }

    /// Nothing that was started has ended.
    pub fn assert_all_run(&mut self) {
        let waited = |child: &mut Child| child.try_wait().expect("a child can be waited for");
        let ended = self.running.iter_mut().find_map(waited);
        assert!(ended.is_none(), "a process ended with {ended:?}\n{}", self.logs());
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(15).collect();
                let lines: Vec<&str> = lines.into_iter().rev().collect();
                text.push_str(&format!("== {}\n{}\n", path.display(), lines.join("\n")));
            }
        }
        text
    }
}

impl Drop for Chart {
    fn drop(&mut self) {
        for child in self.running.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
