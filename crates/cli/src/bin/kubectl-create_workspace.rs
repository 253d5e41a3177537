//! The same as `kubectl-create-workspace`, under the name that kubectl looks for when it is called as
//! `kubectl create-workspace`: dashes of a command are underscores in its file.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    cli::run(cli::Program::CreateWorkspace)
}
