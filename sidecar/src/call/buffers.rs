//! Buffers that exist only while bytes are in them.
//!
//! Promises: a connection that waits holds none; at most [`MAX_SPARE`] wiped ones are kept for the next who needs one;
//! what was written is wiped at once, what was not written is wiped on drop. Never add a buffer that grows.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use crate::http1::Buffer;

/// How many wiped buffers wait to be used again.
const MAX_SPARE: usize = 16;
/// How long a peer may take nothing while we have something for it.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How much waits to leave together with what follows it: one TLS record.
const QUEUE: usize = 16 * 1024;

/// Wiped buffers.
#[derive(Default)]
pub struct Spare(Mutex<Vec<Buffer>>);

/// Bytes on their way in.
pub struct Inlet<'s> {
    spare: &'s Spare,
    held: Option<Buffer>,
}

/// Bytes on their way out.
pub struct Outlet<'s> {
    spare: &'s Spare,
    held: Option<Buffer>,
    progress: Progress,
}

/// Whether a message has begun to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing of it was given to the connection.
    Unbegun,
    /// A part or all of it was.
    Begun,
}

impl Spare {
    fn take(&self) -> Buffer {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, buffer: Option<Buffer>) {
        let Some(mut buffer) = buffer else { return };
        buffer.clear();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MAX_SPARE {
            spare.push(buffer);
        }
    }
}

impl<'s> Inlet<'s> {
    /// Nothing received yet.
    #[must_use]
    pub fn new(spare: &'s Spare) -> Self {
        Self { spare, held: None }
    }

    /// What was received and not yet consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.held.as_ref().map_or(&[], Buffer::bytes)
    }

    /// Whether nothing waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The buffer itself, for a parser.
    pub fn buffer(&mut self) -> &mut Buffer {
        self.held.get_or_insert_with(|| self.spare.take())
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        if let Some(buffer) = &mut self.held {
            buffer.consume(count);
        }
        self.release();
    }

    /// Reads what is there, or waits for it; 0 when the peer ended its side. Nothing is held while it waits.
    ///
    /// # Errors
    /// As the connection's, or when the buffer is full.
    pub async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> io::Result<usize> {
        poll_fn(|context| {
            let buffer = self.buffer();
            let space = buffer.space();
            if space.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
            }
            let mut space = ReadBuf::new(space);
            let polled = Pin::new(&mut *from).poll_read(context, &mut space);
            let count = space.filled().len();
            buffer.filled(count);
            self.release();
            polled.map_ok(|()| count)
        })
        .await
    }

    /// Gives the buffer back when nothing is in it.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.spare.put(self.held.take());
        }
    }
}

impl Drop for Inlet<'_> {
    fn drop(&mut self) {
        self.spare.put(self.held.take());
    }
}

impl<'s> Outlet<'s> {
    /// Nothing to send yet.
    #[must_use]
    pub fn new(spare: &'s Spare) -> Self {
        Self { spare, held: None, progress: Progress::Unbegun }
    }

    /// Forgets what waits here: the next message begins.
    pub fn restart(&mut self) {
        self.spare.put(self.held.take());
        self.progress = Progress::Unbegun;
    }

    /// Whether the present message has begun to leave.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The buffer itself, for a writer.
    pub fn buffer(&mut self) -> &mut Buffer {
        self.held.get_or_insert_with(|| self.spare.take())
    }

    /// Passes `parts` on: short ones wait here for what follows them, long ones leave with what waited.
    ///
    /// # Errors
    /// As the connection's, or when the peer takes nothing for too long.
    pub async fn pass<W: AsyncWrite + Unpin>(&mut self, to: &mut W, parts: [&[u8]; 3]) -> io::Result<()> {
        let buffer = self.held.get_or_insert_with(|| self.spare.take());
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if buffer.bytes().len() + length > QUEUE {
            return self.send_with(to, parts).await;
        }
        parts.iter().try_for_each(|part| buffer.push(part)).map_err(io::Error::other)
    }

    /// Sends what waits here, and forgets it. To be done before waiting for anything else.
    ///
    /// # Errors
    /// As the connection's, or when the peer takes nothing for too long.
    pub async fn send<W: AsyncWrite + Unpin>(&mut self, to: &mut W) -> io::Result<()> {
        self.send_with(to, [b"", b"", b""]).await
    }

    async fn send_with<W: AsyncWrite + Unpin>(&mut self, to: &mut W, parts: [&[u8]; 3]) -> io::Result<()> {
        let waiting = self.held.as_ref().map_or(&[][..], Buffer::bytes);
        let mut all = [waiting, parts[0], parts[1], parts[2]].map(IoSlice::new);
        if all.iter().all(|part| part.is_empty()) {
            return Ok(());
        }
        self.progress = Progress::Begun;
        let sent = timeout(WRITE_TIME, send_all(to, &mut all)).await;
        self.spare.put(self.held.take());
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for Outlet<'_> {
    fn drop(&mut self) {
        self.spare.put(self.held.take());
    }
}

async fn send_all<W: AsyncWrite + Unpin>(to: &mut W, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Takes empty parts off the front.
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let sent = to.write_vectored(parts).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut parts, sent);
    }
    to.flush().await
}
