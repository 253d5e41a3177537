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
    doubt: Doubt,
    skip_sync: bool,
}

/// Takes the file away from a [`Backend`].
#[derive(Clone, Debug, Default)]
pub(super) struct Retirement(Arc<AtomicBool>);

/// Whether a sync has failed and the files were not written again since. What it was about reads as it was written, while
/// the medium may not have it: Linux takes the pages for clean, so that the next sync succeeds and proves nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt(Arc<AtomicBool>);

/// How much of a file is written again at a time.
const COPY_BYTES: usize = 1 << 20;

// === impl Backend ===

impl Backend {
    /// `skip_sync` is the fault that shows that the durability tests work.
    pub(super) fn new(file: Box<dyn DiskFile>, retirement: &Retirement, doubt: &Doubt, skip_sync: bool) -> Backend {
        Backend {
            file,
            retired: retirement.0.clone(),
            doubt: doubt.clone(),
            skip_sync,
        }
    }

    /// Writes what the file reads as, where it stands, and syncs it. Ended at any point by a loss of power the medium has of
    /// each place what it had or what is read, as after any other write.
    pub(super) fn write_again(&self) -> io::Result<()> {
        let (mut at, end) = (0, self.len()?);
        let mut part = vec![0; COPY_BYTES];
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            part.truncate(len);
            self.read(at, &mut part)?;
            self.write(at, &part)?;
            at += len as u64;
        }
        self.sync_data()
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
            false => file.sync().inspect_err(|_| self.doubt.raise()),
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

// === impl Doubt ===

impl Doubt {
    fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The files were written again.
    pub(super) fn settle(&self) {
        self.0.store(false, Ordering::Release);
    }
}
