//! What commands print: results to one stream, notes and progress to the other, columns as Go's tabwriter aligns them.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

/// Where a command writes. Cheap to clone.
#[derive(Clone)]
pub struct Console {
    out: Sink,
    err: Sink,
}

type Sink = Arc<Mutex<dyn Write + Send>>;

/// How cells are padded: to at least `least` characters, `gap` of them blank.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub least: usize,
    pub gap: usize,
}

// === impl Console ===

impl Console {
    pub fn new(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
            err: Arc::new(Mutex::new(err)),
        }
    }

    /// Standard output and standard error.
    pub fn standard() -> Self {
        Self::new(std::io::stdout(), std::io::stderr())
    }

    /// A line of the result.
    pub fn say(&self, line: impl AsRef<str>) -> std::io::Result<()> {
        let mut out = self.out.lock();
        writeln!(out, "{}", line.as_ref())?;
        out.flush()
    }

    /// A line beside the result. A closed stream does not fail the command.
    pub fn note(&self, line: impl AsRef<str>) {
        let _ = writeln!(self.err.lock(), "{}", line.as_ref());
    }
}

// === impl Columns ===

impl Columns {
    /// Of lists that kubectl prints.
    pub const KUBECTL: Self = Self { least: 6, gap: 3 };
    /// Of `ws tree --wide`.
    pub const TREE: Self = Self { least: 0, gap: 2 };

    /// Rows of cells as lines. The last cell of a row is not padded; lines end in a line feed.
    pub fn align(self, rows: &[Vec<String>]) -> String {
        let count = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = rows.iter().filter(|row| row.len() > column + 1);
            let widest = cells
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max();
            (widest.unwrap_or_default() + self.gap).max(self.least)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        let mut text = String::new();
        for row in rows {
            let last = row.len().saturating_sub(1);
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                text.push_str(cell);
                if column < last {
                    text.push_str(&" ".repeat(width.saturating_sub(cell.chars().count())));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_a_gap() {
        let rows = [
            ["APIBINDING", "GROUP-RESOURCE", "VERBS", "STATUS"],
            ["pb", "configmaps", "*", "Accepted"],
        ]
        .map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            Columns::KUBECTL.align(&rows),
            "APIBINDING   GROUP-RESOURCE   VERBS   STATUS\npb           configmaps       *       Accepted\n"
        );
    }
}
