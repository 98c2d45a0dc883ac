//! A node's disk: what the operating system shows, and what a power loss leaves of it.
//!
//! Each file has *live* bytes (what reads return: the page cache) and, since its last sync, a list of changes
//! that the device may or may not have. The disk belongs to the machine: the next process of the node finds it. A file
//! may have holes: it needs room when a block is first written, not when it is made longer.
//!
//! | fault | what we do | what the system promises under it |
//! |---|---|---|
//! | process crash | live bytes stay, synced or not | everything acknowledged is there |
//! | power loss | each unsynced write is split into 512-byte sectors; each is kept, lost or (rarely) torn, independently and in any order; each unsynced change of length likewise | everything synced is there; what was acknowledged was synced |
//! | lying sync | `sync_data` says ok and does nothing | nothing: a *control*, to see that the judges notice |
//! | failed sync | input/output error; the changes stay unsynced | the statement fails or its outcome is unknown; nothing acknowledged is lost. The server believes this file no more: it takes no writes until its process is started anew, as PostgreSQL's would crash. A server that cannot open its files ends, and starts when it can |
//! | failed write | input/output error, nothing changed | as above, and the server goes on by itself |
//! | full disk | `StorageFull` for a write that needs a block more than the capacity | as above; works again when space is freed |
//! | slow disk | [`DiskTrouble::Slow`] adds to each sync's simulated time | liveness bounds stretch |
//! | bit rot | [`SimDisk::rot`] turns over one bit that was synced | not yet promised, a *control*: pages carry no checksum that is looked at when they are read. A rotten page may stop the server at its start, give an error, or a wrong value |
//! | lost disk | [`SimDisk::lose`]: the next process finds an empty disk | a *control*. A data node that comes back empty has no database: statements that need it fail (`3D000`), none sees fewer rows; nothing is restored. An access node has lost the cluster's catalog |
//!
//! A control is not in the mixes of the swarm. Not injected at all, because neither PostgreSQL nor we promise to stand it: misdirected
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
mod trouble;

pub(crate) use bytes::Odds;
pub use door::DiskDoor;
pub use trouble::{DiskTrouble, DiskTroubles};

use super::chance::Stream;
use super::fingerprint::digest;
use super::net::TroubleId;
use super::record::{Event, Name, Recorder};
use bytes::FileBytes;
use rand::Rng;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that a device writes in one go; tearing within one is rare but possible.
pub const SECTOR_BYTES: usize = 512;

/// What a file system gives a file at a time.
pub const BLOCK_BYTES: usize = 4096;

/// How a disk behaves from the beginning. One per node; changed while running by [`SimDisk::set_faults`]. What goes wrong
/// for a while comes on top: [`SimDisk::trouble`].
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
    troubles: DiskTroubles,
    /// Since the present process began.
    sync_failed: bool,
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
            troubles: DiskTroubles::default(),
            sync_failed: false,
            work: Work::default(),
            next_handle: 0,
        };
        SimDisk(Arc::new(Shared { node, recorder, state: Mutex::new(state) }))
    }

    pub fn set_faults(&self, faults: DiskFaults) {
        self.lock().faults = faults;
    }

    /// From now on something is wrong.
    pub fn trouble(&self, id: TroubleId, trouble: DiskTrouble) {
        self.change_troubles(|state| {
            let used_bytes = state.used_bytes();
            state.troubles.add(id, trouble, used_bytes);
            true
        });
    }

    /// Ends what one fault did; what others did stays.
    pub fn mend(&self, id: TroubleId) {
        self.change_troubles(|state| state.troubles.remove(id));
    }

    /// Nothing is wrong any more. What has rotted or was lost stays so.
    pub fn recover(&self) {
        self.change_troubles(|state| {
            let was_well = state.is_well();
            state.troubles.clear();
            state.faults = DiskFaults::none();
            !was_well
        });
    }

    /// Whether it does what a disk should, as far as faults go.
    pub fn is_well(&self) -> bool {
        self.lock().is_well()
    }

    /// Records how the disk behaves now, if `change` says that this is news.
    fn change_troubles(&self, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.lock();
        if change(&mut state) {
            let faults = state.troubles.to_string();
            drop(state);
            self.record(Event::Disk { node: self.0.node.clone(), faults });
        }
    }

    /// A process begins.
    pub fn begin_life(&self) {
        self.lock().sync_failed = false;
    }

    /// Whether a sync of the present process has failed: what it did not sync is believed no more by a careful one.
    pub fn has_failed_to_sync(&self) -> bool {
        self.lock().sync_failed
    }

    /// Turns over one bit of what the stores hold, drawn by chance. No effect on an empty disk.
    pub fn rot(&self) {
        let mut state = self.lock();
        let State { entries, chance, .. } = &mut *state;
        let stores = entries.iter().filter_map(|(name, entry)| match entry {
            Entry::Store(file) if lock_file(file).written_bytes() > 0 => Some((name, file)),
            _ => None,
        });
        let stores: Vec<(&String, &Arc<Mutex<FileBytes>>)> = stores.collect();
        if stores.is_empty() {
            return;
        }
        let (name, file) = stores[chance.random_range(0..stores.len())];
        let at = lock_file(file).rot(chance);
        let faults = format!("has a rotten bit in {name} at byte {at}");
        drop(state);
        self.record(Event::Disk { node: self.0.node.clone(), faults });
    }

    /// A new disk in place of this one, with nothing on it. The node's processes must be dead.
    pub fn lose(&self) {
        self.lock().entries.clear();
        self.record(Event::Disk { node: self.0.node.clone(), faults: "is lost, and an empty one in its place".into() });
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
            total += state.chance.random_range(SYNC_MIN..SYNC_MAX) + state.troubles.slow_by();
        }
        total
    }

    fn sync(&self, name: &str, file: &Mutex<FileBytes>) -> io::Result<()> {
        let mut state = self.lock();
        state.work.syncs += 1;
        let (lies, fails) = (state.faults.sync_lies, state.faults.sync_fails.max(state.troubles.fails()));
        let node = self.0.node.clone();
        if lies > 0.0 && state.chance.random_bool(lies) {
            self.record(Event::SyncLied { node, file: name.to_string() });
            return Ok(());
        }
        if fails > 0.0 && state.chance.random_bool(fails) {
            state.sync_failed = true;
            self.record(Event::SyncFailed { node, file: name.to_string() });
            return Err(input_output_error());
        }
        drop(state);
        let synced = lock_file(file).sync();
        let file = name.to_string();
        self.record(Event::Synced { node, file, changes: synced.changes, bytes: synced.bytes, digest: synced.digest });
        Ok(())
    }

    /// Accounts for a write of `bytes` that needs `growth` bytes of new blocks. Errors: `StorageFull`, or the
    /// injected failure.
    fn admit(&self, bytes: usize, growth: u64) -> io::Result<()> {
        let mut state = self.lock();
        let fails = state.faults.write_fails.max(state.troubles.fails());
        if fails > 0.0 && state.chance.random_bool(fails) {
            return Err(input_output_error());
        }
        let capacities = state.faults.capacity_bytes.into_iter().chain(state.troubles.capacity_bytes());
        if growth > 0
            && let Some(capacity) = capacities.min()
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
    fn is_well(&self) -> bool {
        self.troubles.is_well() && self.faults == DiskFaults::none()
    }

    fn used_bytes(&self) -> u64 {
        let size = |entry: &Entry| match entry {
            Entry::Folder => 0,
            Entry::Small(bytes) => bytes.len() as u64,
            Entry::Store(file) => lock_file(file).allocated_bytes(),
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
