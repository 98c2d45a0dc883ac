//! The bytes of one connection, and everything that may interrupt waiting for them.

use super::backends::{Interrupt, Signal};
use super::message::{self, Message};
use super::{Failure, Stop};
use crate::buggify;
use crate::error::{Error, codes};
use crate::host::{Host, Stream};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes asked of the stream at once.
const READ_BYTES: usize = 16 << 10;

/// What a client may send ahead while its statement runs; further bytes stay in the network, which slows it down.
const READ_AHEAD_BYTES_MAX: usize = 128 << 10;

/// Output is handed to the network from this size on. A message may exceed it; two large ones are never held.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

pub struct Link {
    host: Host,
    stream: Stream,
    input: BytesMut,
    /// Whole messages, not yet taken by the network.
    pub output: BytesMut,
    /// The client will send no more.
    ended: bool,
    signal: Arc<Signal>,
}

/// What a wait heeds besides what it waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heed {
    /// A statement is running: cancel requests, termination, and the client going away.
    Statement,
    /// Between statements: termination only. A client that only half-closed still gets its answer.
    Termination,
}

impl Link {
    pub fn new(host: &Host, stream: Stream) -> Link {
        let (host, input, output) = (host.clone(), BytesMut::new(), BytesMut::new());
        Link { host, stream, input, output, ended: false, signal: Arc::default() }
    }

    /// From now on others can interrupt this connection.
    pub fn listen_to(&mut self, signal: Arc<Signal>) {
        self.signal = signal;
    }

    /// Runs a part of a statement. Dropped half-way when the client cancels (`57014`) or leaves, or the server shuts
    /// down. Meanwhile up to `READ_AHEAD_BYTES_MAX` are read: only reading tells that a client has gone.
    pub async fn run<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = pin!(work);
        poll_fn(|context| {
            // Asked before the work, not after: work that is always ready must be interruptible too.
            self.poll_interrupt(Heed::Statement, context)?;
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            self.read_ahead(context);
            if self.ended { Poll::Ready(Err(Stop::Gone.into())) } else { Poll::Pending }
        })
        .await
    }

    /// The next message between statements.
    pub async fn next_message(&mut self) -> Result<Message, Stop> {
        let message = self.message(Heed::Termination).await;
        self.signal.forget_cancel();
        message.map_err(|failure| match failure {
            Failure::Stop(stop) => stop,
            Failure::Statement(error) => Stop::Fatal(error),
        })
    }

    /// The next message while a statement waits for it.
    pub async fn next_message_of_statement(&mut self) -> Result<Message, Failure> {
        self.message(Heed::Statement).await
    }

    async fn message(&mut self, heed: Heed) -> Result<Message, Failure> {
        loop {
            if let Some(frame) = message::take_frame(&mut self.input).map_err(Stop::Fatal)? {
                return Ok(message::decode(frame).map_err(Stop::Fatal)?);
            }
            self.fill(heed).await?;
        }
    }

    /// The first packet of a connection, which has no type byte; without its length.
    pub async fn startup_packet(&mut self) -> Result<Bytes, Stop> {
        loop {
            if let Some(packet) = message::take_startup_packet(&mut self.input).map_err(Stop::Fatal)? {
                return Ok(packet);
            }
            self.fill(Heed::Termination).await.map_err(|failure| match failure {
                Failure::Stop(stop) => stop,
                Failure::Statement(error) => Stop::Fatal(error),
            })?;
        }
    }

    /// Waits for more input. Errors: the client has gone.
    async fn fill(&mut self, heed: Heed) -> Result<(), Failure> {
        poll_fn(|context| {
            if let Err(failure) = self.poll_interrupt(heed, context) {
                return Poll::Ready(Err(failure));
            }
            if self.ended {
                return Poll::Ready(Err(Stop::Gone.into()));
            }
            self.poll_read(context).map(|()| if self.ended { Err(Stop::Gone.into()) } else { Ok(()) })
        })
        .await
    }

    /// Hands output on if there is much of it; call it between messages of a statement.
    pub async fn flush_if_full(&mut self) -> Result<(), Failure> {
        if self.output.len() < OUTPUT_BYTES_MAX { Ok(()) } else { self.write_out(Heed::Statement).await }
    }

    /// Hands all output on, as a part of a statement.
    pub async fn flush_of_statement(&mut self) -> Result<(), Failure> {
        self.write_out(Heed::Statement).await
    }

    /// Hands all output on.
    pub async fn flush(&mut self) -> Result<(), Stop> {
        self.write_out(Heed::Termination).await.map_err(|failure| match failure {
            Failure::Stop(stop) => stop,
            Failure::Statement(error) => Stop::Fatal(error),
        })
    }

    /// Sends what is left and closes, heeding nothing: the caller sets a deadline.
    pub async fn farewell(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output).await {
                Ok(count) if count > 0 => self.output.advance(count),
                _ => return,
            }
        }
        let _ = self.stream.shutdown().await;
    }

    async fn write_out(&mut self, heed: Heed) -> Result<(), Failure> {
        poll_fn(|context| {
            // Interrupting between any two writes is safe: what the network has not taken stays in the buffer, and
            // whatever is said next goes behind it.
            self.poll_interrupt(heed, context)?;
            match self.poll_write(context) {
                Poll::Ready(done) => Poll::Ready(done.map_err(|_| Stop::Gone.into())),
                Poll::Pending => {
                    // A client may send on before it reads on; taking some of it keeps both from waiting.
                    self.read_ahead(context);
                    if self.ended && heed == Heed::Statement {
                        return Poll::Ready(Err(Stop::Gone.into()));
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.output.is_empty() {
            let count = std::task::ready!(Pin::new(&mut self.stream).poll_write(context, &self.output))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(count);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_interrupt(&self, heed: Heed, context: &Context<'_>) -> Result<(), Failure> {
        match self.signal.poll(context) {
            Some(Interrupt::Terminate) => {
                let error = Error::new(codes::ADMIN_SHUTDOWN, "terminating connection due to administrator command");
                Err(Stop::Fatal(error).into())
            }
            Some(Interrupt::Cancel) if heed == Heed::Statement => {
                self.signal.forget_cancel();
                Err(Error::new(codes::QUERY_CANCELED, "canceling statement due to user request").into())
            }
            _ => Ok(()),
        }
    }

    /// Reads until nothing is there, the bound is reached, or the client has gone (`ended`).
    fn read_ahead(&mut self, context: &mut Context<'_>) {
        while !self.ended && self.input.len() < READ_AHEAD_BYTES_MAX && self.poll_read(context).is_ready() {}
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.input.reserve(READ_BYTES);
        let bytes_max = if buggify!(self.host, "wire.short_read") { 1 } else { READ_BYTES };
        let mut room = (&mut self.input).limit(bytes_max);
        // `read_buf` keeps no state between polls, so its future can be made anew each time.
        let read = pin!(self.stream.read_buf(&mut room));
        let count = std::task::ready!(read.poll(context));
        if !matches!(count, Ok(count) if count > 0) {
            self.ended = true;
        }
        Poll::Ready(())
    }
}
