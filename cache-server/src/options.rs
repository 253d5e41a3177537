//! The flags of `cache-server`, as kcp's (its facts, K.5).

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Where it listens, what it keeps things in, and whom it knows.
#[derive(Args, Clone, Debug)]
// As Kubernetes' programs have it: of a flag that is given twice the last one counts.
#[command(args_override_self = true)]
pub struct CacheOptions {
    /// Directory for everything the server writes: its certificate, the embedded store
    #[arg(long, default_value = ".kcp-cache", value_name = "DIR")]
    pub root_directory: PathBuf,
    /// Port for HTTPS; 0 takes a free one
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: String,
    /// Certificate for HTTPS (PEM, with its chain); made in the root directory if not given
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the certificate for HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Directory of apiserver.crt and apiserver.key, where no certificate is given; default: the root directory
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// CAs whose client certificates are accepted; of group system:masters are shards, and whoever may read
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Paths that anybody may get
    #[arg(long, value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<String>,

    /// `embedded`, or the URLs of an etcd cluster, comma separated
    #[arg(long, default_value = "embedded", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// Prefix of all keys in the store; /registry means /cache, too
    #[arg(long, default_value = "/cache")]
    pub etcd_prefix: String,
    /// CA bundle of etcd's certificate
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd
    #[arg(long, value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate for etcd
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,
    /// How often history is compacted
    #[arg(long, default_value = "5m", value_parser = go_duration)]
    pub etcd_compaction_interval: Duration,
    /// Directory of the embedded store; default: etcd-server in the root directory
    #[arg(long, value_name = "DIR")]
    pub embedded_etcd_directory: Option<PathBuf>,

    /// For tests of shards: how long every request waits before it is looked at
    #[arg(long, default_value = "0s", value_parser = go_duration)]
    pub synthetic_delay: Duration,
    /// How long readiness fails before the server stops listening
    #[arg(long, default_value = "0s", value_parser = go_duration)]
    pub shutdown_delay_duration: Duration,
    /// How much is logged: 0 least, 10 most
    #[arg(short = 'v', long = "v", default_value_t = 2)]
    pub verbosity: u8,
    /// text or json
    #[arg(long, default_value = "text")]
    pub logging_format: String,
    /// Where traces go (OTLP over gRPC); none: nowhere
    #[arg(long, value_name = "URL")]
    pub tracing_endpoint: Option<String>,
    /// End when standard input does: when whoever started this process is gone
    #[arg(long, hide = true)]
    pub exit_when_stdin_closes: bool,

    #[command(flatten)]
    pub accepted: AcceptedOptions,
}

