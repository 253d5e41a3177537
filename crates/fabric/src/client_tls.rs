//! As whom a process speaks to others, and whom it believes, for as long as it runs: certificates expire before processes end, and
//! are replaced on disk.
//!
//! Requests that begin go over connections that were made with what is on disk now; watches and other streams that run go on
//! over those that they began with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use env::{Disk, Env};
use rustls::ClientConfig;

use crate::identity::{Identity, IdentityError};

/// TLS towards other servers, which may change at any time.
pub struct ClientTls {
    config: ArcSwap<ClientConfig>,
}

/// Where an [`Identity`] is kept.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    kept: Kept,
    /// Instead of the kubeconfig's.
    pair: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Debug)]
enum Kept {
    Kubeconfig { file: PathBuf, context: Option<String> },
    Authority(PathBuf),
}

/// How often files are looked at, as those of servers are.
const PERIOD: Duration = Duration::from_secs(10);

// === impl IdentityFiles ===

impl IdentityFiles {
    /// A kubeconfig's context, and the files that it names.
    pub fn kubeconfig(file: &Path, context: Option<&str>) -> Self {
        let kept = Kept::Kubeconfig {
            file: file.to_owned(),
            context: context.map(str::to_owned),
        };
        Self { kept, pair: None }
    }

    /// Files, as mappings and flags name them.
    pub fn files(ca: &Path, pair: Option<(&Path, &Path)>) -> Self {
        Self {
            kept: Kept::Authority(ca.to_owned()),
            pair: pair.map(owned),
        }
    }

    /// The same, as somebody else.
    #[must_use]
    pub fn with_pair(mut self, pair: Option<(&Path, &Path)>) -> Self {
        self.pair = pair.map(owned).or(self.pair);
        self
    }

    /// What they say now; blocks.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn read(&self, disk: &dyn Disk) -> Result<Identity, IdentityError> {
        let pair = self.pair.as_ref().map(|(certificate, key)| (&**certificate, &**key));
        match &self.kept {
            Kept::Authority(ca) => Identity::from_files(disk, ca, pair),
            Kept::Kubeconfig { file, context } => {
                let identity = Identity::from_kubeconfig(disk, file, context.as_deref())?;
                match pair {
                    Some(pair) => identity.with_pair(disk, pair),
                    None => Ok(identity),
                }
            }
        }
    }
}

fn owned((certificate, key): (&Path, &Path)) -> (PathBuf, PathBuf) {
    (certificate.to_owned(), key.to_owned())
}

// === impl ClientTls ===

impl ClientTls {
    pub fn new(config: ClientConfig) -> Arc<Self> {
        let config = ArcSwap::from_pointee(config);
        Arc::new(Self { config })
    }

    /// For the next connection. The same value means that nothing has changed.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    /// Looks at the files from now on, as long as anybody holds this, and takes over what has changed since `known`.
    pub fn follow(self: &Arc<Self>, env: &Env, files: IdentityFiles, mut known: Identity) {
        let (own, disk, spawn) = (Arc::downgrade(self), env.disk.clone(), env.spawn.clone());
        let mut ticks = env.clock.interval(PERIOD);
        let following = async move {
            loop {
                ticks.tick().await;
                let (disk, to_read) = (disk.clone(), files.clone());
                let found = spawn.blocking(move || to_read.read(&*disk)).await;
                let Some(own) = own.upgrade() else { return };
                match found {
                    Ok(identity) if identity == known => {}
                    // Whoever writes in place empties first: with that we would be nobody, and know nobody.
                    Ok(identity) if identity.lacks_of(&known) => {
                        tracing::warn!(?files, "a client certificate or its CA is empty on disk");
                    }
                    // Certificate and key are two files: between the two writes they do not fit, and the next tick mends it.
                    Ok(identity) => match identity.config() {
                        Ok(config) => {
                            tracing::info!(?files, "a client certificate or its CA has changed");
                            own.config.store(Arc::new(config));
                            known = identity;
                        }
                        Err(error) => tracing::warn!(?files, %error, "a client certificate on disk is not usable yet"),
                    },
                    Err(error) => tracing::warn!(?files, %error, "a client certificate could not be looked at"),
                }
            }
        };
        env.spawn.spawn("client certificates", following).detach();
    }
}

#[cfg(test)]
mod tests;
