//! TCP keepalive: how an end that only waits finds out that its peer is gone.
//!
//! A real machine probes all its idle connections all the time. Here an end begins when a fault (a power loss, a cut) may
//! have taken its peer away, and stops with the first answer: a probe more would be answered too, until the next fault.

use super::super::super::record::Ending;
use super::super::Due;
use super::super::connection::{Connection, End};
use super::{NodeIndex, State};

impl State {
    /// A fault may keep this end from hearing of its peer ever again.
    pub(super) fn begin_probing(&mut self, id: u64, at: End) {
        let due = self.now() + self.config.keepalive_idle;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let socket = &mut connection.sockets[at];
        if socket.open && !socket.reset && !socket.probing {
            socket.probing = true;
            self.agenda.schedule(due, Due::Probe { connection: id, at, unanswered: 0 });
        }
    }

    /// As [`begin_probing`](State::begin_probing), for both ends of all connections between two machines.
    pub(super) fn begin_probing_between(&mut self, one: NodeIndex, other: NodeIndex) {
        let between = |connection: &Connection| {
            let (from, to) = connection.nodes(End::Client);
            (from, to) == (one, other) || (from, to) == (other, one)
        };
        let ids: Vec<u64> = self.connections.iter().filter(|(_, one)| between(one)).map(|(id, _)| *id).collect();
        for id in ids {
            self.begin_probing(id, End::Client);
            self.begin_probing(id, End::Server);
        }
    }

    /// The end sends a probe. `unanswered`: those before.
    pub fn probe(&mut self, id: u64, at: End, unanswered: u32) {
        let Some(connection) = self.connections.get(&id) else { return };
        if !connection.sockets[at].open || connection.sockets[at].reset {
            return;
        }
        let (from, to) = connection.nodes(at);
        let (peer, from_peer) = (&connection.sockets[!at], &connection.pipes[!at]);
        // Bytes under way are sent again and again instead, until they are acknowledged or earn a reset.
        let busy = !connection.pipes[at].flight.is_empty();
        let is_known = (peer.open && !peer.reset) || from_peer.ended || !from_peer.flight.is_empty();
        let answered = self.passes(from, to) && self.passes(to, from);
        if busy || answered {
            self.socket(id, at).probing = false;
            if !busy && !is_known {
                self.send_reset(id, at);
            }
        } else if unanswered < self.config.keepalive_probes {
            let due = self.now() + self.config.keepalive_interval;
            self.agenda.schedule(due, Due::Probe { connection: id, at, unanswered: unanswered + 1 });
        } else {
            self.break_off(id, at, Ending::Unheard);
        }
    }
}
