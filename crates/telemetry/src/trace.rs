//! Traces: W3C trace context in and out, spans to an OTLP collector if one is named.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::Layer;

#[derive(Clone, Debug, Default)]
pub struct TraceOptions {
    /// `http://host:4317` of an OTLP collector (gRPC). `None`: nothing is exported.
    pub endpoint: Option<String>,
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Of a million requests without a sampled parent, how many are traced.
    pub per_million: u32,
}

/// Flushes spans when dropped.
#[derive(Default)]
pub struct TraceGuard {
    provider: Option<SdkTracerProvider>,
}

/// Why the exporter could not be made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ExporterError(#[from] opentelemetry_otlp::ExporterBuildError);

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Whether spans go anywhere: without it, reading and writing headers would cost every request for nothing.
static EXPORTING: AtomicBool = AtomicBool::new(false);

/// The layer that exports spans; `None` when traces are off.
pub(crate) fn layer<S>(options: &TraceOptions) -> Result<(Option<BoxedLayer<S>>, TraceGuard), ExporterError>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    let Some(endpoint) = &options.endpoint else {
        return Ok((None, TraceGuard::default()));
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    let ratio = f64::from(options.per_million.min(1_000_000)) / 1e6;
    let resource = Resource::builder()
        .with_service_name(options.service.clone())
        .with_attribute(KeyValue::new("service.instance.id", options.instance.clone()))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(options.service.clone()))
        .boxed();
    EXPORTING.store(true, Ordering::Relaxed);
    Ok((
        Some(layer),
        TraceGuard {
            provider: Some(provider),
        },
    ))
}

/// Whether spans go anywhere. Making one that does not costs a request more than the rest of its bookkeeping.
pub fn is_exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// Makes a span the child of what a request's `traceparent` and `tracestate` name. Nothing happens when traces are off.
pub fn adopt(span: &tracing::Span, traceparent: Option<&str>, tracestate: Option<&str>) {
    let Some(traceparent) = traceparent.filter(|_| is_exporting()) else {
        return;
    };
    let parent = TraceContextPropagator::new().extract(&Incoming {
        traceparent,
        tracestate,
    });
    // A span that no layer records has no context to set; then there is nothing to trace either.
    let _ = span.set_parent(parent);
}

/// `traceparent` for a request made within the span; `None` when traces are off.
pub fn traceparent(span: &tracing::Span) -> Option<String> {
    if !is_exporting() {
        return None;
    }
    let mut outgoing = Outgoing::default();
    TraceContextPropagator::new().inject_context(&span.context(), &mut outgoing);
    outgoing.traceparent
}

struct Incoming<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

#[derive(Default)]
struct Outgoing {
    traceparent: Option<String>,
}

// === impl TraceGuard ===

impl Drop for TraceGuard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

// === impl Incoming ===

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

// === impl Outgoing ===

impl Injector for Outgoing {
    fn set(&mut self, key: &str, value: String) {
        if key == "traceparent" {
            self.traceparent = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::Registry;

    #[test]
    fn costs_nothing_when_off() {
        let span = tracing::info_span!("x");
        adopt(
            &span,
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            None,
        );
        assert_eq!(traceparent(&span), None);
        let (layer, _guard) = layer::<Registry>(&TraceOptions::default()).unwrap();
        assert!(layer.is_none());
    }
}
