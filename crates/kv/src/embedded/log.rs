//! The durable log: redb tables of rows by revision, of leases, and of a few numbers, behind a journal. Every function here
//! blocks.
//!
//! A commit is appended to the journal and kept in memory as pending; when a generation of the journal is full, one transaction
//! takes it over into the tables, beside the commits that go on. Readers look at what is pending first: it leaves memory only
//! once the tables show it.
//!
//! Locks are taken in the order of the fields below: journal, tables, pending.

use super::EmbeddedOptions;
use super::backend::{Backend, Doubt, Retirement};
use super::index::Loaded;
use super::journal::Journal;
use super::pending::Pending;
use super::row::{self, Row, RowId};
use crate::{Batch, Error, Event, Revision};
use env::{Disk, DiskFile};
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableHandle, WriteTransaction};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What this version writes and the only thing it reads. 1 had no journal, 2 had it in one file.
const FORMAT: u64 = 3;

const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
/// Lease to seconds it lives without being kept alive.
const LEASES: TableDefinition<i64, u64> = TableDefinition::new("leases");
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

const NUMBER_FORMAT: &str = "format";
/// The oldest revision that can be read.
const NUMBER_COMPACTED: &str = "compacted";
/// A revision that was reached: compaction may remove the row that tells of it, and it must not be used again.
const NUMBER_REVISION: &str = "revision";
/// Which generation of the journal is to be added to the tables.
const NUMBER_JOURNAL: &str = "journal";

const LOG_FILE: &str = "kv.redb";
const JOURNAL_FILES: [&str; 2] = ["kv.journal.0", "kv.journal.1"];

/// An open database.
pub(super) struct Log {
    db: Database,
    retirement: Retirement,
    doubt: Doubt,
    /// Locked by whoever commits.
    journal: Mutex<Journal>,
    /// Locked by whoever writes to the tables.
    tables: Mutex<()>,
    pending: RwLock<Pending>,
    /// For its sizes alone.
    file: Box<dyn DiskFile>,
    /// Bytes of all rows, as [`Row::encoded_len`] counts them.
    stored: AtomicU64,
}

/// What is written together.
#[derive(Clone, Default)]
pub(super) struct Commit {
    pub batches: Vec<Arc<Batch>>,
    /// Granted leases with their seconds; none: the lease ended.
    pub leases: BTreeMap<i64, Option<u64>>,
    pub compacted: Option<Compacted>,
}

/// A point of compaction.
#[derive(Clone, Copy)]
pub(super) struct Compacted {
    pub at: Revision,
    /// The store's revision at that time.
    pub revision: Revision,
}

/// The numbers of a log.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Numbers {
    pub compacted: Revision,
    pub revision: Revision,
}

/// Rows that were removed, with their keys.
pub(super) type Removed = Vec<(RowId, Box<[u8]>)>;

/// Why the log did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Failure {
    Full,
    Io(String),
    Corrupt(String),
    Unsupported(String),
}

// === impl Log ===

impl Log {
    /// Opens the file, makes it if it is absent or empty, repairs it after a crash, and checks its format. Where a sync has
    /// failed before, in this process, all files are written again first.
    pub(super) fn open(disk: &dyn Disk, options: &EmbeddedOptions, doubt: &Doubt) -> Result<Log, Failure> {
        guarded(|| {
            let retirement = Retirement::default();
            let backend = |path: &Path| {
                let file = disk.open(path)?;
                Ok::<_, Failure>(Backend::new(file, &retirement, doubt, options.skips_sync()))
            };
            let path = &options.dir.join(LOG_FILE);
            let tables = backend(path)?;
            if doubt.is_raised() {
                tables.write_again()?;
                for name in JOURNAL_FILES {
                    backend(&options.dir.join(name))?.write_again()?;
                }
                doubt.settle();
            }
            let db = redb::Builder::new()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(tables)?;
            let [even, odd] = JOURNAL_FILES.map(|name| backend(&options.dir.join(name)));
            let files = [even?, odd?];
            let generation = match generation(&db)? {
                Some(generation) => generation,
                None => {
                    files.iter().try_for_each(Journal::erase)?;
                    initialize(&db)?
                }
            };
            // What the tables say may come from a process that ended before its sync: frames they speak of are written over next.
            backend(path)?.sync_data()?;
            let (journal, recovered) = Journal::open(files, generation, options.journal_bytes)?;
            let pending = Pending::recovered(recovered, journal.generation());
            Ok(Log {
                db,
                retirement,
                doubt: doubt.clone(),
                journal: Mutex::new(journal),
                tables: Mutex::new(()),
                pending: RwLock::new(pending),
                file: disk.open(path)?,
                stored: AtomicU64::new(0),
            })
        })
    }

