//! One simulated world: its machines, its network, its time, and what a story may do to them.
//!
//! ```ignore
//! let rows = run_simulation(7, WorldConfig::default(), |world| async move {
//!     world.start("dn1", |host| async move { serve(host).await });
//!     let client = world.node("client");
//!     world.strike_at("txn.decided", 1, Fault::crash("dn1", Crash::PowerLoss));
//!     ...
//! });
//! ```
//!
//! The story runs on the simulated world's own thread of control, outside all nodes; its clients should be nodes
//! too, so that their messages travel. A node is a machine: it has a disk and a clock that outlive its processes.
//! Each start of a process is a new *life* with a new host; the old host's doors are shut for good.
//!
//! Reading order: this file, `faults` (what can go wrong), `probes` (when), `buggify` (code that does the unlikely), `run`
//! (from a seed to a verdict).

mod buggify;
mod faults;
mod probes;
pub(in crate::sim) mod run;
#[cfg(test)]
mod tests;

pub use buggify::Fires;
pub use faults::{Fault, Whom};
pub use probes::StrikeId;
pub use run::{Run, run_simulation, simulate};

use super::chance::{self, Stream, Turn};
use super::clock::{ClockFault, NodeClock};
use super::disk::{DiskDoor, DiskFaults, DiskTrouble, SimDisk};
use super::life::Life;
use super::net::{Due, LifeNumber, NetConfig, NetDoor, Network, NodeIndex};
use super::record::{Crash, Event, Name, Recorder};
use super::tasks::{ClockDoor, EntropyDoor, Failure, FailureSlot, TaskDoor, lock};
use super::time::{Agenda, Item, SimTime};
use crate::host::{Host, Tasks};
use crate::sabotage::Sabotage;
use buggify::Points;
use futures::future::BoxFuture;
use probes::Probes;
use rand::RngCore;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a world is like before its story begins.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    pub net: NetConfig,
    /// True time at the start, in microseconds since 1970-01-01 UTC.
    pub utc_start_micros: i64,
    /// The run fails when its simulated time gets here.
    pub time_limit: Duration,
    /// So many of the last events are kept to be shown; the fingerprint covers all.
    pub keep_events: usize,
    /// Where chance leaves the seed's way.
    pub turn: Option<Turn>,
    /// A process that ends by itself is started again after so long, as by a supervisor. `None`: it stays down.
    pub supervised: Option<Duration>,
    /// Points of [`buggify`](crate::buggify) that fire now and then in this run.
    pub buggify: BTreeSet<&'static str>,
    /// Bugs planted in all nodes.
    pub sabotage: Sabotage,
}

impl Default for WorldConfig {
    fn default() -> WorldConfig {
        WorldConfig {
            net: NetConfig::default(),
            // 2024-01-01 00:00:00 UTC, a Monday.
            utc_start_micros: 1_704_067_200_000_000,
            time_limit: Duration::from_secs(24 * 3600),
            keep_events: 1_000,
            turn: None,
            supervised: None,
            buggify: BTreeSet::new(),
            sabotage: Sabotage::default(),
        }
    }
}

/// A handle on the world; clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    config: WorldConfig,
    agenda: Arc<Agenda<Due>>,
    network: Arc<Network>,
    recorder: Arc<Recorder>,
    runtime: madsim::runtime::Handle,
    /// Where delayed faults wait: never crashed, never cut off.
    director: madsim::runtime::NodeHandle,
    nodes: Mutex<BTreeMap<String, Node>>,
    probes: Mutex<Probes>,
    points: Mutex<Points>,
    failure: FailureSlot,
    /// How often everything was made well: faults that were scheduled before the last time do not strike.
    peace: AtomicU64,
    /// Numbers of the faults that lie in links.
    troubles: AtomicU64,
    /// Of the world itself; over when the story is.
    life: Life,
}

type Init = Arc<dyn Fn(Host) -> BoxFuture<'static, ()> + Send + Sync>;

/// A machine.
struct Node {
    name: Name,
    index: NodeIndex,
    disk: SimDisk,
    clock: Arc<Mutex<NodeClock>>,
    lives: LifeNumber,
    init: Option<Init>,
    running: Option<Process>,
    /// The last process ended by itself, and nothing has happened to the machine since.
    exited: bool,
}

struct Process {
    life: Life,
    host: Host,
    /// Each process is a node of its own to madsim, because a madsim node that is restarted shares names and
    /// sockets with its former self.
    executor: madsim::runtime::NodeHandle,
    paused: bool,
}

impl World {
    /// Must be called inside a madsim runtime.
    fn new(seed: u64, config: WorldConfig) -> World {
        let time = SimTime::current();
        let agenda = Agenda::new(time.clone());
        let recorder = Recorder::new(time, config.keep_events);
        let network = Network::new(seed, config.net.clone(), agenda.clone(), recorder.clone());
        let runtime = madsim::runtime::Handle::current();
        let director = runtime.create_node().name("director").build();
        director.spawn(pump(agenda.clone(), network.clone(), config.turn));
        World(Arc::new(Inner {
            seed,
            config,
            agenda,
            network,
            recorder,
            runtime,
            director,
            nodes: Mutex::default(),
            probes: Mutex::default(),
            points: Mutex::default(),
            failure: FailureSlot::default(),
            peace: AtomicU64::new(0),
            troubles: AtomicU64::new(0),
            life: Life::begin(),
        }))
    }

    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The stream of chance called `name`, from its beginning. For one purpose each: `workload`, `faults`.
    pub fn stream(&self, name: &str) -> Stream {
        chance::stream(self.0.seed, name)
    }

