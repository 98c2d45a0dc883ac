//! What can go wrong in a world, as calls and as values.

use super::{ClockFault, Crash, DiskFaults, DiskTrouble, Event, Name, Node, World, lock};
use crate::sim::net::{Trouble, TroubleId};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The node a fault hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The one that reached the probe. Nobody, if the fault does not come from a probe.
    Striker,
    Node(String),
}

/// A fault as a value: armed at a probe, put into a schedule, printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    Crash {
        whom: Whom,
        how: Crash,
    },
    Restart {
        whom: Whom,
    },
    Pause {
        whom: Whom,
    },
    Resume {
        whom: Whom,
    },
    /// No messages between any of `left` and any of `right`; with `one_way`, only those from left to right.
    Partition {
        left: Vec<String>,
        right: Vec<String>,
        one_way: bool,
    },
    /// Messages from `from` to `to` take this much longer.
    Slow {
        from: String,
        to: String,
        by: Duration,
    },
    /// The chance that a message from `from` to `to` must be sent twice, 0 to 1.
    Lose {
        from: String,
        to: String,
        chance: f64,
    },
    /// No more bytes a second get from `from` to `to`.
    Narrow {
        from: String,
        to: String,
        bytes_per_second: u64,
    },
    /// The chance, 0 to 1, that a message from `from` to `to` takes up to this much longer.
    Tail {
        from: String,
        to: String,
        chance: f64,
        by: Duration,
    },
    Heal,
    /// See [`World::recover`].
    Recover,
    Clock {
        whom: Whom,
        fault: ClockFault,
    },
    /// From now on the node's disk behaves like this.
    Disk {
        whom: Whom,
        faults: DiskFaults,
    },
    /// Something more is wrong with the node's disk.
    DiskTrouble {
        whom: Whom,
        trouble: DiskTrouble,
    },
    /// A bit on the node's disk turns over.
    Rot {
        whom: Whom,
    },
    /// The machine loses its power, and its disk for good.
    LoseDisk {
        whom: Whom,
    },
    /// One after the other, at once.
    All(Vec<Fault>),
    /// Later. Nothing waits for it.
    After(Duration, Box<Fault>),
    /// Ends by itself after so long: what crashed is restarted, what was paused goes on, and of links only that is
    /// mended which this fault did to them, and so of disks. Clocks, [`Fault::Disk`], what rotted or was lost and what
    /// comes `After` stay as they are.
    For(Duration, Box<Fault>),
}

/// What ends a fault.
enum End {
    Restart(String),
    Resume(String),
    Mend(TroubleId),
    MendDisk(String, TroubleId),
}

impl Fault {
    pub fn crash(node: &str, how: Crash) -> Fault {
        Fault::Crash { whom: Whom::Node(node.to_string()), how }
    }

    pub fn restart(node: &str) -> Fault {
        Fault::Restart { whom: Whom::Node(node.to_string()) }
    }

    /// Down, and up again after `down_for`.
    pub fn bounce(node: &str, how: Crash, down_for: Duration) -> Fault {
        Fault::For(down_for, Box::new(Fault::crash(node, how)))
    }

