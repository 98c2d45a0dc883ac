//! tokio and the operating system: the host of `hypertile serve` and `hypertile up`.
//!
//! What it promises to the layers above, and what it takes for that:
//!
//! | promise | how |
//! |---|---|
//! | one process per data folder | an exclusive `flock` on `<folder>/lock`, held as long as the host lives; the kernel drops it with the process, so a kill -9 leaves nothing to clean up |
//! | a synced byte survives a power loss | redb's `FileBackend` ends a commit with `fdatasync` |
//! | a file that was created or removed stays so | the folder that holds its name is synced before the call returns |
//! | a small file is old or new, never half | written beside, synced, renamed over, folder synced |
//! | small messages leave at once | `TCP_NODELAY` on both ends |
//! | a peer that is gone without a word is noticed | TCP keepalive on both ends: after 25 s in which it answers nothing, a waiting read fails |
//!
//! Everything here that takes tokio's sockets, timers or tasks must be called from inside a tokio runtime.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this file is the door itself: the bans elsewhere name it as the replacement"
)]

use super::{Clock, ClockLine, Disk, Entropy, Host, Listener, Net, Stream, TaskHandle, Tasks};
use crate::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};
use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};

/// Names that are looked up before DNS: host name to the address and port to dial instead.
///
/// `hypertile up` runs several servers in one process and tells each of them where `dn3.example.com` really
/// listens, so that nobody has to edit `/etc/hosts`.
pub type HostTable = BTreeMap<String, (String, u16)>;

/// What a host is told about the world around it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub hosts: HostTable,
    /// For tests with wrong clocks: a file with a [`ClockLine`], read each time somebody asks for the time. As long as
    /// there is none, or none that can be read, the clock is true.
    pub clock_file: Option<PathBuf>,
}

/// A host whose files live below `folder`, which is created if it is missing.
///
/// Errors: `ResourceBusy` when another process has the folder open, otherwise what the operating system says
/// about creating or writing it; the message names the folder.
pub fn real(name: &str, folder: &Path) -> io::Result<Host> {
    real_in(name, folder, Surroundings::default())
}

/// As [`real`]; names of the host table are dialled without asking DNS, and the port found there replaces the one asked
/// for.
pub fn real_in(name: &str, folder: &Path, surroundings: Surroundings) -> io::Result<Host> {
    let disk = RealDisk::open(folder)?;
    Ok(Host::new(
        name,
        Arc::new(RealNet { hosts: Arc::new(surroundings.hosts) }),
        Arc::new(RealClock { start: Instant::now(), file: surroundings.clock_file }),
        Arc::new(RealTasks),
        Arc::new(RealEntropy::open()?),
        Arc::new(disk),
    ))
}

struct RealNet {
    hosts: Arc<HostTable>,
}

impl Net for RealNet {
    fn listen(&self, address: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let address = address.to_string();
        Box::pin(async move {
            let listener = TcpListener::bind((address.as_str(), port)).await?;
            let local = listener.local_addr()?;
            Ok(Box::new(RealListener { listener, local }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Stream>> {
        let (host, port) = match self.hosts.get(host) {
            Some((address, mapped)) => (address.clone(), *mapped),
            None => (host.to_string(), port),
        };
        Box::pin(async move { Ok(Box::new(dial(&host, port).await?) as Stream) })
    }
}

async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    Ok(stream)
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    // A peer that hung up between the handshake and here makes this fail on some systems; the session
    // will see the end of the stream anyway, and the listener must not stop over it.
    let _ = stream.set_nodelay(true).and_then(|()| keep_alive(&stream));
    Ok((stream, peer))
}

/// Has the kernel probe the peer while nothing is said. Not `TCP_USER_TIMEOUT`: it would also end a connection whose
/// peer merely does not read for a while.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&probes.with_retries(KEEPALIVE_PROBES))
}

struct RealListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl Listener for RealListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = accept(&self.listener).await?;
            Ok((Box::new(stream) as Stream, peer))
        })
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }
}

struct RealClock {
    start: Instant,
    file: Option<PathBuf>,
}

