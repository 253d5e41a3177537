//! The series of measurements, each on a server of its own.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use regex::Regex;
use serde_json::json;

use super::load::Load;
use super::report::Report;
use super::rows::Series;
use super::shard::{ADMIN, Shard, USER, until};
use super::{BenchOptions, Programs, plane};
use crate::tree::Tree;

/// History is compacted this often where the disk is measured.
const COMPACTION: &str = "--etcd-compaction-interval=10s";

/// The rights of the user that everything is measured as: authorization is part of every figure.
pub const RIGHTS: &str = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding",
    "metadata":{"name":"bench"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},
    "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"bench"}]}"#;

/// One run of one series.
pub fn measure(
    series: Series,
    tree: &Tree,
    programs: &Programs,
    options: &BenchOptions,
    report: &mut Report,
) -> anyhow::Result<()> {
    match series {
        Series::Basic => basic(programs, options, report),
        Series::Requests => match &options.server {
            Some(url) => requests(&given(programs, options, url), report),
            None => requests(&Served::start(programs, options, &[])?.user, report),
        },
        Series::Fairness => match &options.server {
            Some(url) => fairness(&given(programs, options, url), report),
            None => fairness(&Served::start(programs, options, &[])?.user, report),
        },
        Series::Workspaces => workspaces(programs, options, report),
        Series::Churn => churn(programs, options, report),
        Series::Memory => {
            let value = printed(tree, ["storage", "memory_objects"], r"([0-9.]+) x bodies")?;
            report.value("configmaps-memory", value)
        }
        Series::Opening => opening(programs, options, report),
        Series::Plane => plane::workspaces(programs, options, report),
        Series::Proxy => plane::gets(programs, options, report),
        Series::Index => {
            let value = printed(tree, ["fabric", "index_memory"], r"([0-9.]+) bytes a workspace")?;
            report.value("index-memory", value)
        }
    }
}

/// A server that is ready, and its clients.
struct Served {
    shard: Shard,
    user: Load,
    admin: Load,
    /// From the start of the process.
    ready_seconds: f64,
}

// === impl Served ===

impl Served {
    fn start(programs: &Programs, options: &BenchOptions, flags: &[&str]) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut shard = Shard::start(programs, options.port, flags)?;
        let client = |token: &str| Load {
            program: programs.loadgen.clone(),
            url: shard.url(),
            token: token.to_owned(),
            pids: shard.pids(),
        };
        let (user, admin) = (client(USER), client(ADMIN));
        wait_until_ready(&mut shard, &admin)?;
        let ready_seconds = began.elapsed().as_secs_f64();
        let path = "/clusters/root/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        admin
            .request("POST", path, RIGHTS)
            .context("giving the user its rights")?;
        Ok(Self {
            shard,
            user,
            admin,
            ready_seconds,
        })
    }

    /// Bytes of the store once history is compacted: what is written now settles within a few compactions.
    fn compacted_bytes(&self) -> anyhow::Result<u64> {
        std::thread::sleep(Duration::from_secs(25));
        self.shard.stored_bytes()
    }
}

fn wait_until_ready(shard: &mut Shard, client: &Load) -> anyhow::Result<()> {
    let ready = client.request_ready(&Shard::start_seconds_max());
    shard.check()?;
    ready
}

fn given(programs: &Programs, options: &BenchOptions, url: &str) -> Load {
    Load {
        program: programs.loadgen.clone(),
        url: url.to_owned(),
        token: options.token.clone().unwrap_or_default(),
        pids: options.pids.clone(),
    }
}

/// Names of this run's workspaces: a server that is measured again knows those of the last one.
pub fn fresh() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("b{}", now.unwrap_or_default().as_secs())
}

fn basic(programs: &Programs, options: &BenchOptions, report: &mut Report) -> anyhow::Result<()> {
    let served = Served::start(programs, options, &[])?;
    report.value("start", served.ready_seconds)?;
    std::thread::sleep(Duration::from_secs(3));
    report.value("idle", served.shard.resident_mib()?)?;
    report.value("series-0", served.admin.series()? as f64)?;
    let made = served.user.measure(
        "workspaces",
        "-scenario workspaces -n 2000 -c 64 -conns 8 -prefix w",
        report,
    )?;
    report.value("workspaces-rate", made.of("ops_per_s"))?;
    report.value("workspaces-cpu", made.cpu_micros() / 1000.0)
}

