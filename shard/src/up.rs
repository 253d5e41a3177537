//! `kcp up`: a whole control plane on this machine, as processes of their own: a cache server, shards with a store each, the
//! virtual workspaces beside them, and the front-proxy. Keys, command lines and kubeconfigs are files below one directory, there to
//! be read and run by hand.

mod authority;
mod layout;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use env::Env;
use fabric::upstream::UpstreamBody;
use fabric::{Endpoint, Identity, Lane, Upstream, UpstreamOptions};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use oidc::OidcOptions;
use tokio::process::{Child, ChildStdin, Command};

use layout::{Layout, Process};

/// What is started.
#[derive(Args, Clone, Debug)]
pub struct UpOptions {
    /// Directory for everything: keys, kubeconfigs, stores, logs
    #[arg(long, default_value = ".kcp-up", value_name = "DIR")]
    pub root_directory: PathBuf,
    /// How many shards
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub shards: u16,
    /// Virtual workspaces as processes of their own, one beside each shard; otherwise they are in the shards
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    pub virtual_workspaces: bool,
    /// Port of the front-proxy; shards take the ports behind it, the other processes those behind theirs
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind_address: String,
    /// Host name by which clients reach the front-proxy
    #[arg(long, default_value = "localhost")]
    pub external_hostname: String,
    /// etcd of each shard, in their order: URLs, comma separated; without it each shard has its embedded store
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    #[command(flatten)]
    pub oidc: OidcOptions,
    /// Features of the front-proxy and the shards: Name=true or Name=false, comma separated
    #[arg(long, value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// Further flags for every shard, e.g. --shard-flag=--v=4
    #[arg(long = "shard-flag", allow_hyphen_values = true)]
    pub shard_flags: Vec<String>,
    /// How much is logged: 0 least, 10 most
    #[arg(short = 'v', long = "v", default_value_t = 2)]
    pub verbosity: u8,
}

/// How long a process may take until it is ready.
const READY_BOUND: Duration = Duration::from_secs(60);
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const READY_INTERVAL: Duration = Duration::from_millis(10);
/// How long a process may take to end when asked.
const END_BOUND: Duration = Duration::from_secs(15);

/// A process that runs, and what it takes to start it again.
struct Running {
    process: Process,
    child: Child,
    /// Waiting for a child would close it.
    input: Option<ChildStdin>,
}

// === impl UpOptions ===

impl UpOptions {
    /// What does not fit together, in one sentence.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), String> {
        self.oidc.validate()?;
        let etcds: BTreeSet<&str> = self.etcd_servers.iter().map(|url| url.trim_end_matches('/')).collect();
        if etcds.len() < self.etcd_servers.len() {
            return Err(
                "--etcd-servers: one is there twice, and shards in one etcd would write over each other".to_owned(),
            );
        }
        // A shard beyond them would silently keep its objects somewhere else.
        if !etcds.is_empty() && etcds.len() != usize::from(self.shards) {
            return Err(format!(
                "--etcd-servers names {} etcd for {} shards: one for each, or none at all",
                etcds.len(),
                self.shards
            ));
        }
        Ok(())
    }
}

/// Starts everything, says what it does, starts again what ends by itself, and ends it all when `stop` returns.
///
/// # Errors
/// When something cannot be started.
pub async fn run(env: &Env, options: &UpOptions, stop: impl Future<Output = Result<()>>) -> Result<()> {
    let begun = env.clock.monotonic();
    options.validate().map_err(anyhow::Error::msg)?;
    let layout = Layout::prepare(env, options)?;
    say(&format!(
        "keys and kubeconfigs are in {}",
        options.root_directory.display()
    ));
    let mut running = Vec::new();
    let outcome = async {
        // All at once: who needs another one waits for it.
        for process in layout.processes()? {
            running.push(spawn(env, process)?);
        }
        for started in &mut running {
            wait_until_ready(env, &layout, started).await?;
            let took = env.clock.monotonic().saturating_sub(begun);
            let Process { name, url, .. } = &started.process;
            say(&format!("{name} is ready at {url} after {took:.1?}"));
        }
        let took = env.clock.monotonic().saturating_sub(begun);
        say(&format!(
            "the control plane is up after {took:.1?}: export KUBECONFIG={}",
            layout.kubeconfig().display()
        ));
        tokio::select! {
            biased;
            stopped = stop => stopped,
            failed = supervise(env, &mut running) => failed,
        }
    };
    let outcome = outcome.await;
    end_all(env, running).await;
    outcome
}

