//! A simulated connection: two pipes whose chunks arrive when the network lets them.

use super::network::{Fate, Network};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that one direction holds before its writer has to wait.
const PIPE_BYTES: usize = 64 * 1024;

/// A connection, as the network sees it.
pub(super) struct Link {
    hosts: [String; 2],
    /// From the first host to the second, and back.
    pipes: [Mutex<Pipe>; 2],
}

#[derive(Default)]
struct Pipe {
    chunks: VecDeque<Chunk>,
    held: usize,
    last_arrival: Option<Instant>,
    ended: Option<Instant>,
    reset: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Chunk {
    arrives: Instant,
    data: Vec<u8>,
    read: usize,
}

/// One end of a connection.
pub(super) struct SimStream {
    network: Network,
    link: Arc<Link>,
    /// 0 for the end that dialled.
    end: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

pub(super) fn pair(network: Network, from: &str, to: &str) -> (SimStream, SimStream, Arc<Link>) {
    let link = Arc::new(Link {
        hosts: [from.to_owned(), to.to_owned()],
        pipes: Default::default(),
    });
    let end = |end| SimStream {
        network: network.clone(),
        link: link.clone(),
        end,
        sleep: None,
    };
    (end(0), end(1), link.clone())
}

// === impl Link ===

impl Link {
    pub(super) fn joins(&self, a: &str, b: &str) -> bool {
        let [from, to] = &self.hosts;
        (from == a && to == b) || (from == b && to == a)
    }

    pub(super) fn touches(&self, host: &str) -> bool {
        self.hosts.iter().any(|end| end == host)
    }

    pub(super) fn reset(&self) {
        for pipe in &self.pipes {
            pipe.lock().reset = true;
        }
        self.wake();
    }

    pub(super) fn wake(&self) {
        for pipe in &self.pipes {
            let mut pipe = pipe.lock();
            pipe.wake_reader();
            pipe.wake_writer();
        }
    }
}

// === impl Pipe ===

impl Pipe {
    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Chunks of one direction arrive in order.
    fn arrival(&mut self, delay: std::time::Duration) -> Instant {
        let arrives = (Instant::now() + delay).max(self.last_arrival.unwrap_or_else(Instant::now));
        self.last_arrival = Some(arrives);
        arrives
    }

    /// When there is something to read: data or the end.
    fn next_arrival(&self) -> Option<Instant> {
        self.chunks.front().map(|chunk| chunk.arrives).or(self.ended)
    }

    fn take(&mut self, out: &mut ReadBuf<'_>) {
        while let Some(chunk) = self.chunks.front_mut().filter(|chunk| chunk.arrives <= Instant::now()) {
            let rest = &chunk.data[chunk.read..];
            let count = rest.len().min(out.remaining());
            out.put_slice(&rest[..count]);
            chunk.read += count;
            self.held -= count;
            if chunk.read < chunk.data.len() {
                break;
            }
            self.chunks.pop_front();
        }
        self.wake_writer();
    }
}

// === impl SimStream ===

impl SimStream {
    fn hosts(&self) -> (&str, &str) {
        (&self.link.hosts[self.end], &self.link.hosts[1 - self.end])
    }

    fn is_incoming_cut(&self) -> bool {
        let (here, there) = self.hosts();
        self.network.is_cut(there, here)
    }

    fn end_outgoing(&self) {
        let mut pipe = self.link.pipes[self.end].lock();
        if pipe.ended.is_none() {
            let delay = match self.network.fate() {
                Fate::Arrives(delay) => delay,
                Fate::Reset => {
                    pipe.reset = true;
                    std::time::Duration::ZERO
                }
            };
            pipe.ended = Some(pipe.arrival(delay));
            pipe.wake_reader();
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let cut = self.is_incoming_cut();
            let link = self.link.clone();
            let mut pipe = link.pipes[1 - self.end].lock();
            if pipe.reset {
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
            let arrives = match pipe.next_arrival() {
                Some(arrives) if !cut => arrives,
                _ => {
                    pipe.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            if arrives <= Instant::now() {
                pipe.take(out);
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            drop(pipe);
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(arrives)));
            sleep.as_mut().reset(arrives);
            ready!(sleep.as_mut().poll(cx));
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.link.pipes[self.end].lock();
        if pipe.reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if pipe.reader_gone || pipe.ended.is_some() {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let count = data.len().min(PIPE_BYTES.saturating_sub(pipe.held));
        if count == 0 && !data.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match self.network.fate() {
            Fate::Arrives(delay) => {
                let arrives = pipe.arrival(delay);
                pipe.held += count;
                pipe.chunks.push_back(Chunk {
                    arrives,
                    data: data[..count].to_vec(),
                    read: 0,
                });
                pipe.wake_reader();
                Poll::Ready(Ok(count))
            }
            Fate::Reset => {
                drop(pipe);
                self.link.reset();
                Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_outgoing();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.end_outgoing();
        let mut incoming = self.link.pipes[1 - self.end].lock();
        incoming.reader_gone = true;
        incoming.chunks.clear();
        incoming.wake_writer();
    }
}
