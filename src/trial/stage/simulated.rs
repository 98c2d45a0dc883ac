//! The deterministic world: every node a machine of a simulated [`World`], one seed one run.

use super::{ACCESS_NODE, CLIENT, Cluster, DATABASE, USER, data_node_names, make_cluster, unknown_node};
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::node::{Config, FIRST_DATABASE, Server, data_node_host};
use crate::sim::chance::Stream;
use crate::sim::clock::ClockFault;
use crate::sim::disk::DiskTrouble;
use crate::sim::record::{Crash, Recorder};
use crate::sim::scenario::run::{Class, Failure, Played, Verdict, play};
use crate::sim::scenario::session::Session;
use crate::sim::scenario::stage::{Purpose, Stage};
use crate::sim::scenario::{ClusterSpec, Fault, Links, Nemesis, Scenario, When, WorldKind};
use crate::sim::world::{self, StrikeId, World, WorldConfig, simulate};
use crate::trial::report::{Sabotage, Simulated};
use crate::trial::subject::Hypertables;
use crate::trial::words::Words;
use crate::wire::client::{Address, Connection};
use async_trait::async_trait;
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The port of every simulated server.
const PORT: u16 = 5432;

/// A server whose disk does not let it start tries again after so long, as under systemd.
const START_ANEW_AFTER: Duration = Duration::from_secs(1);

/// A run that needs more simulated time hangs.
const TIME_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// The machines of one scenario.
pub struct SimulatedStage {
    world: World,
    host: Host,
    data_nodes: Vec<String>,
    faults: Stream,
    workload: Stream,
    /// Faults for later, as the scenario has them.
    armed: Vec<(Armed, String)>,
}

/// What an armed fault waits for.
enum Armed {
    Probe(StrikeId),
    /// Simulated time since the start of the run.
    Time(Duration),
}

/// Plays a scenario in a world of its own.
pub fn run(scenario: &Scenario, seed: u64, sabotage: Sabotage, keep_events: usize) -> (Played, Simulated) {
    let scenario = scenario.clone();
    let supervised = Some(START_ANEW_AFTER);
    let config = WorldConfig { time_limit: TIME_LIMIT, keep_events, supervised, ..WorldConfig::default() };
    let run = simulate(seed, config, move |world| async move {
        match SimulatedStage::start(world, &scenario.cluster, sabotage).await {
            Ok(mut stage) => play(&scenario, &mut stage, &Words, &mut Hypertables::default()).await,
            Err(error) => ended(Failure::new(Class::Liveness, format!("the cluster did not start: {error}"))),
        }
    });
    let mut probes = BTreeMap::new();
    for ((_, probe), hits) in &run.probes {
        *probes.entry(probe.to_string()).or_default() += hits;
    }
    let played = run.result.unwrap_or_else(|failure| {
        let last: Vec<String> = run.kept.iter().rev().take(20).rev().map(|moment| format!("    {moment}")).collect();
        let message = format!("{failure}\n  the last events:\n{}", last.join("\n"));
        ended(Failure::new(class_of(&failure.message), message))
    });
    let facts = Simulated {
        fingerprint: run.fingerprint,
        duration: run.simulated,
        events: run.events,
        faults: run.faults,
        probes,
        moments: run.kept,
    };
    (played, facts)
}

/// A run that ended before its story did.
fn ended(failure: Failure) -> Played {
    Played::without_steps(Verdict::Failed { line: 0, failure })
}

/// A panic, or what madsim says when nothing happens any more.
fn class_of(message: &str) -> Class {
    let stands_still = ["time limit exceeded", "no events"].iter().any(|text| message.contains(text));
    if stands_still { Class::Liveness } else { Class::Panic }
}

