//! A stage of simulated machines, for any system: what a scenario's nemesis lines mean in a [`World`], and how a run in
//! it comes to a verdict.
//!
//! A system brings what starts its machines ([`play_in_world`]'s `set_up`) and how its clients connect ([`Connect`]).

use super::run::{Class, Failure, Played, Verdict, play};
use super::session::Session;
use super::stage::{CLIENT, Purpose, Stage, Subject, Vocabulary};
use super::{Fault, Links, Nemesis, Scenario, When, WorldKind};
use crate::host::Host;
use crate::sim::chance::Stream;
use crate::sim::clock::ClockFault;
use crate::sim::disk::DiskTrouble;
use crate::sim::record::{Crash, Moment, Recorder};
use crate::sim::world::{self, Fires, StrikeId, World, WorldConfig, simulate};
use async_trait::async_trait;
use rand::Rng;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Makes the session called by a name (see [`Stage::session`]) on the client's host.
pub type Connect = Box<dyn Fn(&Host, &str) -> Box<dyn Session> + Send + Sync>;

/// The machines of one scenario.
pub struct Machines {
    world: World,
    host: Host,
    nodes: Vec<String>,
    connect: Connect,
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

impl Machines {
    /// `world` has the system's machines; `nodes` is what [`Stage::nodes`] tells.
    pub fn new(
        world: World,
        nodes: Vec<String>,
        connect: impl Fn(&Host, &str) -> Box<dyn Session> + Send + Sync + 'static,
    ) -> Machines {
        let host = world.node(CLIENT);
        let (faults, workload) = (world.stream("faults"), world.stream("workload"));
        Machines { world, host, nodes, connect: Box::new(connect), faults, workload, armed: Vec::new() }
    }

