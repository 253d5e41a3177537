//! The flags of `kcp start`, as kcp and Kubernetes' operators know them (kcp's facts, K.1).

use std::path::PathBuf;
use std::time::Duration;

use api::bootstrap::Batteries;
use apiserver::AuditFile;
use clap::Args;
use oidc::OidcOptions;

use crate::neighbours::ROOT_SHARD;

/// Feature gates that exist here; those of Kubernetes are tolerated, as kcp's tests set them.
const GATES: &[&str] = &[
    "WorkspaceMounts",
    "CacheAPIs",
    "EnableDeprecatedAPIExportVirtualWorkspacesUrls",
    "WorkspaceAuthentication",
    "LogicalClusterMigration",
];

/// Where and how this shard is reached and runs.
#[derive(Args, Clone, Debug)]
// As Kubernetes' programs have it: of a flag that is given twice the last one counts.
#[command(args_override_self = true)]
pub struct StartOptions {
    /// Directory for everything the server writes: keys, certificates, admin.kubeconfig, the embedded store; empty: nothing is
    /// written
    #[arg(long, default_value = ".kcp", value_name = "DIR", value_parser = path_or_empty)]
    pub root_directory: PathBuf,
    /// Port for HTTPS; 0 takes a free one
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: String,
    /// Host name (or host:port) by which clients reach the server; default: the first local address
    #[arg(long, default_value = "")]
    pub external_hostname: String,
    /// Where to write the administrators' kubeconfig; default: admin.kubeconfig in the root directory
    #[arg(long, value_name = "FILE")]
    pub kubeconfig_path: Option<PathBuf>,
    /// Where the hash of the shard administrator's token is kept
    #[arg(long, value_name = "FILE")]
    pub authentication_admin_token_path: Option<PathBuf>,

    /// Name of this shard; the one named root holds the root workspace
    #[arg(long, default_value = "root")]
    pub shard_name: String,
    /// kubeconfig with a client certificate of group system:masters, for the root shard; for every shard but root
    #[arg(long, value_name = "FILE")]
    pub root_shard_kubeconfig_file: Option<PathBuf>,
    /// kubeconfig with a client certificate of group system:masters that every shard accepts, and the CA that they are known
    /// by; default: --root-shard-kubeconfig-file
    #[arg(long, value_name = "FILE")]
    pub logical_cluster_admin_kubeconfig: Option<PathBuf>,
    /// kubeconfig with a client certificate of group system:masters, for the cache server: it is told what this shard has for
    /// others; the shard itself needs none
    #[arg(long, value_name = "FILE", alias = "cache-server-kubeconfig-file")]
    pub cache_kubeconfig: Option<PathBuf>,
    /// Client certificate towards other shards; default: the kubeconfig's
    #[arg(long, value_name = "FILE", requires = "shard_client_key_file")]
    pub shard_client_cert_file: Option<PathBuf>,
    /// Key of the client certificate towards other shards
    #[arg(long, value_name = "FILE", requires = "shard_client_cert_file")]
    pub shard_client_key_file: Option<PathBuf>,
    /// URL by which other components reach this shard
    #[arg(long, default_value = "")]
    pub shard_base_url: String,
    /// URL that workspaces of this shard are announced under
    #[arg(long, default_value = "")]
    pub shard_external_url: String,
    /// URL that virtual workspaces of this shard are announced under
    #[arg(long, default_value = "")]
    pub shard_virtual_workspace_url: String,

    /// `embedded`, or the URLs of an etcd cluster, comma separated
    #[arg(long, default_value = "embedded", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// Prefix of all keys in the store
    #[arg(long, default_value = "/registry")]
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
    /// How many objects a logical cluster may have; 0: as many as it likes. The annotation core.kcp.io/max-total-objects of a
    /// LogicalCluster overrides it
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    pub logical_cluster_total_object_limit: i64,
    /// Directory of the embedded store; default: etcd-server in the root directory
    #[arg(long, value_name = "DIR")]
    pub embedded_etcd_directory: Option<PathBuf>,