fn requests(load: &Load, report: &mut Report) -> anyhow::Result<()> {
    let name = fresh();
    load.measure("set-up", &format!("-scenario workspaces -n 4 -prefix {name}"), report)?;
    let at = |index: usize| format!("-cluster root:{name}-{index}");
    let create = format!("-scenario create -n 20000 -c 64 -conns 8 {}", at(0));
    let create = load.measure("create", &create, report)?.cpu_micros();
    report.value("create", create)?;
    let get = format!("-scenario get -n 20000 -c 64 -conns 8 -seconds 8 {}", at(0));
    let get = load.measure("get", &get, report)?.cpu_micros();
    report.value("get", get)?;
    load.measure(
        "set-up",
        &format!("-scenario create -n 2000 -c 64 -conns 8 {}", at(1)),
        report,
    )?;
    let list = format!("-scenario list -c 4 -seconds 8 {}", at(1));
    let list = load.measure("list", &list, report)?.of("server_cpu_ms_per_mib");
    report.value("list", list)?;
    let watch = format!("-scenario watch -watchers 200 -n 200 {}", at(2));
    let watch = load.measure("watch", &watch, report)?.cpu_micros();
    report.value("watch", watch)?;
    let alone = format!("-scenario watch -watchers 1 -n 5000 -conns 40 -prefix alone {}", at(3));
    let alone = load.measure("watch-alone", &alone, report)?.cpu_micros();
    let beside = format!(
        "-scenario watch -watchers 1 -n 5000 -idle 2000 -conns 40 -prefix beside {}",
        at(3)
    );
    let beside = load.measure("watch-beside-idle", &beside, report)?.cpu_micros();
    report.value("idle-watchers", beside / alone)
}

/// Four tenants at 100 requests a second each, half of them durable writes, and one that asks for 1,000.
fn fairness(load: &Load, report: &mut Report) -> anyhow::Result<()> {
    let name = fresh();
    load.measure("set-up", &format!("-scenario workspaces -n 5 -prefix {name}"), report)?;
    let arguments = format!("-scenario fair -cluster root:{name} -others 4 -rate 100 -factor 10 -seconds 4 -turns 8");
    let measured = load.measure("fairness", &arguments, report)?;
    report.value("fairness", measured.of("p99_ratio"))
}

/// Requests beside however many workspaces there are.
fn beside(load: &Load, at: &str, prefix: &str, report: &mut Report) -> anyhow::Result<[f64; 3]> {
    let create = format!("-scenario create -n 10000 -c 64 -conns 8 -prefix {prefix} -cluster {at}");
    let get = format!("-scenario get -n 10000 -c 64 -conns 8 -seconds 6 -prefix {prefix} -cluster {at}");
    let watch = format!("-scenario watch -watchers 200 -n 200 -prefix {prefix} -cluster {at}");
    let create = load.measure("create-beside", &create, report)?.cpu_micros();
    let get = load.measure("get-beside", &get, report)?.cpu_micros();
    let watch = load.measure("watch-beside", &watch, report)?.cpu_micros();
    Ok([get, create, watch])
}

fn workspaces(programs: &Programs, options: &BenchOptions, report: &mut Report) -> anyhow::Result<()> {
    let served = Served::start(programs, options, &[COMPACTION])?;
    let (user, count) = (&served.user, options.workspaces);
    user.measure("set-up", "-scenario workspaces -n 10 -c 8 -prefix few", report)?;
    let few = beside(user, "root:few-0", "few", report)?;
    std::thread::sleep(Duration::from_secs(3));
    let (memory, objects) = (served.shard.resident_mib()?, served.admin.objects()?);
    let mut made = 0;
    let mut grow = |to: usize, report: &mut Report| {
        let arguments = format!("-scenario tree -skip {made} -n {to} -c 64 -conns 8 -prefix t");
        made = to;
        user.measure("tree", &arguments, report)
    };
    grow(count / 10, report)?;
    let disk = served.compacted_bytes()?;
    grow(count * 3 / 10, report)?;
    report.value("series-3000", served.admin.series()? as f64)?;
    grow(count, report)?;
    let grown = served.compacted_bytes()?;
    let measured = json!({"disk_before": disk, "disk_after": grown, "memory_before_mib": memory,
        "memory_after_mib": served.shard.resident_mib()?, "workspaces": count});
    report.line("growth", &measured)?;
    report.value(
        "workspace-memory",
        (served.shard.resident_mib()? - memory) * 1024.0 / count as f64,
    )?;
    let disk_kib = (grown.saturating_sub(disk)) as f64 / 1024.0;
    report.value("workspace-disk", disk_kib / (count - count / 10) as f64)?;
    let many = beside(user, "root:few-1", "many", report)?;
    for (row, (few, many)) in ["get-10000", "create-10000", "watch-10000"]
        .into_iter()
        .zip(few.iter().zip(many))
    {
        report.value(row, many / few)?;
    }
    // What `beside` has added stays.
    let left = objects + 10_001.0;
    let seconds = served.delete("a tree of workspaces", "root", "/t-top", count, left, report)?;
    report.value("delete", seconds)
}

