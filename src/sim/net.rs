//! The simulated network: reliable byte streams between nodes, over links that are late, narrow, or cut.
//!
//! | fault | what we do | what the system promises under it |
//! |---|---|---|
//! | latency | each segment takes its link's latency, drawn per directed link, with a rare long tail; order within a stream holds. A link may be slower ([`Trouble::Slow`]) or have a heavier tail ([`Trouble::Tail`]) for a while | nothing depends on who is faster |
//! | bandwidth | segments of one link queue behind each other, at [`NetConfig::bytes_per_second`] or what a link was narrowed to ([`Trouble::Narrow`]) | bounded memory, back-pressure |
//! | slow reader | a sender may have [`NetConfig::window_bytes`] unread or under way, then it waits | the same |
//! | partition, also one-way | segments vanish: a connect hangs, an established stream stalls; after the heal it goes on with the retransmission delay that has built up | no wrong answers; statements fail or hang no longer than their deadlines |
//! | loss | a segment arrives one retransmission later, and all behind it | as latency |
//! | process crash | the machine closes the sockets: end of stream (all sent bytes still arrive), or reset if bytes lay unread; new connects are refused | as for any lost connection |
//! | power loss | silence: an arbitrary tail of what was under way is lost, the peer learns nothing. If it writes while the machine is dark, that stalls; once the machine is back, it earns a reset | half-open connections are found by deadlines, or by keepalive |
//! | keepalive | an end that has nothing under way and hears nothing for [`NetConfig::keepalive_idle`] after a power loss or a cut probes its peer; a machine that is back answers with a reset, and after [`NetConfig::keepalive_probes`] unanswered ones (25 s in all) the stream ends as if reset (Linux calls it timed out) | a server lets go of what a lost client held |
//!
//! Windows are those of the whole network, not of a link: how much a receiver takes is the receiver's business.
//!
//! Not injected, because TCP's checksums and sequence numbers keep them from us: corrupted, duplicated or
//! reordered bytes within a stream.
//!
//! What each end sees follows Linux: bytes that arrived before a reset can still be read, closing with unread
//! bytes resets, writing to a closed peer succeeds once and then earns a reset, a lost connect is retried after
//! one second, then two, four …, and times out after two minutes.
//!
//! Everything is one state behind one lock. Tasks poll their streams; all that happens later (arrivals,
//! acknowledgements, resets) waits in the world's agenda, and the pump hands it to [`Network::happen`] when due.

mod connection;
mod door;
mod link;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod trouble;

pub use door::NetDoor;
pub use link::NetConfig;
pub use stream::SimStream;
pub use trouble::{Trouble, TroubleId, Troubles, time_on_the_wire};

use super::record::{Crash, Name, Recorder};
use super::time::Agenda;
use connection::End;
use state::State;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Index of a node in the network, in the order of creation.
pub type NodeIndex = usize;

/// Which process of a node: 0 before the first start.
pub type LifeNumber = u64;

/// What the pump hands over when it is due.
#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// The first segment under way from this end of a connection.
    Arrival { connection: u64, from: End },
    /// The sender at this end learns that so many of its bytes have been read.
    Acknowledgement { connection: u64, sender: End, bytes: usize },
    /// A reset reaches this end.
    Reset { connection: u64, at: End },
    /// This end asks whether its peer is still there, so many times in vain before.
    Probe { connection: u64, at: End, unanswered: u32 },
}

/// The network of one run.
pub struct Network {
    state: Mutex<State>,
    pub(super) agenda: Arc<Agenda<Due>>,
}

impl Network {
    pub fn new(seed: u64, config: NetConfig, agenda: Arc<Agenda<Due>>, recorder: Arc<Recorder>) -> Arc<Network> {
        let state = Mutex::new(State::new(seed, config, agenda.clone(), recorder));
        Arc::new(Network { state, agenda })
    }

    /// A machine that is switched on and runs nothing yet.
    pub fn add_node(&self, name: Name) -> NodeIndex {
        self.with(|state| state.add_host(name))
    }

    /// Another name for the machine `name`, as from a resolver.
    pub fn alias(&self, alias: &str, name: &str) {
        self.with(|state| state.alias(alias, name));
    }

    /// The machine is on and runs process number `life`.
    pub fn start(&self, node: NodeIndex, life: LifeNumber) {
        self.with(|state| state.start(node, life));
    }

    pub fn crash(&self, node: NodeIndex, how: Crash) {
        self.with(|state| state.crash(node, how));
    }

    /// From now on something is wrong with the direction from `from` to `to`; the other one is not touched.
    pub fn trouble(&self, id: TroubleId, from: NodeIndex, to: NodeIndex, trouble: Trouble) {
        self.with(|state| state.trouble(id, from, to, trouble));
    }

    /// Ends the troubles of this number, on all links.
    pub fn mend(&self, id: TroubleId) {
        self.with(|state| state.mend(id));
    }

    /// All links are whole, fast and without loss.
    pub fn heal(&self) {
        self.with(State::heal);
    }

    /// Whether nothing is wrong with any link.
    pub fn is_whole(&self) -> bool {
        self.with(|state| state.is_whole())
    }

    /// Something that was due has happened.
    pub fn happen(&self, due: Due) {
        self.with(|state| match due {
            Due::Arrival { connection, from } => state.arrive(connection, from),
            Due::Acknowledgement { connection, sender, bytes } => state.acknowledge(connection, sender, bytes),
            Due::Reset { connection, at } => state.reset(connection, at),
            Due::Probe { connection, at, unanswered } => state.probe(connection, at, unanswered),
        });
    }

    /// Connections that still have an end somewhere: for tests that look for leaks.
    pub fn connections(&self) -> usize {
        self.with(|state| state.connection_count())
    }

    /// Works on the state and then, outside the lock, wakes and drops what that left over: a waker may belong to
    /// anybody's code, and a destructor may come back here.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let (wakes, discarded) = state.take_leftovers();
        drop(state);
        for waker in wakes {
            waker.wake();
        }
        drop(discarded);
        result
    }
}

/// The address of a machine: 10.0.0.1 is the first one.
pub fn address_of(node: NodeIndex, port: u16) -> SocketAddr {
    let number = u16::try_from(node + 1).expect("fewer than 65,535 nodes in a run");
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), port)
}
