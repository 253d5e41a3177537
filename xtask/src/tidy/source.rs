//! One Rust file, as the rules look at it.

use std::path::Path;

/// A Rust file. Lines that are comments or tests are known as such.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    /// Whether all of it is test code.
    pub is_test: bool,
    /// The lines as they are.
    pub lines: Vec<String>,
    /// The lines of code outside tests, by number (from 1), without comments and without what is inside string literals.
    pub code: Vec<(usize, String)>,
}

// === impl Source ===

impl Source {
    /// Reads a file's text.
    pub fn new(path: &Path, text: &str) -> Self {
        let path = path.to_string_lossy().replace('\\', "/");
        let is_test = is_test(&path);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // By convention a file's own tests come last, in `mod tests`.
        let end = lines
            .iter()
            .zip(lines.iter().skip(1))
            .position(|(attribute, module)| {
                attribute.trim() == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{')
            })
            .unwrap_or(lines.len());
        let code = lines
            .iter()
            .take(end)
            .enumerate()
            .map(|(index, line)| (index + 1, plain(line)))
            .collect();
        Self {
            path,
            is_test,
            lines,
            code,
        }
    }

    /// The crate's directory, such as `crates/kv` or `shard`.
    pub fn home(&self) -> &str {
        let depth = if self.path.starts_with("crates/") { 2 } else { 1 };
        match self.path.match_indices('/').nth(depth - 1) {
            Some((end, _)) => &self.path[..end],
            None => &self.path,
        }
    }
}

/// Whether a path is test code by its name: `tests/`, `tests.rs`, what tests share (`testing`), and examples.
fn is_test(path: &str) -> bool {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    stem.split('/')
        .any(|part| matches!(part, "tests" | "testing" | "examples" | "benches"))
        || path.starts_with("e2e/")
}

/// A line without its comment and with empty string literals. Literals over several lines are not recognised, which is
/// enough for rules that look for names.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    let mut in_text = false;
    while let Some(char) = chars.next() {
        match char {
            '\\' if in_text => {
                chars.next();
            }
            '"' => {
                in_text = !in_text;
                out.push(char);
            }
            '/' if !in_text && chars.peek() == Some(&'/') => break,
            '\'' if !in_text && chars.peek() == Some(&'"') => {
                chars.next();
            }
            _ if in_text => {}
            _ => out.push(char),
        }
    }
    out
}
