//! The journal: commits that are durable and not in the tables yet. A commit costs one write and one sync of a few
//! contiguous blocks here, where the tables cost a write for each page that they copy.
//!
//! The file is a row of frames from its beginning, written over from there again each time the tables have taken over what
//! it holds. The tables name the generation of the frames that are theirs to add: frames of another generation are old.
//! Overwriting instead of lengthening spares the file system its own journal.
//!
//! A frame that does not check is the end: it was torn by a loss of power, and nobody was told of it. Only if a whole frame
//! follows it was it written to its end once, and then it is damage.

use super::backend::Backend;
use super::log::{Commit, Compacted, Failure};
use super::row::{self, Row, RowId};
use crate::{Batch, Revision};
use redb::StorageBackend;
use std::sync::Arc;

/// The file grows by this, in zeros: a length that changes costs the file system a write of its own.
const GROWTH_BYTES: usize = 64 << 10;
/// What is kept for the next commits of what a large one needed.
const BUFFER_KEPT: usize = 64 << 10;

/// Magic, length of the body, generation, place in the row of frames, checksum of all that and of the body; little endian.
const HEADER_BYTES: usize = 4 + 4 + 8 + 8 + 4;

const MAGIC: [u8; 4] = *b"kvj1";

/// Where a frame's checksum is.
const CHECKSUM_AT: usize = HEADER_BYTES - 4;

/// The open file, and where the next frame goes.
pub(super) struct Journal {
    file: Backend,
    /// Bytes of frames between two takings over by the tables. Larger commits go to the tables at once.
    bytes_max: usize,
    generation: u64,
    frames: u64,
    at: usize,
    len: usize,
    buffer: Vec<u8>,
}

// === impl Journal ===

impl Journal {
    /// Reads the commits of a generation. Writes nothing.
    pub(super) fn open(file: Backend, generation: u64, bytes_max: usize) -> Result<(Journal, Vec<Commit>), Failure> {
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        file.read(0, &mut bytes)?;
        let mut journal = Journal {
            file,
            bytes_max,
            generation,
            frames: 0,
            at: 0,
            len,
            buffer: Vec::new(),
        };
        let mut commits = Vec::new();
        while let Some(body) = journal.frame(&bytes, journal.at, journal.frames) {
            commits.push(decode(body).ok_or_else(|| journal.damaged())?);
            journal.at += HEADER_BYTES + body.len();
            journal.frames += 1;
        }
        match journal.is_followed(&bytes) {
            true => Err(journal.damaged()),
            false => Ok((journal, commits)),
        }
    }

