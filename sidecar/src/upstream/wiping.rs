//! The socket beneath TLS, which wipes what TLS leaves behind.
//!
//! rustls opens a record in the buffer that it read it into, and keeps that buffer, echoes and all, for the next one. When
//! nothing is there to be read, the buffer it offers is filled with zeros instead.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A socket whose reader keeps nothing once it waits.
pub(super) struct Wiping(TcpStream);

impl Wiping {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self(socket)
    }
}

impl AsyncRead for Wiping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.0).poll_read(context, into);
        if polled.is_pending() {
            into.initialize_unfilled().fill(0);
        }
        polled
    }
}

impl AsyncWrite for Wiping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn what_a_reader_left_in_its_buffer_is_gone_once_it_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut wiping = Wiping::new(socket);
        let mut buffer = *b"kl-test-value";
        peer.write_all(b"new").await.unwrap();
        // Else the reader waits first, and there is nothing to wipe any more.
        wiping.0.readable().await.unwrap();
        assert_eq!(wiping.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer, b"newtest-value");
        let mut waiting = ReadBuf::new(&mut buffer);
        waiting.advance(3);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wiping).poll_read(&mut context, &mut waiting).is_pending());
        assert_eq!(&buffer, b"new\0\0\0\0\0\0\0\0\0\0");
    }
}
