//! The binary `kcp`.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use env::Env;
use shard::issue::IssueOptions;
use shard::options::StartOptions;
use shard::start::Running;
use shard::up::UpOptions;

#[global_allocator]
static ALLOCATOR: allocator::Jemalloc = allocator::Jemalloc;

/// A control plane of very many Kubernetes-like clusters
#[derive(Parser)]
#[command(name = "kcp", version, about)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start one shard, its virtual workspaces inside
    Start(Box<StartOptions>),
    /// Start a whole control plane on this machine: shards and front-proxy, as processes of their own
    Up(UpOptions),
    /// Issue the certificates of a control plane's parts, and renew them
    Issue(IssueOptions),
}

fn main() -> anyhow::Result<()> {
    let Line { command } = Line::parse();
    let env = Env::real();
    let runtime = apiserver::runtime(&env)?;
    match command {
        Command::Start(options) => runtime.block_on(start(&env, *options)),
        Command::Up(options) => runtime.block_on(up(&env, options)),
        Command::Issue(options) => runtime.block_on(issue(&env, &options)),
    }
}

async fn start(env: &Env, options: StartOptions) -> anyhow::Result<()> {
    // A process has one provider of cryptography; a second call finds it set.
    let _already_set = rustls::crypto::ring::default_provider().install_default();
    let log = telemetry::log::LogOptions {
        format: options.logging_format.parse().map_err(anyhow::Error::msg)?,
        verbosity: options.verbosity,
        filter: std::env::var("RUST_LOG").ok(),
        trace: telemetry::trace::TraceOptions {
            endpoint: options.tracing_endpoint.clone(),
            service: "kcp".to_owned(),
            instance: options.shard_name.clone(),
            per_million: 1_000_000,
        },
    };
    let _spans = telemetry::log::init(&log)?;
    let begun = env.clock.monotonic();
    let running = Running::start(env, &options).await?;
    let took = env.clock.monotonic().saturating_sub(begun);
    tracing::info!(address = running.address, ?took, kubeconfig = %options.kubeconfig_file().display(), "ready");
    apiserver::asked_to_end(options.exit_when_stdin_closes).await?;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

async fn up(env: &Env, options: UpOptions) -> anyhow::Result<()> {
    // A process has one provider of cryptography; a second call finds it set.
    let _already_set = rustls::crypto::ring::default_provider().install_default();
    let stop = async { Ok(apiserver::asked_to_end(false).await?) };
    shard::up::run(env, &options, stop).await
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
async fn issue(env: &Env, options: &IssueOptions) -> anyhow::Result<()> {
    // A process has one provider of cryptography; a second call finds it set.
    let _already_set = rustls::crypto::ring::default_provider().install_default();
    let outcome = shard::issue::run(env, options).await?;
    println!("{} kept, issued: {}", outcome.kept, outcome.made.join(" "));
    Ok(())
}
