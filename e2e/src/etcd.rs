//! A real etcd in a process of its own, for servers that keep their objects there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running etcd with a data directory of its own. Dropping it ends the process.
pub struct Etcd {
    data: TempDir,
    client_port: u16,
    peer_port: u16,
    tls: Option<EtcdTls>,
    process: Child,
}

/// Files by which an etcd and its clients know each other.
#[derive(Clone)]
pub struct EtcdTls {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

// === impl Etcd ===

impl Etcd {
    /// Starts etcd on free ports. Whoever connects waits until it answers.
    pub fn start() -> Self {
        Self::run(None)
    }

    /// One that clients have to show a certificate.
    pub fn start_with_tls(tls: EtcdTls) -> Self {
        Self::run(Some(tls))
    }

    fn run(tls: Option<EtcdTls>) -> Self {
        let data = TempDir::new().expect("a temporary directory");
        let (client_port, peer_port) = (free_port(), free_port());
        let process = spawn(data.path(), client_port, peer_port, tls.as_ref());
        Self {
            data,
            client_port,
            peer_port,
            tls,
            process,
        }
    }

    pub fn url(&self) -> String {
        url(self.client_port, self.tls.as_ref())
    }

    /// Sends a signal (`STOP`, `CONT`).
    pub fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal can be sent");
    }

    /// Ends the process as a power cut does, and starts it again on the same data.
    pub fn kill_and_restart(&mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ended");
        self.process = spawn(self.data.path(), self.client_port, self.peer_port, self.tls.as_ref());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    // Not one that the system hands out: until its process listens, somebody's outgoing connection may get it.
    crate::server::free_ports(1)
}

fn url(port: u16, tls: Option<&EtcdTls>) -> String {
    let scheme = if tls.is_some() { "https" } else { "http" };
    format!("{scheme}://127.0.0.1:{port}")
}

fn spawn(data: &Path, client_port: u16, peer_port: u16, tls: Option<&EtcdTls>) -> Child {
    let (client, peer) = (url(client_port, tls), url(peer_port, None));
    let files = tls.map(|tls| {
        let flag = |name: &str, file: &Path| format!("--{name}={}", file.display());
        [
            flag("trusted-ca-file", &tls.ca),
            flag("cert-file", &tls.certificate),
            flag("key-file", &tls.key),
            "--client-cert-auth=true".to_owned(),
        ]
    });
    Command::new(binary())
        .args(files.iter().flatten())
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd can be started")
}

/// `$ETCD`, the one on PATH, or the one in `.cache/bin`. Panics, with what to do, when there is none.
pub(crate) fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("ETCD") {
        return given.into();
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    [own]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join("etcd"))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("etcd is missing: run `{}`", crate::SETUP))
}
