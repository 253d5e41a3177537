//! One server in a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::etcd::{Etcd, free_port};
use crate::kubectl::Kubectl;

/// A shard beside those that a control plane was started with. Dropping it ends the process.
pub struct Shard {
    process: Child,
    /// Everything that it keeps.
    pub directory: PathBuf,
    log: PathBuf,
}

/// How long a start or an end may take on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

/// A running server with a root directory of its own. Dropping it ends the process.
pub struct Server {
    root_directory: TempDir,
    port: u16,
    command: &'static str,
    flags: Vec<String>,
    process: Child,
}

// === impl Server ===

impl Server {
    /// Starts the binary on a free port and waits until it is ready and serves workspaces.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same over a real etcd.
    pub fn start_on(etcd: &Etcd) -> Self {
        Self::start_with(&[&format!("--etcd-servers={}", etcd.url())])
    }

    /// The same with further flags.
    pub fn start_with(flags: &[&str]) -> Self {
        Self::run("start", free_port(), flags)
    }

    /// A control plane of a front-proxy and shards, as processes of their own: `kcp up`. Everything goes through the proxy.
    pub fn up(shards: u16, flags: &[&str]) -> Self {
        let shards_flag = format!("--shards={shards}");
        let flags: Vec<&str> = std::iter::once(&*shards_flag).chain(flags.iter().copied()).collect();
        // Those of the front-proxy, the shards, their virtual workspaces and the cache server.
        Self::run("up", free_ports(2 * shards + 2), &flags)
    }

    /// The same with a real etcd for each shard.
    pub fn up_on(etcds: &[Etcd]) -> Self {
        let urls: Vec<String> = etcds.iter().map(Etcd::url).collect();
        let shards = u16::try_from(etcds.len()).expect("a few shards");
        Self::up(shards, &[&format!("--etcd-servers={}", urls.join(","))])
    }

    fn run(command: &'static str, port: u16, flags: &[&str]) -> Self {
        let root_directory = TempDir::new().expect("a temporary directory");
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let process = spawn(command, root_directory.path(), port, &flags);
        let mut server = Self {
            root_directory,
            port,
            command,
            flags,
            process,
        };
        server.wait_until_ready();
        server
    }

    /// One more shard of a control plane, with a directory of its own, `<name>.store`, and its store there unless `more` flags
    /// name one; not waited for.
    pub fn start_shard(&self, name: &str, more: &[&str]) -> Shard {
        let below = |path: &str| self.root_directory.path().join(path).display().to_string();
        let port = free_port();
        let directory = below(&format!("{name}.store"));
        std::fs::create_dir_all(&directory).expect("a directory of its own");
        let url = format!("https://localhost:{port}");
        let flags = [
            format!("--shard-name={name}"),
            format!("--root-directory={directory}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--tls-cert-file={}", below("pki/shard-root-serving.crt")),
            format!("--tls-private-key-file={}", below("pki/shard-root-serving.key")),
            format!("--client-ca-file={}", below("pki/client-ca.crt")),
            format!("--requestheader-client-ca-file={}", below("pki/requestheader-ca.crt")),
            "--requestheader-allowed-names=kcp-front-proxy".to_owned(),
            format!("--token-auth-file={}", below("pki/tokens.csv")),
            format!("--service-account-signing-key-file={}", below("pki/sa.key")),
            format!("--shard-base-url={url}"),
            format!("--shard-external-url=https://localhost:{}", self.port),
            format!("--root-shard-kubeconfig-file={}", below("component.kubeconfig")),
        ];
        let log = File::options()
            .create(true)
            .append(true)
            .open(below(&format!("{name}.log")))
            .expect("a log file");
        let process = Command::new(binary())
            .arg("start")
            .args(flags)
            .args(more)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the server's binary can be started");
        Shard {
            process,
            directory: directory.into(),
            log: below(&format!("{name}.log")).into(),
        }
    }