    /// The same fault with the striker's name in place of [`Whom::Striker`]: what comes later must still know.
    fn named(&self, striker: &str) -> Fault {
        let whom = |whom: &Whom| match whom {
            Whom::Striker => Whom::Node(striker.to_string()),
            Whom::Node(_) => whom.clone(),
        };
        match self {
            Fault::Crash { whom: who, how } => Fault::Crash { whom: whom(who), how: *how },
            Fault::Restart { whom: who } => Fault::Restart { whom: whom(who) },
            Fault::Pause { whom: who } => Fault::Pause { whom: whom(who) },
            Fault::Resume { whom: who } => Fault::Resume { whom: whom(who) },
            Fault::Clock { whom: who, fault } => Fault::Clock { whom: whom(who), fault: *fault },
            Fault::Disk { whom: who, faults } => Fault::Disk { whom: whom(who), faults: faults.clone() },
            Fault::DiskTrouble { whom: who, trouble } => Fault::DiskTrouble { whom: whom(who), trouble: *trouble },
            Fault::Rot { whom: who } => Fault::Rot { whom: whom(who) },
            Fault::LoseDisk { whom: who } => Fault::LoseDisk { whom: whom(who) },
            Fault::All(faults) => Fault::All(faults.iter().map(|fault| fault.named(striker)).collect()),
            Fault::After(delay, fault) => Fault::After(*delay, Box::new(fault.named(striker))),
            Fault::For(lasts, fault) => Fault::For(*lasts, Box::new(fault.named(striker))),
            Fault::Partition { .. } | Fault::Slow { .. } | Fault::Lose { .. } => self.clone(),
            Fault::Narrow { .. } | Fault::Tail { .. } | Fault::Heal | Fault::Recover => self.clone(),
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Striker => f.write_str("the striker"),
            Whom::Node(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash { whom, how: Crash::PowerLoss } => write!(f, "power loss of {whom}"),
            Fault::Crash { whom, how: Crash::Process } => write!(f, "kill {whom}"),
            Fault::Restart { whom } => write!(f, "restart {whom}"),
            Fault::Pause { whom } => write!(f, "pause {whom}"),
            Fault::Resume { whom } => write!(f, "resume {whom}"),
            Fault::Partition { left, right, one_way } => {
                let arrow = if *one_way { "->" } else { "|" };
                write!(f, "partition {} {arrow} {}", left.join(" "), right.join(" "))
            }
            Fault::Slow { from, to, by } => write!(f, "slow {from} -> {to} by {by:?}"),
            Fault::Lose { from, to, chance } => write!(f, "lose {from} -> {to} {}%", chance * 100.0),
            Fault::Narrow { from, to, bytes_per_second } => {
                write!(f, "narrow {from} -> {to} to {bytes_per_second} B/s")
            }
            Fault::Tail { from, to, chance, by } => write!(f, "tail {from} -> {to} {}% by {by:?}", chance * 100.0),
            Fault::Heal => f.write_str("heal"),
            Fault::Recover => f.write_str("recover"),
            Fault::Clock { whom, fault } => write!(f, "clock of {whom} {fault}"),
            Fault::Disk { whom, faults } => write!(f, "disk of {whom} {faults:?}"),
            Fault::DiskTrouble { whom, trouble } => write!(f, "disk of {whom} {trouble}"),
            Fault::Rot { whom } => write!(f, "rot the disk of {whom}"),
            Fault::LoseDisk { whom } => write!(f, "power loss of {whom}, which loses its disk"),
            Fault::All(faults) => {
                let all: Vec<String> = faults.iter().map(Fault::to_string).collect();
                f.write_str(&all.join(", "))
            }
            Fault::After(delay, fault) => write!(f, "after {delay:?} {fault}"),
            Fault::For(lasts, fault) => write!(f, "for {lasts:?} {fault}"),
        }
    }
}

impl World {
    /// A fault that names its nodes. [`Whom::Striker`] means nobody here.
    pub fn inflict(&self, fault: &Fault) {
        self.begin(fault);
    }

