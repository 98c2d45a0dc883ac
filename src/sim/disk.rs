//! A node's disk: what the operating system shows, and what a power loss leaves of it.
//!
//! Each file has *live* bytes (what reads return: the page cache) and, since its last sync, a list of changes
//! that the device may or may not have. The disk belongs to the machine: the next process of the node finds it.
//!
//! | fault | what we do | what the system promises under it |
//! |---|---|---|
//! | process crash | live bytes stay, synced or not | everything acknowledged is there |
//! | power loss | each unsynced write is split into 512-byte sectors; each is kept, lost or (rarely) torn, independently and in any order; each unsynced change of length likewise | everything synced is there; what was acknowledged was synced |
//! | lying sync | `sync_data` says ok and does nothing | nothing: a *control*, to see that the judges notice |
//! | failed sync | input/output error; the changes stay unsynced | the statement fails or its outcome is unknown; nothing acknowledged is lost |
//! | failed write | input/output error, nothing changed | as above |
//! | full disk | `StorageFull` for a write or a growth beyond the capacity | as above; works again when space is freed |
//! | slow disk | [`SimDisk::slow_by`] adds to each sync's simulated time | liveness bounds stretch |
//!
//! Not injected, because neither PostgreSQL nor we promise to stand it: a disk that is lost as a whole, bit rot under an intact sync, misdirected
//! writes, a failed sync whose pages are later believed clean.
//!
//! Names (creation, removal, replacement of small files) are durable when the call returns and atomic, because
//! the real disk syncs the folder before it returns (`host::real`).
//!
//! A handle belongs to one process. When that is dead every operation through the handle fails and changes
//! nothing; redb's destructor, for one, writes and syncs.

mod bytes;
mod door;
#[cfg(test)]
mod tests;

pub(crate) use bytes::Odds;
pub use door::DiskDoor;

use super::chance::Stream;
use super::fingerprint::digest;
use super::record::{Event, Name, Recorder};
use bytes::FileBytes;
use rand::Rng;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that a device writes in one go; tearing within one is rare but possible.
pub const SECTOR_BYTES: usize = 512;

/// How a disk behaves. One per node; changed while running by [`SimDisk::set_faults`].
#[derive(Clone, Debug, PartialEq)]
pub struct DiskFaults {
    /// Chance that a sync lies, 0 to 1.
    pub sync_lies: f64,
    /// Chance that a sync fails, 0 to 1.
    pub sync_fails: f64,
    /// Chance that a write fails, 0 to 1.
    pub write_fails: f64,
    /// All files together may not grow beyond this.
    pub capacity_bytes: Option<u64>,
}

impl DiskFaults {
    pub fn none() -> DiskFaults {
        DiskFaults { sync_lies: 0.0, sync_fails: 0.0, write_fails: 0.0, capacity_bytes: None }
    }
}

/// One machine's disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    node: Name,
    recorder: Arc<Recorder>,
    state: Mutex<State>,
}

struct State {
    entries: BTreeMap<String, Entry>,
    chance: Stream,
    faults: DiskFaults,
    slow_by: Duration,
    work: Work,
    next_handle: u64,
}

enum Entry {
    Folder,
    /// Replaced as a whole, atomically.
    Small(Vec<u8>),
    /// Opened by redb. A handle keeps its file also when the name is gone, as Unix does.
    Store(Arc<Mutex<FileBytes>>),
}

/// What a disk has done so far; the tasks of a node turn the difference into simulated time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub syncs: u64,
    pub written_bytes: u64,
}

impl SimDisk {
    /// An empty disk. `chance` decides what power losses leave and which syncs misbehave.
    pub fn new(node: Name, recorder: Arc<Recorder>, chance: Stream) -> SimDisk {
        let state = State {
            entries: BTreeMap::new(),
            chance,
            faults: DiskFaults::none(),
            slow_by: Duration::ZERO,
            work: Work::default(),
            next_handle: 0,
        };
        SimDisk(Arc::new(Shared { node, recorder, state: Mutex::new(state) }))
    }

    pub fn set_faults(&self, faults: DiskFaults) {
        self.lock().faults = faults;
    }

    /// Each sync takes this much longer from now on.
    pub fn slow_by(&self, each_sync: Duration) {
        self.lock().slow_by = each_sync;
    }

