//! What the holder of a stream asks for: reading, writing, closing, and how a crash closes.
//!
//! A stream whose socket was closed by a crash never gets an answer: its task is about to be dropped.

use super::super::Due;
use super::super::connection::{Cargo, Connection, End};
use super::State;
use bytes::Bytes;
use rand::Rng;
use std::io;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

impl State {
    pub fn poll_read(
        &mut self,
        id: u64,
        end: End,
        context: &Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.sockets[end].open) else {
            return Poll::Pending;
        };
        let (pipe, socket) = (&mut connection.pipes[!end], &mut connection.sockets[end]);
        let mut taken = 0;
        while into.remaining() > 0
            && let Some(first) = pipe.unread.front_mut()
        {
            let length = first.len().min(into.remaining());
            into.put_slice(&first.split_to(length));
            taken += length;
            if first.is_empty() {
                pipe.unread.pop_front();
            }
        }
        if taken > 0 || into.remaining() == 0 {
            self.has_read(id, end, taken);
            return Poll::Ready(Ok(()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(()));
        }
        if socket.reset {
            return Poll::Ready(Err(reset_by_peer()));
        }
        socket.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Half a window is acknowledged at once: small answers to small questions cost no message of their own.
    fn has_read(&mut self, id: u64, end: End, bytes: usize) {
        let half = self.config.window_bytes / 2;
        let (from, to) = self.connections[&id].nodes(end);
        let pipe = self.pipe(id, !end);
        pipe.unacknowledged += bytes;
        if pipe.unacknowledged < half.max(1) {
            return;
        }
        let bytes = std::mem::take(&mut pipe.unacknowledged);
        let arrival = self.arrival(from, to, 0);
        self.agenda.schedule(arrival, Due::Acknowledgement { connection: id, sender: !end, bytes });
    }

    pub fn poll_write(&mut self, id: u64, end: End, context: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (window, segment_max) = (self.config.window_bytes, self.config.segment_bytes_max);
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.sockets[end].open) else {
            return Poll::Pending;
        };
        let (pipe, socket) = (&mut connection.pipes[end], &mut connection.sockets[end]);
        if socket.reset {
            return Poll::Ready(Err(reset_by_peer()));
        }
        if socket.finished {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the stream was shut down")));
        }
        let length = bytes.len().min(window - pipe.window_used).min(segment_max);
        if length == 0 && !bytes.is_empty() {
            socket.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        if length > 0 {
            pipe.window_used += length;
            self.send(id, end, Cargo::Data(Bytes::copy_from_slice(&bytes[..length])));
        }
        Poll::Ready(Ok(length))
    }

    /// No more will be written; reading goes on.
    pub fn finish(&mut self, id: u64, end: End) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let socket = &mut connection.sockets[end];
        if socket.open && !socket.reset && !socket.finished {
            socket.finished = true;
            self.send(id, end, Cargo::Finish);
        }
    }

    /// The process lets go of its end, by choice or because it was killed.
    pub fn close(&mut self, id: u64, end: End) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.sockets[end].open) else {
            return;
        };
        let unheard = !connection.pipes[!end].unread.is_empty() || !connection.sockets[end].accepted;
        let over = connection.sockets[end].reset;
        match unheard {
            _ if over => {}
            true => self.send_reset(id, !end),
            false => self.finish(id, end),
        }
        let socket = self.socket(id, end);
        socket.open = false;
        let wakers = (socket.reader.take(), socket.writer.take());
        // Woken rather than dropped under the lock; a task that polls again only finds the socket closed.
        self.wake(wakers.0);
        self.wake(wakers.1);
        self.forget_if_abandoned(id);
    }

    /// The machine of this end went dark. What it had sent may be on the wire up to some segment.
    pub(super) fn lose_power(&mut self, id: u64, end: End) {
        let all = self.chance.random_bool(0.5);
        let draw: u64 = self.chance.random();
        let connection = self.connections.get_mut(&id).expect("the caller has just seen this connection");
        let pipe = &mut connection.pipes[end];
        let under_way = pipe.flight.len();
        let kept = match pipe.stalled.take() {
            Some(_) => 0,
            None if all => under_way,
            None => (draw % (under_way as u64 + 1)) as usize,
        };
        // A handshake that never completes leaves nothing in the server's queue to close.
        if pipe.flight.drain(kept..).any(|segment| matches!(segment.cargo, Cargo::Open { .. })) {
            connection.sockets[!end].open = false;
        }
        connection.pipes[!end].unread.clear();
        let socket = &mut connection.sockets[end];
        socket.open = false;
        let wakers = (socket.reader.take(), socket.writer.take());
        self.wake(wakers.0);
        self.wake(wakers.1);
        self.forget_if_abandoned(id);
    }

    fn forget_if_abandoned(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(Connection::is_abandoned) {
            self.discarded.extend(self.connections.remove(&id));
        }
    }
}

fn reset_by_peer() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
}
