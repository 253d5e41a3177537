//! `cargo xtask tidy`: rules that neither the compiler nor clippy knows. Each rule is a function in `rules.rs` over one
//! [`Source`] or manifest; what is excepted is listed beside it with the reason.

mod rules;
mod source;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};

use crate::tree::Tree;
use source::Source;

/// Checks the whole tree. Prints every finding as `file:line: what`, and fails when there is one.
pub fn run(tree: &Tree) -> anyhow::Result<()> {
    let rules = rules::Rules::new()?;
    let mut findings = Vec::new();
    let sources = tree.files(".rs")?;
    for path in &sources {
        let text = std::fs::read_to_string(tree.root().join(path)).with_context(|| path.display().to_string())?;
        rules.source(&Source::new(path, &text), &mut findings);
    }
    for path in tree.files("Cargo.toml")? {
        let text = std::fs::read_to_string(tree.root().join(&path)).with_context(|| path.display().to_string())?;
        rules.manifest(&path, &text, &mut findings);
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} finding(s) in {} files", findings.len(), sources.len());
    }
    println!("tidy: {} files, nothing found", sources.len());
    Ok(())
}
