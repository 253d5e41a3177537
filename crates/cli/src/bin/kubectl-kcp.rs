//! `kubectl-kcp`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    cli::run(cli::Program::Kcp)
}
