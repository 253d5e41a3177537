//! redb's storage over `env`'s disk.

use env::DiskFile;
use redb::StorageBackend;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file under a database, with a switch that takes it away: after a failure the database is opened anew, and what is
/// left of the old one must not write.
pub(super) struct Backend {
    file: Box<dyn DiskFile>,
    retired: Arc<AtomicBool>,
    skip_sync: bool,
}

/// Takes the file away from a [`Backend`].
#[derive(Clone, Debug, Default)]
pub(super) struct Retirement(Arc<AtomicBool>);

// === impl Backend ===

impl Backend {
    /// `skip_sync` is the fault that shows that the durability tests work.
    pub(super) fn new(file: Box<dyn DiskFile>, retirement: &Retirement, skip_sync: bool) -> Backend {
        Backend {
            file,
            retired: retirement.0.clone(),
            skip_sync,
        }
    }

    fn file(&self) -> io::Result<&dyn DiskFile> {
        match self.retired.load(Ordering::Acquire) {
            true => Err(io::Error::other("the store was opened anew")),
            false => Ok(&*self.file),
        }
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file()?.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let file = self.file()?;
        match self.skip_sync {
            true => Ok(()),
            false => file.sync(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file()?.write_at(offset, data)
    }
}

// === impl Retirement ===

impl Retirement {
    /// From now on the backend refuses everything.
    pub(super) fn retire(&self) {
        self.0.store(true, Ordering::Release);
    }
}
