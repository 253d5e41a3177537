//! The journal: commits that are durable and not in the tables yet. A commit costs one write and one sync of a few
//! contiguous blocks here, where the tables cost a write for each page that they copy.
//!
//! Two files take turns: while the tables take over the frames of one, which takes long, commits go to the other. Each turn is
//! a generation, written from the beginning of its file over what was there. The tables name the generation that they do not
//! have yet, all of it; the next one may have begun, a third one not. Overwriting instead of lengthening spares the file
//! system its own journal.
//!
//! A frame that does not check is the end: it was torn by a loss of power, and nobody was told of it. Only if a whole frame
//! follows it, in its file or at the beginning of the next generation, was it written to its end once, and then it is damage.

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

/// Magic, length of the body, generation, place in the row of frames through all generations, checksum of all that and of the
/// body; little endian.
const HEADER_BYTES: usize = 4 + 4 + 8 + 8 + 4;

const MAGIC: [u8; 4] = *b"kvj1";

/// Where a frame's checksum is.
const CHECKSUM_AT: usize = HEADER_BYTES - 4;

/// The open files, and where the next frame goes.
pub(super) struct Journal {
    /// A generation's is the one of its parity.
    files: [File; 2],
    /// Bytes of frames in one generation. Larger commits go to the tables at once.
    bytes_max: usize,
    generation: u64,
    /// Place of the next frame. Generations go on counting where those before them ended.
    place: u64,
    at: usize,
    buffer: Vec<u8>,
}

struct File {
    backend: Backend,
    len: usize,
}

/// What a journal holds, by generation.
pub(super) struct Recovered {
    /// Of the generation that the tables named, if another one has begun since.
    pub closed: Vec<Commit>,
    /// Of the last one.
    pub open: Vec<Commit>,
}

/// Reads the frames of one generation in a row.
struct Frames<'b> {
    bytes: &'b [u8],
    generation: u64,
    /// Of the next frame; none: it tells itself.
    place: Option<u64>,
    at: usize,
    commits: Vec<Commit>,
}

// === impl Journal ===

impl Journal {
    /// Reads what the tables do not have, which is all from a generation on. Writes nothing.
    pub(super) fn open(
        files: [Backend; 2],
        generation: u64,
        bytes_max: usize,
    ) -> Result<(Journal, Recovered), Failure> {
        let contents = [files[0].content()?, files[1].content()?];
        let content = |generation: u64| &contents[turn(generation)][..];
        let first = Frames::read(content(generation), generation, None)?;
        let next = Frames::read(content(generation + 1), generation + 1, None)?;
        let (last, generation, closed) = match next.commits.is_empty() {
            true => (first, generation, Vec::new()),
            false if next.follows(&first) => (next, generation + 1, first.commits),
            false => return Err(first.damaged()),
        };
        let files = files.map(|backend| File { backend, len: 0 });
        let mut journal = Journal {
            files,
            bytes_max,
            generation,
            place: last.place.unwrap_or(0),
            at: last.at,
            buffer: Vec::new(),
        };
        for (file, content) in journal.files.iter_mut().zip(&contents) {
            file.len = content.len();
        }
        let open = last.commits;
        Ok((journal, Recovered { closed, open }))
    }

