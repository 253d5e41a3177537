//! Files.

mod real;

pub use real::RealDisk;
use std::io;
use std::path::Path;

/// A file system. Every call blocks: make it inside [`crate::Spawn::blocking`]. What it makes is its owner's alone to read.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing, making it if it is absent.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a directory and its parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Removes a file, durably. An absent file is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in its directory, in place of what had it. Durable when this returns.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Replaces a file: after a power loss it has either its old or its new contents. Durable when this returns.
    fn write_atomic(&self, path: &Path, contents: &[u8]) -> io::Result<()>;
    /// The names of a directory's entries, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Bytes that can still be written on the file system that holds `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. A write is durable only after [`DiskFile::sync`] has returned.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Bytes of space that it takes; less than its length when parts were never written.
    fn allocated(&self) -> io::Result<u64>;
    /// Fills `out` from `offset`; `UnexpectedEof` when the file is shorter.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`, growing the file if needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes every earlier write through this file durable.
    fn sync(&self) -> io::Result<()>;
    /// Takes an exclusive lock, held until the file is dropped. False when someone else, of this process or another,
    /// holds it.
    fn try_lock(&self) -> io::Result<bool>;
}