    /// Simulated time since the start of the run.
    pub fn elapsed(&self) -> Duration {
        self.0.agenda.now()
    }

    /// What a perfect clock shows: microseconds since 1970-01-01 UTC.
    pub fn true_utc_micros(&self) -> i64 {
        self.0.config.utc_start_micros + self.elapsed().as_micros() as i64
    }

    pub async fn sleep(&self, duration: Duration) {
        self.0.agenda.sleep(&self.0.life, duration).await;
    }

    /// Waits for `condition`, looked at every millisecond; false if it does not hold within `limit`.
    pub async fn until(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = self.elapsed() + limit;
        while !condition() {
            if self.elapsed() >= deadline {
                return false;
            }
            self.sleep(Duration::from_millis(1)).await;
        }
        true
    }

    /// Runs part of the story beside the rest of it, outside all nodes.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.director.spawn(future);
    }

    /// Writes a line into the event log; it counts for the fingerprint.
    pub fn note(&self, text: impl Into<String>) {
        self.0.recorder.record(Event::Note { text: text.into() });
    }

    /// Writes what the story knows and the world cannot see: a client's operations, a checker's word.
    pub fn record(&self, event: Event) {
        self.0.recorder.record(event);
    }

    /// The events so far that the configuration says to keep.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.0.recorder
    }

    pub fn network(&self) -> &Network {
        &self.0.network
    }
}

/// Machines and their processes.
impl World {
    /// Every machine's resolver knows `name` also as `alias`.
    pub fn alias(&self, alias: &str, name: &str) {
        self.0.network.alias(alias, name);
    }

    /// The host of the named node's process. A node that was never heard of comes to be, with a process that runs
    /// nothing but what is spawned on its host: this is what clients are. A node that is down is switched on so.
    pub fn node(&self, name: &str) -> Host {
        let mut nodes = lock(&self.0.nodes);
        let node = self.machine(&mut nodes, name);
        match &node.running {
            Some(process) => process.host.clone(),
            None => self.boot(node),
        }
    }

    /// Starts a process on the named node that runs `main`; when `main` ends, the process exits.
    ///
    /// Panics if the node already runs one.
    pub fn start<Main, Work>(&self, name: &str, main: Main) -> Host
    where
        Main: Fn(Host) -> Work + Send + Sync + 'static,
        Work: Future<Output = ()> + Send + 'static,
    {
        let mut nodes = lock(&self.0.nodes);
        let node = self.machine(&mut nodes, name);
        assert!(node.running.is_none(), "{name} is already running");
        node.init = Some(Arc::new(move |host| Box::pin(main(host))));
        self.boot(node)
    }

    /// Starts the process that a crashed node ran before. Without effect if it is running.
    pub fn restart(&self, name: &str) {
        self.node(name);
    }

    /// The host of an empty process on a node that is down, and on its later restarts too: to look at what a crash
    /// left on the disk. Panics if the node is running.
    pub fn inspect(&self, name: &str) -> Host {
        let mut nodes = lock(&self.0.nodes);
        let node = self.machine(&mut nodes, name);
        assert!(node.running.is_none(), "{name} is running");
        node.init = None;
        self.boot(node)
    }

    /// Whether a process runs on the node.
    pub fn is_up(&self, name: &str) -> bool {
        lock(&self.0.nodes).get(name).is_some_and(|node| node.running.is_some())
    }

    /// Names of all nodes, sorted.
    pub fn nodes(&self) -> Vec<String> {
        lock(&self.0.nodes).keys().cloned().collect()
    }

    pub fn disk(&self, name: &str) -> SimDisk {
        self.machine(&mut lock(&self.0.nodes), name).disk.clone()
    }

