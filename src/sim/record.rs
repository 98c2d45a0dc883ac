//! What happened in a run: every event goes into the fingerprint, the last ones (or all) are kept to be shown.
//!
//! Two runs with the same fingerprint saw the same events with the same contents at the same simulated
//! nanosecond. Since every poll of a task moves the simulated clock by a random few dozen nanoseconds, that also
//! covers the order in which tasks ran.

use super::clock::ClockFault;
use super::fingerprint::Fingerprint;
use super::history;
use super::time::SimTime;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A node's name; cheap to clone into every event.
pub type Name = Arc<str>;

/// How a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// The machine goes dark: peers hear nothing, unsynced writes are lost, kept or torn.
    PowerLoss,
    /// The process is killed (`kill -9`): the operating system closes its sockets and keeps its written bytes.
    Process,
}

/// How one end of a connection told the other that it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    Finished,
    Reset,
    /// It did not tell: keepalive gave it up.
    Unheard,
}

/// One thing that happened. Durations are simulated time since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A process of the node began, the `life`-th one.
    Started {
        node: Name,
        life: u64,
    },
    /// The node's main task ended by itself.
    Exited {
        node: Name,
    },
    Crashed {
        node: Name,
        how: Crash,
    },
    Paused {
        node: Name,
    },
    Resumed {
        node: Name,
    },
    Spawned {
        node: Name,
        task: &'static str,
    },
    Connected {
        from: Name,
        to: Name,
        port: u16,
        connection: u64,
    },
    Refused {
        from: Name,
        to: Name,
        port: u16,
    },
    /// Bytes reached the receiver's machine; `digest` is of their contents.
    Delivered {
        from: Name,
        to: Name,
        connection: u64,
        bytes: usize,
        digest: u64,
        sent: Duration,
    },
    Closed {
        from: Name,
        to: Name,
        connection: u64,
        ending: Ending,
    },
    /// The first bytes that a partition or a dark machine held up.
    Stalled {
        from: Name,
        to: Name,
        connection: u64,
    },
    /// Messages in this direction are lost from now on.
    Cut {
        from: Name,
        to: Name,
    },
    Slowed {
        from: Name,
        to: Name,
        by: Duration,
    },
    /// So many of a million messages in this direction must be sent twice.
    Lossy {
        from: Name,
        to: Name,
        ppm: u32,
    },
    /// No more bytes a second get through in this direction.
    Narrowed {
        from: Name,
        to: Name,
        bytes_per_second: u64,
    },
    /// So many of a million messages in this direction take up to so much longer.
    Tailed {
        from: Name,
        to: Name,
        ppm: u32,
        by: Duration,
    },
    /// A fault of this direction ended by itself; others may go on.
    Mended {
        from: Name,
        to: Name,
    },
    Healed,
    Synced {
        node: Name,
        file: String,
        changes: usize,
        bytes: usize,
        digest: u64,
    },
    /// A sync that said ok and did nothing.
    SyncLied {
        node: Name,
        file: String,
    },
    SyncFailed {
        node: Name,
        file: String,
    },
    Replaced {
        node: Name,
        file: String,
        bytes: usize,
        digest: u64,
    },
    Removed {
        node: Name,
        file: String,
    },
    /// What a power loss left of a file's unsynced sectors.
    Torn {
        node: Name,
        file: String,
        kept: u64,
        lost: u64,
        torn: u64,
    },
    Clock {
        node: Name,
        fault: ClockFault,
    },
    /// How the node's disk behaves from now on, or what has happened to it, in words; [`WELL`] if nothing is wrong.
    Disk {
        node: Name,
        faults: String,
    },
    /// Code of the node passed a named point. The detail says of what: `<subject> on <place>, <place>; <subject> …`
    /// where the point knows it, and nothing where it does not; see [`details`].
    Probe {
        node: Name,
        probe: &'static str,
        detail: String,
    },
    /// Code of the node did the unlikely at that point.
    Buggified {
        node: Name,
        point: &'static str,
    },
    /// An armed fault went off.
    Struck {
        probe: String,
        fault: String,
    },
    Panicked {
        node: Name,
        task: &'static str,
        message: String,
    },
    /// A client began an operation; its number is the client's own.
    Invoked {
        client: Name,
        operation: u64,
        text: String,
    },
    /// The end of the client's operation of that number, and what it was told.
    Completed {
        client: Name,
        operation: u64,
        outcome: history::Ending,
        text: String,
    },
    /// A checker looked and found nothing wrong.
    Checked {
        checker: String,
    },
    /// A checker found that a promise was broken.
    Violated {
        checker: String,
        evidence: String,
    },
    /// What the story itself has to say.
    Note {
        text: String,
    },
}

