//! Writing less often: what a connection writes in one turn goes out together.
//!
//! HTTP/2 flushes after every frame with data, and its connection is woken by the first of many streams that have something
//! to say: with 50 watches on a connection, an event would cost 50 TLS records and 50 system calls. Here flushing does
//! nothing; when a turn of the connection ends, those who are ready to add something are let run, and then all of it is sent.
//! Small frames are put together into one TLS record; large ones are encrypted from where they are, and wait encrypted.
//!
//! Invariant: nothing stays behind. Whatever was written is being sent when a turn ends, or the next turn is on its way.
//! Invariant: a connection that has nothing to send holds no buffer, and otherwise little more than [`QUEUED_MAX`].

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Write as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use env::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// One full TLS record: with this much to send, nobody else is waited for.
const HELD_MAX: usize = 16 * 1024;

/// Eight of them go into one system call: each wakes the reader, which costs more than the call. (Lists cost 8 % less than
/// with half of it; with twice as much nothing is gained.)
const QUEUED_MAX: usize = 128 * 1024;

/// From this size on, what is written is not put together with others.
const LARGE: usize = 4 * 1024;

/// What is encrypted is copied into its record in pieces of this size. The C library copies longer ones with `rep movsb`,
/// which AMD's processors do several times slower to an address that is not aligned, as that behind a record's head is.
const PIECE_LEN: usize = 2 * 1024;

/// Pieces that are given to TLS at a time.
const PIECES_MAX: usize = 32;

/// A stream whose writes are held back. Clones are the same stream.
pub(crate) struct Gathered<S>(Arc<Mutex<Inner<S>>>);

/// Where the bytes go.
pub(crate) enum Wire<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

struct Inner<S> {
    wire: Wire<S>,
    /// Small writes.
    held: BytesMut,
    /// Bytes that TLS has encrypted and not sent, about.
    queued: usize,
    /// Something was given to the wire since it was flushed.
    is_unflushed: bool,
    /// Sending failed between two of the connection's own attempts; told at the next.
    failed: Option<io::ErrorKind>,
}

// === impl Wire ===

impl<S: Stream> Wire<S> {
    pub(crate) fn tls(mut stream: TlsStream<S>) -> Self {
        // Room for what is queued, and for one write more.
        stream.get_mut().1.set_buffer_limit(Some(4 * QUEUED_MAX));
        Self::Tls(Box::new(stream))
    }

    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Plain(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(&mut **stream),
        }
    }

    /// Encrypts, and sends nothing yet. `None`: there is nothing that could keep it.
    fn queue(&mut self, slices: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
                let given = cut(slices, &mut pieces);
                let given = pieces.get(..given).unwrap_or_default();
                Some(stream.get_mut().1.writer().write_vectored(given))
            }
        }
    }
}

/// Fills `pieces` with the beginning of `slices`; how many there are.
fn cut<'a>(slices: &'a [IoSlice<'_>], pieces: &mut [IoSlice<'a>]) -> usize {
    let all = slices.iter().flat_map(|slice| slice.chunks(PIECE_LEN));
    let places = pieces.iter_mut();
    places
        .zip(all)
        .map(|(place, piece)| *place = IoSlice::new(piece))
        .count()
}

// === impl Gathered ===

impl<S: Stream> Gathered<S> {
    pub(crate) fn new(wire: Wire<S>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            wire,
            held: BytesMut::new(),
            queued: 0,
            is_unflushed: false,
            failed: None,
        })))
    }

    /// Runs a connection that writes to this stream, and sends after each of its turns what it has written.
    pub(crate) async fn turns<T>(&self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let mut has_waited = false;
        poll_fn(|cx| {
            let outcome = connection.as_mut().poll(cx);
            let mut inner = self.0.lock();
            if inner.is_clean() {
                return outcome;
            }
            if outcome.is_pending() && !has_waited && inner.held.len() + inner.queued < HELD_MAX {
                // To the end of the queue of those who are ready: what they add comes along.
                has_waited = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match inner.poll_send(cx) {
                Poll::Ready(Ok(())) => has_waited = false,
                Poll::Ready(Err(error)) => {
                    inner.fail(&error);
                    cx.waker().wake_by_ref();
                }
                Poll::Pending => {}
            }
            // (An ended connection has shut the stream down, unless that failed.)
            outcome
        })
        .await
    }
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Stream> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().wire.stream().poll_read(cx, into)
    }
}

impl<S: Stream> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.lock();
        inner.check()?;
        if inner.queued + inner.held.len() >= QUEUED_MAX {
            ready!(inner.poll_drain(cx))?;
        }
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        if len >= LARGE {
            inner.encrypt_held()?;
            if inner.held.is_empty()
                && let Some(taken) = inner.wire.queue(slices)
            {
                let taken = taken?;
                inner.queued += taken;
                return Poll::Ready(Ok(taken));
            }
        }
        // What does not fit comes back when it has been sent.
        let mut room = QUEUED_MAX.max(inner.held.len() + 1) - inner.held.len();
        let mut written = 0;
        inner.make_room(len.min(room));
        for slice in slices {
            let taken = slice.get(..slice.len().min(room)).unwrap_or_default();
            inner.held.extend_from_slice(taken);
            written += taken.len();
            room -= taken.len();
        }
        if inner.held.len() >= HELD_MAX {
            inner.encrypt_held()?;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The end of the turn flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.lock().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        ready!(inner.poll_send(cx))?;
        inner.wire.stream().poll_shutdown(cx)
    }
}

// === impl Inner ===