    fn machine<'a>(&self, nodes: &'a mut BTreeMap<String, Node>, name: &str) -> &'a mut Node {
        nodes.entry(name.to_string()).or_insert_with(|| {
            let shared = Name::from(name);
            let disk = SimDisk::new(shared.clone(), self.0.recorder.clone(), self.stream(&format!("disk/{name}")));
            Node {
                index: self.0.network.add_node(shared.clone()),
                name: shared,
                disk,
                clock: Arc::default(),
                lives: 0,
                init: None,
                running: None,
                exited: false,
            }
        })
    }

    fn boot(&self, node: &mut Node) -> Host {
        node.lives += 1;
        node.exited = false;
        node.disk.begin_life();
        let (life, number) = (Life::begin(), node.lives);
        let executor = self.0.runtime.create_node().name(format!("{}#{number}", node.name)).build();
        let stream = |purpose: &str| self.stream(&format!("{purpose}/{}/{number}", node.name));
        let tasks = Arc::new(TaskDoor {
            node: node.name.clone(),
            life: life.clone(),
            spawner: executor.clone(),
            agenda: self.0.agenda.clone(),
            recorder: self.0.recorder.clone(),
            disk: node.disk.clone(),
            chance: Arc::new(Mutex::new(stream("tasks"))),
            failure: self.0.failure.clone(),
        });
        let clock = ClockDoor {
            life: life.clone(),
            agenda: self.0.agenda.clone(),
            clock: node.clock.clone(),
            utc_start_micros: self.0.config.utc_start_micros,
        };
        let host = Host::new(
            &*node.name,
            Arc::new(NetDoor::new(self.0.network.clone(), node.index, life.clone(), number)),
            Arc::new(clock),
            tasks.clone(),
            Arc::new(EntropyDoor(Mutex::new(stream("entropy")))),
            Arc::new(DiskDoor::new(node.disk.clone(), life.clone())),
        );
        self.0.recorder.record(Event::Started { node: node.name.clone(), life: number });
        self.0.network.start(node.index, number);
        if let Some(init) = &node.init {
            let (init, world, name) = (init.clone(), self.downgrade(), node.name.clone());
            let (host, life) = (host.clone(), life.clone());
            // Called inside the task: the closure may look at the world, whose machines are locked here.
            let main = async move {
                init(host).await;
                if let Some(world) = world.upgrade() {
                    world.exited(&name, &life);
                }
            };
            tasks.spawn("main", Box::pin(main));
        }
        node.running = Some(Process { life, host: host.clone(), executor, paused: false });
        host
    }

    /// The main task of a process has ended by itself: the operating system tidies up behind it.
    fn exited(&self, name: &Name, life: &Life) {
        if life.is_over() {
            return;
        }
        self.0.recorder.record(Event::Exited { node: name.clone() });
        let mut nodes = lock(&self.0.nodes);
        let node = nodes.get_mut(&**name).expect("a process has a machine");
        self.end_process(node);
        self.0.network.crash(node.index, Crash::Process);
        node.exited = true;
        let lives = node.lives;
        drop(nodes);
        if let Some(pause) = self.0.config.supervised {
            let name = name.to_string();
            self.later(pause, move |world| {
                let waits = lock(&world.0.nodes).get(&name).is_some_and(|node| node.exited && node.lives == lives);
                if waits {
                    world.restart(&name);
                }
            });
        }
    }

    /// Shuts all doors of the process, then has the executor drop its tasks.
    fn end_process(&self, node: &mut Node) {
        let Some(process) = node.running.take() else { return };
        process.life.end();
        if process.paused {
            // Otherwise madsim drops the paused tasks right here, under its own lock.
            self.0.runtime.resume(process.executor.id());
        }
        self.0.runtime.kill(process.executor.id());
    }

    fn downgrade(&self) -> WeakWorld {
        WeakWorld(Arc::downgrade(&self.0))
    }

    /// Ends every process, forgets the story's closures. What they held must not outlive the run.
    fn tear_down(&self) {
        self.0.recorder.close();
        let mut nodes = std::mem::take(&mut *lock(&self.0.nodes));
        for node in nodes.values_mut() {
            self.end_process(node);
            self.0.network.crash(node.index, Crash::PowerLoss);
        }
        lock(&self.0.probes).clear();
        self.0.life.end();
        self.0.agenda.clear();
        self.0.runtime.kill(self.0.director.id());
    }
}

/// For closures that the world itself keeps: a strong one would keep the world alive for ever.
struct WeakWorld(std::sync::Weak<Inner>);

impl WeakWorld {
    fn upgrade(&self) -> Option<World> {
        self.0.upgrade().map(World)
    }
}

/// Moves the world: wakes sleepers and lets messages arrive, each at its time.
///
/// Takes the turn, too: a task of its own for that would draw from the executor's chance before its moment came.
async fn pump(agenda: Arc<Agenda<Due>>, network: Arc<Network>, mut turn: Option<Turn>) {
    loop {
        for item in poll_fn(|context| agenda.poll_due(context)).await {
            if let Some(turn) = turn.take_if(|turn| agenda.now() >= turn.at) {
                take(turn);
            }
            match item {
                Item::Wake(waker) => waker.wake(),
                Item::Thing(due) => network.happen(due),
            }
        }
    }
}

/// Numbers of the executor's own generator that a turn passes over, at most.
const PASSED_OVER_MAX: u64 = 1 << 16;

/// From here on all chance is other than the seed's. The executor's generator cannot be seeded anew, so that some of
/// its numbers are passed over: as many as the salt says.
fn take(turn: Turn) {
    chance::turn(turn.salt);
    if turn.salt != 0 {
        let mut numbers = madsim::rand::thread_rng();
        let passed_over = 1 + chance::stream(turn.salt, "executor").next_u64() % PASSED_OVER_MAX;
        for _ in 0..passed_over {
            madsim::rand::RngCore::next_u64(&mut numbers);
        }
    }
}
