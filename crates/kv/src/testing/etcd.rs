//! An etcd process for tests.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What to do without etcd.
const ADVICE: &str = "these tests need etcd 3.5.13 or later: run xtask/scripts/get-etcd, or set ETCD to its path";

/// Where ports for tests are taken from.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 18_000;

/// A running etcd with one member and an empty store, killed and removed when dropped.
pub struct EtcdProcess {
    child: Child,
    endpoint: String,
    arguments: Vec<String>,
    data: tempfile::TempDir,
}

/// The etcd binary: `$ETCD`, else the one on `PATH`, else the one in the workspace's `.cache/bin`. Panics, with what to
/// do, when there is none.
pub fn etcd_binary() -> PathBuf {
    if let Some(given) = std::env::var_os("ETCD") {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/bin"));
    let found = places
        .into_iter()
        .map(|place| place.join("etcd"))
        .find(|binary| binary.is_file());
    found.unwrap_or_else(|| panic!("{ADVICE}"))
}

// === impl EtcdProcess ===

impl EtcdProcess {
    /// Starts etcd on free ports. Connecting may have to be tried until it listens.
    pub fn start() -> EtcdProcess {
        EtcdProcess::start_at("http", &[])
    }

    /// The same with more arguments.
    pub fn start_with(more: &[String]) -> EtcdProcess {
        EtcdProcess::start_at("http", more)
    }

    /// The same with https for clients; the arguments have to name the certificates.
    pub fn start_tls(more: &[String]) -> EtcdProcess {
        EtcdProcess::start_at("https", more)
    }

    fn start_at(scheme: &str, more: &[String]) -> EtcdProcess {
        let data = tempfile::tempdir().expect("a temporary directory");
        let (client, peer) = (free_port(), free_port());
        let (endpoint, peer) = (
            format!("{scheme}://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let mut arguments = vec![format!("--data-dir={}", data.path().display())];
        arguments.extend([
            format!("--listen-client-urls={endpoint}"),
            format!("--advertise-client-urls={endpoint}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--log-level=error".to_owned(),
            // These tests are about behaviour; power does not fail here.
            "--unsafe-no-fsync=true".to_owned(),
        ]);
        arguments.extend_from_slice(more);
        let child = spawn(&arguments);
        EtcdProcess {
            child,
            endpoint,
            arguments,
            data,
        }
    }

    /// Its client address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The process, for signals.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Kills it, without giving it time to do anything.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same data and ports.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.arguments);
    }
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new(etcd_binary());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{error}: {ADVICE}"))
}

/// A port that nobody listens on. From below the range that the system takes ports of connections from, and a different
/// one each time, since two tests must not find the same before either listens.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + (offset % u32::from(PORTS)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
