//! Requests and answers in etcd's form, below a prefix.

use crate::{
    Batch, Error, Event, Guard, KeyValue, Op, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome, prefix_end,
};
use bytes::Bytes;
use etcd_client::{
    Compare, CompareOp, EventType, GetOptions, GetResponse, PutOptions, TxnOp, TxnOpResponse, TxnResponse, WatchOptions,
};
use std::sync::Arc;

/// etcd's way to say "to the end of all keys".
const NO_END: &[u8] = &[0];

/// Prepended to every key.
#[derive(Clone, Debug)]
pub(super) struct Prefix(Bytes);

/// etcd counts in signed numbers.
pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// No count of etcd's is negative.
pub(super) fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

// === impl Prefix ===

impl Prefix {
    pub(super) fn new(prefix: &str) -> Prefix {
        Prefix(Bytes::copy_from_slice(prefix.as_bytes()))
    }

    pub(super) fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.0[..], key].concat()
    }

    fn strip(&self, key: &[u8]) -> Result<Bytes, Error> {
        let stripped = key.strip_prefix(&self.0[..]);
        stripped
            .map(Bytes::copy_from_slice)
            .ok_or_else(|| Error::Corrupt("etcd answered with a foreign key".to_owned()))
    }

    /// The first key, and the end in etcd's way.
    fn bounds(&self, start: &[u8], end: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut start = self.key(start);
        if start.is_empty() {
            // etcd has no empty key; this is the first it can have.
            start = vec![0];
        }
        let end = match end.is_empty() {
            false => self.key(end),
            true => prefix_end(&self.0).to_vec(),
        };
        (start, if end.is_empty() { NO_END.to_vec() } else { end })
    }

    pub(super) fn range(&self, request: &RangeRequest) -> (Vec<u8>, GetOptions) {
        let (start, end) = self.bounds(&request.start, &request.end);
        let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
        let mut options = GetOptions::new().with_range(end).with_limit(limit);
        if let Some(revision) = request.revision {
            options = options.with_revision(to_i64(revision.0));
        }
        if request.keys_only {
            options = options.with_keys_only();
        }
        if request.count_only {
            options = options.with_count_only();
        }
        (start, options)
    }

    pub(super) fn range_response(
        &self,
        request: &RangeRequest,
        mut found: GetResponse,
    ) -> Result<RangeResponse, Error> {
        let revision = revision(found.header())?;
        let more = found.more() && !request.count_only;
        let count = to_u64(found.count());
        let kvs = found
            .take_kvs()
            .into_iter()
            .map(|kv| self.key_value(kv))
            .collect::<Result<_, _>>()?;
        Ok(RangeResponse {
            kvs,
            more,
            count,
            revision,
        })
    }

    fn key_value(&self, kv: etcd_client::KeyValue) -> Result<KeyValue, Error> {
        let (create_revision, mod_revision) = (to_u64(kv.create_revision()), to_u64(kv.mod_revision()));
        let (version, lease) = (to_u64(kv.version()), kv.lease());
        let (key, value) = kv.into_key_value();
        Ok(KeyValue {
            key: self.strip(&key)?,
            value: value.into(),
            create_revision: Revision(create_revision),
            mod_revision: Revision(mod_revision),
            version,
            lease,
        })
    }

    pub(super) fn txn(&self, txn: &Txn) -> etcd_client::Txn {
        let compare = |Guard::ModRevision { key, revision }: &Guard| {
            Compare::mod_revision(self.key(key), CompareOp::Equal, to_i64(revision.0))
        };
        let change = |op: &Op| match op {
            Op::Put { key, value, lease } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(self.key(key), &value[..], options)
            }
            Op::Delete { key } => TxnOp::delete(self.key(key), None),
        };
        let read = |guard: &Guard| TxnOp::get(self.key(guard.key()), None);
        etcd_client::Txn::new()
            .when(txn.guards.iter().map(compare).collect::<Vec<_>>())
            .and_then(txn.ops.iter().map(change).collect::<Vec<_>>())
            .or_else(txn.guards.iter().map(read).collect::<Vec<_>>())
    }

    pub(super) fn txn_outcome(&self, response: TxnResponse) -> Result<TxnOutcome, Error> {
        let revision = revision(response.header())?;
        if response.succeeded() {
            return Ok(TxnOutcome::Committed(revision));
        }
        let found = response.op_responses().into_iter().map(|found| match found {
            TxnOpResponse::Get(mut found) => found.take_kvs().pop().map(|kv| self.key_value(kv)).transpose(),
            _ => Err(Error::Corrupt("etcd answered a read with something else".to_owned())),
        });
        Ok(TxnOutcome::Conflict {
            current: found.collect::<Result<_, _>>()?,
            revision,
        })
    }

    /// A watch of all keys. It begins with `from` itself, although that was seen: etcd refuses a start before its compacted
    /// revision, and a reader that has seen all up to that revision misses nothing.
    pub(super) fn watch(&self, from: Revision) -> (Vec<u8>, WatchOptions) {
        let (start, end) = self.bounds(&[], &[]);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(to_i64(from.0.max(1)));
        (start, options.with_progress_notify())
    }

    /// The events of an answer to a watch, by revision, without those up to `after`.
    pub(super) fn batches(&self, events: &[etcd_client::Event], after: Revision) -> Result<Vec<Arc<Batch>>, Error> {
        let mut batches: Vec<Batch> = Vec::new();
        for event in events {
            let kv = event
                .kv()
                .ok_or_else(|| Error::Corrupt("etcd sent an event without a key".to_owned()))?;
            let revision = Revision(to_u64(kv.mod_revision()));
            if revision <= after {
                continue;
            }
            let event = match event.event_type() {
                EventType::Put => Event::Put {
                    kv: self.key_value(kv.clone())?,
                },
                EventType::Delete => Event::Delete {
                    key: self.strip(kv.key())?,
                    mod_revision: revision,
                },
            };
            match batches.last_mut() {
                Some(batch) if batch.revision == revision => batch.events.push(event),
                _ => batches.push(Batch {
                    revision,
                    events: vec![event],
                }),
            }
        }
        Ok(batches.into_iter().map(Arc::new).collect())
    }
}

/// The store's revision in an answer.
pub(super) fn revision(header: Option<&etcd_client::ResponseHeader>) -> Result<Revision, Error> {
    let header = header.ok_or_else(|| Error::Corrupt("etcd answered without a header".to_owned()))?;
    Ok(Revision(to_u64(header.revision())))
}