    /// Certificate for HTTPS (PEM, with its chain); made if not given
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the certificate for HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// CAs whose client certificates are accepted: common name is the user, organizations are the groups
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// File of tokens: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// CAs of proxies that name the user in headers
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
    /// Requests without credentials are made by system:anonymous
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,
    /// Keys that service account tokens are verified with; default: sa.key in the root directory
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// Key that service account tokens are signed with
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Issuer of service account tokens
    #[arg(long, default_value = "https://kcp.default.svc")]
    pub service_account_issuer: String,
    /// What this server is called by the tokens that are meant for it; default: the issuer
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub api_audiences: Vec<String>,
    /// URL of the keys that tokens are verified with, for the discovery document; default: this server's
    #[arg(long, value_name = "URL", default_value = "")]
    pub service_account_jwks_uri: String,
    /// Same as --service-account-signing-key-file
    #[arg(long, value_name = "FILE", hide = true)]
    pub service_account_private_key_file: Option<PathBuf>,
    /// A token is good only while its account exists
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub service_account_lookup: bool,
    #[command(flatten)]
    pub oidc: OidcOptions,
    /// Paths that anybody may get
    #[arg(long, value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<String>,

    /// Authorizers in their order. Groups that may do everything come before paths, these before RBAC; Webhook means nothing
    /// while none is configured
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "AlwaysAllowGroups,AlwaysAllowPaths,RBAC,Webhook"
    )]
    pub authorization_order: Vec<String>,

    /// Serve virtual workspaces in this process
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub run_virtual_workspaces: bool,
    /// Of several processes over one store one runs the controllers: always so, whatever is said here
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_leader_election: bool,
    /// Run controllers in this process
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub run_controllers: bool,
    /// Objects and users that help when trying the server out: admin, metrics-viewer, user, workspace-types; or changes to
    /// the default, as +user,-admin
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "workspace-types,admin",
        allow_hyphen_values = true
    )]
    pub batteries_included: Vec<String>,
    /// Give users a home workspace when they ask for it
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub enable_home_workspaces: bool,
    /// Groups whose members may have a home workspace
    #[arg(long, value_delimiter = ',', default_value = "system:authenticated")]
    pub home_workspaces_home_creator_groups: Vec<String>,
    /// Features: Name=true or Name=false, comma separated
    #[arg(long, value_delimiter = ',')]
    pub feature_gates: Vec<String>,

    /// File for the audit log (JSON lines); none: no audit log
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Which requests are logged how thoroughly (audit.k8s.io/v1 Policy)
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// MB of the audit log after which a new file is begun; 0: never
    #[arg(long, default_value_t = 0, value_name = "MB")]
    pub audit_log_maxsize: u64,
    /// How many old files of the audit log are kept; 0: all
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Days that old files of the audit log are kept; 0: for ever
    #[arg(long, default_value_t = 0, value_name = "DAYS")]
    pub audit_log_maxage: u64,
    /// Whether requests wait until their events are written
    #[arg(long, default_value = "blocking")]
    pub audit_log_mode: AuditLogMode,

    /// How much is logged: 0 least, 10 most
    #[arg(short = 'v', long = "v", default_value_t = 2)]
    pub verbosity: u8,
    /// text or json
    #[arg(long, default_value = "text")]
    pub logging_format: String,
    /// Where traces go (OTLP over gRPC), e.g. http://127.0.0.1:4317; none: nowhere
    #[arg(long, value_name = "URL")]
    pub tracing_endpoint: Option<String>,
    /// How long readiness fails before the server stops listening
    #[arg(long, default_value = "0s", value_parser = go_duration)]
    pub shutdown_delay_duration: Duration,

    /// End when standard input does: when whoever started this process is gone
    #[arg(long, hide = true)]
    pub exit_when_stdin_closes: bool,

    #[command(flatten)]
    pub accepted: AcceptedOptions,
}