    /// Bytes of the files.
    pub(super) fn len(&self) -> u64 {
        self.files.iter().map(|file| file.len as u64).sum()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a commit is one for the journal at all.
    pub(super) fn admits(&self, commit: &Commit) -> bool {
        HEADER_BYTES + encoded_len(commit) <= self.bytes_max
    }

    /// Whether this generation has no place for a commit any more.
    pub(super) fn is_full_for(&self, commit: &Commit) -> bool {
        self.at + HEADER_BYTES + encoded_len(commit) > self.bytes_max
    }

    /// Writes and syncs a commit.
    pub(super) fn append(&mut self, commit: &Commit) -> Result<(), Failure> {
        self.buffer.clear();
        self.buffer.extend(MAGIC);
        self.buffer.extend([0; 4]);
        self.buffer.extend(self.generation.to_le_bytes());
        self.buffer.extend(self.place.to_le_bytes());
        self.buffer.extend([0; 4]);
        encode(commit, &mut self.buffer);
        let end = self.buffer.len();
        let body_len = (end - HEADER_BYTES) as u32;
        self.buffer[4..8].copy_from_slice(&body_len.to_le_bytes());
        let sum = checksum(&self.buffer);
        self.buffer[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        let file = &mut self.files[turn(self.generation)];
        if self.at + end > file.len {
            let grown = (self.at + end).next_multiple_of(GROWTH_BYTES);
            self.buffer.resize(grown - self.at, 0);
        }
        file.backend.write(self.at as u64, &self.buffer)?;
        file.backend.sync_data()?;
        file.len = file.len.max(self.at + self.buffer.len());
        self.at += end;
        self.place += 1;
        Ok(())
    }

    /// Begins another generation, over the frames of the one before this: the tables must have them.
    pub(super) fn begin(&mut self, generation: u64) {
        (self.generation, self.at) = (generation, 0);
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

/// Which of the files a generation is in.
fn turn(generation: u64) -> usize {
    (generation % 2) as usize
}

// === impl Backend ===

impl Backend {
    fn content(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; usize::try_from(self.len()?).unwrap_or(usize::MAX)];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }
}

// === impl Frames ===

impl<'b> Frames<'b> {
    fn read(bytes: &'b [u8], generation: u64, place: Option<u64>) -> Result<Frames<'b>, Failure> {
        let mut frames = Frames {
            bytes,
            generation,
            place,
            at: 0,
            commits: Vec::new(),
        };
        while let Some((place, body)) = frames.frame(frames.at, frames.place) {
            frames.commits.push(decode(body).ok_or_else(|| frames.damaged())?);
            frames.at += HEADER_BYTES + body.len();
            frames.place = place.checked_add(1);
        }
        match frames.is_followed() {
            true => Err(frames.damaged()),
            false => Ok(frames),
        }
    }

    /// Whether the first frame is the one behind the last of an earlier generation: nothing is missing in between.
    fn follows(&self, earlier: &Frames<'_>) -> bool {
        let first = self
            .place
            .and_then(|place| place.checked_sub(self.commits.len() as u64));
        first == earlier.place
    }

    /// The place and body of a frame that checks.
    fn frame(&self, at: usize, place: Option<u64>) -> Option<(u64, &'b [u8])> {
        let (place, body_len) = self.header(at, place)?;
        let frame = self.bytes.get(at..)?.get(..HEADER_BYTES + body_len)?;
        let sum = u32::from_le_bytes(frame.get(CHECKSUM_AT..HEADER_BYTES)?.try_into().ok()?);
        (sum == checksum(frame)).then(|| (place, &frame[HEADER_BYTES..]))
    }

    /// A frame's place, and the length of its body; none where it is none of this place.
    fn header(&self, at: usize, place: Option<u64>) -> Option<(u64, usize)> {
        let header = self.bytes.get(at..)?.get(..HEADER_BYTES)?;
        let found = u64::from_le_bytes(header[16..24].try_into().ok()?);
        let is_it = header[..4] == MAGIC
            && header[8..16] == self.generation.to_le_bytes()
            && place.is_none_or(|place| place == found);
        let len = u32::from_le_bytes(header[4..8].try_into().ok()?);
        is_it.then_some((found, len as usize))
    }

    /// Whether what does not check at the end has a whole frame behind it.
    fn is_followed(&self) -> bool {
        self.header(self.at, self.place).is_some_and(|(place, len)| {
            let behind = self.at.saturating_add(HEADER_BYTES + len);
            self.frame(behind, place.checked_add(1)).is_some()
        })
    }

    fn damaged(&self) -> Failure {
        Failure::Corrupt(format!(
            "commit {} of the journal is damaged",
            self.place.unwrap_or_default()
        ))
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