    /// Decides for every unsynced change whether the device had it. The node's processes must be dead.
    pub fn lose_power(&self) {
        let mut state = self.lock();
        let State { entries, chance, .. } = &mut *state;
        let odds = Odds::draw(chance);
        for (name, entry) in entries.iter_mut() {
            let Entry::Store(file) = entry else { continue };
            let outcome = lock_file(file).lose_power(chance, odds);
            if outcome.sectors() > 0 {
                let (node, file) = (self.0.node.clone(), name.clone());
                let (kept, lost, torn) = (outcome.kept, outcome.lost, outcome.torn);
                self.0.recorder.record(Event::Torn { node, file, kept, lost, torn });
            }
        }
    }

    /// So far, by all processes.
    pub fn work(&self) -> Work {
        self.lock().work
    }

    /// Simulated time that this much work takes.
    pub fn time_for(&self, work: Work) -> Duration {
        let mut state = self.lock();
        let mut total = Duration::from_nanos(work.written_bytes * NANOS_PER_BYTE);
        for _ in 0..work.syncs {
            total += state.chance.random_range(SYNC_MIN..SYNC_MAX) + state.slow_by;
        }
        total
    }

    fn sync(&self, name: &str, file: &Mutex<FileBytes>) -> io::Result<()> {
        let mut state = self.lock();
        state.work.syncs += 1;
        let (lies, fails) = (state.faults.sync_lies, state.faults.sync_fails);
        let node = self.0.node.clone();
        if lies > 0.0 && state.chance.random_bool(lies) {
            self.record(Event::SyncLied { node, file: name.to_string() });
            return Ok(());
        }
        if fails > 0.0 && state.chance.random_bool(fails) {
            self.record(Event::SyncFailed { node, file: name.to_string() });
            return Err(input_output_error());
        }
        drop(state);
        let synced = lock_file(file).sync();
        let file = name.to_string();
        self.record(Event::Synced { node, file, changes: synced.changes, bytes: synced.bytes, digest: synced.digest });
        Ok(())
    }

    /// Accounts for a write of `bytes` that makes the disk hold `growth` bytes more. Errors: `StorageFull`, or the
    /// injected failure.
    fn admit(&self, bytes: usize, growth: u64) -> io::Result<()> {
        let mut state = self.lock();
        let fails = state.faults.write_fails;
        if fails > 0.0 && state.chance.random_bool(fails) {
            return Err(input_output_error());
        }
        if let Some(capacity) = state.faults.capacity_bytes
            && growth > 0
            && state.used_bytes() + growth > capacity
        {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        }
        state.work.written_bytes += bytes as u64;
        Ok(())
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.admit(bytes.len(), bytes.len() as u64)?;
        let mut state = self.lock();
        if matches!(state.entries.get(path), Some(Entry::Folder)) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, format!("{path} is a folder")));
        }
        state.work.syncs += 1;
        state.create_parents(path);
        state.entries.insert(path.to_string(), Entry::Small(bytes.to_vec()));
        drop(state);
        let (node, file) = (self.0.node.clone(), path.to_string());
        self.record(Event::Replaced { node, file, bytes: bytes.len(), digest: digest(bytes) });
        Ok(())
    }

    fn remove(&self, path: &str) {
        let mut state = self.lock();
        let below = format!("{path}/");
        let before = state.entries.len();
        state.entries.retain(|name, _| name != path && !name.starts_with(&below));
        if state.entries.len() < before {
            state.work.syncs += 1;
            drop(state);
            self.record(Event::Removed { node: self.0.node.clone(), file: path.to_string() });
        }
    }

    fn record(&self, event: Event) {
        self.0.recorder.record(event);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        let size = |entry: &Entry| match entry {
            Entry::Folder => 0,
            Entry::Small(bytes) => bytes.len() as u64,
            Entry::Store(file) => lock_file(file).len(),
        };
        self.entries.values().map(size).sum()
    }

    fn create_parents(&mut self, path: &str) {
        for (index, _) in path.match_indices('/') {
            self.entries.entry(path[..index].to_string()).or_insert(Entry::Folder);
        }
    }
}

/// A commodity SSD behind a journalling file system: 100-215 MB/s were measured for redb's bulk writes.
const NANOS_PER_BYTE: u64 = 5;
const SYNC_MIN: Duration = Duration::from_micros(100);
const SYNC_MAX: Duration = Duration::from_micros(900);

fn lock_file(file: &Mutex<FileBytes>) -> MutexGuard<'_, FileBytes> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

fn input_output_error() -> io::Error {
    io::Error::other("input/output error (injected)")
}
