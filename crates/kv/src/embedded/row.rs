//! What one change looks like on disk, and what numbers it.

use crate::{Event, KeyValue, Revision};
use bytes::Bytes;

/// Bits of a [`RowId`] that number the changes of one revision. What is left counts revisions: 2⁴⁴, enough for 10,000
/// writes a second during fifty years.
const CHANGE_BITS: u32 = 20;

/// The most changes that one revision can have. Transactions are far below; the end of a lease is cut into pieces.
pub(super) const CHANGES_MAX: usize = 1 << CHANGE_BITS;

/// Kind, create revision, version, lease, length of the key; little endian.
const HEADER_BYTES: usize = 1 + 8 + 8 + 8 + 4;

const KIND_PUT: u8 = 0;
const KIND_DELETE: u8 = 1;

/// A change's place in history: its revision, then its place in the revision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RowId(pub u64);

/// A row's header and where its key and value are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row<'a> {
    pub is_put: bool,
    pub create_revision: u64,
    pub version: u64,
    pub lease: i64,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

// === impl RowId ===

impl RowId {
    /// The id of the `index`-th change of a revision.
    pub(super) fn new(revision: Revision, index: usize) -> RowId {
        debug_assert!(index < CHANGES_MAX);
        RowId(revision.0 << CHANGE_BITS | index as u64)
    }

    /// The id below every change of a revision.
    pub(super) fn first(revision: Revision) -> RowId {
        RowId::new(revision, 0)
    }

    pub(super) fn revision(self) -> Revision {
        Revision(self.0 >> CHANGE_BITS)
    }

    /// The place in the revision.
    pub(super) fn index(self) -> usize {
        (self.0 & (CHANGES_MAX as u64 - 1)) as usize
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    pub(super) fn of(event: &'a Event) -> Row<'a> {
        match event {
            Event::Put { kv } => Row {
                is_put: true,
                create_revision: kv.create_revision.0,
                version: kv.version,
                lease: kv.lease,
                key: &kv.key,
                value: &kv.value,
            },
            Event::Delete { key, .. } => Row {
                is_put: false,
                create_revision: 0,
                version: 0,
                lease: 0,
                key,
                value: &[],
            },
        }
    }

    pub(super) fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.key.len() + self.value.len()
    }

    /// Writes the row into exactly [`Row::encoded_len`] bytes.
    pub(super) fn encode(&self, out: &mut [u8]) {
        let (header, rest) = out.split_at_mut(HEADER_BYTES);
        header[0] = if self.is_put { KIND_PUT } else { KIND_DELETE };
        header[1..9].copy_from_slice(&self.create_revision.to_le_bytes());
        header[9..17].copy_from_slice(&self.version.to_le_bytes());
        header[17..25].copy_from_slice(&self.lease.to_le_bytes());
        header[25..29].copy_from_slice(&(self.key.len() as u32).to_le_bytes());
        let (key, value) = rest.split_at_mut(self.key.len());
        key.copy_from_slice(self.key);
        value.copy_from_slice(self.value);
    }

    /// None when the bytes are no row.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Row<'a>> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let is_put = match *bytes.first()? {
            KIND_PUT => true,
            KIND_DELETE => false,
            _ => return None,
        };
        let key_len = u32::from_le_bytes(bytes.get(25..29)?.try_into().ok()?) as usize;
        let (key, value) = bytes.get(HEADER_BYTES..)?.split_at_checked(key_len)?;
        Some(Row {
            is_put,
            create_revision: number(1)?,
            version: number(9)?,
            lease: number(17)? as i64,
            key,
            value,
        })
    }
}

/// The change of a row that was read from disk. Key and value share one allocation.
pub(super) fn event(id: RowId, bytes: &[u8]) -> Option<Event> {
    let row = Row::decode(bytes)?;
    let (is_put, create_revision, version, lease) = (row.is_put, row.create_revision, row.version, row.lease);
    let key_len = row.key.len();
    let mut key = Bytes::copy_from_slice(&bytes[HEADER_BYTES..]);
    let value = key.split_off(key_len);
    let mod_revision = id.revision();
    Some(match is_put {
        false => Event::Delete { key, mod_revision },
        true => {
            let create_revision = Revision(create_revision);
            Event::Put {
                kv: KeyValue {
                    key,
                    value,
                    create_revision,
                    mod_revision,
                    version,
                    lease,
                },
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(event: &Event) -> Vec<u8> {
        let row = Row::of(event);
        let mut bytes = vec![0xAA; row.encoded_len()];
        row.encode(&mut bytes);
        bytes
    }

    #[test]
    fn round_trips() {
        let (key, value) = (Bytes::from("key"), Bytes::from("value"));
        let (create_revision, mod_revision) = (Revision(3), Revision(9));
        let put = Event::Put {
            kv: KeyValue {
                key,
                value,
                create_revision,
                mod_revision,
                version: 7,
                lease: -1,
            },
        };
        let delete = Event::Delete {
            key: "gone".into(),
            mod_revision,
        };
        for change in [put, delete] {
            assert_eq!(event(RowId::new(Revision(9), 3), &encoded(&change)), Some(change));
        }
    }

    #[test]
    fn refuses_what_is_no_row() {
        let bytes = encoded(&Event::Delete {
            key: "gone".into(),
            mod_revision: Revision(1),
        });
        assert!((0..bytes.len()).all(|len| Row::decode(&bytes[..len]).is_none()));
        let mut unknown = bytes;
        unknown[0] = 9;
        assert!(Row::decode(&unknown).is_none());
    }

    #[test]
    fn ids_ascend_with_revision_then_place() {
        let id = RowId::new(Revision(5), 4);
        assert!(RowId::new(Revision(4), CHANGES_MAX - 1) < id && id < RowId::new(Revision(5), 5));
        assert_eq!((id.revision(), id.index()), (Revision(5), 4));
    }
}