/// Flags of kcp that mean nothing here, or nothing yet. Accepted, so that its command lines start this server.
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
    #[arg(long, hide = true)]
    pub embedded_etcd_force_new_cluster: Option<String>,
    #[arg(long, hide = true)]
    pub audit_log_batch_max_wait: Option<String>,
    #[arg(long, hide = true)]
    pub audit_log_batch_max_size: Option<String>,
    #[arg(long, hide = true)]
    pub audit_log_batch_buffer_size: Option<String>,
    #[arg(long, hide = true)]
    pub audit_log_batch_throttle_burst: Option<String>,
    #[arg(long, hide = true)]
    pub audit_log_batch_throttle_qps: Option<String>,
    #[arg(long, hide = true)]
    pub audit_log_batch_throttle_enable: Option<String>,
    #[arg(long, hide = true)]
    pub profiler_address: Option<String>,
    #[arg(long, hide = true)]
    pub profiling: Option<String>,
    #[arg(long, hide = true)]
    pub cert_dir: Option<String>,
    #[arg(long, hide = true)]
    pub storage_backend: Option<String>,
    #[arg(long, hide = true)]
    pub storage_media_type: Option<String>,
    #[arg(long, hide = true)]
    pub watch_cache: Option<String>,
    #[arg(long, hide = true)]
    pub conversion_cel_transformation_timeout: Option<String>,
    #[arg(long, hide = true)]
    pub logical_cluster_object_count_scan_interval: Option<String>,
    #[arg(long, hide = true)]
    pub authorization_webhook_config_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub external_logical_cluster_admin_kubeconfig: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub shard_virtual_workspace_ca_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub shard_kubeconfig_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub root_ca_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub mount_proxy_client_cert_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub mount_proxy_client_key_file: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_log_compress: Option<bool>,
    #[arg(long, hide = true)]
    pub audit_log_format: Option<String>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLogMode {
    Batch,
    Blocking,
    BlockingStrict,
}

// === impl StartOptions ===

impl StartOptions {
    /// What does not fit together, in one sentence each.
    pub fn validate(&self) -> Result<(), String> {
        Batteries::parse(&self.batteries_included).map_err(|error| error.to_string())?;
        self.gates().map(drop)?;
        self.validate_authorizers()?;
        self.oidc.validate()?;
        if self.audit_log_path.as_deref() == Some(std::path::Path::new("-")) {
            return Err("--audit-log-path: standard output has the server's own log; name a file".to_owned());
        }
        if self.etcd_servers.is_empty() {
            return Err("--etcd-servers must name a store: embedded, or URLs of etcd".to_owned());
        }
        if self.etcd_servers.len() > 1 && self.etcd_servers.iter().any(|server| server == "embedded") {
            return Err("--etcd-servers: embedded is a store of its own, without others beside it".to_owned());
        }
        self.validate_shard()?;
        self.validate_files()?;
        self.accepted.validate()
    }

    /// Without a root directory everything that would be made there has to be given.
    fn validate_files(&self) -> Result<(), String> {
        if !self.writes_nothing() {
            return Ok(());
        }
        let has_signing_key = self.service_account_signing_key_file.is_some();
        let has_private_key = self.service_account_private_key_file.is_some();
        for (is_given, flag) in [
            (self.tls_cert_file.is_some(), "--tls-cert-file"),
            (has_signing_key || has_private_key, "--service-account-signing-key-file"),
            (
                !self.is_embedded() || self.embedded_etcd_directory.is_some(),
                "--etcd-servers",
            ),
            (
                !self.batteries().admin || self.kubeconfig_path.is_some(),
                "--kubeconfig-path",
            ),
        ] {
            if !is_given {
                return Err(format!("--root-directory is empty, so that {flag} is required"));
            }
        }
        Ok(())
    }

    fn validate_shard(&self) -> Result<(), String> {
        if self.shard_name.is_empty() {
            return Err("--shard-name must not be empty".to_owned());
        }
        if let Some(wrong) = machinery::names::dns1123_label(&self.shard_name).first() {
            return Err(format!("--shard-name {:?}: {wrong}", self.shard_name));
        }
        if self.shard_name != ROOT_SHARD && self.root_shard_kubeconfig_file.is_none() {
            return Err("--root-shard-kubeconfig-file is required for non-root shards".to_owned());
        }
        if self.logical_cluster_admin_kubeconfig.is_some() && self.shard_external_url.is_empty() {
            return Err("--shard-external-url is required if --logical-cluster-admin-kubeconfig is set".to_owned());
        }
        Ok(())
    }

