//! A disk that keeps what was synced and may forget the rest.

use super::{Faults, SimOptions};
use crate::{Disk, DiskFile, Rng};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The unit in which a torn write survives: drives write whole sectors.
const SECTOR: usize = 512;

/// The unit in which space is taken. A file that was lengthened has holes, which take none until they are written.
const BLOCK: u64 = 4096;

/// A simulated disk: what the operating system shows and what the medium holds, and the ways to break both.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

/// What a disk holds, to be put on others: a world that many tests begin with is made once. Cheap to clone.
#[derive(Clone)]
pub struct DiskImage {
    files: Arc<BTreeMap<PathBuf, Vec<u8>>>,
}

/// The disk as one life of its host sees it; afterwards it gives errors.
pub(super) struct Mounted {
    disk: SimDisk,
    life: u64,
}

struct Shared {
    state: Mutex<State>,
    /// Shared with the host's `Spawn`, which lets this time pass.
    charged_nanos: Arc<AtomicU64>,
    faults: Faults,
    rng: Rng,
}

#[derive(Default)]
struct State {
    life: u64,
    files: BTreeMap<PathBuf, File>,
    locked: BTreeSet<PathBuf>,
    sync_delay: Duration,
    /// What is slower is a fault, and counted.
    usual_sync_delay: Duration,
    capacity: u64,
    error_rate: f64,
    /// Counts down with each write and sync; at zero the power fails in the middle of it.
    operations_to_power_loss: Option<u64>,
    operations: u64,
    powered_off: bool,
}

#[derive(Default)]
struct File {
    shown: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Whether the name would survive a power loss.
    named: bool,
    /// Whether each block takes space.
    blocks: Vec<bool>,
    taken: u64,
}

enum Change {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

struct SimFile {
    disk: SimDisk,
    life: u64,
    path: PathBuf,
    holds_lock: Mutex<bool>,
}

// === impl SimDisk ===

impl SimDisk {
    pub(super) fn new(options: &SimOptions, rng: Rng, faults: Faults, charged_nanos: Arc<AtomicU64>) -> SimDisk {
        let state = Mutex::new(State {
            sync_delay: options.sync_delay,
            usual_sync_delay: options.sync_delay,
            capacity: options.disk_capacity,
            error_rate: options.disk_error_rate,
            ..State::default()
        });
        SimDisk {
            shared: Arc::new(Shared {
                state,
                charged_nanos,
                faults,
                rng,
            }),
        }
    }

    /// Bytes that fit on the disk from now on; files that are already larger stay.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.state.lock().capacity = bytes;
    }

    /// Probability that one read, write or sync fails from now on. What a sync was about that failed is on the medium half of
    /// the time no sooner than it is written again, as with Linux, which takes the pages for clean then.
    pub fn set_error_rate(&self, rate: f64) {
        self.shared.state.lock().error_rate = rate;
    }

    /// How long a sync takes from now on.
    pub fn set_sync_delay(&self, delay: Duration) {
        self.shared.state.lock().sync_delay = delay;
    }

    /// Lets the power fail at the `operations`-th write, sync or change of length from now: that one fails, torn or
    /// whole or not at all on the medium, and every later one fails too, until [`super::Host::crash`].
    pub fn power_loss_after(&self, operations: u64) {
        self.shared.state.lock().operations_to_power_loss = Some(operations);
    }

    /// True once [`SimDisk::power_loss_after`] has struck.
    pub fn is_powered_off(&self) -> bool {
        self.shared.state.lock().powered_off
    }

    /// How many writes, syncs and changes of length there were.
    pub fn operations(&self) -> u64 {
        self.shared.state.lock().operations
    }

    /// Bytes that all files take.
    pub fn used(&self) -> u64 {
        self.shared.state.lock().used()
    }

    /// What the operating system shows of all files now.
    pub fn image(&self) -> DiskImage {
        let state = self.shared.state.lock();
        let files = state
            .files
            .iter()
            .map(|(path, file)| (path.clone(), file.shown.clone()));
        DiskImage {
            files: Arc::new(files.collect()),
        }
    }

    /// Replaces everything by an image, on the medium too. For hosts on which nothing runs yet.
    pub fn load(&self, image: &DiskImage) {
        let files = image.files.iter();
        let files = files.map(|(path, bytes)| (path.clone(), File::whole(bytes.clone(), bytes.clone())));
        self.shared.state.lock().files = files.collect();
    }

    /// Flips one bit of a file, on the medium too. False when the file is shorter.
    pub fn corrupt(&self, path: &Path, offset: u64) -> bool {
        let mut state = self.shared.state.lock();
        let Some(file) = state.files.get_mut(path) else {
            return false;
        };
        let flipped = [&mut file.shown, &mut file.durable].into_iter().filter_map(|bytes| {
            let byte = bytes.get_mut(usize::try_from(offset).ok()?)?;
            *byte ^= 1;
            Some(())
        });
        let any = flipped.count() > 0;
        if any {
            self.shared.faults.count("disk/bit flipped");
        }
        any
    }