    /// kubectl in the root workspace.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.root_directory.path())
    }

    /// kubectl in the workspace at `path`, such as `root:team-a`.
    pub fn workspace(&self, path: &str) -> Kubectl {
        self.kubectl()
            .at(format!("https://127.0.0.1:{}/clusters/{path}", self.port))
    }

    /// Creates the workspace `name` below `parent` and waits until it is ready. Returns kubectl in it.
    pub fn create_workspace(&self, parent: &str, name: &str) -> Kubectl {
        self.create_workspace_where(parent, name, "{}")
    }

    /// The same on a shard, by its name.
    pub fn create_workspace_on(&self, shard: &str, parent: &str, name: &str) -> Kubectl {
        self.create_workspace_by(("name", shard), parent, name)
    }

    /// The same on any shard that has a label.
    pub fn create_workspace_by(&self, label: (&str, &str), parent: &str, name: &str) -> Kubectl {
        self.create_workspace_where(parent, name, &located(label))
    }

    /// The same, without waiting for it.
    pub fn ask_for_workspace_by(&self, label: (&str, &str), parent: &str, name: &str) {
        self.ask_for_workspace(parent, name, &located(label));
    }

    fn ask_for_workspace(&self, parent: &str, name: &str, spec: &str) {
        let document =
            format!("apiVersion: tenancy.kcp.io/v1alpha1\nkind: Workspace\nmetadata:\n  name: {name}\nspec: {spec}\n");
        self.workspace(parent).create(&document).ok();
    }

    fn create_workspace_where(&self, parent: &str, name: &str, spec: &str) -> Kubectl {
        let above = self.workspace(parent);
        self.ask_for_workspace(parent, name, spec);
        above
            .run(&format!(
                "wait --for=jsonpath={{.status.phase}}=Ready workspace/{name} --timeout=60s"
            ))
            .ok();
        self.workspace(&format!("{parent}:{name}"))
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root_directory.path().join("admin.kubeconfig")
    }

    /// The URL of the server, or of the front-proxy.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// kubectl of a component at the cache server of a control plane.
    pub fn cache(&self) -> Kubectl {
        self.kubectl().with_kubeconfig(self.file("cache.kubeconfig"))
    }

    /// Where the cache server of a control plane is.
    pub fn cache_url(&self) -> String {
        let asked = "config view -o jsonpath={.clusters[0].cluster.server}";
        self.cache().run(asked).ok()
    }

    /// `kubectl kcp`, as its administrator calls it: what it prints. Panics when it fails.
    #[track_caller]
    pub fn kubectl_kcp(&self, arguments: &[&str]) -> String {
        let plugin = program("kubectl-kcp");
        assert!(
            plugin.is_file(),
            "the plugin is missing: run `cargo build -p cli --bins`"
        );
        let output = Command::new(plugin)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .output()
            .expect("the plugin can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl kcp {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A file below its directory.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root_directory.path().join(path)
    }

    /// What the process printed.
    pub fn said(&self) -> String {
        self.log()
    }

    /// Where everything of it is kept.
    pub fn directory(&self) -> &Path {
        self.root_directory.path()
    }

    /// The port of the server, or of the front-proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of a part of a control plane: `root/kcp`, `front-proxy`.
    pub fn process_id(&self, part: &str) -> u32 {
        let file = self.root_directory.path().join(format!("{part}.pid"));
        let text = std::fs::read_to_string(&file).expect("the file of a process id");
        text.trim().parse().expect("a number")
    }

    /// Sends a signal (`KILL`, `STOP`, `CONT`) to a part of a control plane.
    pub fn signal(&self, part: &str, signal: &str) {
        let id = self.process_id(part).to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal can be sent");
    }

    /// Waits until something holds.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        self.until(what, |server| holds(server));
    }

    /// Ends the process as a power cut does, and starts it again on the same directory.
    pub fn kill_and_restart(&mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ended");
        self.start_again();
    }

    /// Asks the process to end; how it did, and how long it took. [`Server::start_again`] starts it on the same directory.
    pub fn end(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.send("TERM");
        let mut end = None;
        self.until("the process ends", |server| {
            end = server.process.try_wait().expect("a child can be waited for");
            end.is_some()
        });
        (end.expect("it ended"), began.elapsed())
    }

    /// Starts a process that ended on its directory and waits until it is ready.
    pub fn start_again(&mut self) {
        self.process = spawn(self.command, self.root_directory.path(), self.port, &self.flags);
        self.wait_until_ready();
    }

    /// Ends the process without a word.
    pub fn kill(mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ended");
    }

    /// Stops the process where it is; [`Server::go_on`] lets it run again.
    pub fn pause(&self) {
        self.send("STOP");
    }

    pub fn go_on(&self) {
        self.send("CONT");
    }

    fn send(&self, signal: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal can be sent");
    }

    /// Asks the process to end, and returns how it did.
    pub fn terminate(mut self) -> ExitStatus {
        self.end().0
    }

    fn wait_until_ready(&mut self) {
        self.until("the server is ready", |server| {
            if let Some(status) = server.process.try_wait().expect("a child can be waited for") {
                panic!("the server ended with {status}:\n{}", server.log());
            }
            server.root_directory.path().join("admin.kubeconfig").is_file()
                && server.kubectl().run("get --raw /readyz").succeeded()
                && server
                    .kubectl()
                    .run("get workspacetypes.tenancy.kcp.io universal")
                    .succeeded()
        });
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {what}\n{}", self.log());
            std::thread::sleep(INTERVAL);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.root_directory.path())).unwrap_or_default()
    }
}

