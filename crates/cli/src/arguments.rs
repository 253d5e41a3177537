//! What is typed: flags and commands of the three programs.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::session::Overrides;

/// How the server is reached, on every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// Path to the kubeconfig file
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the kubeconfig context to use
    #[arg(long, global = true)]
    context: Option<String>,
    /// The name of the kubeconfig user to use
    #[arg(long, global = true)]
    user: Option<String>,
    /// The namespace scope of this request, accepted as kubectl hands it on
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// The URL of the server
    #[arg(short, long, global = true)]
    server: Option<String>,
    /// Bearer token for authentication to the server
    #[arg(long, global = true)]
    token: Option<String>,
    /// Path to a file with the certificates of authorities to trust
    #[arg(long, global = true)]
    certificate_authority: Option<String>,
    /// The name to expect in the server's certificate
    #[arg(long, global = true)]
    tls_server_name: Option<String>,
    /// Do not check the server's certificate
    #[arg(long, global = true)]
    insecure_skip_tls_verify: bool,
    /// Verbosity; from 6 on every request is shown
    #[arg(short, long, global = true, default_value_t = 0)]
    pub v: u8,
}

/// Which workspace, on commands that work inside of one.
#[derive(Args, Clone, Debug, Default)]
pub struct Target {
    /// Workspace to work in instead of the current one: a path from there, or an absolute one with a leading ':'
    #[arg(short, long)]
    workspace: Option<String>,
}

/// `kubectl ws`, `kubectl kcp workspace`.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "kubectl-ws",
    bin_name = "kubectl ws",
    version,
    about = "Manages kcp workspaces"
)]
pub struct Workspaces {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub command: WorkspaceArgs,
}

/// `kubectl create workspace`.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "kubectl-create-workspace",
    bin_name = "kubectl create workspace",
    version,
    about = "Creates a new workspace"
)]
pub struct CreateWorkspaces {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub create: CreateArgs,
}

/// `kubectl kcp`.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "kubectl-kcp",
    bin_name = "kubectl kcp",
    version,
    about = "kubectl plugin for kcp"
)]
pub struct Kcp {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: KcpCommand,
}

#[derive(Args, Clone, Debug)]
pub struct WorkspaceArgs {
    #[command(subcommand)]
    pub command: Option<WorkspaceCommand>,
    #[command(flatten)]
    pub switch: SwitchArgs,
}

#[derive(Args, Clone, Debug, Default)]
pub struct SwitchArgs {
    /// <workspace>, :<absolute:path>, '.' (print), '..' (parent), '-' (previous), ':' (root), '~' or nothing (home)
    #[arg(value_name = "WORKSPACE")]
    pub to: Option<String>,
    /// Print only the name of the workspace, e.g. for integration into the shell prompt
    #[arg(long)]
    pub short: bool,
}

#[derive(Subcommand, Clone, Debug)]
pub enum WorkspaceCommand {
    /// Go to a workspace
    #[command(alias = "cd")]
    Use(UseArgs),
    /// Print the current workspace
    Current {
        /// Print only the name of the workspace
        #[arg(long)]
        short: bool,
    },
    /// Print the tree of workspaces below the current one
    Tree {
        #[command(flatten)]
        target: Target,
        /// Show full workspace names
        #[arg(short, long)]
        full: bool,
        /// Show the phases of workspace and logical cluster of each node
        #[arg(long)]
        wide: bool,
    },
    /// Create a workspace
    Create(CreateArgs),
    /// Create a kubeconfig context for the current workspace
    CreateContext {
        /// The workspace's path when absent
        name: Option<String>,
        /// Overwrite the context if it already exists
        #[arg(long)]
        overwrite: bool,
    },
}

#[derive(Args, Clone, Debug)]
pub struct UseArgs {
    /// <workspace>, :<absolute:path>, '..', '.', '-', '~'
    pub to: String,
    /// Print only the name of the workspace
    #[arg(long)]
    pub short: bool,
}

#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    pub name: String,
    #[command(flatten)]
    pub target: Target,
    /// A workspace type. The default depends on where the workspace is created
    #[arg(long = "type", value_name = "[PATH:]NAME")]
    pub of_type: Option<String>,
    /// Immediately enter the created workspace
    #[arg(long)]
    pub enter: bool,
    /// Go on if the workspace already exists. Needs no type or an absolute one; overwrites the context to create
    #[arg(long)]
    pub ignore_existing: bool,
    /// A label selector of the shards that may hold the workspace
    #[arg(long)]
    pub location_selector: Option<String>,
    /// Create a kubeconfig context of this name for the new workspace
    #[arg(long, value_name = "NAME")]
    pub create_context: Option<String>,
}