    /// The scenario's fault in the world's terms, ended by itself where the scenario says so. Errors: an unknown node.
    fn translate(&self, nemesis: &Nemesis) -> Result<world::Fault, String> {
        let known = self.world.nodes();
        if let Some(name) = nemesis.fault.nodes().into_iter().find(|name| !known.iter().any(|node| node == name)) {
            return Err(format!("there is no node \"{name}\" in this scenario"));
        }
        let whom = |name: &String| world::Whom::Node(name.clone());
        let each = |links: &Links, fault: &dyn Fn(String, String) -> world::Fault| {
            let pairs = links.pairs().into_iter();
            world::Fault::All(pairs.map(|(from, to)| fault(from.to_string(), to.to_string())).collect())
        };
        let disk = |name: &String, trouble| world::Fault::DiskTrouble { whom: whom(name), trouble };
        let fault = match &nemesis.fault {
            Fault::Crash(name) => world::Fault::crash(name, Crash::PowerLoss),
            Fault::CrashAll => {
                let nodes = known.iter().filter(|node| *node != CLIENT);
                world::Fault::All(nodes.map(|node| world::Fault::crash(node, Crash::PowerLoss)).collect())
            }
            Fault::FullDisk(name, leaving_bytes) => disk(name, DiskTrouble::Full { leaving_bytes: *leaving_bytes }),
            Fault::SlowDisk(name, by) => disk(name, DiskTrouble::Slow(*by)),
            Fault::FailingDisk(name, ppm) => disk(name, DiskTrouble::Failing(f64::from(*ppm) / 1e6)),
            Fault::Rot(name) => world::Fault::Rot { whom: whom(name) },
            Fault::LoseDisk(name) => world::Fault::LoseDisk { whom: whom(name) },
            Fault::Bandwidth(links, rate) => {
                each(links, &|from, to| world::Fault::Narrow { from, to, bytes_per_second: *rate })
            }
            Fault::Tail(links, ppm, by) => {
                let chance = f64::from(*ppm) / 1e6;
                each(links, &|from, to| world::Fault::Tail { from, to, chance, by: *by })
            }
            Fault::Kill(name) => world::Fault::crash(name, Crash::Process),
            Fault::Restart(name) => world::Fault::restart(name),
            Fault::Pause(name) => world::Fault::Pause { whom: whom(name) },
            Fault::Resume(name) => world::Fault::Resume { whom: whom(name) },
            Fault::Heal => world::Fault::Heal,
            Fault::Recover => world::Fault::Recover,
            Fault::Clock(name, micros) => world::Fault::Clock { whom: whom(name), fault: ClockFault::Step(*micros) },
            Fault::Drift(name, ppm) => world::Fault::Clock { whom: whom(name), fault: ClockFault::DriftPpm(*ppm) },
            Fault::Slow(links, by) => each(links, &|from, to| world::Fault::Slow { from, to, by: *by }),
            Fault::Lose(links, ppm) => {
                let chance = f64::from(*ppm) / 1e6;
                each(links, &|from, to| world::Fault::Lose { from, to, chance })
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
}

#[async_trait]
impl Stage for Machines {
    fn kind(&self) -> WorldKind {
        WorldKind::Sim
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn session(&self, name: &str) -> Box<dyn Session> {
        (self.connect)(&self.host, name)
    }

    fn nodes(&self) -> Vec<String> {
        self.nodes.clone()
    }

    fn can(&self, _nemesis: &Nemesis) -> Result<(), String> {
        Ok(())
    }

    async fn strike(&mut self, nemesis: &Nemesis) -> Result<(), String> {
        let fault = self.translate(nemesis)?;
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

    fn draw(&mut self, purpose: Purpose, range: RangeInclusive<u64>) -> u64 {
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

    fn calm_since(&self) -> Option<Duration> {
        self.world.calm_since()
    }

    fn recorder(&self) -> Option<Arc<Recorder>> {
        Some(self.world.recorder().clone())
    }
}

/// Facts of a simulated run.
#[derive(Clone, Debug)]
pub struct Simulated {
    pub fingerprint: u64,
    pub duration: Duration,
    pub events: u64,
    pub faults: u64,
    pub probes: BTreeMap<String, u64>,
    pub buggify: BTreeMap<String, Fires>,
    pub sabotage: BTreeMap<String, u64>,
    /// The last events, as many as were to be kept.
    pub moments: Vec<Moment>,
}

/// Plays a scenario in a world of its own. `set_up` starts the machines and waits until they may be spoken to; its error
/// is the run's.
pub fn play_in_world<SetUp, Work>(
    scenario: &Scenario,
    seed: u64,
    config: WorldConfig,
    vocabulary: &'static dyn Vocabulary,
    mut subject: impl Subject + 'static,
    set_up: SetUp,
) -> (Played, Simulated)
where
    SetUp: FnOnce(World, Scenario) -> Work + Send + 'static,
    Work: Future<Output = Result<Machines, String>>,
{
    let scenario = scenario.clone();
    let run = simulate(seed, config, move |world| async move {
        match set_up(world, scenario.clone()).await {
            Ok(mut machines) => play(&scenario, &mut machines, vocabulary, &mut subject).await,
            Err(why) => ended(Failure::new(Class::Liveness, format!("the cluster did not start: {why}"))),
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
        buggify: run.buggify.into_iter().map(|(point, fires)| (point.to_string(), fires)).collect(),
        sabotage: run.sabotage.into_iter().map(|(bug, hits)| (bug.to_string(), hits)).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a stage of one machine is calm under this fault, and after it.
    fn calm(fault: world::Fault) -> (bool, bool) {
        let run = simulate(1, WorldConfig::default(), |world| async move {
            world.start("node0", |_| std::future::pending());
            let stage = Machines::new(world.clone(), vec!["node0".into()], |_, name| panic!("{name} is not spoken to"));
            world.inflict(&fault);
            let under = stage.calm_since().is_some();
            world.sleep(Duration::from_secs(1)).await;
            world.recover();
            (under, stage.calm_since().is_some_and(|since| since >= Duration::from_secs(1)))
        });
        run.result.unwrap()
    }

    #[test]
    fn it_is_calm_since_machines_disks_and_links_are_well() {
        let whom = || world::Whom::Node("node0".into());
        let slow = world::Fault::Slow { from: "node0".into(), to: CLIENT.into(), by: Duration::from_millis(5) };
        let disk = world::Fault::DiskTrouble { whom: whom(), trouble: DiskTrouble::Slow(Duration::from_millis(5)) };
        for fault in [world::Fault::crash("node0", Crash::PowerLoss), world::Fault::Pause { whom: whom() }, slow, disk]
        {
            assert_eq!(calm(fault.clone()), (false, true), "{fault}");
        }
        let clock = world::Fault::Clock { whom: whom(), fault: ClockFault::Step(1_000_000) };
        assert!(calm(clock).0, "a wrong clock is no excuse");
    }
}
