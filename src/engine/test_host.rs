//! A host for the engine's own tests: tokio tasks, a counting clock, a disk in memory that can lose power.

use crate::host::{Clock, Disk, Entropy, Host, Listener, Net, Stream, TaskHandle, Tasks};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes that reach the platter together or not at all.
const SECTOR_BYTES: usize = 512;

/// What the files of a machine hold. Clones are the same disk.
#[derive(Clone, Default)]
pub struct TestDisk {
    files: Arc<Mutex<BTreeMap<String, File>>>,
    /// Handles opened before the last power loss are dead.
    life: Arc<AtomicU64>,
    /// Writes and syncs until all of them fail; negative: never.
    fuse: Arc<AtomicI64>,
    /// What failing writes report.
    failure: Arc<Mutex<Option<io::ErrorKind>>>,
    syncs: Arc<AtomicU64>,
    fail_syncs: Arc<AtomicBool>,
}

/// The disk as the programs of one life of the machine know it.
struct Mounted {
    disk: TestDisk,
    life: u64,
}

#[derive(Clone, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl TestDisk {
    pub fn new() -> TestDisk {
        let disk = TestDisk::default();
        disk.fuse.store(i64::MIN, Ordering::SeqCst);
        disk
    }

    /// From the `operations`-th write or sync on, every one fails with `kind`.
    pub fn fail_after(&self, operations: i64, kind: io::ErrorKind) {
        *self.failure.lock().unwrap() = Some(kind);
        self.fuse.store(operations, Ordering::SeqCst);
    }

    /// From now on every sync fails, and does nothing.
    pub fn fail_syncs(&self) {
        self.fail_syncs.store(true, Ordering::SeqCst);
    }

    pub fn repair(&self) {
        self.fail_syncs.store(false, Ordering::SeqCst);
        self.fuse.store(i64::MIN, Ordering::SeqCst);
    }

    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    pub fn bytes(&self, path: &str) -> usize {
        self.files.lock().unwrap().get(path).map_or(0, |file| file.live.len())
    }

    /// Each sector written since the last sync is kept or lost as `keep` says. Open handles are dead.
    pub fn lose_power(&self, mut keep: impl FnMut() -> bool) {
        self.life.fetch_add(1, Ordering::SeqCst);
        self.repair();
        for file in self.files.lock().unwrap().values_mut() {
            let mut image = std::mem::take(&mut file.durable);
            for change in std::mem::take(&mut file.unsynced) {
                change.apply_partly(&mut image, &mut keep);
            }
            file.live = image.clone();
            file.durable = image;
        }
    }

    fn operation(&self, life: u64) -> io::Result<()> {
        if life != self.life.load(Ordering::SeqCst) {
            return Err(io::Error::other("the machine is off"));
        }
        if self.fuse.load(Ordering::SeqCst) == i64::MIN || self.fuse.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.fuse.store(0, Ordering::SeqCst);
        Err(self.failure.lock().unwrap().unwrap_or(io::ErrorKind::Other).into())
    }
}

impl Change {
    fn apply_partly(&self, image: &mut Vec<u8>, keep: &mut impl FnMut() -> bool) {
        match self {
            Change::Length(length) => {
                if keep() {
                    image.resize(*length, 0);
                }
            }
            Change::Write(offset, bytes) => {
                let mut start = *offset;
                let end = offset + bytes.len();
                while start < end {
                    let stop = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                    if keep() {
                        image.resize(image.len().max(stop), 0);
                        image[start..stop].copy_from_slice(&bytes[start - offset..stop - offset]);
                    }
                    start = stop;
                }
            }
        }
    }
}

struct Handle {
    disk: TestDisk,
    path: String,
    life: u64,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)
    }
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut File) -> T) -> T {
        work(self.disk.files.lock().unwrap().get_mut(&self.path).unwrap())
    }
}

impl redb::StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.live.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|file| {
            let start = offset as usize;
            let bytes = file.live.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.operation(self.life)?;
        self.with(|file| {
            file.live.resize(length as usize, 0);
            file.unsynced.push(Change::Length(length as usize));
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // A full disk has room for what it already holds.
        if *self.disk.failure.lock().unwrap() != Some(io::ErrorKind::StorageFull) {
            self.disk.operation(self.life)?;
        }
        if self.disk.fail_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("sync failed"));
        }
        self.disk.syncs.fetch_add(1, Ordering::SeqCst);
        self.with(|file| {
            file.durable.clone_from(&file.live);
            file.unsynced.clear();
        });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.operation(self.life)?;
        self.with(|file| {
            file.live[offset as usize..offset as usize + data.len()].copy_from_slice(data);
            file.unsynced.push(Change::Write(offset as usize, data.to_vec()));
        });
        Ok(())
    }
}

impl Disk for Mounted {
    fn open(&self, path: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        self.disk.operation(self.life)?;
        self.disk.files.lock().unwrap().entry(path.to_string()).or_default();
        Ok(Box::new(Handle { disk: self.disk.clone(), path: path.to_string(), life: self.life }))
    }

    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(self.disk.files.lock().unwrap().keys().cloned().collect())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.files.lock().unwrap().remove(path);
        Ok(())
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let files = self.disk.files.lock().unwrap();
        files.get(path).map(|file| file.live.clone()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let file = File { live: bytes.to_vec(), durable: bytes.to_vec(), unsynced: Vec::new() };
        self.disk.files.lock().unwrap().insert(path.to_string(), file);
        Ok(())
    }
}

struct NoNet;

impl Net for NoNet {
    fn listen(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        async { Err(io::ErrorKind::Unsupported.into()) }.boxed()
    }

    fn connect(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Stream>> {
        async { Err(io::ErrorKind::Unsupported.into()) }.boxed()
    }
}

/// Each look at the clock is a microsecond later.
struct Counting(AtomicI64);

impl Clock for Counting {
    fn utc_micros(&self) -> i64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.utc_micros() as u64)
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

/// tokio tasks; blocking work runs inline, as in a simulation, or on tokio's threads, as in a server.
struct TokioTasks {
    inline: bool,
}

impl Tasks for TokioTasks {
    fn spawn(&self, _: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        let handle = tokio::runtime::Handle::current().spawn(future);
        TaskHandle::new(move || handle.abort())
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        if self.inline {
            return async move { work() }.boxed();
        }
        let handle = tokio::runtime::Handle::current().spawn_blocking(work);
        async move { handle.await.unwrap() }.boxed()
    }
}

struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// A node named `test` on `disk`, alive until the next power loss; blocking work runs inline.
pub fn host(disk: &TestDisk) -> Host {
    with_tasks(disk, TokioTasks { inline: true })
}

/// The same with blocking work on other threads.
pub fn threaded_host(disk: &TestDisk) -> Host {
    with_tasks(disk, TokioTasks { inline: false })
}

fn with_tasks(disk: &TestDisk, tasks: TokioTasks) -> Host {
    let disk = Mounted { disk: disk.clone(), life: disk.life.load(Ordering::SeqCst) };
    let clock = Counting(AtomicI64::new(1_700_000_000_000_000));
    Host::new("test", Arc::new(NoNet), Arc::new(clock), Arc::new(tasks), Arc::new(NoEntropy), Arc::new(disk))
}