#[derive(Subcommand, Clone, Debug)]
pub enum KcpCommand {
    /// Manage workspaces
    #[command(aliases = ["ws", "workspaces"])]
    Workspace(WorkspaceArgs),
    /// Create objects
    #[command(subcommand)]
    Create(CreateCommand),
    /// Bind APIs of other workspaces
    #[command(subcommand)]
    Bind(BindCommand),
    /// View and answer permission claims
    #[command(subcommand)]
    Claims(ClaimsCommand),
    /// Work with CustomResourceDefinitions
    #[command(subcommand)]
    Crd(CrdCommand),
    /// Show which shards serve what, or what is lost with one
    #[command(alias = "shard")]
    Shards {
        /// What is lost with this one
        name: Option<String>,
        /// Say by name what lies on it and what needs it, as far as can be seen in the tree of workspaces
        #[arg(long, requires = "name")]
        names: bool,
        /// Output format
        #[arg(short, long, value_enum)]
        output: Option<JsonOnly>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JsonOnly {
    Json,
}

#[derive(Subcommand, Clone, Debug)]
pub enum CreateCommand {
    /// Create a workspace
    #[command(alias = "ws")]
    Workspace(CreateArgs),
}

#[derive(Subcommand, Clone, Debug)]
pub enum BindCommand {
    /// Bind to an APIExport
    Apiexport(BindArgs),
}

#[derive(Args, Clone, Debug)]
pub struct BindArgs {
    /// <workspace path>:<apiexport>
    pub export: String,
    #[command(flatten)]
    pub target: Target,
    /// Name of the APIBinding to create
    #[arg(long)]
    pub name: Option<String>,
    /// How long to wait for the binding, as Go writes durations
    #[arg(long, default_value = "30s")]
    pub timeout: String,
    /// Claims to accept
    #[arg(long, value_name = "RESOURCE.GROUP", value_delimiter = ',')]
    pub accept_permission_claim: Vec<String>,
    /// Claims to reject
    #[arg(long, value_name = "RESOURCE.GROUP", value_delimiter = ',')]
    pub reject_permission_claim: Vec<String>,
    /// Accept all claims of the APIExport
    #[arg(long)]
    pub accept_all_permission_claims: bool,
    /// Reject all claims of the APIExport
    #[arg(long)]
    pub reject_all_permission_claims: bool,
}

#[derive(Subcommand, Clone, Debug)]
pub enum ClaimsCommand {
    /// Show claims
    #[command(subcommand)]
    Get(GetCommand),
    /// Accept permission claims of an APIBinding
    Accept(AnswerArgs),
    /// Reject permission claims of an APIBinding
    Reject(AnswerArgs),
}

#[derive(Subcommand, Clone, Debug)]
pub enum GetCommand {
    /// Show the claims of an APIBinding, or of all
    Apibinding {
        name: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Args, Clone, Debug)]
pub struct AnswerArgs {
    pub binding: String,
    #[command(flatten)]
    pub target: Target,
    /// The resource claimed
    #[arg(long, value_name = "RESOURCE.GROUP")]
    pub resource: Option<String>,
    /// The identity of the export of the resource claimed
    #[arg(long, value_name = "HASH")]
    pub identity_hash: Option<String>,
}

#[derive(Subcommand, Clone, Debug)]
pub enum CrdCommand {
    /// Make an APIResourceSchema of a CustomResourceDefinition
    Snapshot {
        /// A file with CRDs, or - for standard input
        #[arg(short, long)]
        filename: String,
        /// What the schema's name begins with, before <resource>.<group>
        #[arg(long)]
        prefix: String,
        /// Output format
        #[arg(short, long, value_enum, default_value_t = OutputFormat::Yaml)]
        output: OutputFormat,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Json,
    Yaml,
}

// === impl Connection ===

impl Connection {
    /// What these flags, and a command's `-w`, say instead of the kubeconfig.
    pub fn overrides(&self, target: &Target) -> Overrides {
        Overrides {
            context: self.context.clone(),
            user: self.user.clone(),
            server: self.server.clone(),
            token: self.token.clone(),
            certificate_authority: self.certificate_authority.clone(),
            tls_server_name: self.tls_server_name.clone(),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            workspace: target.workspace.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Workspaces::command().debug_assert();
        CreateWorkspaces::command().debug_assert();
        Kcp::command().debug_assert();
    }

    #[test]
    fn places_and_commands_are_told_apart() {
        let parse = |words: &[&str]| Workspaces::try_parse_from([&["kubectl-ws"][..], words].concat()).expect("parses");
        for place in ["-", "..", "~", ":", ":root:a", "a:b", "."] {
            assert_eq!(parse(&[place]).command.switch.to.as_deref(), Some(place));
        }
        assert!(parse(&["--short", "."]).command.switch.short);
        let tree = parse(&["--kubeconfig", "f", "tree", "-f"]).command.command;
        assert!(matches!(
            tree,
            Some(WorkspaceCommand::Tree {
                full: true,
                wide: false,
                ..
            })
        ));
        let cd = parse(&["cd", "-"]).command.command;
        assert!(matches!(cd, Some(WorkspaceCommand::Use(UseArgs { to, .. })) if to == "-"));
    }

    #[test]
    fn kcp_has_the_commands_of_the_others() {
        let parse = |words: &[&str]| {
            Kcp::try_parse_from([&["kubectl-kcp"][..], words].concat())
                .expect("parses")
                .command
        };
        assert!(matches!(parse(&["ws", "a"]), KcpCommand::Workspace(_)));
        assert!(matches!(
            parse(&["create", "workspace", "a", "--enter"]),
            KcpCommand::Create(_)
        ));
        let bind = parse(&["bind", "apiexport", "root:a:e", "--accept-permission-claim", "a.b,c.d"]);
        assert!(matches!(bind, KcpCommand::Bind(BindCommand::Apiexport(b)) if b.accept_permission_claim.len() == 2));
        let shards = parse(&["shards", "beta", "-o", "json"]);
        assert!(
            matches!(shards, KcpCommand::Shards { name: Some(name), output: Some(JsonOnly::Json), .. } if name == "beta")
        );
        let named = parse(&["shards", "beta", "--names"]);
        assert!(matches!(named, KcpCommand::Shards { names: true, .. }));
        assert!(Kcp::try_parse_from(["kubectl-kcp", "shards", "--names"]).is_err());
    }
}
