//! The load client.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::report::Report;

/// How the load client reaches a server.
pub struct Load {
    pub program: PathBuf,
    pub url: String,
    pub token: String,
    pub pids: String,
}

/// The scenario's own result; how many requests may have failed is the caller's to say.
pub struct Measured(pub Value);

// === impl Load ===

impl Load {
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["-server", &self.url, "-token", &self.token, "-pids", &self.pids])
            .args(arguments.split_whitespace());
        command
    }

    /// Runs a scenario; its line goes to the raw ones as `what`. Fails if a request did.
    pub fn measure(&self, what: &str, arguments: &str, report: &mut Report) -> anyhow::Result<Measured> {
        let output = self
            .command(arguments)
            .stderr(Stdio::inherit())
            .output()
            .context("starting the load client")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("the load client failed at `{arguments}`");
        }
        let mut measured: Value = serde_json::from_str(text.trim()).with_context(|| format!("reading {text:?}"))?;
        measured["command"] = arguments.into();
        report.line(what, &measured)?;
        let measured = Measured(measured);
        if measured.of("errors") > 0.0 {
            bail!(
                "{} requests of `{arguments}` failed: {}",
                measured.of("errors"),
                measured.0["first_error"]
            );
        }
        Ok(measured)
    }

    /// One request outside of the measurements.
    pub fn request(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let mut child = self
            .command(&format!("-scenario raw -method {method} -path {path}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the load client")?;
        if let Some(mut stdin) = child.stdin.take() {
            // Whether it was read shows in the status.
            let _ = stdin.write_all(body.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{method} {path}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until the server says that it is ready.
    pub fn request_ready(&self, seconds: &str) -> anyhow::Result<()> {
        let mut command = self.command(&format!("-scenario ready -seconds {seconds}"));
        let output = command.output().context("starting the load client")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Lines of `/metrics` that are series.
    pub fn series(&self) -> anyhow::Result<usize> {
        let text = self.request("GET", "/metrics", "")?;
        Ok(text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .count())
    }

    /// Objects that the server says it stores, by resource.
    pub fn objects_by_resource(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let text = self.request("GET", "/metrics", "")?;
        let values = text
            .lines()
            .filter(|line| line.starts_with("apiserver_storage_objects"))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            });
        Ok(values.collect())
    }

    /// All of them together.
    pub fn objects(&self) -> anyhow::Result<f64> {
        Ok(self.objects_by_resource()?.values().sum())
    }
}

// === impl Measured ===

impl Measured {
    pub fn of(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_default()
    }

    pub fn cpu_micros(&self) -> f64 {
        self.of("server_cpu_us_per_op")
    }
}
