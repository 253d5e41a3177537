//! `kcp issue`: certificates of a control plane's parts, as a list says. Run again, it renews what is near its end or no
//! longer fits the list, and keeps the rest. Into Secrets of the cluster that hosts the control plane, or into directories.

mod certificate;
mod list;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use env::Env;

use certificate::Issued;
use list::{List, Wanted};
use secrets::{Secrets, Written};

/// What is issued, and where to.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("into").required(true).args(["kubeconfig", "directory"]))]
pub struct IssueOptions {
    /// The list of authorities and certificates (YAML)
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Write Secrets of type kubernetes.io/tls to this kubeconfig's cluster
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Secrets
    #[arg(long, default_value = "default", requires = "kubeconfig")]
    pub namespace: String,
    /// Write files: <DIR>/<secret>/{tls.crt,tls.key,ca.crt}
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub kept: usize,
    pub made: Vec<String>,
}

/// Issues what is missing.
///
/// # Errors
/// When the list cannot be read or a Secret cannot be written. What was written until then is kept by the next run.
pub async fn run(env: &Env, options: &IssueOptions) -> Result<Outcome> {
    let text = env.disk.read(&options.file);
    let text = text.with_context(|| format!("reading {}", options.file.display()))?;
    let list = List::parse(&text).with_context(|| format!("{} is no list of certificates", options.file.display()))?;
    let secrets = match (&options.directory, &options.kubeconfig) {
        (Some(directory), _) => Secrets::in_directory(env, directory),
        (None, Some(kubeconfig)) => Secrets::in_cluster(env, kubeconfig, &options.namespace)?,
        (None, None) => bail!("--kubeconfig or --directory says where to write"),
    };
    issue(env, &list, &secrets).await
}

async fn issue(env: &Env, list: &List, secrets: &Secrets) -> Result<Outcome> {
    let now = env.clock.now().as_secs();
    let mut outcome = Outcome::default();
    let mut authorities: BTreeMap<&str, Issued> = BTreeMap::new();
    for wanted in &list.wanted {
        let signer = match &wanted.authority {
            Some(name) => Some(
                authorities
                    .get(name.as_str())
                    .with_context(|| format!("{}: there is no authority {name}", wanted.secret))?,
            ),
            None => None,
        };
        let issued = one(wanted, signer, secrets, now, &mut outcome).await;
        let issued = issued.with_context(|| wanted.secret.clone())?;
        if wanted.is_authority {
            authorities.insert(&wanted.secret, issued);
        }
    }
    Ok(outcome)
}

async fn one(
    wanted: &Wanted,
    signer: Option<&Issued>,
    secrets: &Secrets,
    now: i64,
    outcome: &mut Outcome,
) -> Result<Issued> {
    let there = secrets.read(&wanted.secret).await?;
    let why = match &there {
        Some((issued, _)) => match issued.why_not(wanted, signer, now) {
            None => {
                outcome.kept += 1;
                return Ok(issued.clone());
            }
            Some(why) => why,
        },
        None => "there is none yet".to_owned(),
    };
    let issued = Issued::make(wanted, signer, now)?;
    let before = there.and_then(|(_, before)| before);
    match secrets.write(&wanted.secret, &issued, before).await? {
        Written::Done => {
            tracing::info!(secret = wanted.secret, why, "issued");
            outcome.made.push(wanted.secret.clone());
            Ok(issued)
        }
        // Whoever was first decides: what was signed meanwhile with the other must not be orphaned.
        Written::Changed => bail!("it was written by somebody else meanwhile; run again"),
    }
}
