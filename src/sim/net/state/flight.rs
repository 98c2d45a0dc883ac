//! Segments, resets and acknowledgements under way: sent, arriving, held up.

use super::super::super::fingerprint::digest;
use super::super::super::record::Ending;
use super::super::connection::{Cargo, End, Segment};
use super::super::{Due, NodeIndex};
use super::{Event, State};

impl State {
    pub(super) fn send(&mut self, id: u64, end: End, cargo: Cargo) {
        let (from, to) = self.connections[&id].nodes(end);
        let sent = self.now();
        let arrival = self.arrival(from, to, cargo.bytes());
        let pipe = self.pipe(id, end);
        let due = arrival.max(pipe.last_due);
        pipe.last_due = due;
        pipe.flight.push_back(Segment { sent, due, cargo });
        self.schedule_arrival(id, end);
    }

    pub(super) fn schedule_arrival(&mut self, id: u64, end: End) {
        let pipe = self.pipe(id, end);
        if pipe.scheduled || pipe.stalled.is_some() {
            return;
        }
        if let Some(first) = pipe.flight.front() {
            let due = first.due;
            pipe.scheduled = true;
            self.agenda.schedule(due, Due::Arrival { connection: id, from: end });
        }
    }

    /// The time of the first segment under way has come.
    pub fn arrive(&mut self, id: u64, from: End) {
        if !self.connections.contains_key(&id) {
            return;
        }
        self.pipe(id, from).scheduled = false;
        let now = self.now();
        while let Some(connection) = self.connections.get(&id)
            && connection.pipes[from].stalled.is_none()
            && connection.pipes[from].flight.front().is_some_and(|first| first.due <= now)
        {
            let (sender, receiver) = connection.nodes(from);
            let deaf = !connection.sockets[!from].open || connection.sockets[!from].reset;
            // A closed socket's answer must get back, or the sender will go on as if nothing had arrived.
            if !self.passes(sender, receiver) || (deaf && !self.passes(receiver, sender)) {
                self.stall(id, from);
                return;
            }
            let segment = self.pipe(id, from).flight.pop_front().expect("the first segment is there");
            if deaf {
                self.answer_for_nobody(id, from, segment.cargo);
            } else {
                self.deliver(id, from, segment);
            }
        }
        if self.connections.contains_key(&id) {
            self.schedule_arrival(id, from);
        }
    }

    fn stall(&mut self, id: u64, end: End) {
        let (from, to) = self.connections[&id].nodes(end);
        let now = self.now();
        // A machine that lost its power sends nothing again.
        if !self.hosts[from].powered {
            self.pipe(id, end).flight.clear();
            return;
        }
        self.pipe(id, end).stalled = Some(now);
        self.recorder.record(Event::Stalled { from: self.name(from), to: self.name(to), connection: id });
    }

    /// The receiving socket is gone, its machine is on: it says so, unless the sender has finished anyway.
    fn answer_for_nobody(&mut self, id: u64, from: End, cargo: Cargo) {
        if !matches!(cargo, Cargo::Finish) {
            self.pipe(id, from).flight.clear();
            self.send_reset(id, from);
        }
    }

    fn deliver(&mut self, id: u64, from: End, segment: Segment) {
        let (sender, receiver) = self.connections[&id].nodes(from);
        match segment.cargo {
            Cargo::Open { port } => self.enqueue(id, receiver, port),
            Cargo::Data(bytes) => {
                let (from_name, to_name) = (self.name(sender), self.name(receiver));
                let (length, digest) = (bytes.len(), digest(&bytes));
                self.recorder.record(Event::Delivered {
                    from: from_name,
                    to: to_name,
                    connection: id,
                    bytes: length,
                    digest,
                    sent: segment.sent,
                });
                self.pipe(id, from).unread.push_back(bytes);
                let reader = self.socket(id, !from).reader.take();
                self.wake(reader);
            }
            Cargo::Finish => {
                self.record_closed(id, from, Ending::Finished);
                self.pipe(id, from).ended = true;
                let reader = self.socket(id, !from).reader.take();
                self.wake(reader);
            }
        }
    }

    fn record_closed(&mut self, id: u64, from: End, ending: Ending) {
        let (sender, receiver) = self.connections[&id].nodes(from);
        let (from, to) = (self.name(sender), self.name(receiver));
        self.recorder.record(Event::Closed { from, to, connection: id, ending });
    }

    /// The handshake is complete on the server's side too.
    fn enqueue(&mut self, id: u64, node: NodeIndex, port: u16) {
        let life = self.connections[&id].sockets[End::Server].life;
        match self.listeners.get_mut(&(node, port)).filter(|listening| listening.life == life) {
            Some(listening) => {
                listening.queue.push_back(id);
                let acceptor = listening.acceptor.take();
                self.wake(acceptor);
            }
            None => self.close(id, End::Server),
        }
    }

    /// Tells `to` that its connection does not exist. Lost for good if the way is cut: resets are not repeated.
    pub(super) fn send_reset(&mut self, id: u64, to: End) {
        let (from_node, to_node) = self.connections[&id].nodes(!to);
        let arrival = self.arrival(from_node, to_node, 0);
        if self.passes(from_node, to_node) {
            let due = arrival.max(self.pipe(id, !to).last_due);
            self.agenda.schedule(due, Due::Reset { connection: id, at: to });
        }
    }

    pub fn reset(&mut self, id: u64, at: End) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = connection.nodes(!at);
        if !connection.sockets[at].open || connection.sockets[at].reset || !self.passes(from, to) {
            return;
        }
        self.break_off(id, at, Ending::Reset);
    }

    /// This end learns that there is no connection any more.
    pub(super) fn break_off(&mut self, id: u64, at: End, ending: Ending) {
        self.record_closed(id, !at, ending);
        self.pipe(id, at).flight.clear();
        self.pipe(id, at).stalled = None;
        let socket = self.socket(id, at);
        socket.reset = true;
        let (reader, writer) = (socket.reader.take(), socket.writer.take());
        self.wake(reader);
        self.wake(writer);
    }

    /// The sender learns that `bytes` of its window are free again.
    pub fn acknowledge(&mut self, id: u64, sender: End, bytes: usize) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = connection.nodes(!sender);
        let now = self.now();
        if !self.passes(from, to) {
            let stalled = &mut self.pipe(id, sender).stalled_acknowledgement;
            let (since, before) = stalled.unwrap_or((now, 0));
            *stalled = Some((since, before + bytes));
            return;
        }
        self.pipe(id, sender).window_used -= bytes;
        let writer = self.socket(id, sender).writer.take();
        self.wake(writer);
    }
}
