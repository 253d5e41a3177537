//! The flags of `virtual-workspaces`, as kcp's (its facts, K.5).

use std::path::PathBuf;
use std::time::Duration;

use apiserver::AuditFile;
use clap::Args;

/// Where the shard is, whom the process knows and how it runs.
#[derive(Args, Clone, Debug)]
// As Kubernetes' programs have it: of a flag that is given twice the last one counts.
#[command(args_override_self = true)]
pub struct ProgramOptions {
    /// kubeconfig of the shard whose objects are shown, with a client certificate of group system:masters
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Context of that kubeconfig; default: its current one
    #[arg(long, default_value = "")]
    pub context: String,
    /// Port for HTTPS; 0 takes a free one
    #[arg(long, default_value_t = 6444)]
    pub secure_port: u16,
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: String,
    /// Host and port that clients use, as discovery shows them
    #[arg(long, default_value = "")]
    pub external_hostname: String,
    /// Certificate for HTTPS (PEM, with its chain)
    #[arg(long, value_name = "FILE", default_value = ".kcp/apiserver.crt")]
    pub tls_cert_file: PathBuf,
    /// Key of the certificate for HTTPS
    #[arg(long, value_name = "FILE", default_value = ".kcp/apiserver.key")]
    pub tls_private_key_file: PathBuf,
    /// CAs whose client certificates are accepted: common name is the user, organizations are the groups
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
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
    /// Who is asked whose a token is: only the shard of --kubeconfig can be
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// File of audit events; the shard's has them, too, with who did what
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// What is logged of which requests; none: metadata of all
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub audit_policy_file: Option<PathBuf>,
    /// Megabytes after which the file is put aside; 0: never
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// How many of those are kept; 0: all
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Days after which they are removed; 0: never
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// How much is logged: 0 least, 10 most
    #[arg(short = 'v', long = "v", default_value_t = 2)]
    pub verbosity: u8,
    /// text or json
    #[arg(long, default_value = "text")]
    pub logging_format: String,
    /// Where traces go (OTLP over gRPC); none: nowhere
    #[arg(long, value_name = "URL")]
    pub tracing_endpoint: Option<String>,
    /// How long readiness fails before the process stops listening
    #[arg(long, default_value = "0s", value_parser = go_duration)]
    pub shutdown_delay_duration: Duration,
    /// End when standard input does: when whoever started this process is gone
    #[arg(long, hide = true)]
    pub exit_when_stdin_closes: bool,
    #[command(flatten)]
    pub accepted: AcceptedOptions,
}

/// Flags of kcp that mean nothing here. Accepted, so that its command lines start this program.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Accepted for compatibility, without effect")]
pub struct AcceptedOptions {
    /// What other shards have replicated is asked of the shard, which keeps it
    #[arg(long, hide = true, alias = "cache-server-kubeconfig-file")]
    pub cache_kubeconfig: Option<PathBuf>,
    /// Reviews in clusters of other shards are asked of the shard, which passes them on
    #[arg(long, hide = true)]
    pub external_logical_cluster_admin_kubeconfig: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub shard_external_url: Option<String>,
    #[arg(long, hide = true)]
    pub profiler_address: Option<String>,
    #[arg(long, hide = true)]
    pub cert_dir: Option<String>,
    /// There is no cluster to look such files up in
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub authentication_skip_lookup: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub authentication_tolerate_lookup_failure: Option<String>,
    /// Whose a token is is asked each time
    #[arg(long, hide = true)]
    pub authentication_token_webhook_cache_ttl: Option<String>,
    #[arg(long, hide = true)]
    pub audit_webhook_config_file: Option<PathBuf>,
}

// === impl ProgramOptions ===

impl ProgramOptions {
    /// Where audit events go, if anywhere.
    pub fn audit_file(&self) -> Option<AuditFile> {
        Some(AuditFile {
            path: self.audit_log_path.clone()?,
            bytes_max: self.audit_log_maxsize.saturating_mul(1 << 20),
            backups_max: self.audit_log_maxbackup,
            age_max: Duration::from_secs(self.audit_log_maxage.saturating_mul(24 * 3600)),
        })
    }

    /// # Errors
    /// In one sentence, what is asked for that would not be kept.
    pub fn validate(&self) -> Result<(), String> {
        if let Some(other) = self
            .authentication_kubeconfig
            .as_ref()
            .filter(|file| **file != self.kubeconfig)
        {
            let other = other.display();
            return Err(format!(
                "--authentication-kubeconfig {other}: tokens are reviewed by the shard of --kubeconfig alone; leave the flag out"
            ));
        }
        if self.accepted.audit_webhook_config_file.is_some() {
            return Err("--audit-webhook-config-file: audit webhooks are not built, only --audit-log-path".to_owned());
        }
        if self.audit_log_path.as_deref() == Some(std::path::Path::new("-")) {
            return Err("--audit-log-path: standard output has the program's own log; name a file".to_owned());
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
        options: ProgramOptions,
    }

    fn parse(args: &[&str]) -> Result<(), String> {
        let line = ["virtual-workspaces"].iter().chain(args);
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        line.options.validate()
    }

    #[test]
    fn what_would_not_be_kept_is_refused() {
        assert!(parse(&[]).unwrap_err().contains("--kubeconfig"));
        assert_eq!(parse(&["--kubeconfig=/k", "--authentication-kubeconfig=/k"]), Ok(()));
        for flag in [
            "--authentication-kubeconfig=/other",
            "--audit-log-path=-",
            "--audit-webhook-config-file=/a",
            "--no-such-flag",
        ] {
            let why = parse(&["--kubeconfig=/k", flag]).unwrap_err();
            assert!(why.contains(flag.split('=').next().unwrap()), "{why}");
        }
    }
}
