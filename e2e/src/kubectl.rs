//! kubectl, called as a person calls it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// kubectl for one server, and one logical cluster of it.
#[derive(Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
    server: Option<String>,
    flags: Vec<String>,
}

/// What one call of kubectl said.
pub struct Answer {
    command: String,
    succeeded: bool,
    /// What it printed.
    pub output: String,
    /// What it complained about.
    pub errors: String,
}

// === impl Kubectl ===

impl Kubectl {
    /// The kubectl on PATH, else the one in `.cache/bin`, with `admin.kubeconfig` of a server's root directory. Panics, with
    /// what to do, when there is none.
    pub fn new(root_directory: &Path) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bin");
        let program = std::env::split_paths(&path)
            .chain([own])
            .map(|directory| directory.join("kubectl"))
            .find(|candidate| candidate.is_file())
            .unwrap_or_else(|| panic!("kubectl is missing: run `{}`", crate::SETUP));
        Self {
            program,
            kubeconfig: root_directory.join("admin.kubeconfig"),
            // Discovery is cached by host and port, which a later test may get again.
            cache: root_directory.join("kubectl-cache"),
            server: None,
            flags: Vec::new(),
        }
    }

    /// The same for the workspace at `url`, which is what `kubectl ws` writes into a kubeconfig.
    pub fn at(&self, url: String) -> Self {
        Self {
            server: Some(url),
            ..self.clone()
        }
    }

    /// The same with the server and the credentials of another kubeconfig.
    pub fn with_kubeconfig(&self, kubeconfig: PathBuf) -> Self {
        Self {
            kubeconfig,
            server: None,
            ..self.clone()
        }
    }

    /// The same with further flags that name files.
    pub fn with_flags(&self, flags: &[(&str, PathBuf)]) -> Self {
        Self {
            flags: flags
                .iter()
                .map(|(flag, file)| format!("--{flag}={}", file.display()))
                .collect(),
            ..self.clone()
        }
    }

    /// Runs kubectl with arguments that are separated by blanks.
    pub fn run(&self, arguments: &str) -> Answer {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// Runs kubectl with `input` as its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Answer {
        let mut command = Command::new(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache);
        if let Some(server) = &self.server {
            command.args(["--server", server]);
        }
        command
            .args(["--request-timeout", "30s"])
            .args(&self.flags)
            .args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl can be started");
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(input.as_bytes())
            .expect("kubectl reads its input");
        let output = child.wait_with_output().expect("kubectl ends");
        Answer {
            command: format!("kubectl {}", arguments.join(" ")),
            succeeded: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `kubectl apply -f -` of a document.
    pub fn apply(&self, document: &str) -> Answer {
        self.run_with(&["apply", "-f", "-"], document)
    }

    /// `kubectl create -f -` of a document.
    pub fn create(&self, document: &str) -> Answer {
        self.run_with(&["create", "-f", "-"], document)
    }
}

// === impl Answer ===

impl Answer {
    /// Whether the call succeeded.
    pub fn succeeded(&self) -> bool {
        self.succeeded
    }

    /// What was printed. Panics when the call failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.succeeded,
            "`{}` failed:\n{}{}",
            self.command, self.output, self.errors
        );
        self.output
    }

    /// What was complained about. Panics when the call succeeded.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(!self.succeeded, "`{}` succeeded:\n{}", self.command, self.output);
        self.errors
    }
}
