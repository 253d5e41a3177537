//! The operating system's files.

use super::{Disk, DiskFile};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is made here holds keys, tokens and tenants' data: the owner's alone, whatever the umask is.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

// === impl RealDisk ===

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        if is_new {
            sync_parent(path)?;
        }
        Ok(Box::new(RealFile(file)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_parent(path),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).and_then(|()| sync_parent(to))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write_atomic(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        // The process id keeps two processes from writing one temporary file.
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let written = write_synced(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| sync_parent(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn write_synced(path: &Path, contents: &[u8]) -> io::Result<()> {
    // One left by a process of the same id that died would keep its mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// A new name is durable only once its directory is.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    File::open(parent)?.sync_all()
}

// === impl RealFile ===

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        // In units of 512 bytes, whatever the file system's blocks are.
        Ok(self.0.metadata()?.blocks().saturating_mul(512))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        RealDisk.create_dir_all(path.parent().unwrap()).unwrap();
        let file = RealDisk.open(&path).unwrap();
        file.write_at(3, b"tea").unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 6);
        let mut out = [0; 6];
        file.read_at(0, &mut out).unwrap();
        assert_eq!(&out, b"\0\0\0tea");
        assert_eq!(
            file.read_at(4, &mut out).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        file.set_len(1).unwrap();
        assert_eq!(RealDisk.read(&path).unwrap(), b"\0");
        assert!(RealDisk.free_space(&path).unwrap() > 0);
    }

    #[test]
    fn what_is_made_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made/too");
        RealDisk.create_dir_all(&made).unwrap();
        let (opened, written) = (made.join("opened"), made.join("written"));
        drop(RealDisk.open(&opened).unwrap());
        fs::write(&written, "with the umask's mode").unwrap();
        RealDisk.write_atomic(&written, b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!([mode(&dir.path().join("made")), mode(&made)], [0o700; 2]);
        assert_eq!([mode(&opened), mode(&written)], [0o600; 2]);
    }

    #[test]
    fn second_opener_gets_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let first = RealDisk.open(&path).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!RealDisk.open(&path).unwrap().try_lock().unwrap());
        drop(first);
        assert!(RealDisk.open(&path).unwrap().try_lock().unwrap());
    }

    #[test]
    fn replaces_atomically_and_lists_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "b"] {
            RealDisk.write_atomic(&dir.path().join(name), name.as_bytes()).unwrap();
        }
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["a", "b"]);
        RealDisk.remove(&dir.path().join("a")).unwrap();
        RealDisk.remove(&dir.path().join("a")).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["b"]);
    }
}
