//! The binary `kcp-front-proxy`.
#![forbid(unsafe_code)]

use clap::Parser;
use env::Env;
use front_proxy::options::ProxyOptions;
use front_proxy::start::Running;

#[global_allocator]
static ALLOCATOR: allocator::Jemalloc = allocator::Jemalloc;

/// One address for all shards of a kcp control plane
#[derive(Parser)]
#[command(name = "kcp-front-proxy", version, about)]
struct Line {
    #[command(flatten)]
    options: ProxyOptions,
}

fn main() -> anyhow::Result<()> {
    let Line { options } = Line::parse();
    let env = Env::real();
    let runtime = apiserver::runtime(&env)?;
    runtime.block_on(start(&env, options))
}

async fn start(env: &Env, options: ProxyOptions) -> anyhow::Result<()> {
    // A process has one provider of cryptography; a second call finds it set.
    let _already_set = rustls::crypto::ring::default_provider().install_default();
    let log = telemetry::log::LogOptions {
        format: options.logging_format.parse().map_err(anyhow::Error::msg)?,
        verbosity: options.verbosity,
        filter: std::env::var("RUST_LOG").ok(),
        trace: telemetry::trace::TraceOptions {
            endpoint: options.tracing_endpoint.clone(),
            service: "kcp-front-proxy".to_owned(),
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
