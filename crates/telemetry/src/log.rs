//! Logs to standard error, as text or as one JSON object a line.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::trace::{self, TraceGuard, TraceOptions};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub format: LogFormat,
    /// `--v` of Kubernetes' components.
    pub verbosity: u8,
    /// Directives as of `RUST_LOG`; win over `verbosity`.
    pub filter: Option<String>,
    pub trace: TraceOptions,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log filter is not valid: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging is already set up: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    #[error("traces cannot be exported: {0}")]
    Exporter(#[from] trace::ExporterError),
}

// === impl LogFormat ===

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("unknown log format {other:?}: use text or json")),
        }
    }
}

// === impl LogOptions ===

impl LogOptions {
    /// The directives in force. Libraries stay at warnings up to `--v=5`: theirs are of no use to an operator.
    pub fn directives(&self) -> String {
        match (&self.filter, self.verbosity) {
            (Some(filter), _) => filter.clone(),
            (None, 0..=2) => "info,hyper=warn,h2=warn,rustls=warn,tonic=warn".to_owned(),
            (None, 3..=5) => "debug,hyper=warn,h2=warn,rustls=warn,tonic=warn,tower=warn".to_owned(),
            (None, 6..=8) => "trace,hyper=info,h2=info,rustls=info,tonic=info,tower=info".to_owned(),
            (None, _) => "trace".to_owned(),
        }
    }
}

/// Installs the process' subscriber. Call once, from `main`, inside the runtime if traces are exported; keep the guard
/// until the end, it flushes what was not exported yet.
pub fn init(options: &LogOptions) -> Result<TraceGuard, LogError> {
    let filter = EnvFilter::try_new(options.directives())?;
    let lines = match options.format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_target(true).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    let (spans, guard) = trace::layer(&options.trace)?;
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(spans)
        .try_init()?;
    Ok(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_maps_to_valid_filters() {
        for verbosity in 0..=10 {
            let options = LogOptions {
                verbosity,
                ..LogOptions::default()
            };
            assert!(EnvFilter::try_new(options.directives()).is_ok());
        }
        let named = LogOptions {
            filter: Some("kv=debug".to_owned()),
            ..LogOptions::default()
        };
        assert_eq!(named.directives(), "kv=debug");
    }
}
