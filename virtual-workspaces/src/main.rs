//! The binary `virtual-workspaces`.
#![forbid(unsafe_code)]

use clap::Parser;
use env::Env;
use virtual_workspaces::program::{ProgramOptions, Running};

#[global_allocator]
static ALLOCATOR: allocator::Jemalloc = allocator::Jemalloc;

/// The virtual workspaces of one shard of kcp, as a process of their own
#[derive(Parser)]
#[command(name = "virtual-workspaces", version, about)]
struct Line {
    #[command(flatten)]
    options: ProgramOptions,
}

fn main() -> anyhow::Result<()> {
    let Line { options } = Line::parse();
    let env = Env::real();
    let runtime = apiserver::runtime(&env)?;
    runtime.block_on(start(&env, options))
}

async fn start(env: &Env, options: ProgramOptions) -> anyhow::Result<()> {
    // A process has one provider of cryptography; a second call finds it set.
    let _already_set = rustls::crypto::ring::default_provider().install_default();
    let log = telemetry::log::LogOptions {
        format: options.logging_format.parse().map_err(anyhow::Error::msg)?,
        verbosity: options.verbosity,
        filter: std::env::var("RUST_LOG").ok(),
        trace: telemetry::trace::TraceOptions {
            endpoint: options.tracing_endpoint.clone(),
            service: "virtual-workspaces".to_owned(),
            instance: options.secure_port.to_string(),
            per_million: 1_000_000,
        },
    };
    let _spans = telemetry::log::init(&log)?;
    let running = Running::start(env, &options).await?;
    tracing::info!(address = running.address, "serving");
    apiserver::asked_to_end(options.exit_when_stdin_closes).await?;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}