/// Starts again what ends. Returns only if that cannot be done.
async fn supervise(env: &Env, running: &mut [Running]) -> Result<()> {
    loop {
        let (at, how) = first_end(running).await;
        let Some(ended) = running.get_mut(at) else { continue };
        say(&format!("{} {how}; it is started again", ended.process.name));
        env.clock.sleep(RESTART_PAUSE).await;
        let again = spawn(env, ended.process.clone())?;
        *ended = again;
    }
}

/// Standard output is this command's interface: what is up, and where.
#[expect(clippy::print_stdout, reason = "the command's answer")]
fn say(line: &str) {
    println!("{line}");
}

fn spawn(env: &Env, process: Process) -> Result<Running> {
    let log = process.log.clone();
    // Opened by the seam first, so that it has the mode that everything here has.
    drop(
        env.disk
            .open(&log)
            .with_context(|| format!("making {}", log.display()))?,
    );
    let log = std::fs::File::options()
        .append(true)
        .open(&log)
        .with_context(|| format!("opening {}", log.display()))?;
    let mut child = Command::new(&process.program)
        .args(&process.arguments)
        // Held open as long as this process lives: the other end takes its end for a signal to end too.
        .stdin(Stdio::piped())
        .arg("--exit-when-stdin-closes")
        .stdout(log.try_clone().context("sharing the log")?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", process.program.display()))?;
    let id = child.id().unwrap_or_default();
    let file = process.log.with_extension("pid");
    env.disk
        .write_atomic(&file, id.to_string().as_bytes())
        .with_context(|| format!("writing {}", file.display()))?;
    let input = child.stdin.take();
    Ok(Running { process, child, input })
}

async fn wait_until_ready(env: &Env, layout: &Layout, started: &mut Running) -> Result<()> {
    let Running { process, child, .. } = started;
    let identity = Identity::from_kubeconfig(&*env.disk, &layout.component_kubeconfig(), None)?;
    let endpoint = Endpoint::from_url(&process.url, Some(identity.tls()?)).map_err(anyhow::Error::msg)?;
    let options = UpstreamOptions {
        backoff: Duration::ZERO,
        ..UpstreamOptions::default()
    };
    let upstream = Upstream::new(env.clone(), endpoint, options);
    let ready = async {
        loop {
            let request = Request::get("/readyz").body(no_body())?;
            if let Ok(answer) = upstream.send(Lane::Short, request).await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended with {status}: {} says why",
                    process.name,
                    process.log.display()
                );
            }
            env.clock.sleep(READY_INTERVAL).await;
        }
    };
    match env.clock.timeout(READY_BOUND, ready).await {
        Ok(outcome) => outcome,
        Err(_) => bail!(
            "{} is not ready after {READY_BOUND:?}: {} says why",
            process.name,
            process.log.display()
        ),
    }
}

fn no_body() -> UpstreamBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Which one ends first, and how.
async fn first_end(running: &mut [Running]) -> (usize, String) {
    let ends = running.iter_mut().map(|Running { child, .. }| {
        Box::pin(async move {
            match child.wait().await {
                Ok(status) => format!("ended with {status}"),
                Err(error) => format!("cannot be waited for: {error}"),
            }
        })
    });
    let (how, at, _) = futures_util::future::select_all(ends).await;
    (at, how)
}

/// In the opposite order: nobody is asked for what has ended.
async fn end_all(env: &Env, running: Vec<Running>) {
    for Running {
        process,
        mut child,
        input: _open,
    } in running.into_iter().rev()
    {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            // One that has ended by itself cannot be asked.
            let _ended = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        if env.clock.timeout(END_BOUND, child.wait()).await.is_err() {
            tracing::warn!(name = process.name, "does not end; it is killed");
            let _killed = child.kill().await;
        }
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
    fn each_shard_has_an_etcd_of_its_own_or_none_has() {
        let validate = |flags: &[&str]| {
            let words = std::iter::once("up").chain(flags.iter().copied());
            Given::parse_from(words).options.validate()
        };
        assert_eq!(validate(&["--shards=3"]), Ok(()));
        assert_eq!(
            validate(&["--shards=2", "--etcd-servers=http://a:1,http://b:1"]),
            Ok(())
        );
        for servers in ["http://a:1", "http://a:1,http://b:1,http://c:1"] {
            let why = validate(&["--shards=2", &format!("--etcd-servers={servers}")]).unwrap_err();
            assert!(why.contains("for 2 shards"), "{why}");
        }
        let why = validate(&["--shards=2", "--etcd-servers=http://a:1,http://a:1/"]).unwrap_err();
        assert!(why.contains("twice"), "{why}");
    }
}
