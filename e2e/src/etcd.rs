//! A real etcd in a process of its own, for servers that keep their objects there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running etcd with a data directory of its own. Dropping it ends the process.
pub struct Etcd {
    data: TempDir,
    client_port: u16,
    peer_port: u16,
    process: Child,
}

// === impl Etcd ===

impl Etcd {
    /// Starts etcd on free ports. Whoever connects waits until it answers.
    pub fn start() -> Self {
        let data = TempDir::new().expect("a temporary directory");
        let (client_port, peer_port) = (free_port(), free_port());
        let process = spawn(data.path(), client_port, peer_port);
        Self {
            data,
            client_port,
            peer_port,
            process,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Ends the process as a power cut does, and starts it again on the same data.
    pub fn kill_and_restart(&mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ended");
        self.process = spawn(self.data.path(), self.client_port, self.peer_port);
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

fn spawn(data: &Path, client_port: u16, peer_port: u16) -> Child {
    let (client, peer) = (
        format!("http://127.0.0.1:{client_port}"),
        format!("http://127.0.0.1:{peer_port}"),
    );
    Command::new(binary())
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