/// Makes and deletes workspaces, and looks at what stays once history is compacted.
fn churn(programs: &Programs, options: &BenchOptions, report: &mut Report) -> anyhow::Result<()> {
    let served = Served::start(programs, options, &[COMPACTION])?;
    let parent = "-scenario workspaces -n 1 -prefix flat";
    served.user.measure("set-up", parent, report)?;
    let few = served.churn_once("few", 100, report)?;
    let first = served.churn_once("first", options.workspaces, report)?;
    let second = served.churn_once("second", options.workspaces, report)?;
    report.value("churn-memory", first.memory_mib / few.memory_mib)?;
    report.value("churn-memory-again", second.memory_mib / first.memory_mib)?;
    report.line("before", &json!(few.objects))?;
    report.line("after", &json!(second.objects))?;
    let differs = |(name, count): &(&String, &f64)| few.objects.get(*name) != Some(count);
    let gained = second.objects.iter().filter(differs).count();
    let lost = few
        .objects
        .keys()
        .filter(|name| !second.objects.contains_key(*name))
        .count();
    report.value("churn-keys", (gained + lost) as f64)?;
    report.value("churn-series", second.series as f64 / few.series as f64)
}

/// A server in which nothing is left of what was made in it.
struct Emptied {
    memory_mib: f64,
    series: usize,
    objects: BTreeMap<String, f64>,
}

impl Served {
    fn churn_once(&self, name: &str, count: usize, report: &mut Report) -> anyhow::Result<Emptied> {
        let before = self.admin.objects()?;
        let flat = format!("-scenario workspaces -cluster root:flat-0 -n {count} -c 64 -conns 8 -prefix {name}");
        self.user.measure("flat", &flat, report)?;
        self.delete("flat workspaces", "root:flat-0", "", count, before, report)?;
        let tree = format!("-scenario tree -n {count} -c 64 -conns 8 -prefix {name}");
        self.user.measure("tree", &tree, report)?;
        let top = format!("/{name}-top");
        self.delete("a tree of workspaces", "root", &top, count, before, report)?;
        // A compaction takes what is older than the one before it; memory has to be back a minute later.
        std::thread::sleep(Duration::from_secs(40));
        let emptied = Emptied {
            memory_mib: self.shard.resident_mib()?,
            series: self.admin.series()?,
            objects: self.admin.objects_by_resource()?,
        };
        let measured = json!({"workspaces": count, "memory_mib": emptied.memory_mib, "series": emptied.series,
            "stored_bytes": self.shard.stored_bytes()?});
        report.line("emptied", &measured)?;
        Ok(emptied)
    }

    /// Deletes a workspace by its name, or all of a cluster, and waits until no more objects are left than `left`. Answers
    /// how long that took.
    fn delete(
        &self,
        what: &str,
        cluster: &str,
        name: &str,
        count: usize,
        left: f64,
        report: &mut Report,
    ) -> anyhow::Result<f64> {
        let (began, cpu) = (Instant::now(), self.shard.cpu_seconds()?);
        let path = format!("/clusters/{cluster}/apis/tenancy.kcp.io/v1alpha1/workspaces{name}");
        self.user.request("DELETE", &path, "")?;
        let answered = began.elapsed().as_secs_f64();
        until(3600, || Ok(self.admin.objects()? <= left)).with_context(|| format!("{what} are not gone"))?;
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), self.shard.cpu_seconds()? - cpu);
        let measured = json!({"deleted": what, "workspaces": count, "seconds": seconds, "answered_seconds": answered,
            "server_cpu_s": cpu, "server_cpu_us_per_op": cpu * 1e6 / count as f64});
        report.line("delete", &measured)?;
        Ok(seconds)
    }
}

/// The figure that a test of a crate prints; it counts allocations, and nothing of it depends on optimization.
fn printed(tree: &Tree, [package, test]: [&str; 2], pattern: &str) -> anyhow::Result<f64> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(tree.root())
        .args(["test", "--quiet", "--package", package, "--test", test])
        .args(["--", "--nocapture"]);
    let output = cargo.output().context("starting cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = Regex::new(pattern).context("the pattern")?;
    let figure = found.captures(&text).and_then(|found| found[1].parse().ok());
    figure.with_context(|| format!("no figure in {text:?}"))
}

fn opening(programs: &Programs, options: &BenchOptions, report: &mut Report) -> anyhow::Result<()> {
    let mut served = Served::start(programs, options, &[])?;
    served
        .user
        .measure("set-up", "-scenario workspaces -n 1 -prefix o", report)?;
    let objects = options.objects;
    let create = format!("-scenario create -distinct -size 64 -n {objects} -c 128 -conns 8 -cluster root:o-0");
    served.user.measure("fill", &create, report)?;
    let began = Instant::now();
    served.shard.kill_and_restart()?;
    wait_until_ready(&mut served.shard, &served.admin)?;
    let last = objects - 1;
    let object = format!("/clusters/root:o-0/api/v1/namespaces/default/configmaps/lg-{last}");
    served.user.request("GET", &object, "")?;
    report.value("opening", began.elapsed().as_secs_f64())?;
    report.line(
        "opened",
        &json!({"objects": objects, "memory_mib": served.shard.resident_mib()?}),
    )
}
