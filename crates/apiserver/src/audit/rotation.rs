//! Files that are full make way: `audit.log` becomes `audit-<time>.log`, and what is too old or too much goes.

use std::io;
use std::path::PathBuf;

use env::Disk;
use machinery::time::format_micros;

use super::AuditFile;

/// Whether a batch would make a file too large. One that is empty takes what comes.
pub(super) fn is_due(file: &AuditFile, len: u64, batch: usize) -> bool {
    file.bytes_max > 0 && len > 0 && len.saturating_add(batch as u64) > file.bytes_max
}

/// Gives the file a name with the time, and removes files of earlier times as told. `now` is in nanoseconds.
pub(super) fn rotate(disk: &dyn Disk, file: &AuditFile, now: i128) -> io::Result<()> {
    disk.rename(&file.path, &backup(file, now))?;
    let (Some(directory), Some(example)) = (file.path.parent(), name(&backup(file, now))) else {
        return Ok(());
    };
    let (prefix, suffix) = affixes(file);
    // All of one length: names in order are times in order.
    let is_backup = |name: &String| name.len() == example.len() && name.starts_with(&prefix) && name.ends_with(&suffix);
    let backups: Vec<String> = disk.list(directory)?.into_iter().filter(is_backup).collect();
    let oldest = name(&backup(file, now - file.age_max.as_nanos() as i128));
    let surplus = match file.backups_max {
        0 => 0,
        kept => backups.len().saturating_sub(kept),
    };
    for (index, name) in backups.iter().enumerate() {
        let is_old = !file.age_max.is_zero() && oldest.as_ref().is_some_and(|oldest| name < oldest);
        if index < surplus || is_old {
            disk.remove(&directory.join(name))?;
        }
    }
    Ok(())
}

fn backup(file: &AuditFile, now: i128) -> PathBuf {
    let (prefix, suffix) = affixes(file);
    let time = format_micros(now).replace(':', "-");
    file.path.with_file_name(format!("{prefix}{time}{suffix}"))
}

/// What stands before and behind the time: `audit-` and `.log`.
fn affixes(file: &AuditFile) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let suffix = file.path.extension().map(|end| format!(".{}", end.to_string_lossy()));
    (format!("{}-", text(file.path.file_stem())), suffix.unwrap_or_default())
}

fn name(path: &std::path::Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}