    /// Takes the file away, so that another `Log` may open it while readers still hold this one.
    pub(super) fn retire(&self) {
        self.retirement.retire();
    }

    /// What the next log of the same files has to know.
    pub(super) fn doubt(&self) -> Doubt {
        self.doubt.clone()
    }

    /// Writes and syncs. After a failure the log refuses everything, and what it holds of the commit is open. True when a
    /// generation of the journal has ended: [`Log::take_over`] is to be called, while further commits go on.
    pub(super) fn commit(&self, commit: &Commit) -> Result<bool, Failure> {
        guarded(|| {
            let mut journal = self.journal.lock();
            let mut has_closed = false;
            if !journal.admits(commit) {
                self.settle_with(&mut journal, |write| insert(write, commit))?;
            } else {
                if journal.is_full_for(commit) {
                    self.take_over()?;
                    self.pending.write().close(journal.generation());
                    let next = journal.generation() + 1;
                    journal.begin(next);
                    has_closed = true;
                }
                journal.append(commit)?;
                self.pending.write().add(commit);
            }
            let rows = commit.batches.iter().flat_map(|batch| &batch.events);
            let bytes: usize = rows.map(|event| Row::of(event).encoded_len()).sum();
            self.stored.fetch_add(bytes as u64, Ordering::Relaxed);
            Ok(has_closed)
        })
    }

    /// Takes the generation of the journal that has ended into the tables, if they do not have it. It takes about 10 ms for
    /// each MiB; commits need not wait for it until the next generation has ended, too.
    pub(super) fn take_over(&self) -> Result<(), Failure> {
        guarded(|| {
            let _tables = self.tables.lock();
            let Some(closed) = self.pending.read().closed() else {
                return Ok(());
            };
            self.write(closed.generation + 1, |write| insert(write, &closed.commit))?;
            let taken = self.pending.write().forget_closed();
            drop(taken);
            Ok(())
        })
    }

