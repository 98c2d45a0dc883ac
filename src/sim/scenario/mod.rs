//! Scenario files: a story of statements, faults and checks, told once and run in any world.
//!
//! `docs/scenario_format.md` is the grammar for people. [`parse`] reads a file into [`Step`]s, [`run`] carries them
//! out on a [`Stage`](stage::Stage) for a [`Subject`](stage::Subject); [`session`] is one client connection, [`clients`]
//! runs the blocks of operations, [`machines`] is the stage of the simulated world.
//!
//! A scenario file is sqllogictest (parsed by that crate, so its records mean here what they mean everywhere) plus
//! directive lines of our own. What the system under test is, it learns through the traits of [`stage`]: statements,
//! operations, checkers and snapshots are text here.

pub mod clients;
pub mod journal;
pub mod machines;
mod names;
pub mod parse;
pub mod problem;
pub mod run;
pub mod session;
pub mod stage;

use crate::units::{exact, exact_bytes};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use parse::parse;

/// One scenario file, parsed.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    /// As it stands in the file, comments and all.
    pub text: String,
    pub cluster: ClusterSpec,
    /// Points that fire now and then, as the `buggify` line names them.
    pub buggify: Vec<String>,
    pub steps: Vec<Step>,
}

/// A scenario's name: the last part of its file's, without `.slt`.
pub fn name_of(file: &str) -> String {
    file.rsplit('/').next().unwrap_or(file).trim_end_matches(".slt").to_string()
}

/// The `cluster` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpec {
    /// Data nodes that run and are added to the cluster before the first step, named `node0`, `node1`, ….
    pub data: u16,
    /// Data nodes that run but are not added, numbered on.
    pub spare: u16,
    /// Used where the command line names no seed.
    pub seed: Option<u64>,
    pub worlds: Vec<WorldKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorldKind {
    Sim,
    Loopback,
    Postgres,
}

impl WorldKind {
    pub const ALL: [WorldKind; 3] = [WorldKind::Sim, WorldKind::Loopback, WorldKind::Postgres];
}

impl fmt::Display for WorldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorldKind::Sim => "sim",
            WorldKind::Loopback => "loopback",
            WorldKind::Postgres => "postgres",
        })
    }
}

impl std::str::FromStr for WorldKind {
    type Err = String;

    fn from_str(text: &str) -> Result<WorldKind, String> {
        WorldKind::ALL
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| format!("unknown world \"{text}\": expected sim, loopback or postgres"))
    }
}

/// One thing to do, and the line it stands on.
#[derive(Clone, Debug)]
pub struct Step {
    pub line: u32,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// A statement or query with its expectation.
    Record {
        record: Box<Record>,
        how: How,
    },
    /// Waits until the background records of a connection are done.
    Await(String),
    Nemesis(Nemesis),
    Advance(Duration),
    Workload(WorkloadSpec),
    Client(ClientBlock),
    /// Names of checkers; `all` is all of them.
    Check(Vec<String>),
    /// What to write down: `placement`, `catalog`.
    Snapshot(String),
}

pub type Record = sqllogictest::Record<sqllogictest::DefaultColumnType>;

/// How a record is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    Now,
    /// Repeated until it matches, for at most so long.
    Eventually(Duration),
    /// In its own task; its result is looked at by `await`.
    Background,
    /// Any answer will do: rows, or an error. None at all fails the story.
    Maybe,
    /// Both.
    MaybeInBackground,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nemesis {
    pub fault: Fault,
    pub when: When,
    /// What ends by itself does so after a time within this range: see [`Fault::can_end`].
    pub lasts: Option<(Duration, Duration)>,
}

impl Nemesis {
    /// The same with what it leaves open drawn, so that the seed fixes it.
    pub fn fixed(&self, draw: &mut dyn FnMut(RangeInclusive<u64>) -> u64) -> Nemesis {
        let mut fixed = self.clone();
        let mut duration = |(low, high): (Duration, Duration)| {
            let drawn = Duration::from_millis(draw(low.as_millis() as u64..=high.as_millis() as u64));
            (drawn, drawn)
        };
        fixed.lasts = fixed.lasts.map(&mut duration);
        match &mut fixed.when {
            When::Now => {}
            When::After(low, high) => (*low, *high) = duration((*low, *high)),
            When::At { hits, .. } => {
                let hit = draw(u64::from(hits.0)..=u64::from(hits.1)) as u32;
                *hits = (hit, hit);
            }
        }
        fixed
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power loss in the simulation, SIGKILL elsewhere.
    Crash(String),
    /// The process dies, its machine stays: SIGKILL everywhere.
    Kill(String),
    Restart(String),
    /// The process stands still: SIGSTOP.
    Pause(String),
    Resume(String),
    /// Links between nodes of different groups carry nothing; `client` is the scenario's own place.
    Partition(Vec<Vec<String>>),
    /// Bytes from the first node no longer reach the others; the way back stays open.
    OneWay(String, Vec<String>),
    /// Everything on these links takes so much longer.
    Slow(Links, Duration),
    /// So many of a million messages must be sent twice.
    Lose(Links, u32),
    /// No more bytes a second get through.
    Bandwidth(Links, u64),
    /// So many of a million messages take up to so much longer.
    Tail(Links, u32, Duration),
    /// All nodes at once: power loss in the simulation, SIGKILL elsewhere.
    CrashAll,
    /// The disk takes so many bytes more, then it is full.
    FullDisk(String, u64),
    /// Each sync of the disk takes so much longer.
    SlowDisk(String, Duration),
    /// So many of a million writes and syncs fail.
    FailingDisk(String, u32),
    /// One bit on the disk turns over.
    Rot(String),
    /// The machine loses its power and its disk; it comes back with an empty one.
    LoseDisk(String),
    Heal,
    /// Everything is well again: links, crashed and paused nodes, clocks, disks; what was armed is forgotten.
    Recover,
    /// Moves the node's clock by so many microseconds.
    Clock(String, i64),
    /// Parts per million, from now on.
    Drift(String, i64),
}

/// Which ways between nodes are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Links {
    /// All between nodes of different groups, both ways.
    Between(Vec<Vec<String>>),
    /// From the first node to the others.
    OneWay(String, Vec<String>),
}

