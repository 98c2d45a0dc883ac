//! The state of the network and all that can happen to it.

use super::super::chance::{self, Stream};
use super::super::fingerprint::digest;
use super::super::record::{Crash, Ending, Event, Name, Recorder};
use super::super::time::Agenda;
use super::connection::{Both, Cargo, Connection, End, Pipe, Segment, Socket};
use super::link::{Link, NetConfig, next_retransmission};
use super::{Due, LifeNumber, NodeIndex, address_of};
use bytes::Bytes;
use rand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::ReadBuf;

pub struct State {
    seed: u64,
    pub config: NetConfig,
    agenda: Arc<Agenda<Due>>,
    recorder: Arc<Recorder>,
    chance: Stream,
    hosts: Vec<Machine>,
    links: BTreeMap<(NodeIndex, NodeIndex), Link>,
    listeners: BTreeMap<(NodeIndex, u16), Listening>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    wakes: Vec<Waker>,
    discarded: Vec<Connection>,
}

struct Machine {
    name: Name,
    powered: bool,
    /// The process that runs on it, if one does.
    life: Option<LifeNumber>,
    next_port: u16,
}

/// An open listening socket.
struct Listening {
    life: LifeNumber,
    /// Established and not yet accepted.
    queue: VecDeque<u64>,
    acceptor: Option<Waker>,
}

/// What a connect request finds when it arrives.
pub enum Answer {
    /// A partition, a dark machine, or a full queue.
    None,
    Refused,
    Accepted(LifeNumber),
}

/// Connections that may wait for `accept`, as Linux's usual `somaxconn` of old.
const ACCEPT_QUEUE_MAX: usize = 128;

/// Ports that `listen(0)` hands out and clients connect from.
const EPHEMERAL_PORTS: std::ops::Range<u16> = 32_768..60_999;

impl State {
    pub fn new(seed: u64, config: NetConfig, agenda: Arc<Agenda<Due>>, recorder: Arc<Recorder>) -> State {
        State {
            seed,
            config,
            agenda,
            recorder,
            chance: chance::stream(seed, "net"),
            hosts: Vec::new(),
            links: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 1,
            wakes: Vec::new(),
            discarded: Vec::new(),
        }
    }

    pub fn take_leftovers(&mut self) -> (Vec<Waker>, Vec<Connection>) {
        (std::mem::take(&mut self.wakes), std::mem::take(&mut self.discarded))
    }

    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    fn now(&self) -> Duration {
        self.agenda.now()
    }

    fn name(&self, node: NodeIndex) -> Name {
        self.hosts[node].name.clone()
    }

    fn wake(&mut self, waker: Option<Waker>) {
        self.wakes.extend(waker);
    }
}

/// Machines and links.
impl State {
    pub fn add_host(&mut self, name: Name) -> NodeIndex {
        self.hosts.push(Machine { name, powered: true, life: None, next_port: EPHEMERAL_PORTS.start });
        self.hosts.len() - 1
    }

    pub fn start(&mut self, node: NodeIndex, life: LifeNumber) {
        let host = &mut self.hosts[node];
        (host.powered, host.life) = (true, Some(life));
        self.resume();
    }

    pub fn crash(&mut self, node: NodeIndex, how: Crash) {
        self.hosts[node].life = None;
        self.listeners.retain(|(at, _), _| *at != node);
        if how == Crash::PowerLoss {
            self.hosts[node].powered = false;
        }
        let mine = |connection: &Connection, end: End| connection.sockets[end].node == node;
        let ends: Vec<(u64, End)> = (self.connections.iter())
            .flat_map(|(id, connection)| [(*id, End::Client), (*id, End::Server)].map(|one| (connection, one)))
            .filter(|(connection, (_, end))| mine(connection, *end))
            .map(|(_, one)| one)
            .collect();
        for (id, end) in ends {
            match how {
                Crash::Process => self.close(id, end),
                Crash::PowerLoss => self.lose_power(id, end),
            }
        }
    }

    pub fn is_alive(&self, node: NodeIndex, life: LifeNumber) -> bool {
        self.hosts[node].life == Some(life)
    }

    pub fn cut(&mut self, from: NodeIndex, to: NodeIndex) {
        if from != to && !self.link(from, to).cut {
            self.link(from, to).cut = true;
            self.recorder.record(Event::Cut { from: self.name(from), to: self.name(to) });
        }
    }

