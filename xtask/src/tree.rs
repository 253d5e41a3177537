//! The repository on disk.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The repository, by the directory that holds the workspace's Cargo.toml.
pub struct Tree {
    root: PathBuf,
}

// === impl Tree ===

impl Tree {
    /// The repository that this program was built from.
    pub fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies directly in the repository")?;
        Ok(Self { root: root.to_owned() })
    }

    /// The repository's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `setup` puts programs that tests start.
    pub fn programs(&self) -> PathBuf {
        self.root.join(".cache/bin")
    }

    /// Where cargo puts what it builds.
    pub fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), |given| self.root.join(given))
    }

    /// The place of a program: `.cache/bin` first for `etcd` and the like, then PATH.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::iter::once(self.programs())
            .chain(std::env::split_paths(&path))
            .map(|directory| directory.join(name))
            .find(|candidate| candidate.is_file())
    }

    /// PATH with `.cache/bin` behind everything else, so that a system's own kubectl wins.
    pub fn path_variable(&self) -> anyhow::Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::env::split_paths(&path).chain([self.programs()]);
        std::env::join_paths(all).context("PATH with .cache/bin")
    }

    /// Every file of the repository with this ending, relative to the root and in order, without build output.
    pub fn files(&self, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
                let entry = entry?;
                let name = entry.file_name();
                let hidden = name.to_string_lossy().starts_with('.');
                if entry.file_type()?.is_dir() {
                    if !hidden && name != "target" {
                        open.push(entry.path());
                    }
                } else if name.to_string_lossy().ends_with(ending) {
                    found.push(entry.path().strip_prefix(&self.root)?.to_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