    /// Takes everything into the tables.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        guarded(|| self.settle_with(&mut self.journal.lock(), |_| Ok(())))
    }

    /// Takes what is pending into the tables, with something more in the same transaction.
    fn settle_with<T>(
        &self,
        journal: &mut Journal,
        more: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _tables = self.tables.lock();
        let generation = journal.generation() + 1;
        let done = self.write(generation, |write| {
            let pending = self.pending.read();
            if let Some(closed) = pending.closed() {
                insert(write, &closed.commit)?;
            }
            insert(write, pending.open())?;
            more(write)
        })?;
        let taken = self.pending.write().forget();
        drop(taken);
        journal.begin(generation);
        Ok(done)
    }

    /// One transaction, after which the tables have everything before a generation.
    fn write<T>(
        &self,
        generation: u64,
        add: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let write = self.db.begin_write()?;
        let done = add(&write)?;
        write.open_table(NUMBERS)?.insert(NUMBER_JOURNAL, generation)?;
        write.commit()?;
        Ok(done)
    }

    /// Removes rows and returns their keys; absent rows are left out.
    pub(super) fn remove(&self, ids: &[RowId]) -> Result<Removed, Failure> {
        guarded(|| {
            let (removed, bytes) = self.settle_with(&mut self.journal.lock(), |write| {
                let (mut removed, mut bytes) = (Vec::with_capacity(ids.len()), 0);
                let mut rows = write.open_table(ROWS)?;
                for id in ids {
                    if let Some(row) = rows.remove(id.0)? {
                        bytes += row.value().len() as u64;
                        removed.push((*id, decode(*id, row.value())?.key.into()));
                    }
                }
                Ok((removed, bytes))
            })?;
            let less = |stored: u64| Some(stored.saturating_sub(bytes));
            let _ = self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            Ok(removed)
        })
    }

    /// Removes what came after the revision that is known: rows of a commit whose success was never told to anyone. Restores
    /// the leases, and the point of compaction. Writes nothing if there is nothing to do, which a full disk allows.
    pub(super) fn truncate(&self, known: Numbers, known_leases: &BTreeMap<i64, u64>) -> Result<(), Failure> {
        guarded(|| {
            let after = known.revision;
            let beyond = RowId::first(after.next()).0..;
            let tables = self.db.begin_read()?.open_table(ROWS)?;
            let has_rows = tables.range(beyond.clone())?.next().is_some() || self.pending.read().revision() > after;
            let has_compacted = self.numbers()?.compacted != known.compacted;
            if !has_rows && !has_compacted && self.leases()? == *known_leases {
                return Ok(());
            }
            self.settle_with(&mut self.journal.lock(), |write| {
                write.open_table(ROWS)?.retain_in(beyond, |_, _| false)?;
                let mut leases = write.open_table(LEASES)?;
                leases.retain(|lease, _| known_leases.contains_key(&lease))?;
                for (lease, seconds) in known_leases {
                    leases.insert(lease, seconds)?;
                }
                let mut numbers = write.open_table(NUMBERS)?;
                numbers.insert(NUMBER_COMPACTED, known.compacted.0)?;
                numbers.insert(NUMBER_REVISION, known.revision.0)?;
                Ok(())
            })
        })
    }

    /// Up to `max` rows after one, for the index; fewer only at the end. Counts what is stored.
    pub(super) fn load(&self, after: RowId, max: usize) -> Result<Vec<Loaded>, Failure> {
        guarded(|| {
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            let (mut loaded, mut stored) = (Vec::new(), 0);
            for entry in rows.range(after.0.saturating_add(1)..)?.take(max) {
                let (id, bytes) = entry?;
                let id = RowId(id.value());
                stored += bytes.value().len() as u64;
                loaded.push(Loaded::new(id, decode(id, bytes.value())?));
            }
            let after = loaded.last().map_or(after, |last| last.version.row);
            for (id, event) in self.pending.read().rows(after).take(max - loaded.len()) {
                let row = Row::of(event);
                stored += row.encoded_len() as u64;
                loaded.push(Loaded::new(id, row));
            }
            self.stored.fetch_add(stored, Ordering::Relaxed);
            Ok(loaded)
        })
    }

    pub(super) fn numbers(&self) -> Result<Numbers, Failure> {
        guarded(|| {
            let pending = self.pending.read().compacted();
            let numbers = self.db.begin_read()?.open_table(NUMBERS)?;
            let number = |name| Ok::<_, Failure>(Revision(numbers.get(name)?.map_or(0, |number| number.value())));
            let (compacted, revision) = (number(NUMBER_COMPACTED)?, number(NUMBER_REVISION)?);
            Ok(match pending {
                Some(Compacted { at, revision }) => Numbers {
                    compacted: at,
                    revision,
                },
                None => Numbers { compacted, revision },
            })
        })
    }

    /// Leases with their seconds.
    pub(super) fn leases(&self) -> Result<BTreeMap<i64, u64>, Failure> {
        guarded(|| {
            let pending = self.pending.read().leases();
            let table = self.db.begin_read()?.open_table(LEASES)?;
            let mut leases = BTreeMap::new();
            for entry in table.iter()? {
                let (lease, seconds) = entry?;
                leases.insert(lease.value(), seconds.value());
            }
            for (lease, change) in pending {
                match change {
                    Some(seconds) => leases.insert(lease, seconds),
                    None => leases.remove(&lease),
                };
            }
            Ok(leases)
        })
    }

    /// The changes of some rows, in the same order; none for a row that is not there.
    pub(super) fn read(&self, ids: &[RowId]) -> Result<Vec<Option<Event>>, Failure> {
        guarded(|| {
            let pending: Vec<Option<Event>> = {
                let pending = self.pending.read();
                ids.iter().map(|id| pending.event(*id).cloned()).collect()
            };
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            let read = |(id, pending): (&RowId, Option<Event>)| match pending {
                Some(event) => Ok(Some(event)),
                None => match rows.get(id.0)? {
                    Some(bytes) => row::event(*id, bytes.value()).map(Some).ok_or_else(|| bad_row(*id)),
                    None => Ok(None),
                },
            };
            ids.iter().zip(pending).map(read).collect()
        })
    }

    /// The batches after one revision up to another, cut at a revision once `bytes_max` is passed.
    pub(super) fn history(
        &self,
        after: Revision,
        until: Revision,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Batch>>, Failure> {
        guarded(|| {
            let pending = self.pending.read().after(after, until);
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            let (mut batches, mut bytes): (Vec<Batch>, usize) = (Vec::new(), 0);
            for entry in rows.range(RowId::first(after.next()).0..RowId::first(until.next()).0)? {
                let (id, value) = entry?;
                let id = RowId(id.value());
                let event = row::event(id, value.value()).ok_or_else(|| bad_row(id))?;
                let revision = id.revision();
                bytes += event.weight();
                let is_new = batches.last().is_none_or(|batch| batch.revision != revision);
                if is_new && bytes > bytes_max && !batches.is_empty() {
                    return Ok(batches.into_iter().map(Arc::new).collect());
                }
                if is_new {
                    batches.push(Batch {
                        revision,
                        events: Vec::new(),
                    });
                }
                if let Some(batch) = batches.last_mut() {
                    batch.events.push(event);
                }
            }
            // The tables may have taken over some of what was pending when this began.
            let last = batches.last().map_or(after, |batch| batch.revision);
            let mut batches: Vec<Arc<Batch>> = batches.into_iter().map(Arc::new).collect();
            for batch in pending.into_iter().filter(|batch| batch.revision > last) {
                bytes += batch.events.iter().map(Event::weight).sum::<usize>();
                if bytes > bytes_max && !batches.is_empty() {
                    break;
                }
                batches.push(batch);
            }
            Ok(batches)
        })
    }

    /// Bytes of the files, and bytes of rows in them.
    pub(super) fn sizes(&self) -> Result<(u64, u64), Failure> {
        let journal = self.journal.lock().len();
        Ok((self.file.allocated()?.saturating_add(journal), self.stored()))
    }

    /// Bytes of rows, known after [`Log::load`].
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Takes over what an earlier log of the same file knew.
    pub(super) fn set_stored(&self, stored: u64) {
        self.stored.store(stored, Ordering::Relaxed);
    }

    /// Bytes that can be written: free ones of the file system, and those within the file that compaction freed.
    pub(super) fn room(&self, disk: &dyn Disk, dir: &Path) -> u64 {
        // A disk that does not say is taken to have space; a commit will show.
        let free = disk.free_space(dir).unwrap_or(u64::MAX);
        // Rows are kept in pages of powers of two, so they take half as much again.
        let used = self.stored() / 2 * 3;
        free.saturating_add(
            self.file
                .allocated()
                .map_or(0, |allocated| allocated.saturating_sub(used)),
        )
    }
}