impl Event {
    /// Whether it is something that the nemesis did.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Event::Crashed { .. }
                | Event::Paused { .. }
                | Event::Cut { .. }
                | Event::Slowed { .. }
                | Event::Lossy { .. }
                | Event::Narrowed { .. }
                | Event::Tailed { .. }
                | Event::SyncLied { .. }
                | Event::SyncFailed { .. }
        ) || matches!(self, Event::Clock { fault, .. } if *fault != ClockFault::Correct)
            || matches!(self, Event::Disk { faults, .. } if faults != WELL)
    }

    fn ends_fault(&self) -> bool {
        matches!(self, Event::Started { .. } | Event::Resumed { .. } | Event::Mended { .. } | Event::Healed)
            || matches!(self, Event::Disk { faults, .. } if faults == WELL)
    }
}

/// What [`Event::Disk`] says of a disk that nothing is wrong with.
pub const WELL: &str = "is well";

/// A probe's detail taken apart: subjects, and the places that each is about (none: the node that reached the probe).
pub fn details(detail: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    detail.split("; ").filter(|part| !part.is_empty()).map(|part| match part.rsplit_once(" on ") {
        Some((subject, places)) => (subject, places.split(", ").collect()),
        None => (part, Vec::new()),
    })
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started { node, life } => write!(f, "{node} starts, life {life}"),
            Event::Exited { node } => write!(f, "{node} exits"),
            Event::Crashed { node, how: Crash::PowerLoss } => write!(f, "{node} loses power"),
            Event::Crashed { node, how: Crash::Process } => write!(f, "{node} is killed"),
            Event::Paused { node } => write!(f, "{node} is paused"),
            Event::Resumed { node } => write!(f, "{node} goes on"),
            Event::Spawned { node, task } => write!(f, "{node} spawns {task}"),
            Event::Connected { from, to, port, connection } => {
                write!(f, "{from} -> {to}:{port} connected #{connection}")
            }
            Event::Refused { from, to, port } => write!(f, "{from} -> {to}:{port} refused"),
            Event::Delivered { from, to, connection, bytes, sent, .. } => {
                write!(f, "{from} -> {to} #{connection} {bytes} bytes sent at {}", seconds(*sent))
            }
            Event::Closed { from, to, connection, ending: Ending::Finished } => {
                write!(f, "{from} -> {to} #{connection} end of stream")
            }
            Event::Closed { from, to, connection, ending: Ending::Reset } => {
                write!(f, "{from} -> {to} #{connection} reset")
            }
            Event::Closed { from, to, connection, ending: Ending::Unheard } => {
                write!(f, "{from} -> {to} #{connection} given up, nothing was heard")
            }
            Event::Stalled { from, to, connection } => write!(f, "{from} -> {to} #{connection} stalls"),
            Event::Cut { from, to } => write!(f, "{from} -> {to} cut"),
            Event::Slowed { from, to, by } => write!(f, "{from} -> {to} slowed by {by:?}"),
            Event::Lossy { from, to, ppm } => write!(f, "{from} -> {to} loses {ppm} ppm"),
            Event::Narrowed { from, to, bytes_per_second } => {
                write!(f, "{from} -> {to} narrowed to {bytes_per_second} bytes a second")
            }
            Event::Tailed { from, to, ppm, by } => write!(f, "{from} -> {to} has a tail: {ppm} ppm, up to {by:?}"),
            Event::Mended { from, to } => write!(f, "{from} -> {to} mended"),
            Event::Healed => write!(f, "network healed"),
            Event::Synced { node, file, changes, bytes, .. } => {
                write!(f, "{node} syncs {file}: {changes} changes, {bytes} bytes")
            }
            Event::SyncLied { node, file } => write!(f, "{node} syncs {file}: a lie"),
            Event::SyncFailed { node, file } => write!(f, "{node} syncs {file}: input/output error"),
            Event::Replaced { node, file, bytes, .. } => write!(f, "{node} writes {file}: {bytes} bytes"),
            Event::Removed { node, file } => write!(f, "{node} removes {file}"),
            Event::Torn { node, file, kept, lost, torn } => {
                write!(f, "{node} {file} after the power loss: {kept} sectors kept, {lost} lost, {torn} torn")
            }
            Event::Clock { node, fault } => write!(f, "{node} clock {fault}"),
            Event::Disk { node, faults } => write!(f, "{node} disk {faults}"),
            Event::Probe { node, probe, detail } if detail.is_empty() => write!(f, "{node} reaches {probe}"),
            Event::Probe { node, probe, detail } => write!(f, "{node} reaches {probe}: {detail}"),
            Event::Buggified { node, point } => write!(f, "{node} is buggified at {point}"),
            Event::Struck { probe, fault } => write!(f, "strike at {probe}: {fault}"),
            Event::Panicked { node, task, message } => write!(f, "{node} task {task} panics: {message}"),
            Event::Invoked { client, operation, text } => write!(f, "{client} asks #{operation}: {text}"),
            Event::Completed { client, operation, outcome, text } if text.is_empty() => {
                write!(f, "{client} is told #{operation}: {outcome}")
            }
            Event::Completed { client, operation, outcome, text } => {
                write!(f, "{client} is told #{operation}: {outcome}, {text}")
            }
            Event::Checked { checker } => write!(f, "{checker} holds"),
            Event::Violated { checker, evidence } => write!(f, "{checker} is violated: {evidence}"),
            Event::Note { text } => f.write_str(text),
        }
    }
}