    pub fn mend(&mut self, from: NodeIndex, to: NodeIndex) {
        self.link(from, to).heal();
        self.resume();
    }

    pub fn slow(&mut self, from: NodeIndex, to: NodeIndex, by: Duration) {
        self.link(from, to).slow_by = by;
        self.recorder.record(Event::Slowed { from: self.name(from), to: self.name(to), by });
    }

    pub fn heal(&mut self) {
        self.recorder.record(Event::Healed);
        for link in self.links.values_mut() {
            link.heal();
        }
        self.resume();
    }

    pub fn link(&mut self, from: NodeIndex, to: NodeIndex) -> &mut Link {
        let State { links, hosts, seed, .. } = self;
        links.entry((from, to)).or_insert_with(|| {
            let name = format!("net/{}>{}", hosts[from].name, hosts[to].name);
            Link::new(chance::stream(*seed, &name), from == to)
        })
    }

    /// Whether a segment that gets to the end of this link now meets a machine.
    fn passes(&self, from: NodeIndex, to: NodeIndex) -> bool {
        self.hosts[to].powered && !self.links.get(&(from, to)).is_some_and(|link| link.cut)
    }

    /// When a segment sent now gets to the end of the link.
    fn arrival(&mut self, from: NodeIndex, to: NodeIndex, bytes: usize) -> Duration {
        let (now, config) = (self.now(), self.config.clone());
        self.link(from, to).arrival(now, bytes, &config)
    }

    /// The node that `name` means to `from`. Errors: `NotFound`, as from a resolver.
    pub fn resolve(&self, from: NodeIndex, name: &str) -> io::Result<NodeIndex> {
        let name = name.to_ascii_lowercase();
        if ["localhost", "127.0.0.1", "::1"].contains(&name.as_str()) {
            return Ok(from);
        }
        let label = name.split('.').next().unwrap_or_default();
        let known = |wanted: &str| self.hosts.iter().position(|host| host.name.eq_ignore_ascii_case(wanted));
        let by_address = || (0..self.hosts.len()).find(|node| address_of(*node, 0).ip().to_string() == name);
        known(&name).or_else(by_address).or_else(|| known(label)).ok_or_else(|| {
            let message = format!("could not translate host name \"{name}\" to address: Name or service not known");
            io::Error::new(io::ErrorKind::NotFound, message)
        })
    }

    /// Everything that was held up and whose way is free again is sent anew, when its retransmission is due.
    fn resume(&mut self) {
        let now = self.now();
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for (id, end) in ids.into_iter().flat_map(|id| [(id, End::Client), (id, End::Server)]) {
            let (from, to) = self.connections[&id].nodes(end);
            if self.passes(from, to) {
                self.resume_segments(id, end, now);
            }
            if self.passes(to, from) {
                self.resume_acknowledgements(id, end, now);
            }
        }
    }

    fn resume_segments(&mut self, id: u64, end: End, now: Duration) {
        let (from, to) = self.connections[&id].nodes(end);
        let Some(lost) = self.pipe(id, end).stalled else { return };
        let again = next_retransmission(lost, now, &self.config);
        let config = self.config.clone();
        let arrival = self.link(from, to).arrival(again, 0, &config);
        let pipe = self.pipe(id, end);
        pipe.stalled = None;
        pipe.last_due = pipe.last_due.max(arrival);
        for segment in &mut pipe.flight {
            segment.due = segment.due.max(arrival);
        }
        self.schedule_arrival(id, end);
    }

    fn resume_acknowledgements(&mut self, id: u64, sender: End, now: Duration) {
        if let Some((lost, bytes)) = self.pipe(id, sender).stalled_acknowledgement.take() {
            let again = next_retransmission(lost, now, &self.config);
            self.agenda.schedule(again, Due::Acknowledgement { connection: id, sender, bytes });
        }
    }
}