    /// The end of a life without loss of power: handles die, contents stay as shown.
    pub(super) fn restart(&self) {
        let mut state = self.shared.state.lock();
        if state.powered_off {
            drop(state);
            return self.power_loss();
        }
        state.new_life();
    }

    /// Drops what was not synced: all of it, all but the first changes with the last of those torn, or a random choice
    /// of changes. Handles die.
    pub fn power_loss(&self) {
        let mut state = self.shared.state.lock();
        let Shared { rng, faults, .. } = &*self.shared;
        state.files.retain(|_, file| file.named);
        for file in state.files.values_mut() {
            file.lose_power(rng, faults);
        }
        state.new_life();
        faults.count("disk/power lost");
    }

    /// The disk for the present life of its host.
    pub(super) fn mount(&self) -> Mounted {
        Mounted {
            disk: self.clone(),
            life: self.life(),
        }
    }

    fn file<T>(&self, life: u64, path: &Path, act: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.shared.state.lock();
        state.check(life)?;
        act(state.files.get_mut(path).ok_or(ErrorKind::NotFound)?)
    }

    /// One write, sync or change of length. Without a `change` it is a sync.
    fn change(&self, life: u64, path: &Path, change: Option<Change>) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        state.check(life)?;
        if let Err(error) = self.maybe_fail(&state, "disk/write error") {
            if change.is_none() && self.shared.rng.chance(0.5) {
                state.files.get_mut(path).ok_or(ErrorKind::NotFound)?.unsynced.clear();
                self.shared.faults.count("disk/sync failed for good");
            }
            return Err(error);
        }
        state.operations += 1;
        let dies = self.count_down(&mut state);
        let free = state.capacity.saturating_sub(state.used());
        let file = state.files.get_mut(path).ok_or(ErrorKind::NotFound)?;
        match change {
            Some(change) if file.growth(&change) > free => return Err(self.full()),
            Some(change) => {
                file.take(&change);
                change.apply(&mut file.shown);
                file.unsynced.push(change);
            }
            // The power failed before the sync was done.
            None if dies => {}
            None => file.sync(),
        }
        match dies {
            true => Err(power_off()),
            false => Ok(()),
        }
    }

    fn count_down(&self, state: &mut State) -> bool {
        let dies = match &mut state.operations_to_power_loss {
            Some(0 | 1) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if dies {
            state.operations_to_power_loss = None;
            state.powered_off = true;
        }
        dies
    }

    fn maybe_fail(&self, state: &State, kind: &'static str) -> io::Result<()> {
        if state.error_rate > 0.0 && self.shared.rng.chance(state.error_rate) {
            self.shared.faults.count(kind);
            return Err(io::Error::other("simulated disk error"));
        }
        Ok(())
    }

    fn full(&self) -> io::Error {
        self.shared.faults.count("disk/full");
        io::Error::new(ErrorKind::StorageFull, "simulated disk is full")
    }

    fn life(&self) -> u64 {
        self.shared.state.lock().life
    }
}

fn power_off() -> io::Error {
    io::Error::other("simulated disk lost power")
}

// === impl Mounted ===

impl Disk for Mounted {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.disk.shared.state.lock();
        state.check(self.life)?;
        self.disk.maybe_fail(&state, "disk/open error")?;
        state.files.entry(path.to_owned()).or_default();
        let (disk, path) = (self.disk.clone(), path.to_owned());
        Ok(Box::new(SimFile {
            disk,
            life: self.life,
            path,
            holds_lock: Mutex::new(false),
        }))
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        self.disk.shared.state.lock().check(self.life)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.disk.shared.state.lock();
        state.check(self.life)?;
        state.files.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.disk.shared.state.lock();
        state.check(self.life)?;
        self.disk.maybe_fail(&state, "disk/write error")?;
        let file = state.files.remove(from).ok_or(ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.disk.shared.state.lock();
        state.check(self.life)?;
        self.disk.maybe_fail(&state, "disk/read error")?;
        Ok(state.files.get(path).ok_or(ErrorKind::NotFound)?.shown.clone())
    }

    fn write_atomic(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut state = self.disk.shared.state.lock();
        state.check(self.life)?;
        self.disk.maybe_fail(&state, "disk/write error")?;
        state.operations += 1;
        if self.disk.count_down(&mut state) {
            return Err(power_off());
        }
        if contents.len() as u64 > state.capacity.saturating_sub(state.used()) {
            return Err(self.disk.full());
        }
        let (shown, durable) = (contents.to_vec(), contents.to_vec());
        state.files.insert(path.to_owned(), File::whole(shown, durable));
        self.disk.shared.charge(state.sync_delay);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.disk.shared.state.lock();
        state.check(self.life)?;
        let below = state
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(path).ok()?.components().next());
        let names: BTreeSet<String> = below
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        Ok(names.into_iter().collect())
    }

    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        let state = self.disk.shared.state.lock();
        state.check(self.life)?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

// === impl Shared ===