impl SimulatedStage {
    async fn start(world: World, spec: &ClusterSpec, sabotage: Sabotage) -> Result<SimulatedStage> {
        let data_nodes = data_node_names(spec);
        for (k, name) in (0..).zip(&data_nodes) {
            world.alias(&data_node_host(k), name);
            world.start(name, |host| serve(host, Sabotage::default()));
        }
        world.start(ACCESS_NODE, move |host| serve(host, sabotage));
        let host = world.node(CLIENT);
        let (faults, workload) = (world.stream("faults"), world.stream("workload"));
        let stage = SimulatedStage { world, host, data_nodes, faults, workload, armed: Vec::new() };
        for name in stage.data_nodes.iter().map(String::as_str).chain([ACCESS_NODE]) {
            stage.wait_ready(name).await?;
        }
        make_cluster(&stage, spec.data).await?;
        Ok(stage)
    }

    async fn wait_ready(&self, name: &str) -> Result<()> {
        let address = Address { database: FIRST_DATABASE.to_string(), ..self.machine(name) };
        let deadline = self.host.monotonic() + Duration::from_secs(60);
        loop {
            match Connection::open(&self.host, &address).await {
                Ok(_) => return Ok(()),
                Err(error) if self.host.monotonic() >= deadline => return Err(error),
                Err(_) => self.host.sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn machine(&self, name: &str) -> Address {
        Address {
            host: name.to_string(),
            port: PORT,
            database: DATABASE.to_string(),
            user: USER.to_string(),
            password: None,
        }
    }

    /// The scenario's fault in the world's terms, ended by itself where the scenario says so.
    fn translate(&self, nemesis: &Nemesis) -> Result<world::Fault> {
        for name in nemesis.fault.nodes() {
            self.known(name)?;
        }
        let whom = |name: &String| world::Whom::Node(name.clone());
        let each = |links: &Links, fault: &dyn Fn(String, String) -> world::Fault| {
            let pairs = links.pairs().into_iter();
            world::Fault::All(pairs.map(|(from, to)| fault(from.to_string(), to.to_string())).collect())
        };
        let disk = |name: &String, trouble| world::Fault::DiskTrouble { whom: whom(name), trouble };
        let fault = match &nemesis.fault {
            Fault::Crash(name) => world::Fault::crash(name, Crash::PowerLoss),
            Fault::Kill(name) => world::Fault::crash(name, Crash::Process),
            Fault::Restart(name) => world::Fault::restart(name),
            Fault::Pause(name) => world::Fault::Pause { whom: whom(name) },
            Fault::Resume(name) => world::Fault::Resume { whom: whom(name) },
            Fault::CrashAll => {
                let nodes = self.data_nodes.iter().map(String::as_str).chain([ACCESS_NODE]);
                world::Fault::All(nodes.map(|node| world::Fault::crash(node, Crash::PowerLoss)).collect())
            }
            Fault::FullDisk(name, leaving_bytes) => disk(name, DiskTrouble::Full { leaving_bytes: *leaving_bytes }),
            Fault::SlowDisk(name, by) => disk(name, DiskTrouble::Slow(*by)),
            Fault::FailingDisk(name, ppm) => disk(name, DiskTrouble::Failing(f64::from(*ppm) / 1e6)),
            Fault::Rot(name) => world::Fault::Rot { whom: whom(name) },
            Fault::LoseDisk(name) => world::Fault::LoseDisk { whom: whom(name) },
            Fault::Heal => world::Fault::Heal,
            Fault::Recover => world::Fault::Recover,
            Fault::Clock(name, micros) => world::Fault::Clock { whom: whom(name), fault: ClockFault::Step(*micros) },
            Fault::Drift(name, ppm) => world::Fault::Clock { whom: whom(name), fault: ClockFault::DriftPpm(*ppm) },
            Fault::Slow(links, by) => each(links, &|from, to| world::Fault::Slow { from, to, by: *by }),
            Fault::Lose(links, ppm) => {
                let chance = f64::from(*ppm) / 1e6;
                each(links, &|from, to| world::Fault::Lose { from, to, chance })
            }
            Fault::Bandwidth(links, rate) => {
                each(links, &|from, to| world::Fault::Narrow { from, to, bytes_per_second: *rate })
            }
            Fault::Tail(links, ppm, by) => {
                let chance = f64::from(*ppm) / 1e6;
                each(links, &|from, to| world::Fault::Tail { from, to, chance, by: *by })
            }
            Fault::OneWay(from, to) => {
                world::Fault::Partition { left: vec![from.clone()], right: to.clone(), one_way: true }
            }
            Fault::Partition(groups) => {
                let pairs = groups.iter().enumerate().flat_map(|(index, left)| {
                    groups[index + 1..].iter().map(move |right| world::Fault::Partition {
                        left: left.clone(),
                        right: right.clone(),
                        one_way: false,
                    })
                });
                world::Fault::All(pairs.collect())
            }
        };
        Ok(match nemesis.lasts {
            Some((lasts, _)) => world::Fault::For(lasts, Box::new(fault)),
            None => fault,
        })
    }

    fn known(&self, name: &str) -> Result<()> {
        let known = name == ACCESS_NODE || name == CLIENT || self.data_nodes.iter().any(|node| node == name);
        if known { Ok(()) } else { Err(unknown_node(name)) }
    }
}

/// What a simulated machine runs: the server, and nothing else. A store that cannot be opened after a crash is a
/// failure of the run, which the panic makes it; with a disk that refuses to be read or written the server only ends.
async fn serve(host: Host, sabotage: Sabotage) {
    let config = Config { port: PORT, password: None, decisions_unsynced: sabotage.decision_sync };
    let listener = host.net().listen("0.0.0.0", PORT).await.unwrap_or_else(|error| panic!("cannot listen: {error}"));
    match Server::open(&host, config).await {
        Ok(server) => server.run(listener).await,
        Err(error) if is_of_disk(&error) => {}
        Err(error) => panic!("the server cannot open its data: {error}"),
    }
}

/// Whether the disk itself, and not what is on it, is the reason.
fn is_of_disk(error: &Error) -> bool {
    [codes::IO_ERROR, codes::DISK_FULL].contains(&error.code())
}

impl Cluster for SimulatedStage {
    fn address(&self, node: &str) -> Option<Address> {
        (node == ACCESS_NODE || self.data_nodes.iter().any(|name| name == node)).then(|| self.machine(node))
    }
}

#[async_trait]
impl Stage for SimulatedStage {
    fn kind(&self) -> WorldKind {
        WorldKind::Sim
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn session(&self, name: &str) -> Box<dyn Session> {
        self.connection(name)
    }

    fn nodes(&self) -> Vec<String> {
        self.data_nodes.clone()
    }

    fn can(&self, _nemesis: &Nemesis) -> std::result::Result<(), String> {
        Ok(())
    }

    async fn strike(&mut self, nemesis: &Nemesis) -> std::result::Result<(), String> {
        let fault = self.translate(nemesis).map_err(|error| error.to_string())?;
        match &nemesis.when {
            When::Now => self.world.inflict(&fault),
            When::After(delay, _) => {
                self.armed.push((Armed::Time(self.world.elapsed() + *delay), nemesis.to_string()));
                self.world.inflict(&world::Fault::After(*delay, Box::new(fault)));
            }
            When::At { probe, hits } => {
                let id = self.world.strike_at(probe.clone(), u64::from(hits.0), fault);
                self.armed.push((Armed::Probe(id), nemesis.to_string()));
            }
        }
        Ok(())
    }

    fn draw(&mut self, purpose: Purpose, range: std::ops::RangeInclusive<u64>) -> u64 {
        match purpose {
            Purpose::Faults => self.faults.random_range(range),
            Purpose::Workload => self.workload.random_range(range),
        }
    }

    fn waiting(&self) -> Vec<String> {
        let struck = |armed: &Armed| match armed {
            Armed::Probe(id) => self.world.has_struck(*id),
            Armed::Time(at) => self.world.elapsed() >= *at,
        };
        self.armed.iter().filter(|(armed, _)| !struck(armed)).map(|(_, text)| text.clone()).collect()
    }

    fn recorder(&self) -> Option<Arc<Recorder>> {
        Some(self.world.recorder().clone())
    }
}
