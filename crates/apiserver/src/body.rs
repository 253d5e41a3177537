//! Bodies of requests and responses.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use machinery::status::{Result, Status};

/// What a handler answers with. Whole bodies go out as one frame, with a length.
pub struct Body(Inner);

enum Inner {
    Empty,
    Full(Bytes),
    /// Chunks that are made when they are sent. The number is how many bytes are left of them.
    Chunks(Box<dyn Iterator<Item = Bytes> + Send>, u64),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
    /// Of another server: forwarded answers, gRPC with its trailers.
    Foreign(UnsyncBoxBody<Bytes, io::Error>),
}

/// A stream of lines that another server goes on with for ever: over between two of them, once the end has come.
struct Endless<B, F> {
    body: B,
    end: Pin<Box<F>>,
    is_over: bool,
    is_between_lines: bool,
}

/// What a client sends.
pub enum RequestBody {
    Incoming(hyper::body::Incoming),
    Full(Bytes),
}

/// What all request bodies together may take. Over it, requests are told to come back: waiting for room would let slow
/// senders hold up everybody.
pub struct BodyBudget {
    bytes_max: usize,
    used: AtomicUsize,
}

/// A body, and its part of the budget until it is dropped.
pub struct HeldBody<'a> {
    pub bytes: Bytes,
    _part: Part<'a>,
}

struct Part<'a> {
    budget: &'a BodyBudget,
    bytes: usize,
}

// === impl Body ===