/// Seconds with all nine digits, so that lines of a timeline align.
pub fn seconds(at: Duration) -> String {
    format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
}

/// An event and the simulated time since the start of the run at which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: Duration,
    pub event: Event,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14} {}", seconds(self.at), self.event)
    }
}

impl Moment {
    /// For comparing two runs line by line: as shown, and a digest of all that the fingerprint covers and a reader does
    /// not see (the contents of messages and files).
    pub fn compared(&self) -> String {
        let mut digest = Fingerprint::default();
        self.event.hash(&mut digest);
        format!("{self}  {:016x}", digest.finish())
    }
}

/// The event log of one run.
pub struct Recorder {
    time: SimTime,
    log: Mutex<Log>,
}

struct Log {
    fingerprint: Fingerprint,
    events: u64,
    faults: u64,
    last_trouble: Duration,
    last: VecDeque<Moment>,
    keep: usize,
    closed: bool,
}

impl Recorder {
    /// Keeps the last `keep` events for show; all of them count.
    pub fn new(time: SimTime, keep: usize) -> Arc<Recorder> {
        let log = Log {
            fingerprint: Fingerprint::default(),
            events: 0,
            faults: 0,
            last_trouble: Duration::ZERO,
            last: VecDeque::new(),
            keep,
            closed: false,
        };
        Arc::new(Recorder { time, log: Mutex::new(log) })
    }

    pub fn record(&self, event: Event) {
        let at = self.time.now();
        let mut log = self.log();
        if log.closed {
            return;
        }
        log.fingerprint.write_u64(at.as_nanos() as u64);
        event.hash(&mut log.fingerprint);
        log.events += 1;
        log.faults += u64::from(event.is_fault());
        if event.is_fault() || event.ends_fault() {
            log.last_trouble = at;
        }
        if log.keep == 0 {
            return;
        }
        if log.last.len() >= log.keep {
            log.last.pop_front();
        }
        log.last.push_back(Moment { at, event });
    }

    /// Nothing counts any more: the story is over and the rest is tidying up.
    pub fn close(&self) {
        self.log().closed = true;
    }

    pub fn fingerprint(&self) -> u64 {
        self.log().fingerprint.finish()
    }

    pub fn events(&self) -> u64 {
        self.log().events
    }

    /// How many of them were faults.
    pub fn faults(&self) -> u64 {
        self.log().faults
    }

    /// When the nemesis last did something, or something that it did ended.
    pub fn last_trouble(&self) -> Duration {
        self.log().last_trouble
    }

    pub fn kept(&self) -> Vec<Moment> {
        self.log().last.iter().cloned().collect()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { text: text.to_string() }
    }

    #[test]
    fn a_detail_comes_apart_into_subjects_and_places() {
        let all = |detail| details(detail).collect::<Vec<_>>();
        assert_eq!(all(""), []);
        assert_eq!(all("1-7"), [("1-7", vec![])]);
        assert_eq!(all("1-7 on dn1"), [("1-7", vec!["dn1"])]);
        assert_eq!(
            all("a on b on dn1, dn2; c on dn2"),
            [("a on b", vec!["dn1", "dn2"]), ("c", vec!["dn2"])],
            "the last word decides"
        );
    }

    #[test]
    fn the_fingerprint_covers_events_that_are_not_kept() {
        let (all, few) = (Recorder::new(SimTime::still(), usize::MAX), Recorder::new(SimTime::still(), 1));
        for recorder in [&all, &few] {
            recorder.record(note("one"));
            recorder.record(note("two"));
        }
        assert_eq!(all.fingerprint(), few.fingerprint());
        assert_eq!(all.kept().len(), 2);
        assert_eq!(few.kept().iter().map(|moment| moment.event.to_string()).collect::<Vec<_>>(), ["two"]);
        few.record(note("three"));
        assert_ne!(all.fingerprint(), few.fingerprint());
        let before = few.fingerprint();
        few.close();
        few.record(note("afterwards"));
        assert_eq!((few.fingerprint(), few.events()), (before, 3));
    }
}
