//! The flags of `kcp-front-proxy`, as kcp's (its facts, H.1).

use std::path::PathBuf;
use std::time::Duration;

use api::keys::identity;
use clap::Args;
use oidc::OidcOptions;

/// How the proxy runs, whom it knows and where shards are.
#[derive(Args, Clone, Debug)]
// As Kubernetes' programs have it: of a flag that is given twice the last one counts.
#[command(args_override_self = true)]
pub struct ProxyOptions {
    /// Which paths go where (YAML)
    #[arg(long, value_name = "FILE")]
    pub mapping_file: PathBuf,
    /// kubeconfig with a client certificate of group system:masters that every shard accepts; its server is asked first
    #[arg(long, value_name = "FILE")]
    pub shards_kubeconfig: PathBuf,
    /// kubeconfig of the root shard: one more server to begin with
    #[arg(long, value_name = "FILE")]
    pub root_kubeconfig: Option<PathBuf>,
    /// URLs of further shards to begin with, comma separated: any of them being up is enough
    #[arg(long, value_delimiter = ',')]
    pub shard_urls: Vec<String>,
    /// Directory for what the proxy makes for itself
    #[arg(long, default_value = ".kcp", value_name = "DIR")]
    pub root_directory: PathBuf,
    /// Port for HTTPS; 0 takes a free one
    #[arg(long, default_value_t = 443)]
    pub secure_port: u16,
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: String,
    /// Certificate for HTTPS (PEM, with its chain); default: apiserver.crt in the root directory
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the certificate for HTTPS; default: apiserver.key in the root directory
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// CAs whose client certificates are accepted: common name is the user, organizations are the groups
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// CAs of proxies in front of this one that name the user in headers
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of such proxies; none: any certificate of these CAs
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers that name the user
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-User")]
    pub requestheader_username_headers: Vec<String>,
    /// Headers that name the groups
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Group")]
    pub requestheader_group_headers: Vec<String>,
    /// Prefixes of headers that name extra information
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Extra-")]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// File of tokens: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Keys that service account tokens are verified with
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// Issuer of service account tokens
    #[arg(long, default_value = "https://kcp.default.svc")]
    pub service_account_issuer: String,
    /// Legacy tokens of service accounts are good only as long as their Secret has them; others always only while their account
    /// exists
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub service_account_lookup: bool,
    #[command(flatten)]
    pub oidc: OidcOptions,
    /// Groups that are told to shards; none: all but the dropped ones
    #[arg(long, value_delimiter = ',')]
    pub authentication_pass_on_groups: Vec<String>,
    /// Groups that are not told to shards; a trailing * stands for any end
    #[arg(long, value_delimiter = ',', default_values_t = dropped_groups())]
    pub authentication_drop_groups: Vec<String>,
    /// Features: Name=true or Name=false, comma separated
    #[arg(long, value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// How much is logged: 0 least, 10 most
    #[arg(short = 'v', long = "v", default_value_t = 2)]
    pub verbosity: u8,
    /// text or json
    #[arg(long, default_value = "text")]
    pub logging_format: String,
    /// Where traces go (OTLP over gRPC); none: nowhere
    #[arg(long, value_name = "URL")]
    pub tracing_endpoint: Option<String>,
    /// How long readiness fails before the proxy stops listening
    #[arg(long, default_value = "0s", value_parser = go_duration)]
    pub shutdown_delay_duration: Duration,
    /// End when standard input does: when whoever started this process is gone
    #[arg(long, hide = true)]
    pub exit_when_stdin_closes: bool,
    #[arg(long, hide = true)]
    pub profiler_address: Option<String>,
    #[arg(long, hide = true)]
    pub cert_dir: Option<String>,
}

// === impl ProxyOptions ===

impl ProxyOptions {
    /// Whether a feature is on. Unknown ones are Kubernetes' and tolerated.
    pub fn has_gate(&self, name: &str) -> bool {
        let on = format!("{name}=true");
        self.feature_gates.contains(&on)
    }
}

fn dropped_groups() -> Vec<String> {
    let lifecycle = [identity::INITIALIZER_GROUP_PREFIX, identity::TERMINATOR_GROUP_PREFIX];
    let mut groups = vec![
        identity::MASTERS.to_owned(),
        identity::LOGICAL_CLUSTER_ADMIN_GROUP.to_owned(),
    ];
    groups.extend(lifecycle.iter().map(|prefix| format!("{prefix}*")));
    groups
}

fn go_duration(text: &str) -> Result<Duration, String> {
    let nanos = machinery::time::parse_go_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| format!("{text} is negative"))
}