impl Body {
    pub fn empty() -> Self {
        Self(Inner::Empty)
    }

    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Full(bytes.into()))
    }

    /// Chunks of `len` bytes together, each made when the one before has been taken.
    pub fn chunks(chunks: impl Iterator<Item = Bytes> + Send + 'static, len: u64) -> Self {
        Self(Inner::Chunks(Box::new(chunks), len))
    }

    /// A body without end of its own; each item is flushed.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Inner::Stream(Box::pin(stream)))
    }

    pub fn foreign<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Inner::Foreign(body.map_err(io::Error::other).boxed_unsync()))
    }

    /// The same for what has no end of its own, such as a forwarded watch: when `end` has come it ends with the line that is
    /// under way, so that who reads it sees a stream that is over and not one that was cut.
    pub fn foreign_until<B, F>(body: B, end: F) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::foreign(Endless {
            body,
            end: Box::pin(end),
            is_over: false,
            is_between_lines: true,
        })
    }

    /// Bytes, where they are known beforehand.
    pub fn len(&self) -> Option<u64> {
        match &self.0 {
            Inner::Empty => Some(0),
            Inner::Full(bytes) => Some(bytes.len() as u64),
            Inner::Chunks(_, len) => Some(*len),
            Inner::Stream(_) | Inner::Foreign(_) => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The bytes of a body of known length, copied together where it is in chunks; else the body itself.
    pub(crate) fn into_whole(self) -> Result<Bytes, Self> {
        match self.0 {
            Inner::Empty => Ok(Bytes::new()),
            Inner::Full(bytes) => Ok(bytes),
            Inner::Chunks(chunks, len) => {
                let mut whole = BytesMut::with_capacity(usize::try_from(len).unwrap_or_default());
                chunks.for_each(|chunk| whole.extend_from_slice(&chunk));
                Ok(whole.freeze())
            }
            other => Err(Self(other)),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Inner::Empty => Poll::Ready(None),
            Inner::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Inner::Chunks(chunks, left) => Poll::Ready(chunks.next().map(|chunk| {
                *left = left.saturating_sub(chunk.len() as u64);
                Ok(Frame::data(chunk))
            })),
            Inner::Stream(stream) => stream
                .as_mut()
                .poll_next(cx)
                .map(|item| item.map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Foreign(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Foreign(body) => body.is_end_stream(),
            _ => self.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.0, self.len()) {
            (_, Some(len)) => SizeHint::with_exact(len),
            (Inner::Foreign(body), None) => body.size_hint(),
            (_, None) => SizeHint::default(),
        }
    }
}

// === impl Endless ===

impl<B, F> http_body::Body for Endless<B, F>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    F: Future<Output = ()>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let endless = self.get_mut();
        endless.is_over = endless.is_over || endless.end.as_mut().poll(cx).is_ready();
        if endless.is_over && endless.is_between_lines {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut endless.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(last) = frame.data_ref().and_then(|data| data.last())
        {
            endless.is_between_lines = *last == b'\n';
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// The whole body, if it is not larger than `bytes_max` (413) and there is room for it (429).
    pub async fn read(self, bytes_max: usize, budget: &BodyBudget) -> Result<HeldBody<'_>> {
        let mut part = Part { budget, bytes: 0 };
        let mut incoming = match self {
            Self::Full(bytes) if bytes.len() > bytes_max => return Err(too_large(bytes_max)),
            Self::Full(bytes) => return Ok(HeldBody { bytes, _part: part }),
            Self::Incoming(incoming) => incoming,
        };
        if let Some(len) = incoming.size_hint().exact().filter(|len| *len > bytes_max as u64) {
            if len <= 2 * bytes_max as u64 {
                discard(incoming, bytes_max).await;
            }
            return Err(too_large(bytes_max));
        }
        // Most bodies are one frame: that one is handed on as it is. What was announced is a claim and reserves nothing.
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > bytes_max {
                discard(incoming, bytes_max).await;
                return Err(too_large(bytes_max));
            }
            part.grow(data.len())?;
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        let bytes = if rest.is_empty() { first } else { rest.freeze() };
        Ok(HeldBody { bytes, _part: part })
    }
}

// === impl HeldBody ===

impl HeldBody<'_> {
    /// The same bytes for who reads it next; they stay in the budget as long as this is there.
    pub fn again(&self) -> RequestBody {
        RequestBody::Full(self.bytes.clone())
    }
}

// === impl BodyBudget ===

impl BodyBudget {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes that are held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

// === impl Part ===

impl Part<'_> {
    fn grow(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        match before + bytes > self.budget.bytes_max {
            true => Err(Status::too_many_requests(
                "the server holds too many request bodies, please try again later",
                1,
            )),
            false => Ok(()),
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map_err(io::Error::other),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Full(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Kubernetes' text.
/// Reads on for a while: who still writes when the connection is closed may never see the answer (HTTP/1 over TCP). Go's
/// server does so, too.
async fn discard(mut incoming: hyper::body::Incoming, bytes_max: usize) {
    let mut left = 2 * bytes_max;
    while let Some(Ok(frame)) = incoming.frame().await {
        let len = frame.data_ref().map_or(0, Bytes::len);
        if len > left {
            return;
        }
        left -= len;
    }
}

fn too_large(bytes_max: usize) -> Status {
    Status::too_large(format!("Request entity too large: limit is {bytes_max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_are_made_when_they_are_taken_and_have_a_length() {
        let made = std::sync::Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let chunks = ["ab", "cd"].into_iter().map(move |chunk| {
            count.fetch_add(1, Ordering::Relaxed);
            Bytes::from_static(chunk.as_bytes())
        });
        let mut body = Body::chunks(chunks, 4);
        assert_eq!((body.size_hint().exact(), made.load(Ordering::Relaxed)), (Some(4), 0));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        assert_eq!((body.size_hint().exact(), made.load(Ordering::Relaxed)), (Some(2), 1));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "cd");
        assert!(body.is_end_stream());
        let body = Body::chunks([Bytes::from_static(b"abcd")].into_iter(), 4);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
        assert_eq!(Body::full("xy").collect().await.unwrap().to_bytes(), "xy");
        assert!(Body::empty().is_end_stream());
    }

    #[tokio::test]
    async fn what_has_no_end_ends_between_two_lines() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let text = receiver.recv().await?;
            Some((Bytes::from_static(text.as_bytes()), receiver))
        });
        let mut body = Body::foreign_until(Body::stream(lines), async move { drop(ended.await) });
        let next = async |body: &mut Body| body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
        sender.send("one\ntw").unwrap();
        assert_eq!(next(&mut body).await.unwrap(), "one\ntw");
        end.send(()).unwrap();
        sender.send("o").unwrap();
        sender.send("\n").unwrap();
        sender.send("three\n").unwrap();
        assert_eq!(next(&mut body).await.unwrap(), "o");
        assert_eq!(next(&mut body).await.unwrap(), "\n");
        assert_eq!(next(&mut body).await, None, "the line is whole");
    }

    #[tokio::test]
    async fn refuses_more_than_the_limit() {
        let budget = BodyBudget::new(100);
        let body = RequestBody::Full(Bytes::from_static(b"12345"));
        let refused = body.read(4, &budget).await.err().unwrap();
        assert_eq!(refused.message, "Request entity too large: limit is 4");
        let body = RequestBody::Full(Bytes::from_static(b"1234"));
        assert_eq!(body.read(4, &budget).await.ok().unwrap().bytes, "1234");
    }

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let budget = BodyBudget::new(10);
        let mut first = Part {
            budget: &budget,
            bytes: 0,
        };
        first.grow(8).unwrap();
        let mut second = Part {
            budget: &budget,
            bytes: 0,
        };
        assert_eq!(second.grow(3).unwrap_err().code, 429);
        drop((first, second));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
