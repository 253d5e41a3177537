//! A control plane of two shards, and what is measured of it through its front-proxy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::load::Load;
use super::report::Report;
use super::series::{RIGHTS, fresh};
use super::shard::{ADMIN, USER};
use super::{BenchOptions, Programs, processes};

const SHARDS: u16 = 2;

/// The ports of etcds are this far behind the proxy's, those of the other programs next to it.
const ETCD_PORTS: u16 = 10;

/// Where `kcp up` says which process is which.
const PID_FILES: [&str; 6] = [
    "front-proxy.pid",
    "cache-server.pid",
    "root/kcp.pid",
    "shard-1/kcp.pid",
    "root/virtual-workspaces.pid",
    "shard-1/virtual-workspaces.pid",
];

/// What `kcp up` has started, and is ready. Dropping it ends the processes and removes what they wrote.
struct Plane {
    directory: TempDir,
    up: Child,
    etcds: Vec<Child>,
    port: u16,
    /// From the start of `kcp up` until every process said that it is ready.
    ready_seconds: f64,
}

// === impl Plane ===

impl Plane {
    /// Starts everything on an empty directory.
    fn start(programs: &Programs, options: &BenchOptions) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let root = directory.path().join("up");
        fs::create_dir_all(root.join("pki"))?;
        // The first line is the administrator; `kcp up` keeps the others.
        fs::write(
            root.join("pki/tokens.csv"),
            format!("{ADMIN},admin,admin\n{USER},bench,bench\n"),
        )?;
        let mut up = Command::new(&programs.server);
        up.args([
            "up",
            &format!("--shards={SHARDS}"),
            &format!("--secure-port={}", options.port),
        ])
        .arg("--root-directory")
        .arg(&root);
        let mut etcds = Vec::new();
        if let Some(binary) = &programs.etcd {
            let ports = (0..SHARDS).map(|index| options.port + ETCD_PORTS + 2 * index);
            for port in ports.clone() {
                etcds.push(processes::start_etcd(
                    binary,
                    directory.path(),
                    &format!("etcd-{port}"),
                    port,
                )?);
            }
            let urls: Vec<String> = ports.map(|port| format!("http://127.0.0.1:{port}")).collect();
            up.arg(format!("--etcd-servers={}", urls.join(",")));
        }
        let log = File::create(directory.path().join("up.log"))?;
        let began = Instant::now();
        let child = up.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut plane = Self {
            up: child.with_context(|| format!("starting {}", programs.server.display()))?,
            directory,
            etcds,
            port: options.port,
            ready_seconds: 0.0,
        };
        plane.wait_until_up()?;
        plane.ready_seconds = began.elapsed().as_secs_f64();
        Ok(plane)
    }

    /// `kcp up` asks each process, and says so when the last one is ready.
    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let output = self.up.stdout.take().context("the output of kcp up")?;
        for line in BufReader::new(output).lines() {
            if line?.starts_with("the control plane is up") {
                return Ok(());
            }
        }
        let said = fs::read_to_string(self.directory.path().join("up.log")).unwrap_or_default();
        bail!("kcp up ended: {}", said.lines().last().unwrap_or_default())
    }

    /// As the user that everything is measured as, or as another one.
    fn client(&self, programs: &Programs, token: &str, pids: String) -> Load {
        Load {
            program: programs.loadgen.clone(),
            url: format!("https://127.0.0.1:{}", self.port),
            token: token.to_owned(),
            pids,
        }
    }

    /// The user with its rights in root; the processor time of `pids` counts.
    fn user(&self, programs: &Programs, pids: String) -> anyhow::Result<Load> {
        let path = "/clusters/root/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.client(programs, ADMIN, String::new())
            .request("POST", path, RIGHTS)
            .context("giving the user its rights")?;
        Ok(self.client(programs, USER, pids))
    }

    /// Everything that serves, etcds included: not `kcp up`, which only starts it.
    fn pids(&self) -> anyhow::Result<String> {
        let mut pids = PID_FILES
            .iter()
            .map(|file| self.pid(file))
            .collect::<anyhow::Result<Vec<_>>>()?;
        pids.extend(self.etcds.iter().map(|etcd| etcd.id().to_string()));
        Ok(pids.join(","))
    }

    fn proxy_pid(&self) -> anyhow::Result<String> {
        self.pid(PID_FILES[0])
    }

    fn pid(&self, file: &str) -> anyhow::Result<String> {
        let path = self.directory.path().join("up").join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Processor time of each process.
    fn cpu_by_process(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let names = PID_FILES
            .iter()
            .map(|file| Ok((file.trim_end_matches(".pid").to_owned(), self.pid(file)?)));
        let etcds = self
            .etcds
            .iter()
            .zip(0..)
            .map(|(etcd, index)| Ok((format!("etcd-{index}"), etcd.id().to_string())));
        names
            .chain(etcds)
            .map(|named: anyhow::Result<_>| {
                let (name, pid) = named?;
                Ok((name, processes::cpu_seconds(&pid)?))
            })
            .collect()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // The processes end with their standard input, which `kcp up` holds.
        for process in std::iter::once(&mut self.up).chain(&mut self.etcds) {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = gone(self.directory.path());
    }
}

/// Waits until the processes whose ids are below a directory have ended, so that the next run has the machine to itself.
fn gone(directory: &Path) -> anyhow::Result<()> {
    for file in PID_FILES {
        let pid = fs::read_to_string(directory.join("up").join(file))?;
        let process = Path::new("/proc").join(pid.trim());
        super::shard::until(30, || Ok(!process.exists()))?;
    }
    Ok(())
}

/// Start, idle memory, and workspaces that are spread over both shards.
pub fn workspaces(programs: &Programs, options: &BenchOptions, report: &mut Report) -> anyhow::Result<()> {
    let began = Instant::now();
    let plane = Plane::start(programs, options)?;
    let pids = plane.pids()?;
    let user = plane.user(programs, pids.clone())?;
    // Nothing that was called ready has to be waited for afterwards.
    user.measure("set-up", "-scenario workspaces -n 4 -prefix first", report)?;
    report.line("first workspaces", &json!({"seconds": began.elapsed().as_secs_f64()}))?;
    report.value("plane-start", plane.ready_seconds)?;
    std::thread::sleep(Duration::from_secs(3));
    report.value("plane-idle", processes::resident_mib(&pids)?)?;
    let up = plane.up.id().to_string();
    let memory = json!({"proportional_mib": processes::proportional_mib(&pids)?,
        "kcp_up_mib": processes::resident_mib(&up)?});
    report.line("memory", &memory)?;
    let before = plane.cpu_by_process()?;
    let arguments = "-scenario workspaces -n 2000 -c 64 -conns 8 -prefix w";
    let made = user.measure("workspaces", arguments, report)?;
    report.value("plane-workspaces-rate", made.of("ops_per_s"))?;
    report.value("plane-workspaces-cpu", made.cpu_micros() / 1000.0)?;
    let mut used = plane.cpu_by_process()?;
    for (name, seconds) in &mut used {
        *seconds -= before.get(name).copied().unwrap_or_default();
    }
    report.line("cpu seconds", &json!(used))?;
    report.line("memory", &json!({"mib": processes::resident_mib(&pids)?}))?;
    let spread = spread(&user)?;
    report.line("spread", &json!(spread))?;
    if spread.len() != usize::from(SHARDS) {
        bail!("the workspaces are on {} shards", spread.len());
    }
    Ok(())
}

/// How many of root's workspaces are on which shard.
fn spread(load: &Load) -> anyhow::Result<BTreeMap<String, usize>> {
    let text = load.request("GET", "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces", "")?;
    let list: Value = serde_json::from_str(&text).context("the workspaces")?;
    let mut spread = BTreeMap::new();
    for workspace in list["items"].as_array().into_iter().flatten() {
        let shard = &workspace["metadata"]["annotations"]["internal.tenancy.kcp.io/shard"];
        *spread.entry(shard.as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    Ok(spread)
}

/// Gets of small objects of one workspace. The proxy's own processor time counts; the others' is told beside it.
pub fn gets(programs: &Programs, options: &BenchOptions, report: &mut Report) -> anyhow::Result<()> {
    let plane = Plane::start(programs, options)?;
    let user = plane.user(programs, plane.proxy_pid()?)?;
    let name = fresh();
    user.measure("set-up", &format!("-scenario workspaces -n 1 -prefix {name}"), report)?;
    let create = format!("-scenario create -n 20000 -c 64 -conns 8 -cluster root:{name}-0");
    user.measure("create", &create, report)?;
    let before = processes::cpu_seconds(&plane.pids()?)?;
    let get = format!("-scenario get -n 20000 -c 64 -conns 8 -seconds 8 -cluster root:{name}-0");
    let got = user.measure("get", &get, report)?;
    report.value("proxy-get", got.cpu_micros())?;
    let all = (processes::cpu_seconds(&plane.pids()?)? - before) * 1e6 / got.of("ops");
    report.line("get", &json!({"all_cpu_us_per_op": all}))
}