    /// Does it, and says what would end it.
    fn begin(&self, fault: &Fault) -> Vec<End> {
        match fault {
            Fault::Crash { whom: Whom::Node(name), how } => {
                self.crash(name, *how);
                return vec![End::Restart(name.clone())];
            }
            Fault::Pause { whom: Whom::Node(name) } => {
                self.pause(name);
                return vec![End::Resume(name.clone())];
            }
            Fault::Partition { left, right, one_way } => return vec![End::Mend(self.part(left, right, *one_way))],
            Fault::Slow { from, to, by } => return vec![End::Mend(self.trouble(from, to, Trouble::Slow(*by)))],
            Fault::Lose { from, to, chance } => {
                return vec![End::Mend(self.trouble(from, to, Trouble::Lossy(*chance)))];
            }
            Fault::Narrow { from, to, bytes_per_second } => {
                return vec![End::Mend(self.trouble(from, to, Trouble::Narrow(*bytes_per_second)))];
            }
            Fault::Tail { from, to, chance, by } => {
                return vec![End::Mend(self.trouble(from, to, Trouble::Tail { chance: *chance, by: *by }))];
            }
            Fault::DiskTrouble { whom: Whom::Node(name), trouble } => {
                let id = self.next_trouble();
                self.on(name, |node| node.disk.trouble(id, *trouble));
                return vec![End::MendDisk(name.clone(), id)];
            }
            Fault::LoseDisk { whom: Whom::Node(name) } => {
                self.crash(name, Crash::PowerLoss);
                self.on(name, |node| node.disk.lose());
                return vec![End::Restart(name.clone())];
            }
            Fault::Rot { whom: Whom::Node(name) } => self.on(name, |node| node.disk.rot()),
            Fault::All(faults) => return faults.iter().flat_map(|fault| self.begin(fault)).collect(),
            Fault::Restart { whom: Whom::Node(name) } => self.restart(name),
            Fault::Resume { whom: Whom::Node(name) } => self.resume(name),
            Fault::Clock { whom: Whom::Node(name), fault } => self.set_clock(name, *fault),
            Fault::Disk { whom: Whom::Node(name), faults } => {
                let (node, words) = (Name::from(name.as_str()), format!("{faults:?}"));
                self.0.recorder.record(Event::Disk { node, faults: words });
                self.disk(name).set_faults(faults.clone());
            }
            Fault::Heal => self.heal(),
            Fault::Recover => self.recover(),
            Fault::After(delay, fault) => {
                let fault = (**fault).clone();
                self.later(*delay, move |world| world.inflict(&fault));
            }
            Fault::For(lasts, fault) => {
                let ends = self.begin(fault);
                self.later(*lasts, move |world| ends.iter().for_each(|end| world.end(end)));
            }
            // Nobody is meant.
            Fault::Crash { .. } | Fault::Restart { .. } | Fault::Pause { .. } | Fault::Resume { .. } => {}
            Fault::Clock { .. } | Fault::Disk { .. } | Fault::DiskTrouble { .. } => {}
            Fault::Rot { .. } | Fault::LoseDisk { .. } => {}
        }
        vec![]
    }

    fn end(&self, end: &End) {
        match end {
            End::Restart(name) => self.restart(name),
            End::Resume(name) => self.resume(name),
            End::Mend(id) => self.0.network.mend(*id),
            End::MendDisk(name, id) => {
                self.on(name, |node| node.disk.mend(*id));
                self.start_anew_after_failed_sync(name);
            }
        }
    }

    /// What an operator does once the disk is in order: a process that a sync has failed believes its files no more.
    fn start_anew_after_failed_sync(&self, name: &str) {
        if self.is_up(name) && self.disk(name).has_failed_to_sync() {
            self.crash(name, Crash::Process);
            self.restart(name);
        }
    }

    pub(super) fn inflict_by(&self, striker: &str, fault: &Fault) {
        self.inflict(&fault.named(striker));
    }

    pub(super) fn later(&self, delay: Duration, work: impl FnOnce(&World) + Send + 'static) {
        let (world, nap) = (self.downgrade(), self.0.agenda.sleep(&self.0.life, delay));
        let peace = self.0.peace.load(Ordering::Relaxed);
        self.spawn(async move {
            nap.await;
            if let Some(world) = world.upgrade()
                && world.0.peace.load(Ordering::Relaxed) == peace
            {
                work(&world);
            }
        });
    }

    /// Takes the node down at once, also from inside one of its own tasks: from this call on nothing that its
    /// process does has any effect. A node that is down can still lose its power. Unknown names have no effect.
    pub fn crash(&self, name: &str, how: Crash) {
        self.on(name, |node| {
            if node.running.is_none() && how == Crash::Process {
                return;
            }
            self.end_process(node);
            node.exited = false;
            self.0.recorder.record(Event::Crashed { node: node.name.clone(), how });
            self.0.network.crash(node.index, how);
            if how == Crash::PowerLoss {
                node.disk.lose_power();
            }
        });
    }