    /// The body of a frame that checks.
    fn frame<'b>(&self, bytes: &'b [u8], at: usize, place: u64) -> Option<&'b [u8]> {
        let body_len = self.body_len(bytes, at, place)?;
        let frame = bytes.get(at..)?.get(..HEADER_BYTES + body_len)?;
        let sum = u32::from_le_bytes(frame.get(CHECKSUM_AT..HEADER_BYTES)?.try_into().ok()?);
        (sum == checksum(frame)).then(|| &frame[HEADER_BYTES..])
    }

    /// From the header of a frame; none where it is none of this place.
    fn body_len(&self, bytes: &[u8], at: usize, place: u64) -> Option<usize> {
        let header = bytes.get(at..)?.get(..HEADER_BYTES)?;
        let is_it = header[..4] == MAGIC
            && header[8..16] == self.generation.to_le_bytes()
            && header[16..24] == place.to_le_bytes();
        let len = u32::from_le_bytes(header[4..8].try_into().ok()?);
        is_it.then_some(len as usize)
    }

    /// Whether what does not check at the end has a whole frame behind it.
    fn is_followed(&self, bytes: &[u8]) -> bool {
        self.body_len(bytes, self.at, self.frames).is_some_and(|len| {
            self.frame(bytes, self.at + HEADER_BYTES + len, self.frames + 1)
                .is_some()
        })
    }

    fn damaged(&self) -> Failure {
        Failure::Corrupt(format!("commit {} of the journal is damaged", self.frames))
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Writes and syncs a commit; false, and nothing is written, when there is no place for it.
    pub(super) fn append(&mut self, commit: &Commit) -> Result<bool, Failure> {
        if self.at + HEADER_BYTES + encoded_len(commit) > self.bytes_max {
            return Ok(false);
        }
        self.buffer.clear();
        self.buffer.extend(MAGIC);
        self.buffer.extend([0; 4]);
        self.buffer.extend(self.generation.to_le_bytes());
        self.buffer.extend(self.frames.to_le_bytes());
        self.buffer.extend([0; 4]);
        encode(commit, &mut self.buffer);
        let end = self.buffer.len();
        let body_len = (end - HEADER_BYTES) as u32;
        self.buffer[4..8].copy_from_slice(&body_len.to_le_bytes());
        let sum = checksum(&self.buffer);
        self.buffer[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        if self.at + end > self.len {
            let grown = (self.at + end).next_multiple_of(GROWTH_BYTES);
            self.buffer.resize(grown - self.at, 0);
        }
        self.file.write(self.at as u64, &self.buffer)?;
        self.file.sync_data()?;
        self.len = self.len.max(self.at + self.buffer.len());
        self.at += end;
        self.frames += 1;
        Ok(true)
    }

    /// The tables have what is in it, and named the next generation.
    pub(super) fn begin(&mut self, generation: u64) {
        (self.generation, self.frames, self.at) = (generation, 0, 0);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
    }

    /// Forgets whatever a file holds: it belongs to tables that are no longer there.
    pub(super) fn erase(file: &Backend) -> Result<(), Failure> {
        if file.len()? > 0 {
            file.set_len(0)?;
            file.sync_data()?;
        }
        Ok(())
    }
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..CHECKSUM_AT]);
    hasher.update(&frame[HEADER_BYTES..]);
    hasher.finalize()
}

// === encoding: the point of compaction, leases, then rows, each with its id and length ===

fn encoded_len(commit: &Commit) -> usize {
    let events = commit.batches.iter().flat_map(|batch| &batch.events);
    let rows: usize = events.map(|event| 12 + Row::of(event).encoded_len()).sum();
    20 + 16 * commit.leases.len() + rows
}

fn encode(commit: &Commit, out: &mut Vec<u8>) {
    let (at, revision) = commit.compacted.map_or((0, 0), |point| (point.at.0, point.revision.0));
    out.extend(at.to_le_bytes());
    out.extend(revision.to_le_bytes());
    out.extend((commit.leases.len() as u32).to_le_bytes());
    for (lease, seconds) in &commit.leases {
        out.extend(lease.to_le_bytes());
        // A lease of no seconds is never granted.
        out.extend(seconds.unwrap_or(0).to_le_bytes());
    }
    for batch in &commit.batches {
        for (index, event) in batch.events.iter().enumerate() {
            let row = Row::of(event);
            out.extend(RowId::new(batch.revision, index).0.to_le_bytes());
            out.extend((row.encoded_len() as u32).to_le_bytes());
            let start = out.len();
            out.resize(start + row.encoded_len(), 0);
            row.encode(&mut out[start..]);
        }
    }
}

/// None when the bytes are no commit.
fn decode(body: &[u8]) -> Option<Commit> {
    let mut rest = body;
    let mut commit = Commit::default();
    let (at, revision) = (Revision(number(&mut rest)?), Revision(number(&mut rest)?));
    if revision.0 != 0 {
        commit.compacted = Some(Compacted { at, revision });
    }
    for _ in 0..length(&mut rest)? {
        let (lease, seconds) = (number(&mut rest)? as i64, number(&mut rest)?);
        commit
            .leases
            .insert(lease, Some(seconds).filter(|seconds| *seconds > 0));
    }
    let mut batches: Vec<Batch> = Vec::new();
    while !rest.is_empty() {
        let id = RowId(number(&mut rest)?);
        let len = length(&mut rest)?;
        let event = row::event(id, take(&mut rest, len)?)?;
        match batches.last_mut().filter(|batch| batch.revision == id.revision()) {
            Some(batch) => batch.events.push(event),
            None => batches.push(Batch {
                revision: id.revision(),
                events: vec![event],
            }),
        }
    }
    commit.batches = batches.into_iter().map(Arc::new).collect();
    Some(commit)
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?))
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?) as usize)
}