/// Flags of kcp that mean nothing here, or that would make the server less strict than its operator believes, were they accepted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Accepted for compatibility, without effect")]
pub struct AcceptedOptions {
    #[arg(long, hide = true)]
    pub embedded_etcd_client_port: Option<String>,
    #[arg(long, hide = true)]
    pub embedded_etcd_peer_port: Option<String>,
    #[arg(long, hide = true)]
    pub embedded_etcd_wal_size_bytes: Option<String>,
    #[arg(long, hide = true)]
    pub embedded_etcd_quota_backend_bytes: Option<String>,
    #[arg(long, hide = true)]
    pub embedded_etcd_listen_metrics_urls: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub embedded_etcd_force_new_cluster: Option<String>,
    #[arg(long, hide = true)]
    pub etcd_count_metric_poll_period: Option<String>,
    #[arg(long, hide = true)]
    pub etcd_db_metric_poll_interval: Option<String>,
    #[arg(long, hide = true)]
    pub etcd_healthcheck_timeout: Option<String>,
    #[arg(long, hide = true)]
    pub etcd_readycheck_timeout: Option<String>,
    #[arg(long, hide = true)]
    pub etcd_servers_overrides: Option<String>,
    #[arg(long, hide = true)]
    pub encryption_provider_config: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub encryption_provider_config_automatic_reload: Option<String>,
    #[arg(long, hide = true)]
    pub lease_reuse_duration_seconds: Option<String>,
    #[arg(long, hide = true)]
    pub storage_backend: Option<String>,
    #[arg(long, hide = true)]
    pub storage_initialization_timeout: Option<String>,
    #[arg(long, hide = true)]
    pub storage_media_type: Option<String>,
    #[arg(long, hide = true)]
    pub delete_collection_workers: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_garbage_collector: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub watch_cache: Option<String>,
    #[arg(long, hide = true)]
    pub watch_cache_sizes: Option<String>,
    #[arg(long, hide = true)]
    pub default_watch_cache_size: Option<String>,
    #[arg(long, hide = true)]
    pub http2_max_streams_per_connection: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_http2_serving: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub permit_address_sharing: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub permit_port_sharing: Option<String>,
    #[arg(long, hide = true)]
    pub tls_cipher_suites: Option<String>,
    #[arg(long, hide = true)]
    pub tls_curve_preferences: Option<String>,
    #[arg(long, hide = true)]
    pub tls_min_version: Option<String>,
    #[arg(long, hide = true)]
    pub tls_sni_cert_key: Vec<String>,
    #[arg(long, hide = true)]
    pub log_flush_frequency: Option<String>,
    #[arg(long, hide = true)]
    pub log_json_info_buffer_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_json_split_stream: Option<String>,
    #[arg(long, hide = true)]
    pub log_text_info_buffer_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_text_split_stream: Option<String>,
    #[arg(long, hide = true)]
    pub vmodule: Option<String>,
}

// === impl CacheOptions ===

impl CacheOptions {
    /// What does not fit together, in one sentence each.
    pub fn validate(&self) -> Result<(), String> {
        if self.client_ca_file.is_none() {
            return Err(
                "--client-ca-file must be set: shards, and whoever may read, are known by client certificates"
                    .to_owned(),
            );
        }
        if self.etcd_servers.is_empty() {
            return Err("--etcd-servers must name a store: embedded, or URLs of etcd".to_owned());
        }
        if self.etcd_servers.len() > 1 && self.etcd_servers.iter().any(|server| server == "embedded") {
            return Err("--etcd-servers: embedded is a store of its own, without others beside it".to_owned());
        }
        if !self.etcd_prefix.starts_with('/') {
            return Err(format!("--etcd-prefix {:?} must begin with /", self.etcd_prefix));
        }
        self.accepted.validate()
    }

    pub fn is_embedded(&self) -> bool {
        self.etcd_servers.first().is_some_and(|server| server == "embedded")
    }

    /// kcp's default for everything else would be the shards' keys.
    pub fn prefix(&self) -> String {
        match self.etcd_prefix.trim_end_matches('/') {
            "/registry" | "" => "/cache".to_owned(),
            other => other.to_owned(),
        }
    }

    pub fn store_directory(&self) -> PathBuf {
        let given = self.embedded_etcd_directory.clone();
        given.unwrap_or_else(|| self.root_directory.join("etcd-server"))
    }

    /// Where the serving certificate is or is made, if none is given.
    pub fn certificate_directory(&self) -> PathBuf {
        self.cert_dir.clone().unwrap_or_else(|| self.root_directory.clone())
    }
}

// === impl AcceptedOptions ===

impl AcceptedOptions {
    /// What would make the server less strict than its operator believes is refused.
    fn validate(&self) -> Result<(), String> {
        for (is_given, flag, why) in [
            (
                self.encryption_provider_config.is_some(),
                "--encryption-provider-config",
                "encryption of what is stored is not built",
            ),
            (
                self.etcd_servers_overrides.is_some(),
                "--etcd-servers-overrides",
                "all resources are in one store",
            ),
            (
                !self.tls_sni_cert_key.is_empty(),
                "--tls-sni-cert-key",
                "one certificate is served",
            ),
            (
                self.tls_min_version
                    .as_deref()
                    .is_some_and(|version| version != "VersionTLS12"),
                "--tls-min-version",
                "TLS 1.2 and 1.3 are served",
            ),
        ] {
            if is_given {
                return Err(format!("{flag}: {why}"));
            }
        }
        Ok(())
    }
}