impl Shared {
    fn charge(&self, delay: Duration) {
        self.charged_nanos
            .fetch_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

// === impl State ===

impl State {
    fn check(&self, life: u64) -> io::Result<()> {
        match life == self.life && !self.powered_off {
            true => Ok(()),
            false => Err(power_off()),
        }
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.taken * BLOCK).sum()
    }

    fn new_life(&mut self) {
        self.life += 1;
        self.locked.clear();
        self.powered_off = false;
        self.operations_to_power_loss = None;
    }
}

// === impl File ===

impl File {
    fn whole(shown: Vec<u8>, durable: Vec<u8>) -> File {
        let taken = (shown.len() as u64).div_ceil(BLOCK);
        let blocks = vec![true; taken as usize];
        File {
            shown,
            durable,
            unsynced: Vec::new(),
            named: true,
            blocks,
            taken,
        }
    }

    /// Bytes of space that a change takes.
    fn growth(&self, change: &Change) -> u64 {
        let is_hole = |block: &u64| !self.blocks.get(*block as usize).copied().unwrap_or(false);
        change.blocks().filter(is_hole).count() as u64 * BLOCK
    }

    fn take(&mut self, change: &Change) {
        if let Change::SetLen(len) = change {
            self.cut(*len);
        }
        let range = change.blocks();
        if self.blocks.len() < range.end as usize {
            self.blocks.resize(range.end as usize, false);
        }
        for block in range {
            self.taken += u64::from(!std::mem::replace(&mut self.blocks[block as usize], true));
        }
    }

    fn cut(&mut self, len: u64) {
        let kept = (len.div_ceil(BLOCK) as usize).min(self.blocks.len());
        self.taken -= self.blocks.drain(kept..).filter(|taken| *taken).count() as u64;
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
        self.named = true;
    }

    fn lose_power(&mut self, rng: &Rng, faults: &Faults) {
        let changes = std::mem::take(&mut self.unsynced);
        let count = changes.len() as u64;
        let in_order = rng.below(2) == 0;
        let kept = rng.below(count + 1);
        for (index, change) in changes.into_iter().enumerate() {
            let survives = match in_order {
                true => (index as u64) < kept,
                false => rng.chance(0.5),
            };
            match survives {
                true if rng.chance(0.5) => {
                    faults.count("disk/write torn");
                    change.torn(rng).apply(&mut self.durable);
                }
                true => change.apply(&mut self.durable),
                false => faults.count("disk/write lost"),
            }
        }
        self.shown = self.durable.clone();
        self.cut(self.shown.len() as u64);
    }
}

// === impl Change ===

impl Change {
    /// The blocks that it writes.
    fn blocks(&self) -> std::ops::Range<u64> {
        match self {
            Change::Write { offset, data } => offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK),
            Change::SetLen(_) => 0..0,
        }
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => {
                let start = *offset as usize;
                if bytes.len() < start + data.len() {
                    bytes.resize(start + data.len(), 0);
                }
                bytes[start..start + data.len()].copy_from_slice(data);
            }
            Change::SetLen(len) => bytes.resize(*len as usize, 0),
        }
    }

    fn torn(self, rng: &Rng) -> Change {
        match self {
            Change::Write { offset, mut data } => {
                let sectors = data.len().div_ceil(SECTOR) as u64;
                data.truncate(rng.below(sectors + 1) as usize * SECTOR);
                Change::Write { offset, data }
            }
            whole => whole,
        }
    }
}

// === impl SimFile ===

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.disk
            .file(self.life, &self.path, |file| Ok(file.shown.len() as u64))
    }

    fn allocated(&self) -> io::Result<u64> {
        self.disk.file(self.life, &self.path, |file| Ok(file.taken * BLOCK))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk
            .maybe_fail(&self.disk.shared.state.lock(), "disk/read error")?;
        self.disk.file(self.life, &self.path, |file| {
            let start = usize::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
            let end = start.checked_add(out.len()).ok_or(ErrorKind::InvalidInput)?;
            out.copy_from_slice(file.shown.get(start..end).ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        offset.checked_add(data.len() as u64).ok_or(ErrorKind::InvalidInput)?;
        let data = data.to_vec();
        self.disk
            .change(self.life, &self.path, Some(Change::Write { offset, data }))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(self.life, &self.path, Some(Change::SetLen(len)))
    }

    fn sync(&self) -> io::Result<()> {
        let (delay, usual) = {
            let state = self.disk.shared.state.lock();
            (state.sync_delay, state.usual_sync_delay)
        };
        if delay > usual {
            self.disk.shared.faults.count("disk/slow sync");
        }
        self.disk.shared.charge(delay);
        self.disk.change(self.life, &self.path, None)
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.shared.state.lock();
        state.check(self.life)?;
        let mut holds_lock = self.holds_lock.lock();
        if *holds_lock {
            return Ok(true);
        }
        *holds_lock = state.locked.insert(self.path.clone());
        Ok(*holds_lock)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if *self.holds_lock.lock() && self.life == self.disk.life() {
            self.disk.shared.state.lock().locked.remove(&self.path);
        }
    }
}