impl RealClock {
    fn line(&self) -> ClockLine {
        let text = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

impl Clock for RealClock {
    fn utc_micros(&self) -> i64 {
        let signed = |micros: u128| i64::try_from(micros).unwrap_or(i64::MAX);
        let shown = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => signed(after.as_micros()),
            Err(before) => -signed(before.duration().as_micros()),
        };
        if self.file.is_some() { self.line().read(shown) } else { shown }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct RealTasks;

impl Tasks for RealTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        let task = tokio::spawn(future);
        TaskHandle::new(move || task.abort())
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let task = tokio::task::spawn_blocking(work);
        Box::pin(async move {
            match task.await {
                Ok(()) => {}
                // The caller asked for a result that will never come: let it fail where it stands.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Only a runtime that shuts down cancels blocking work; this task will be dropped with it.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// The kernel's generator, through its device file: no library's generator state to be forked or guessed.
struct RealEntropy {
    device: Mutex<File>,
}

impl RealEntropy {
    fn open() -> io::Result<RealEntropy> {
        let device =
            File::open("/dev/urandom").map_err(|error| named(error, "cannot open", Path::new("/dev/urandom")))?;
        Ok(RealEntropy { device: Mutex::new(device) })
    }
}

impl Entropy for RealEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        device.read_exact(bytes).expect("the kernel's random device, once open, always delivers");
    }
}

struct RealDisk {
    root: PathBuf,
    /// Held for the `flock` on it; never read.
    _lock: File,
}

/// Name of the file below the folder whose `flock` says that a process has the folder open.
const LOCK_FILE: &str = "lock";

/// Ending of the file beside a small file while it is being replaced. A crash may leave one; the next
/// replacement overwrites it and [`Disk::list`] does not show it.
const TEMPORARY_ENDING: &str = ".writing";

impl RealDisk {
    fn open(folder: &Path) -> io::Result<RealDisk> {
        fs::create_dir_all(folder).map_err(|error| named(error, "cannot create the data folder", folder))?;
        // Absolute, so that a later change of the working directory does not move the data.
        let root = fs::canonicalize(folder).map_err(|error| named(error, "cannot find the data folder", folder))?;
        let path = root.join(LOCK_FILE);
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut lock = lock.map_err(|error| named(error, "cannot open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(folder_in_use(folder, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(named(error, "cannot lock", &path)),
        }
        // Only for the message of whoever comes second: the lock itself is the truth.
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(|error| named(error, "cannot write", &path))?;
        Ok(RealDisk { root, _lock: lock })
    }

    /// The absolute path of a relative one. Errors: `InvalidInput` for a path that would leave the folder.
    fn below(&self, path: &str) -> io::Result<PathBuf> {
        let relative = Path::new(path);
        if relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            Ok(self.root.join(relative))
        } else {
            let message = format!("the path {path:?} does not stay below the data folder {}", self.root.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }

    /// Creates the folder and its missing parents, each name made durable in the folder above.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|part| !part.exists()).collect();
        for part in missing.into_iter().rev() {
            match fs::create_dir(part) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(named(error, "cannot create the folder", part)),
            }
            sync_folder_of(part)?;
        }
        Ok(())
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        let path = self.below(path)?;
        if let Some(folder) = path.parent() {
            self.create_folder(folder)?;
        }
        let new = !path.exists();
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(|error| named(error, "cannot open", &path))?;
        if new {
            sync_folder_of(&path)?;
        }
        let backend = redb::backends::FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let folder = self.below(path)?;
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(named(error, "cannot list", &folder)),
        };
        let at_root = folder == self.root;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let ours = name.ends_with(TEMPORARY_ENDING) || (at_root && name == LOCK_FILE);
            if !ours {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.create_folder(&self.below(path)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.below(path)?;
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => sync_folder_of(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(named(error, "cannot remove", &path)),
        }
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = self.below(path)?;
        fs::read(&path).map_err(|error| named(error, "cannot read", &path))
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.below(path)?;
        if let Some(folder) = path.parent() {
            self.create_folder(folder)?;
        }
        let mut beside = path.clone().into_os_string();
        beside.push(TEMPORARY_ENDING);
        let beside = PathBuf::from(beside);
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(bytes)?;
            // Before the rename: otherwise the new name may reach the disk ahead of the bytes it stands for.
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|error| named(error, "cannot write", &path))?;
        sync_folder_of(&path)
    }
}

/// A name is an entry in its folder: without this a power loss can take back a creation, a removal or a rename.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| named(error, "cannot sync", folder))
        }
        None => Ok(()),
    }
}

fn folder_in_use(folder: &Path, lock: &mut File) -> io::Error {
    let mut holder = String::new();
    let by = match lock.read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!("process {}", holder.trim()),
        _ => "another process".to_string(),
    };
    io::Error::new(io::ErrorKind::ResourceBusy, format!("the data folder {} is in use by {by}", folder.display()))
}

/// The operating system's error with the object it is about.
fn named(error: io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
