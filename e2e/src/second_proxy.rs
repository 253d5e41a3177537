//! A further front-proxy of a control plane: started as the first one was, on a port of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use crate::Server;
use crate::etcd::free_port;
use crate::server::{BOUND, INTERVAL};

/// Dropping it ends the process.
pub struct SecondProxy {
    process: Child,
    /// Held open as long as it is to live.
    _input: Option<ChildStdin>,
    command: Vec<String>,
    log: PathBuf,
    pub port: u16,
}

// === impl SecondProxy ===

impl SecondProxy {
    /// Beside the one that `kcp up` has started; not waited for.
    pub fn start(server: &Server) -> Self {
        let id = server.process_id("front-proxy");
        let line = std::fs::read(format!("/proc/{id}/cmdline")).expect("the first one runs");
        let line = String::from_utf8(line).expect("a command line");
        let port = free_port();
        let own = |argument: &str| match argument.starts_with("--secure-port=") {
            true => format!("--secure-port={port}"),
            false => argument.to_owned(),
        };
        let command: Vec<String> = line.trim_end_matches('\0').split('\0').map(own).collect();
        let log = server.directory().join("second-proxy.log");
        let (process, input) = spawn(&command, &log);
        Self {
            process,
            _input: input,
            command,
            log,
            port,
        }
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it has ended, and starts it again.
    pub fn start_again(&mut self) {
        let begun = Instant::now();
        while self.process.try_wait().expect("a child can be waited for").is_none() {
            assert!(begun.elapsed() < BOUND, "the second proxy does not end");
            std::thread::sleep(INTERVAL);
        }
        (self.process, self._input) = spawn(&self.command, &self.log);
    }
}

impl Drop for SecondProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(command: &[String], log: &PathBuf) -> (Child, Option<ChildStdin>) {
    let (program, arguments) = command.split_first().expect("a program");
    let log = File::options().create(true).append(true).open(log).expect("a log file");
    let mut process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the proxy can be started");
    // Waiting for a child would close it.
    let input = process.stdin.take();
    (process, input)
}