    /// The one order that there is. Without a webhook, another could only let who may do everything do less.
    fn validate_authorizers(&self) -> Result<(), String> {
        const ORDER: [&str; 3] = ["AlwaysAllowGroups", "AlwaysAllowPaths", "RBAC"];
        let own = |name: &&String| name.as_str() != "Webhook";
        if let Some(unknown) = self
            .authorization_order
            .iter()
            .filter(own)
            .find(|name| !ORDER.contains(&name.as_str()))
        {
            return Err(format!("--authorization-order: invalid authorizer: {unknown:?}"));
        }
        if !self.authorization_order.iter().filter(own).eq(ORDER) {
            return Err(format!(
                "--authorization-order: only {} is built; leave the flag out",
                ORDER.join(",")
            ));
        }
        Ok(())
    }

    /// Where audit events go, if anywhere.
    pub fn audit_file(&self) -> Option<AuditFile> {
        Some(AuditFile {
            path: self.audit_log_path.clone()?,
            bytes_max: self.audit_log_maxsize.saturating_mul(1 << 20),
            backups_max: self.audit_log_maxbackup,
            age_max: Duration::from_secs(self.audit_log_maxage.saturating_mul(24 * 3600)),
        })
    }

    pub fn batteries(&self) -> Batteries {
        Batteries::parse(&self.batteries_included).unwrap_or_default()
    }

    /// What this server is called by the tokens that are meant for it; as Kubernetes, the issuer if nothing is said.
    pub fn api_audiences(&self) -> Vec<String> {
        match self.api_audiences.is_empty() {
            true => vec![self.service_account_issuer.clone()],
            false => self.api_audiences.clone(),
        }
    }

    /// Whether there is no root directory.
    pub fn writes_nothing(&self) -> bool {
        self.root_directory.as_os_str().is_empty()
    }

    pub fn is_embedded(&self) -> bool {
        self.etcd_servers.first().is_some_and(|server| server == "embedded")
    }

    /// Gates that are on. Unknown names are taken for Kubernetes' and tolerated; a value must be true or false.
    pub fn gates(&self) -> Result<Vec<&'static str>, String> {
        let mut on = Vec::new();
        for entry in self.feature_gates.iter().filter(|entry| !entry.is_empty()) {
            let Some((name, value)) = entry.split_once('=') else {
                return Err(format!("--feature-gates: missing bool value for {entry}"));
            };
            let value: bool = value
                .parse()
                .map_err(|_| format!("--feature-gates: invalid value of {name}={value}, must be true or false"))?;
            if let Some(known) = GATES.iter().find(|gate| **gate == name).filter(|_| value) {
                on.push(*known);
            }
        }
        Ok(on)
    }

    pub fn has_gate(&self, name: &str) -> bool {
        self.gates().unwrap_or_default().contains(&name)
    }

    pub fn kubeconfig_file(&self) -> PathBuf {
        self.kubeconfig_path
            .clone()
            .unwrap_or_else(|| self.root_directory.join("admin.kubeconfig"))
    }

    /// Where it stands who holds the controllers' lease. The embedded store needs none: who has it open is alone.
    pub fn identity_file(&self) -> Option<PathBuf> {
        let is_needed = !self.is_embedded() && !self.writes_nothing();
        is_needed.then(|| self.root_directory.join("holder-identity"))
    }

    pub fn store_directory(&self) -> PathBuf {
        self.embedded_etcd_directory
            .clone()
            .unwrap_or_else(|| self.root_directory.join("etcd-server"))
    }
}

// === impl AcceptedOptions ===

impl AcceptedOptions {
    /// What would make the server less strict than its operator believes is refused.
    fn validate(&self) -> Result<(), String> {
        if self.authorization_webhook_config_file.is_some() {
            return Err("--authorization-webhook-config-file: authorization webhooks are not built yet".to_owned());
        }
        if let Some(other) = self.audit_log_format.as_ref().filter(|format| *format != "json") {
            return Err(format!("--audit-log-format: {other} is not built, only json"));
        }
        Ok(())
    }
}