impl<S: Stream> Inner<S> {
    fn is_clean(&self) -> bool {
        self.held.is_empty() && self.queued == 0 && !self.is_unflushed
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed = Some(error.kind());
        self.held = BytesMut::new();
        self.queued = 0;
        self.is_unflushed = false;
    }

    fn make_room(&mut self, more: usize) {
        let wanted = self.held.len() + more;
        if wanted > self.held.capacity() {
            // Grown to its full size at once where much is written: each growth would copy.
            let capacity = if wanted > LARGE {
                wanted.max(HELD_MAX + LARGE)
            } else {
                wanted
            };
            self.held.reserve(capacity - self.held.len());
        }
    }

    /// Makes records of what is held, where there is TLS to keep them.
    fn encrypt_held(&mut self) -> io::Result<()> {
        while !self.held.is_empty()
            && let Some(taken) = self.wire.queue(&[IoSlice::new(&self.held)])
        {
            let taken = taken?;
            if taken == 0 {
                // Full: it is drained first.
                break;
            }
            self.queued += taken;
            self.consume(taken);
        }
        Ok(())
    }

    fn consume(&mut self, bytes: usize) {
        if bytes == self.held.len() {
            // The room is used again within the turn.
            self.held.clear();
        } else {
            self.held.advance(bytes);
        }
    }

    /// Gives the wire all that is held, and the network what it has room for.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.encrypt_held()?;
        if self.queued > 0 {
            self.is_unflushed = true;
            // Flushing TLS sends what it has queued, and waits for nothing else.
            ready!(self.wire.stream().poll_flush(cx))?;
            self.queued = 0;
        }
        while !self.held.is_empty() {
            let sent = ready!(self.wire.stream().poll_write(cx, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_unflushed = true;
            self.consume(sent);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(self.wire.stream().poll_flush(cx))?;
        self.is_unflushed = false;
        self.held = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Counts the writes that reach it.
    struct Counted(DuplexStream, Arc<Mutex<usize>>);

    impl AsyncRead for Counted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, into)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, bytes))?;
            *self.1.lock() += 1;
            Poll::Ready(Ok(written))
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn pipe(room: usize) -> (Gathered<Counted>, DuplexStream, Arc<Mutex<usize>>) {
        let (near, far) = duplex(room);
        let writes = Arc::new(Mutex::new(0));
        (Gathered::new(Wire::Plain(Counted(near, writes.clone()))), far, writes)
    }

    #[test]
    fn what_is_encrypted_is_cut_into_short_pieces() {
        let (head, body) = ([1; 9], [2; 16_375]);
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let slices = [IoSlice::new(&head), IoSlice::new(&[]), IoSlice::new(&body)];
        let given = cut(&slices, &mut pieces);
        assert!(
            pieces[..given]
                .iter()
                .all(|piece| (1..=PIECE_LEN).contains(&piece.len()))
        );
        let together: Vec<u8> = pieces[..given].iter().flat_map(|piece| piece.iter().copied()).collect();
        assert_eq!(together, [&head[..], &body[..]].concat());
        let long = vec![3; 2 * PIECES_MAX * PIECE_LEN];
        let slices = [IoSlice::new(&long)];
        assert_eq!(cut(&slices, &mut pieces), PIECES_MAX, "the rest comes back");
    }

    #[tokio::test]
    async fn what_many_say_in_one_turn_is_written_once() {
        let (stream, mut far, writes) = pipe(1 << 20);
        let mut said = stream.clone();
        let connection = async move {
            for _ in 0..50 {
                said.write_all(&[b'x'; 1000]).await.unwrap();
                said.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let reader = async {
            let mut got = vec![0; 50_000];
            far.read_exact(&mut got).await.unwrap();
        };
        tokio::select! {
            () = stream.turns(connection) => {}
            () = reader => {}
        }
        assert_eq!(*writes.lock(), 1);
        assert_eq!(
            stream.0.lock().held.capacity(),
            0,
            "no buffer while there is nothing to send"
        );
    }

    #[tokio::test]
    async fn who_is_ready_adds_to_what_is_sent() {
        let (stream, mut far, writes) = pipe(1 << 20);
        let (to_connection, mut said) = tokio::sync::mpsc::unbounded_channel::<u8>();
        let mut out = stream.clone();
        let connection = async move {
            while let Some(byte) = said.recv().await {
                out.write_all(&[byte]).await.unwrap();
            }
        };
        let running = tokio::spawn(async move { stream.turns(connection).await });
        for byte in 0..20 {
            let to_connection = to_connection.clone();
            tokio::spawn(async move { to_connection.send(byte).unwrap() });
        }
        let mut got = [0; 20];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(*writes.lock(), 1, "20 tasks, one write");
        drop(to_connection);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for_and_gets_everything() {
        let (stream, mut far, _) = pipe(100);
        let mut out = stream.clone();
        let sent: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
        let to_send = sent.clone();
        let inner = stream.0.clone();
        let connection = async move {
            for part in to_send.chunks(7_001) {
                out.write_all(part).await.unwrap();
                assert!(inner.lock().held.len() <= QUEUED_MAX);
            }
            out.shutdown().await.unwrap();
        };
        let running = tokio::spawn(async move { stream.turns(connection).await });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        running.await.unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn a_failure_between_turns_reaches_the_connection() {
        let (stream, far, _) = pipe(100);
        let mut out = stream.clone();
        let connection = async move {
            out.write_all(b"x").await.unwrap();
            // Woken by the failure alone.
            poll_fn(|cx| match Pin::new(&mut out).poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(error.kind()),
                _ => Poll::Pending,
            })
            .await
        };
        drop(far);
        assert_eq!(stream.turns(connection).await, io::ErrorKind::BrokenPipe);
    }
}