// === impl Shard ===

impl Shard {
    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ended");
    }

    /// Waits until it has ended by itself; what it said.
    pub fn last_words(mut self) -> String {
        let began = Instant::now();
        while self.process.try_wait().expect("a child can be waited for").is_none() {
            assert!(began.elapsed() < BOUND, "it goes on:\n{}", self.log());
            std::thread::sleep(INTERVAL);
        }
        self.log()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            show_logs(self.root_directory.path());
        }
    }
}

/// What all processes have said at last: the directory goes, and with it what a failure could be understood by.
fn show_logs(directory: &Path) {
    const LINES: usize = 60;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            show_logs(&path);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            let said = std::fs::read(&path).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
            eprintln!("--- {}\n{}", path.display(), last.join("\n"));
        }
    }
}

/// The spec of a workspace on a shard with a label.
fn located((key, value): (&str, &str)) -> String {
    format!("{{location: {{selector: {{matchLabels: {{{key}: {value}}}}}}}}}")
}

fn spawn(command: &str, root_directory: &Path, port: u16, flags: &[String]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_file(root_directory))
        .expect("a log file");
    Command::new(binary())
        .arg(command)
        .arg("--root-directory")
        .arg(root_directory)
        .args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()])
        .args(flags)
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the server's binary can be started")
}

/// The first of `count` ports in a row that nobody listens on: below those that the system hands out, and never the same for
/// two control planes of one run.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = 12_000 + u16::try_from(std::process::id() % 300).unwrap_or_default() * 64;
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let first = own + NEXT.fetch_add(count, Ordering::Relaxed);
        if (0..count).all(|next| is_free(first + next)) {
            return first;
        }
    }
}

fn log_file(root_directory: &Path) -> PathBuf {
    root_directory.join("server.log")
}

/// `$KCP_BIN`, else the binary that cargo built beside this test. Panics, with what to do, when there is none.
fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("KCP_BIN") {
        return given.into();
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.parent()?.join("kcp")));
    beside.filter(|binary| binary.is_file()).unwrap_or_else(|| {
        panic!("the server's binary is missing: run `cargo build -p shard --bin kcp`, or name one in $KCP_BIN")
    })
}

/// Another program of ours, beside the server's.
pub(crate) fn program(name: &str) -> PathBuf {
    match name {
        "kcp" => binary(),
        other => binary().with_file_name(other),
    }
}