/// The generation of the journal; none when there are no tables yet. Checks the format.
fn generation(db: &Database) -> Result<Option<u64>, Failure> {
    let read = db.begin_read()?;
    let tables: Vec<String> = read.list_tables()?.map(|table| table.name().to_owned()).collect();
    if tables.is_empty() {
        return Ok(None);
    }
    let number = |name| match tables.iter().any(|table| table == NUMBERS.name()) {
        true => Ok::<_, Failure>(read.open_table(NUMBERS)?.get(name)?.map(|found| found.value())),
        false => Ok(None),
    };
    match (number(NUMBER_FORMAT)?, number(NUMBER_JOURNAL)?) {
        (Some(FORMAT), Some(generation)) => Ok(Some(generation)),
        (Some(FORMAT), None) => Err(Failure::Corrupt("the store says nothing of its journal".to_owned())),
        (Some(other), _) => Err(Failure::Unsupported(format!(
            "the store has format {other}, which this version cannot read; it reads format {FORMAT}"
        ))),
        (None, _) => Err(Failure::Corrupt("the store says nothing of its format".to_owned())),
    }
}

/// Makes the tables, and answers the generation of their journal.
fn initialize(db: &Database) -> Result<u64, Failure> {
    let write = db.begin_write()?;
    write.open_table(ROWS)?;
    write.open_table(LEASES)?;
    let mut numbers = write.open_table(NUMBERS)?;
    numbers.insert(NUMBER_FORMAT, FORMAT)?;
    // As in etcd, an empty store is at 1.
    numbers.insert(NUMBER_REVISION, 1)?;
    numbers.insert(NUMBER_JOURNAL, 1)?;
    drop(numbers);
    write.commit()?;
    Ok(1)
}

