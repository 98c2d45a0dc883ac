//! The only door to the world.
//!
//! Everything a node does to or learns from its surroundings goes through a [`Host`]: byte streams, clocks,
//! timers, tasks, randomness, files. [`real`] is tokio and the operating system; the simulated world implements
//! the same traits in `sim`. All other modules are barred from sockets, files, clocks, randomness and spawning
//! by `clippy.toml`.
//!
//! Reading order: this file, `store_file` (redb over a host's file), `clock_line` (wrong clocks), then [`real`].

mod clock_line;
pub mod real;
mod store_file;

pub use clock_line::ClockLine;
pub use store_file::StoreFile;

use futures::future::BoxFuture;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A bidirectional byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> ByteStream for T {}

pub type Stream = Box<dyn ByteStream>;

pub trait Net: Send + Sync {
    /// `port` 0 picks a free one. Errors: `AddrInUse`, `PermissionDenied`.
    fn listen(&self, address: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;

    /// Resolves `host` and connects. No deadline of its own: wrap it in [`Host::timeout`].
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Stream>>;
}

pub trait Listener: Send {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>>;
    fn local_address(&self) -> SocketAddr;
}

pub trait Clock: Send + Sync {
    /// Microseconds since 1970-01-01 UTC by this node's own clock: may be wrong, may jump, may go backwards.
    fn utc_micros(&self) -> i64;

    /// Time since some fixed moment; never goes backwards. For durations and deadlines.
    fn monotonic(&self) -> Duration;

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

pub trait Tasks: Send + Sync {
    /// Runs until it ends, the returned handle aborts it, or the node dies.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle;

    /// Runs synchronous work (storage commits) where it does not stall other tasks; inline in a simulation.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// Dropping it leaves the task running.
pub struct TaskHandle {
    abort: Box<dyn Fn() + Send + Sync>,
}

impl TaskHandle {
    pub fn new(abort: impl Fn() + Send + Sync + 'static) -> TaskHandle {
        TaskHandle { abort: Box::new(abort) }
    }

    pub fn abort(&self) {
        (self.abort)();
    }

    /// Ties the task to a value's life.
    pub fn abort_on_drop(self) -> AbortOnDrop {
        AbortOnDrop(self)
    }
}

/// Aborts its task when dropped.
pub struct AbortOnDrop(TaskHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

/// Files below one root that belongs to this node. Paths are relative, `/`-separated.
pub trait Disk: Send + Sync {
    /// Opens or creates a file for redb; wrap it in [`StoreFile`] to hand it over.
    fn open(&self, path: &str) -> io::Result<Box<dyn redb::StorageBackend>>;
    /// Names directly below `path`, sorted; empty if `path` does not exist.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Removes a file or a whole folder; fine if it does not exist.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Whole small file; `NotFound` if missing.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Replaces a small file atomically and durably.
    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
}

/// One node's door to the world. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<Doors>);

struct Doors {
    name: String,
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
    tasks: Arc<dyn Tasks>,
    entropy: Arc<dyn Entropy>,
    disk: Arc<dyn Disk>,
}

/// The deadline passed before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl Host {
    pub fn new(
        name: impl Into<String>,
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        tasks: Arc<dyn Tasks>,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Host {
        Host(Arc::new(Doors { name: name.into(), net, clock, tasks, entropy, disk }))
    }

    /// The node's name, for probes and logs.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn net(&self) -> &dyn Net {
        &*self.0.net
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.0.disk
    }

    pub fn utc_micros(&self) -> i64 {
        self.0.clock.utc_micros()
    }

    pub fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }

    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.clock.sleep(duration)
    }

    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.0.tasks.spawn(name, Box::pin(future))
    }

    /// Runs `work` off the async threads and returns its result.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = self.0.tasks.blocking(Box::new(move || {
            let _ = sender.send(work());
        }));
        done.await;
        receiver.await.expect("the work has run and sent its result")
    }

    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub fn random_bytes(&self, bytes: &mut [u8]) {
        self.0.entropy.fill(bytes);
    }

    /// Runs `future` for at most `limit`; on expiry it is dropped.
    pub async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        let deadline = self.sleep(limit);
        futures::pin_mut!(future);
        match futures::future::select(future, deadline).await {
            futures::future::Either::Left((value, _)) => Ok(value),
            futures::future::Either::Right(_) => Err(Elapsed),
        }
    }
}