fn path_or_empty(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(text))
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
        options: StartOptions,
    }

    fn parse(args: &[&str]) -> StartOptions {
        Line::parse_from(std::iter::once("kcp").chain(args.iter().copied())).options
    }

    #[test]
    fn kcps_command_line_is_accepted() {
        let options = parse(&[
            "--root-directory=/x",
            "--embedded-etcd-client-port=1",
            "--feature-gates=WorkspaceMounts=true,SomethingOfKubernetes=false",
            "--batteries-included=+user",
            "--v=4",
        ]);
        assert!(options.validate().is_ok());
        assert!(options.has_gate("WorkspaceMounts"));
        assert!(options.batteries().user);
    }

    #[test]
    fn flags_that_promise_something_keep_it_or_are_refused() {
        let why = |args: &[&str]| parse(args).validate().unwrap_err();
        assert!(why(&["--authorization-order=RBAC,AlwaysAllowGroups"]).contains("only AlwaysAllowGroups,"));
        assert!(why(&["--authorization-order=AlwaysAllowGroups,Nobody"]).contains("invalid authorizer: \"Nobody\""));
        assert!(why(&["--etcd-servers=embedded,https://localhost:2379"]).contains("without others beside it"));
        assert_eq!(parse(&[]).api_audiences(), ["https://kcp.default.svc"]);
        assert_eq!(parse(&["--api-audiences=a,b"]).api_audiences(), ["a", "b"]);
        assert!(why(&["--audit-log-path=-"]).contains("name a file"));
        assert!(
            parse(&["--authorization-order=Webhook,AlwaysAllowGroups,AlwaysAllowPaths,RBAC"])
                .validate()
                .is_ok()
        );
        let file = parse(&["--audit-log-path=/a", "--audit-log-maxsize=2", "--audit-log-maxage=1"]).audit_file();
        let file = file.unwrap();
        assert_eq!((file.bytes_max, file.backups_max), (2 << 20, 0));
        assert_eq!(file.age_max, Duration::from_secs(86400));
        assert!(Line::try_parse_from(["kcp", "--audit-log-maxsize=many"]).is_err());
        assert!(Line::try_parse_from(["kcp", "--enable-leader-election=perhaps"]).is_err());
        assert!(parse(&["--enable-leader-election"]).enable_leader_election);
    }

    #[test]
    fn without_a_root_directory_everything_is_given() {
        let mut given = vec!["--root-directory=", "--batteries-included=workspace-types"];
        for (missing, next) in [
            ("--tls-cert-file", "--tls-cert-file=/c"),
            (
                "--service-account-signing-key-file",
                "--service-account-private-key-file=/s",
            ),
            ("--etcd-servers", "--etcd-servers=http://e:2379"),
        ] {
            let said = parse(&given).validate().unwrap_err();
            assert!(said.ends_with(&format!("{missing} is required")), "{said}");
            given.push(next);
            if missing == "--tls-cert-file" {
                given.push("--tls-private-key-file=/k");
            }
        }
        assert!(parse(&given).validate().is_ok());
        given.push("--batteries-included=admin");
        assert!(parse(&given).validate().unwrap_err().contains("--kubeconfig-path"));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert!(
            parse(&["--feature-gates=X"])
                .validate()
                .unwrap_err()
                .contains("missing bool value")
        );
        assert!(
            parse(&["--batteries-included=nope"])
                .validate()
                .unwrap_err()
                .contains("unknown battery")
        );
        let why = |args: &[&str]| parse(args).validate().unwrap_err();
        assert!(why(&["--shard-name=beta"]).contains("--root-shard-kubeconfig-file is required"));
        assert!(why(&["--shard-name=Beta", "--root-shard-kubeconfig-file=/x"]).contains("--shard-name \"Beta\""));
        assert!(why(&["--logical-cluster-admin-kubeconfig=/x"]).contains("--shard-external-url is required"));
        assert!(
            parse(&["--shard-name=beta", "--root-shard-kubeconfig-file=/x"])
                .validate()
                .is_ok()
        );
        assert!(why(&["--authorization-webhook-config-file=/x"]).contains("not built yet"));
    }
}