fn insert(write: &WriteTransaction, commit: &Commit) -> Result<(), Failure> {
    if !commit.batches.is_empty() {
        let mut rows = write.open_table(ROWS)?;
        for batch in &commit.batches {
            for (index, event) in batch.events.iter().enumerate() {
                let row = Row::of(event);
                let id = RowId::new(batch.revision, index);
                let mut place = rows.insert_reserve(id.0, row.encoded_len())?;
                row.encode(place.as_mut());
            }
        }
    }
    if !commit.leases.is_empty() {
        let mut leases = write.open_table(LEASES)?;
        for (lease, seconds) in &commit.leases {
            match seconds {
                Some(seconds) => leases.insert(lease, seconds)?,
                None => leases.remove(lease)?,
            };
        }
    }
    if let Some(Compacted { at, revision }) = commit.compacted {
        let mut numbers = write.open_table(NUMBERS)?;
        numbers.insert(NUMBER_COMPACTED, at.0)?;
        numbers.insert(NUMBER_REVISION, revision.0)?;
    }
    Ok(())
}

fn decode(id: RowId, bytes: &[u8]) -> Result<Row<'_>, Failure> {
    Row::decode(bytes).ok_or_else(|| bad_row(id))
}

fn bad_row(id: RowId) -> Failure {
    Failure::Corrupt(format!(
        "change {} of revision {} does not decode",
        id.index(),
        id.revision()
    ))
}

/// redb may panic on a file that was altered from outside; that is corruption, not a defect of the caller.
fn guarded<T>(act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err(Failure::Corrupt("the storage library panicked".to_owned())))
}

// === impl Commit ===

impl Commit {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.leases.is_empty() && self.compacted.is_none()
    }
}

// === impl Failure ===

impl Failure {
    /// The answer to callers of whom nothing was written.
    pub(super) fn to_error(&self) -> Error {
        match self {
            Failure::Full => Error::Full,
            Failure::Io(text) => Error::Unavailable(text.clone()),
            Failure::Corrupt(text) => Error::Corrupt(text.clone()),
            Failure::Unsupported(text) => Error::Unsupported(text.clone()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Failure::Full,
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Failure::Corrupt(error.to_string()),
            _ => Failure::Io(error.to_string()),
        }
    }
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Failure {
        match error {
            redb::Error::Io(error) => Failure::from(error),
            redb::Error::Corrupted(text) => Failure::Corrupt(text),
            redb::Error::UpgradeRequired(version) => Failure::Unsupported(format!(
                "the store's file has version {version}, which this version cannot read"
            )),
            error @ (redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. }) => {
                Failure::Corrupt(error.to_string())
            }
            other => Failure::Io(other.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::from(redb::Error::from(error))
            }
        }
    )*};
}

from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

/// Writes another format number into a store, or takes it out.
#[cfg(test)]
pub(super) fn tests_only_set_format(disk: &dyn Disk, path: &Path, format: Option<u64>) {
    let backend = Backend::new(
        disk.open(path).unwrap(),
        &Retirement::default(),
        &Doubt::default(),
        false,
    );
    let db = redb::Builder::new().create_with_backend(backend).unwrap();
    let write = db.begin_write().unwrap();
    match format {
        Some(format) => drop(
            write
                .open_table(NUMBERS)
                .unwrap()
                .insert(NUMBER_FORMAT, format)
                .unwrap(),
        ),
        None => drop(write.open_table(NUMBERS).unwrap().remove(NUMBER_FORMAT).unwrap()),
    }
    write.commit().unwrap();
}
