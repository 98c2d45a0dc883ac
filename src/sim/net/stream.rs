//! A process's end of a connection, as tokio sees it.

use super::Network;
use super::connection::End;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Dropping it closes the connection; if bytes lie unread the peer sees a reset.
pub struct SimStream {
    network: Arc<Network>,
    connection: u64,
    end: End,
}

impl SimStream {
    pub(super) fn new(network: Arc<Network>, connection: u64, end: End) -> SimStream {
        SimStream { network, connection, end }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.network.with(|state| state.poll_read(self.connection, self.end, context, into))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.network.with(|state| state.poll_write(self.connection, self.end, context, bytes))
    }

    /// Nothing is held back: every write is on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.with(|state| state.finish(self.connection, self.end));
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.network.with(|state| state.close(self.connection, self.end));
    }
}
