//! The binary `kcp-front-proxy`.
#![forbid(unsafe_code)]

use clap::Parser;
use env::Env;
use front_proxy::options::ProxyOptions;
use front_proxy::start::Running;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One address for all shards of a kcp control plane
#[derive(Parser)]
#[command(name = "kcp-front-proxy", version, about)]
struct Line {
    #[command(flatten)]
    options: ProxyOptions,
}

fn main() -> anyhow::Result<()> {
    let Line { options } = Line::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(start(options))
}

async fn start(options: ProxyOptions) -> anyhow::Result<()> {
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
    let running = Running::start(&Env::real(), &options).await?;
    tracing::info!(address = running.address, "serving");
    wait_for_signal(options.exit_when_stdin_closes).await?;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// SIGTERM, Ctrl-C, or the end of standard input where that counts.
async fn wait_for_signal(until_stdin_closes: bool) -> anyhow::Result<()> {
    use tokio::io::AsyncReadExt;
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let closed = async {
        if !until_stdin_closes {
            std::future::pending::<()>().await;
        }
        let (mut input, mut ignored) = (tokio::io::stdin(), [0; 64]);
        while matches!(input.read(&mut ignored).await, Ok(read) if read > 0) {}
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = closed => {}
    }
    Ok(())
}
