//! One connection: two ends, and a pipe of bytes from each to the other.

use super::{LifeNumber, NodeIndex};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::{Index, IndexMut, Not};
use std::task::Waker;
use std::time::Duration;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that connected.
    Client,
    /// The one that accepts.
    Server,
}

impl Not for End {
    type Output = End;

    /// The other end.
    fn not(self) -> End {
        match self {
            End::Client => End::Server,
            End::Server => End::Client,
        }
    }
}

/// One of something per end.
#[derive(Debug)]
pub struct Both<T>(pub [T; 2]);

impl<T> Index<End> for Both<T> {
    type Output = T;

    fn index(&self, end: End) -> &T {
        &self.0[end as usize]
    }
}

impl<T> IndexMut<End> for Both<T> {
    fn index_mut(&mut self, end: End) -> &mut T {
        &mut self.0[end as usize]
    }
}

#[derive(Debug)]
pub struct Connection {
    pub sockets: Both<Socket>,
    /// By the sending end.
    pub pipes: Both<Pipe>,
}

impl Connection {
    /// Sender and receiver of what this end sends.
    pub fn nodes(&self, from: End) -> (NodeIndex, NodeIndex) {
        (self.sockets[from].node, self.sockets[!from].node)
    }

    /// Nobody can see any more what becomes of it.
    pub fn is_abandoned(&self) -> bool {
        !self.sockets[End::Client].open && !self.sockets[End::Server].open
    }
}

/// One machine's knowledge of a connection.
#[derive(Debug)]
pub struct Socket {
    pub node: NodeIndex,
    pub life: LifeNumber,
    /// A process holds it, or the listener's queue does. Once false, a machine that is on answers segments with a
    /// reset, as after a close or a crash.
    pub open: bool,
    /// On the server: taken from the listener's queue.
    pub accepted: bool,
    /// The peer's reset has arrived, or nothing has been heard of the peer for too long.
    pub reset: bool,
    /// A probe is in the agenda. One at a time.
    pub probing: bool,
    /// Nothing more will be written: the end of the stream is on its way.
    pub finished: bool,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

impl Socket {
    pub fn new(node: NodeIndex, life: LifeNumber, open: bool) -> Socket {
        Socket {
            node,
            life,
            open,
            accepted: false,
            reset: false,
            probing: false,
            finished: false,
            reader: None,
            writer: None,
        }
    }
}

/// Bytes in one direction.
#[derive(Debug, Default)]
pub struct Pipe {
    /// Sent and not yet arrived, by the order of sending and of `due`.
    pub flight: VecDeque<Segment>,
    /// Arrival of the last one sent: what follows must not overtake it.
    pub last_due: Duration,
    /// An arrival is in the agenda. One at a time.
    pub scheduled: bool,
    /// Since when the first segment under way has been lost again and again.
    pub stalled: Option<Duration>,
    /// Arrived, waiting for the reader.
    pub unread: VecDeque<Bytes>,
    /// The end of the stream has arrived.
    pub ended: bool,
    /// Bytes of the window in use: written and not yet acknowledged.
    pub window_used: usize,
    /// Read, and the sender does not know yet.
    pub unacknowledged: usize,
    /// Acknowledgements that a partition swallowed, and since when.
    pub stalled_acknowledgement: Option<(Duration, usize)>,
}

#[derive(Debug)]
pub struct Segment {
    pub sent: Duration,
    pub due: Duration,
    pub cargo: Cargo,
}

#[derive(Debug)]
pub enum Cargo {
    /// The last step of the handshake: the listener at this port gets the connection.
    Open {
        port: u16,
    },
    Data(Bytes),
    Finish,
}

impl Cargo {
    /// On the wire, headers apart.
    pub fn bytes(&self) -> usize {
        match self {
            Cargo::Data(bytes) => bytes.len(),
            Cargo::Open { .. } | Cargo::Finish => 0,
        }
    }
}