impl Links {
    /// All that are named.
    fn nodes(&self) -> Vec<&str> {
        match self {
            Links::Between(groups) => groups.iter().flatten().map(String::as_str).collect(),
            Links::OneWay(from, to) => [from].into_iter().chain(to).map(String::as_str).collect(),
        }
    }

    /// Every direction of its own: from, to.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        match self {
            Links::OneWay(from, to) => to.iter().map(|to| (from.as_str(), to.as_str())).collect(),
            Links::Between(groups) => (groups.iter().enumerate())
                .flat_map(|(index, left)| left.iter().map(move |from| (index, from)))
                .flat_map(|(index, from)| {
                    let others = groups.iter().enumerate().filter(move |(other, _)| *other != index);
                    others.flat_map(|(_, group)| group).map(|to| (from.as_str(), to.as_str()))
                })
                .collect(),
        }
    }
}

impl Fault {
    /// Whether it may be followed by `for`: a clock that went wrong does not come right by itself.
    pub fn can_end(&self) -> bool {
        let lasting = matches!(self, Fault::Clock(..) | Fault::Drift(..) | Fault::Rot(_));
        !lasting && !matches!(self, Fault::Restart(_) | Fault::Resume(_) | Fault::Heal)
    }

    /// The ways that it is about, if it is about any.
    pub fn links(&self) -> Option<Links> {
        match self {
            Fault::Partition(groups) => Some(Links::Between(groups.clone())),
            Fault::OneWay(from, to) => Some(Links::OneWay(from.clone(), to.clone())),
            Fault::Slow(links, _) | Fault::Lose(links, _) => Some(links.clone()),
            Fault::Bandwidth(links, _) | Fault::Tail(links, ..) => Some(links.clone()),
            _ => None,
        }
    }

    /// The same about other ways; of what is about none, itself.
    pub fn over(&self, links: Links) -> Fault {
        match (self, links) {
            (Fault::Partition(_) | Fault::OneWay(..), Links::Between(groups)) => Fault::Partition(groups),
            (Fault::Partition(_) | Fault::OneWay(..), Links::OneWay(from, to)) => Fault::OneWay(from, to),
            (Fault::Slow(_, by), links) => Fault::Slow(links, *by),
            (Fault::Lose(_, ppm), links) => Fault::Lose(links, *ppm),
            (Fault::Bandwidth(_, bytes_per_second), links) => Fault::Bandwidth(links, *bytes_per_second),
            (Fault::Tail(_, ppm, by), links) => Fault::Tail(links, *ppm, *by),
            _ => self.clone(),
        }
    }

    /// All nodes that it names.
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Fault::Crash(node) | Fault::Kill(node) | Fault::Restart(node) => vec![node],
            Fault::Pause(node) | Fault::Resume(node) | Fault::Clock(node, _) | Fault::Drift(node, _) => vec![node],
            Fault::FullDisk(node, _) | Fault::SlowDisk(node, _) | Fault::FailingDisk(node, _) => vec![node],
            Fault::Rot(node) | Fault::LoseDisk(node) => vec![node],
            Fault::Partition(groups) => groups.iter().flatten().map(String::as_str).collect(),
            Fault::OneWay(from, to) => [from].into_iter().chain(to).map(String::as_str).collect(),
            Fault::Slow(links, _) | Fault::Lose(links, _) => links.nodes(),
            Fault::Bandwidth(links, _) | Fault::Tail(links, ..) => links.nodes(),
            Fault::CrashAll | Fault::Heal | Fault::Recover => vec![],
        }
    }

    /// Whether it is about what a disk does.
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Fault::FullDisk(..) | Fault::SlowDisk(..) | Fault::FailingDisk(..))
            || matches!(self, Fault::Rot(_) | Fault::LoseDisk(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// Within the range of delays, drawn from the seed.
    After(Duration, Duration),
    /// When the probe is hit for the n-th time from now on; n is drawn from the range.
    At {
        probe: String,
        hits: (u32, u32),
    },
}

/// `workload batches writers=3 batches=12 …`: stands for clients, which the system's vocabulary names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSpec {
    pub name: String,
    pub options: Vec<(String, String)>,
}

