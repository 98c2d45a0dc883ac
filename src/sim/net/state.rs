//! The state of the network: machines, links, and what a crash, a cut or a heal does to them.
//!
//! Next: `dialling` (how connections come to be), `flight` (segments under way), `sockets` (what streams ask for),
//! `keepalive` (how a lost peer is noticed).

mod dialling;
mod flight;
mod keepalive;
mod sockets;

pub use dialling::Answer;

use super::super::chance::{self, Stream};
use super::super::record::{Crash, Event, Name, Recorder};
use super::super::time::Agenda;
use super::connection::{Connection, End, Pipe, Socket};
use super::link::{Link, NetConfig, next_retransmission};
use super::trouble::{Trouble, TroubleId};
use super::{Due, LifeNumber, NodeIndex, address_of};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

pub struct State {
    seed: u64,
    pub config: NetConfig,
    agenda: Arc<Agenda<Due>>,
    recorder: Arc<Recorder>,
    chance: Stream,
    hosts: Vec<Machine>,
    /// Other names of machines, in lower case.
    aliases: BTreeMap<String, String>,
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
            aliases: BTreeMap::new(),
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

    fn pipe(&mut self, id: u64, end: End) -> &mut Pipe {
        &mut self.connections.get_mut(&id).expect("the caller has just seen this connection").pipes[end]
    }

    fn socket(&mut self, id: u64, end: End) -> &mut Socket {
        &mut self.connections.get_mut(&id).expect("the caller has just seen this connection").sockets[end]
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
                Crash::PowerLoss => {
                    self.lose_power(id, end);
                    self.begin_probing(id, !end);
                }
            }
        }
    }

    pub fn is_alive(&self, node: NodeIndex, life: LifeNumber) -> bool {
        self.hosts[node].life == Some(life)
    }

    /// A machine's way to itself has no troubles.
    pub fn trouble(&mut self, id: TroubleId, from: NodeIndex, to: NodeIndex, trouble: Trouble) {
        if from == to {
            return;
        }
        let troubles = &mut self.link(from, to).troubles;
        let was_cut = troubles.is_cut();
        troubles.add(id, trouble);
        let (from_name, to_name) = (self.name(from), self.name(to));
        match trouble {
            Trouble::Cut if was_cut => {}
            Trouble::Cut => {
                self.recorder.record(Event::Cut { from: from_name, to: to_name });
                self.begin_probing_between(from, to);
            }
            Trouble::Slow(by) => self.recorder.record(Event::Slowed { from: from_name, to: to_name, by }),
            Trouble::Lossy(chance) => {
                let ppm = (chance * 1e6) as u32;
                self.recorder.record(Event::Lossy { from: from_name, to: to_name, ppm });
            }
            Trouble::Narrow(bytes_per_second) => {
                self.recorder.record(Event::Narrowed { from: from_name, to: to_name, bytes_per_second });
            }
            Trouble::Tail { chance, by } => {
                let ppm = (chance * 1e6) as u32;
                self.recorder.record(Event::Tailed { from: from_name, to: to_name, ppm, by });
            }
        }
    }

    /// Ends what one fault did; what others did to the same links stays.
    pub fn mend(&mut self, id: TroubleId) {
        let State { links, hosts, recorder, .. } = self;
        for ((from, to), link) in links {
            if link.troubles.remove(id) {
                recorder.record(Event::Mended { from: hosts[*from].name.clone(), to: hosts[*to].name.clone() });
            }
        }
        self.resume();
    }

    pub fn heal(&mut self) {
        self.recorder.record(Event::Healed);
        for link in self.links.values_mut() {
            link.troubles.heal();
        }
        self.resume();
    }

    /// Whether nothing is wrong with any link.
    pub fn is_whole(&self) -> bool {
        self.links.values().all(|link| link.troubles.is_whole())
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
        self.hosts[to].powered && !self.links.get(&(from, to)).is_some_and(|link| link.troubles.is_cut())
    }

    /// When a segment sent now gets to the end of the link.
    fn arrival(&mut self, from: NodeIndex, to: NodeIndex, bytes: usize) -> Duration {
        let (now, config) = (self.now(), self.config.clone());
        self.link(from, to).arrival(now, bytes, &config)
    }

    /// From now on `alias` means the machine `name`.
    pub fn alias(&mut self, alias: &str, name: &str) {
        self.aliases.insert(alias.to_ascii_lowercase(), name.to_ascii_lowercase());
    }

    /// The node that `name` means to `from`. Errors: `NotFound`, as from a resolver.
    pub fn resolve(&self, from: NodeIndex, name: &str) -> io::Result<NodeIndex> {
        let name = name.to_ascii_lowercase();
        let name = self.aliases.get(&name).cloned().unwrap_or(name);
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