/// Listening and connecting.
impl State {
    /// Errors: `AddrInUse`.
    pub fn listen(&mut self, node: NodeIndex, life: LifeNumber, port: u16) -> io::Result<u16> {
        let port = if port == 0 { self.free_port(node) } else { port };
        if self.listeners.contains_key(&(node, port)) {
            let message = format!("port {port} of {} is in use", self.hosts[node].name);
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        self.listeners.insert((node, port), Listening { life, queue: VecDeque::new(), acceptor: None });
        Ok(port)
    }

    pub fn free_port(&mut self, node: NodeIndex) -> u16 {
        loop {
            let host = &mut self.hosts[node];
            let port = host.next_port;
            host.next_port = if port + 1 < EPHEMERAL_PORTS.end { port + 1 } else { EPHEMERAL_PORTS.start };
            if !self.listeners.contains_key(&(node, port)) {
                return port;
            }
        }
    }

    /// Resets what nobody accepted.
    pub fn stop_listening(&mut self, node: NodeIndex, life: LifeNumber, port: u16) {
        if self.listeners.get(&(node, port)).is_none_or(|listening| listening.life != life) {
            return;
        }
        let listening = self.listeners.remove(&(node, port)).expect("it was just found");
        for id in listening.queue {
            self.close(id, End::Server);
        }
    }

    pub fn poll_accept(
        &mut self,
        node: NodeIndex,
        life: LifeNumber,
        port: u16,
        context: &Context<'_>,
    ) -> Poll<(u64, SocketAddr)> {
        let Some(listening) = self.listeners.get_mut(&(node, port)).filter(|listening| listening.life == life) else {
            return Poll::Pending;
        };
        let Some(id) = listening.queue.pop_front() else {
            listening.acceptor = Some(context.waker().clone());
            return Poll::Pending;
        };
        let connection = self.connections.get_mut(&id).expect("a queued connection is open at this end");
        connection.sockets[End::Server].accepted = true;
        let client = connection.sockets[End::Client].node;
        let port = self.free_port(client);
        Poll::Ready((id, address_of(client, port)))
    }

    /// A connect request leaves; `None` if it never arrives.
    pub fn request(&mut self, from: NodeIndex, to: NodeIndex) -> Option<Duration> {
        let arrival = self.arrival(from, to, 0);
        self.passes(from, to).then_some(arrival)
    }

    /// A connect request arrives.
    pub fn answer(&self, from: NodeIndex, to: NodeIndex, port: u16) -> Answer {
        if !self.passes(from, to) {
            return Answer::None;
        }
        match self.listeners.get(&(to, port)) {
            Some(listening) if listening.queue.len() >= ACCEPT_QUEUE_MAX => Answer::None,
            Some(listening) => Answer::Accepted(listening.life),
            None => Answer::Refused,
        }
    }

    pub fn refused(&mut self, from: NodeIndex, to: NodeIndex, port: u16) {
        self.recorder.record(Event::Refused { from: self.name(from), to: self.name(to), port });
    }

    /// The answer has reached the client: it may write. The server's process learns with the next segment.
    pub fn establish(&mut self, from: (NodeIndex, LifeNumber), to: (NodeIndex, LifeNumber), port: u16) -> u64 {
        let id = self.next_connection;
        self.next_connection += 1;
        let mut client = Socket::new(from.0, from.1, true);
        client.accepted = true;
        let server = Socket::new(to.0, to.1, self.is_alive(to.0, to.1));
        let connection =
            Connection { sockets: Both([client, server]), pipes: Both([Pipe::default(), Pipe::default()]) };
        self.connections.insert(id, connection);
        let (from, to) = (self.name(from.0), self.name(to.0));
        self.recorder.record(Event::Connected { from, to, port, connection: id });
        self.send(id, End::Client, Cargo::Open { port });
        id
    }
}

/// Segments under way.
impl State {
    fn pipe(&mut self, id: u64, end: End) -> &mut Pipe {
        &mut self.connections.get_mut(&id).expect("the caller has just seen this connection").pipes[end]
    }

    fn socket(&mut self, id: u64, end: End) -> &mut Socket {
        &mut self.connections.get_mut(&id).expect("the caller has just seen this connection").sockets[end]
    }

    fn send(&mut self, id: u64, end: End, cargo: Cargo) {
        let (from, to) = self.connections[&id].nodes(end);
        let sent = self.now();
        let arrival = self.arrival(from, to, cargo.bytes());
        let pipe = self.pipe(id, end);
        let due = arrival.max(pipe.last_due);
        pipe.last_due = due;
        pipe.flight.push_back(Segment { sent, due, cargo });
        self.schedule_arrival(id, end);
    }

    fn schedule_arrival(&mut self, id: u64, end: End) {
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
            let deaf = !connection.sockets[!from].open;
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
    fn send_reset(&mut self, id: u64, to: End) {
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
        self.record_closed(id, !at, Ending::Reset);
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

/// What the holder of a stream does. A stream whose socket was closed by a crash never gets an answer: its task is
/// about to be dropped.
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
    fn lose_power(&mut self, id: u64, end: End) {
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
