//! One TLS connection to an upstream, used by both directions of a call at once.
//!
//! Promise: dropped, it is cut: the peer sees a reset, and nothing that waited here or in the kernel leaves. There is no
//! other end: a goodbye would be one more TLS record, which may leave after the share is gone.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{destination::Key, wiping::Wiping};

/// A connection that was proved to lead to its destination.
pub struct Connection {
    stream: Mutex<TlsStream<Wiping>>,
    key: Key,
}

impl Connection {
    pub(super) fn new(stream: TlsStream<Wiping>, key: Key) -> Self {
        Self { stream: Mutex::new(stream), key }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether the peer has said nothing, not even goodbye, since the last response. TLS tickets are no words. If so, TLS
    /// keeps nothing of that response from here on.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut &*self).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    fn stream(&self) -> MutexGuard<'_, TlsStream<Wiping>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for &Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_read(context, into)
    }
}

impl AsyncWrite for &Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(context)
    }
}