fn go_duration(text: &str) -> Result<Duration, String> {
    let nanos = machinery::time::parse_go_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| format!("{text} is negative"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: CacheOptions,
    }

    fn parse(args: &[&str]) -> CacheOptions {
        Line::parse_from(std::iter::once("cache-server").chain(args.iter().copied())).options
    }

    /// Every flag of kcp's cache server at ac5ff93 (`cache-server --help`).
    #[test]
    fn kcps_command_line_is_accepted() {
        let options = parse(&[
            "--root-directory=/x",
            "--secure-port=8012",
            "--bind-address=127.0.0.1",
            "--etcd-servers=https://etcd:2379",
            "--etcd-cafile=/ca",
            "--etcd-certfile=/c",
            "--etcd-keyfile=/k",
            "--etcd-prefix=/registry",
            "--etcd-compaction-interval=5m0s",
            "--etcd-count-metric-poll-period=1m",
            "--etcd-db-metric-poll-interval=30s",
            "--etcd-healthcheck-timeout=2s",
            "--etcd-readycheck-timeout=2s",
            "--lease-reuse-duration-seconds=60",
            "--storage-backend=etcd3",
            "--storage-media-type=application/json",
            "--delete-collection-workers=1",
            "--enable-garbage-collector",
            "--watch-cache=false",
            "--watch-cache-sizes=x#1",
            "--default-watch-cache-size=100",
            "--embedded-etcd-directory=/e",
            "--embedded-etcd-client-port=2379",
            "--embedded-etcd-peer-port=2380",
            "--embedded-etcd-wal-size-bytes=1",
            "--embedded-etcd-quota-backend-bytes=1",
            "--embedded-etcd-listen-metrics-urls=http://x",
            "--embedded-etcd-force-new-cluster",
            "--client-ca-file=/ca",
            "--authorization-always-allow-paths=/healthz,/readyz",
            "--tls-cert-file=/c",
            "--tls-private-key-file=/k",
            "--tls-min-version=VersionTLS12",
            "--tls-cipher-suites=TLS_AES_128_GCM_SHA256",
            "--http2-max-streams-per-connection=100",
            "--permit-port-sharing",
            "--logging-format=json",
            "--log-flush-frequency=5s",
            "--vmodule=x=1",
            "--synthetic-delay=10ms",
            "-v=4",
        ]);
        assert_eq!(options.validate(), Ok(()));
        assert_eq!(options.prefix(), "/cache");
        assert_eq!(options.synthetic_delay, Duration::from_millis(10));
        assert!(!options.is_embedded());
        assert_eq!(parse(&["--etcd-prefix=/other/"]).prefix(), "/other");
    }

    #[test]
    fn what_would_not_be_kept_is_refused() {
        let why = |args: &[&str]| {
            parse(&[args, &["--client-ca-file=/ca"]].concat())
                .validate()
                .unwrap_err()
        };
        assert!(
            parse(&[])
                .validate()
                .unwrap_err()
                .contains("--client-ca-file must be set")
        );
        assert!(why(&["--encryption-provider-config=/x"]).contains("not built"));
        assert!(why(&["--etcd-servers-overrides=x"]).contains("one store"));
        assert!(why(&["--tls-min-version=VersionTLS13"]).contains("TLS 1.2 and 1.3"));
        assert!(why(&["--tls-sni-cert-key=a,b"]).contains("one certificate"));
        assert!(why(&["--etcd-servers=embedded,https://localhost:2379"]).contains("without others beside it"));
        assert!(why(&["--etcd-prefix=x"]).contains("must begin with /"));
    }
}
