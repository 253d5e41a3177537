//! Events of a watch, read from the shard's stream of lines.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use fabric::upstream::Answer;
use http_body::Body as _;
use machinery::json;
use machinery::object::ObjectExt;
use machinery::status::Status;
use registry::{EventStream, Item, WatchEvent};
use serde_json::Value;

/// A stream that ends when the shard ends it, or is gone.
pub struct Events {
    body: Answer,
    buffer: BytesMut,
    /// How much of the buffer was looked through for the end of a line.
    searched: usize,
    revision: u64,
    /// Whether the client wants to hear how far the stream is.
    bookmarks: bool,
    ended: bool,
}

/// What a line says.
enum Line {
    Event(WatchEvent),
    /// Nothing that is to be told.
    Quiet,
}

/// Of one event: some times what an object may have.
const LINE_BYTES_MAX: usize = 64 << 20;

const INITIAL_END: &str = "k8s.io/initial-events-end";

// === impl Events ===

impl Events {
    pub fn new(body: Answer, bookmarks: bool) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
            revision: 0,
            bookmarks,
            ended: false,
        }
    }

    /// The next whole line of the buffer, read.
    fn take_line(&mut self) -> Option<Line> {
        let rest = self.buffer.get(self.searched..)?;
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at + 1);
        self.searched = 0;
        Some(self.read(&line))
    }

    /// What is there of events.
    fn take_event(&mut self) -> Option<WatchEvent> {
        while !self.ended {
            match self.take_line()? {
                Line::Quiet => {}
                Line::Event(event) => return Some(event),
            }
        }
        None
    }

    fn read(&mut self, line: &[u8]) -> Line {
        if line.trim_ascii().is_empty() {
            return Line::Quiet;
        }
        let Ok(mut event) = json::decode_stored(line) else {
            return self.fail("the shard sends what is no event");
        };
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        let kind = event.str_at(&["type"]).unwrap_or_default();
        if kind == "ERROR" {
            let status = Status::from_value(&object);
            self.ended = true;
            return Line::Event(WatchEvent::Failed(
                status.unwrap_or_else(|| Status::internal("the shard ends the watch")),
            ));
        }
        let Ok(revision) = object.resource_version().parse() else {
            return self.fail("the shard sends an event without a revision");
        };
        self.revision = self.revision.max(revision);
        if kind == "BOOKMARK" {
            let initial_end = object.annotation(INITIAL_END) == Some("true");
            return match self.bookmarks {
                true => Line::Event(WatchEvent::Bookmark { revision, initial_end }),
                false => Line::Quiet,
            };
        }
        let item = Item::Built(Arc::new(object));
        match kind {
            "ADDED" => Line::Event(WatchEvent::Added(item)),
            "MODIFIED" => Line::Event(WatchEvent::Modified(item)),
            "DELETED" => Line::Event(WatchEvent::Deleted { item, revision }),
            _ => self.fail("the shard sends an event of no known type"),
        }
    }

    /// An event that is left out would be missed for good: the client has to begin again.
    fn fail(&mut self, why: &str) -> Line {
        self.ended = true;
        Line::Event(WatchEvent::Failed(Status::internal(why)))
    }
}

impl EventStream for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        loop {
            if let Some(event) = self.take_event() {
                return Poll::Ready(Some(event));
            }
            if self.ended || self.buffer.len() > LINE_BYTES_MAX {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
                // The shard is gone, or has ended it: clients take a watch up where it was.
                Poll::Ready(None | Some(Err(_))) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn ready(&mut self) -> Option<WatchEvent> {
        self.take_event()
    }

    fn revision(&mut self) -> u64 {
        self.revision
    }
}
