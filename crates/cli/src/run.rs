//! From arguments to commands: what each program does, and how it ends.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Parser;
use env::Env;

use crate::apis::{AnswerClaims, BindExport, Format, GetClaims, Snapshot};
use crate::arguments::{
    AnswerArgs, BindArgs, BindCommand, ClaimsCommand, Connection, CrdCommand, CreateArgs, CreateCommand,
    CreateWorkspaces, GetCommand, Kcp, KcpCommand, OutputFormat, Target, WorkspaceArgs, WorkspaceCommand, Workspaces,
};
use crate::connection::Network;
use crate::kubeconfig::Sources;
use crate::output::Console;
use crate::session::Session;
use crate::shards::Shards;
use crate::workspace::{CreateContext, CreateWorkspace, Switch, Tree};

/// One of the plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Ws,
    CreateWorkspace,
    Kcp,
}

/// The surroundings of an invocation.
struct Surroundings<'a> {
    env: Env,
    console: Console,
    connection: &'a Connection,
}

/// Runs a program with the arguments of the process. Failures are printed as kubectl prints them.
pub fn run(program: Program) -> ExitCode {
    let (connection, command) = match program {
        Program::Ws => {
            let Workspaces { connection, command } = Workspaces::parse();
            (connection, KcpCommand::Workspace(command))
        }
        Program::CreateWorkspace => {
            let CreateWorkspaces { connection, create } = CreateWorkspaces::parse();
            (connection, KcpCommand::Create(CreateCommand::Workspace(create)))
        }
        Program::Kcp => {
            let Kcp { connection, command } = Kcp::parse();
            (connection, command)
        }
    };
    let console = Console::standard();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| anyhow!("cannot start: {why}"))
        .and_then(|runtime| {
            let surroundings = Surroundings {
                env: Env::real(),
                console: console.clone(),
                connection: &connection,
            };
            runtime.block_on(surroundings.execute(command))
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            console.note(format!("Error: {why}"));
            ExitCode::FAILURE
        }
    }
}

// === impl Surroundings ===

impl Surroundings<'_> {
    async fn execute(&self, command: KcpCommand) -> anyhow::Result<()> {
        match command {
            KcpCommand::Workspace(args) => self.workspace(args).await,
            KcpCommand::Create(CreateCommand::Workspace(args)) => self.create(args).await,
            KcpCommand::Bind(BindCommand::Apiexport(args)) => self.bind(args).await,
            KcpCommand::Claims(ClaimsCommand::Get(GetCommand::Apibinding { name, target })) => {
                let binding = name;
                GetClaims { binding }.run(&self.session(&target)?).await
            }
            KcpCommand::Claims(ClaimsCommand::Accept(args)) => self.answer(args, true).await,
            KcpCommand::Claims(ClaimsCommand::Reject(args)) => self.answer(args, false).await,
            KcpCommand::Shards { name, names, output } => {
                let json = output.is_some();
                Shards { name, names, json }
                    .run(&self.session(&Target::default())?)
                    .await
            }
            KcpCommand::Crd(CrdCommand::Snapshot {
                filename,
                prefix,
                output,
            }) => {
                let format = match output {
                    OutputFormat::Json => Format::Json,
                    OutputFormat::Yaml => Format::Yaml,
                };
                let snapshot = Snapshot {
                    file: filename,
                    prefix,
                    format,
                };
                snapshot.run(&self.console, &*self.env.disk)
            }
        }
    }

    async fn workspace(&self, args: WorkspaceArgs) -> anyhow::Result<()> {
        let nowhere = Target::default();
        let (to, short) = match args.command {
            None => (args.switch.to, args.switch.short),
            Some(WorkspaceCommand::Use(place)) => (Some(place.to), place.short),
            Some(WorkspaceCommand::Current { short }) => (Some(".".to_owned()), short),
            Some(WorkspaceCommand::Tree { target, full, wide }) => {
                return Tree { full, wide }.run(&self.session(&target)?).await;
            }
            Some(WorkspaceCommand::Create(args)) => return self.create(args).await,
            Some(WorkspaceCommand::CreateContext { name, overwrite }) => {
                let context = CreateContext {
                    name,
                    overwrite,
                    ..CreateContext::default()
                };
                return context.run(&mut self.session(&nowhere)?);
            }
        };
        Switch { to, short }.run(&mut self.session(&nowhere)?).await
    }

    async fn create(&self, args: CreateArgs) -> anyhow::Result<()> {
        let mut session = self.session(&args.target)?;
        let create = CreateWorkspace {
            name: args.name,
            of_type: args.of_type,
            enter: args.enter,
            ignore_existing: args.ignore_existing,
            location_selector: args.location_selector,
            create_context: args.create_context,
        };
        create.run(&mut session).await
    }

    async fn bind(&self, args: BindArgs) -> anyhow::Result<()> {
        let timeout = machinery::time::parse_go_duration(&args.timeout);
        let timeout = timeout.map_err(|why| anyhow!("invalid argument {:?} for --timeout: {why}", args.timeout))?;
        let bind = BindExport {
            export: args.export,
            name: args.name,
            timeout: Duration::from_nanos(u64::try_from(timeout).unwrap_or_default()),
            accepted: args.accept_permission_claim,
            rejected: args.reject_permission_claim,
            accept_all: args.accept_all_permission_claims,
            reject_all: args.reject_all_permission_claims,
        };
        bind.run(&self.session(&args.target)?).await
    }

    async fn answer(&self, args: AnswerArgs, accept: bool) -> anyhow::Result<()> {
        let answer = AnswerClaims {
            binding: args.binding,
            accept,
            resource: args.resource,
            identity_hash: args.identity_hash,
        };
        answer.run(&self.session(&args.target)?).await
    }

    fn session(&self, target: &Target) -> anyhow::Result<Session> {
        let home = std::env::var("HOME").ok().filter(|home| !home.is_empty());
        let sources = Sources {
            explicit: self.connection.kubeconfig.clone(),
            listed: std::env::var("KUBECONFIG").ok(),
            home: home.clone().map(Into::into),
        };
        let trace = (self.connection.v >= 6).then(|| self.console.clone());
        Ok(Session {
            env: self.env.clone(),
            console: self.console.clone(),
            kubeconfig: sources.load(&*self.env.disk)?,
            overrides: self.connection.overrides(target),
            home,
            connect: Arc::new(Network { trace }),
        })
    }
}