    /// The process stands still (SIGSTOP); its machine goes on to receive. Time passes for everybody.
    pub fn pause(&self, name: &str) {
        self.on(name, |node| {
            let Some(process) = node.running.as_mut().filter(|process| !process.paused) else { return };
            process.paused = true;
            self.0.runtime.pause(process.executor.id());
            self.0.recorder.record(Event::Paused { node: node.name.clone() });
        });
    }

    pub fn resume(&self, name: &str) {
        self.on(name, |node| {
            let Some(process) = node.running.as_mut().filter(|process| process.paused) else { return };
            process.paused = false;
            self.0.runtime.resume(process.executor.id());
            self.0.recorder.record(Event::Resumed { node: node.name.clone() });
        });
    }

    /// No messages between the two groups, in both directions. Earlier partitions stay.
    pub fn partition(&self, left: &[&str], right: &[&str]) {
        self.part(left, right, false);
    }

    /// No messages from `from` to `to`; the way back stays open.
    pub fn partition_one_way(&self, from: &[&str], to: &[&str]) {
        self.part(from, to, true);
    }

    fn part(&self, left: &[impl AsRef<str>], right: &[impl AsRef<str>], one_way: bool) -> TroubleId {
        let id = self.next_trouble();
        for from in left {
            for to in right {
                let Some((from, to)) = self.pair(from.as_ref(), to.as_ref()) else { continue };
                self.0.network.trouble(id, from, to, Trouble::Cut);
                if !one_way {
                    self.0.network.trouble(id, to, from, Trouble::Cut);
                }
            }
        }
        id
    }

    /// Messages from `from` to `to` take this much longer, until the next heal.
    pub fn slow(&self, from: &str, to: &str, by: Duration) {
        self.trouble(from, to, Trouble::Slow(by));
    }

    /// The chance that a message from `from` to `to` is lost and sent again, until the next heal.
    pub fn lose(&self, from: &str, to: &str, chance: f64) {
        self.trouble(from, to, Trouble::Lossy(chance));
    }

    fn trouble(&self, from: &str, to: &str, trouble: Trouble) -> TroubleId {
        let id = self.next_trouble();
        if let Some((from, to)) = self.pair(from, to) {
            self.0.network.trouble(id, from, to, trouble);
        }
        id
    }

    fn next_trouble(&self) -> TroubleId {
        self.0.troubles.fetch_add(1, Ordering::Relaxed)
    }

    /// All links are whole and fast again. Machines that are down stay down.
    pub fn heal(&self) {
        self.0.network.heal();
    }

    /// Everything is well again: links, machines that are down or stand still, clocks, disks. What was armed is
    /// forgotten, and what would have struck later does not. What rotted or was lost stays so.
    pub fn recover(&self) {
        lock(&self.0.probes).clear();
        self.0.peace.fetch_add(1, Ordering::Relaxed);
        self.heal();
        for name in self.nodes() {
            self.set_clock(&name, ClockFault::Correct);
            self.disk(&name).recover();
            self.resume(&name);
            self.start_anew_after_failed_sync(&name);
            self.restart(&name);
        }
    }

    /// Since when (from the start of the run) every machine has been up, every disk well and every link whole; `None` if
    /// not all are now. Clocks may be wrong.
    pub fn calm_since(&self) -> Option<Duration> {
        let is_well = |node: &Node| node.running.as_ref().is_some_and(|process| !process.paused) && node.disk.is_well();
        let well = lock(&self.0.nodes).values().all(is_well) && self.0.network.is_whole();
        well.then(|| self.0.recorder.last_trouble())
    }

    pub fn set_clock(&self, name: &str, fault: ClockFault) {
        let now = self.true_utc_micros();
        self.on(name, |node| {
            lock(&node.clock).apply(fault, now);
            self.0.recorder.record(Event::Clock { node: node.name.clone(), fault });
        });
    }

    fn on(&self, name: &str, work: impl FnOnce(&mut Node)) {
        if let Some(node) = lock(&self.0.nodes).get_mut(name) {
            work(node);
        }
    }

    fn pair(&self, left: &str, right: &str) -> Option<(usize, usize)> {
        let nodes = lock(&self.0.nodes);
        Some((nodes.get(left)?.index, nodes.get(right)?.index))
    }
}