/// `client w0` and the lines below it: operations that one client performs beside the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientBlock {
    pub name: String,
    /// Begins anew as long as any of these clients is not through.
    pub accompanies: Vec<String>,
    pub operations: Vec<Timed>,
}

/// An operation and the pause before it, drawn from the range when it is performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    pub pause: (Duration, Duration),
    pub text: String,
}

impl fmt::Display for ClusterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClusterSpec { data, spare, seed, worlds } = self;
        write!(f, "cluster data={data}")?;
        if *spare > 0 {
            write!(f, " spare={spare}")?;
        }
        seed.iter().try_for_each(|seed| write!(f, " seed={seed}"))?;
        if *worlds == WorldKind::ALL {
            return Ok(());
        }
        let worlds: Vec<String> = worlds.iter().map(WorldKind::to_string).collect();
        write!(f, " world={}", worlds.join(","))
    }
}

impl fmt::Display for WorkloadSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workload {}", self.name)?;
        self.options.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

impl fmt::Display for ClientBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.name)?;
        if !self.accompanies.is_empty() {
            write!(f, " while {}", self.accompanies.join(" "))?;
        }
        for operation in &self.operations {
            write!(f, "\n{operation}")?;
        }
        Ok(())
    }
}

/// `3s`, or `1s..3s`.
fn range(low: Duration, high: Duration) -> String {
    if low == high { exact(low) } else { format!("{}..{}", exact(low), exact(high)) }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.pause;
        if high.is_zero() { f.write_str(&self.text) } else { write!(f, "{} {}", range(low, high), self.text) }
    }
}

/// As a scenario has it.
impl fmt::Display for Nemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        match &self.when {
            When::Now => {}
            When::After(low, high) => write!(f, " after {}", range(*low, *high))?,
            When::At { probe, hits: (low, high) } if low == high => write!(f, " at {probe} hit {low}")?,
            When::At { probe, hits: (low, high) } => write!(f, " at {probe} hit {low}..{high}")?,
        }
        self.lasts.iter().try_for_each(|(low, high)| write!(f, " for {}", range(*low, *high)))
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Links::Between(groups) => {
                let groups: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
                f.write_str(&groups.join(" | "))
            }
            Links::OneWay(from, to) => write!(f, "{from} -> {}", to.join(" ")),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash(node) => write!(f, "crash {node}"),
            Fault::Kill(node) => write!(f, "kill {node}"),
            Fault::Restart(node) => write!(f, "restart {node}"),
            Fault::Pause(node) => write!(f, "pause {node}"),
            Fault::Resume(node) => write!(f, "resume {node}"),
            Fault::Partition(groups) => write!(f, "partition {}", Links::Between(groups.clone())),
            Fault::OneWay(from, to) => write!(f, "partition {}", Links::OneWay(from.clone(), to.clone())),
            Fault::Slow(links, by) => write!(f, "slow {links} by {}", exact(*by)),
            Fault::Lose(links, ppm) => write!(f, "lose {links} {}%", f64::from(*ppm) / 10_000.0),
            Fault::Bandwidth(links, bytes_per_second) => {
                write!(f, "bandwidth {links} {}/s", exact_bytes(*bytes_per_second))
            }
            Fault::Tail(links, ppm, by) => {
                write!(f, "tail {links} {}% by {}", f64::from(*ppm) / 10_000.0, exact(*by))
            }
            Fault::CrashAll => f.write_str("crash-all"),
            Fault::FullDisk(node, 0) => write!(f, "full-disk {node}"),
            Fault::FullDisk(node, leaving_bytes) => {
                write!(f, "full-disk {node} leaving {}", exact_bytes(*leaving_bytes))
            }
            Fault::SlowDisk(node, by) => write!(f, "slow-disk {node} by {}", exact(*by)),
            Fault::FailingDisk(node, ppm) => write!(f, "failing-disk {node} {}%", f64::from(*ppm) / 10_000.0),
            Fault::Rot(node) => write!(f, "rot {node}"),
            Fault::LoseDisk(node) => write!(f, "lose-disk {node}"),
            Fault::Heal => f.write_str("heal"),
            Fault::Recover => f.write_str("recover"),
            Fault::Clock(node, micros) => {
                let sign = if *micros < 0 { '-' } else { '+' };
                write!(f, "clock {node} {sign}{}", exact(Duration::from_micros(micros.unsigned_abs())))
            }
            Fault::Drift(node, ppm) => write!(f, "drift {node} {ppm}ppm"),
        }
    }
}
