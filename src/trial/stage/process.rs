//! Real processes for the real worlds: started, killed, paused, started again, and gone when the stage is.

#![expect(
    clippy::disallowed_methods,
    reason = "starts and stops the processes of the real worlds; no node's code runs here"
)]

use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::wire::client::{Address, Connection};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A folder of its own, removed with everything in it when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> io::Result<Folder> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hypertile-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        // Servers of another user must be able to walk through.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The user that servers run as which refuse to be root.
#[derive(Clone, Copy, Debug)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// `None` when this process is not root and everything runs as itself. Errors: there is no unprivileged user.
    pub fn unprivileged() -> io::Result<Option<User>> {
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let find = |name: &str| {
            users.lines().find_map(|line| {
                let mut fields = line.split(':');
                let (found, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
                (found == name).then_some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            })
        };
        find("postgres")
            .or_else(|| find("nobody"))
            .map(Some)
            .ok_or_else(|| io::Error::other("no user postgres or nobody"))
    }

    pub fn own(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    pub fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// One server that can be killed, paused, and started again; by several tasks, as the nemesis is in the background too.
pub struct Process {
    name: String,
    make: Box<dyn Fn() -> Command + Send + Sync>,
    log: PathBuf,
    state: Mutex<State>,
    /// Where it takes clients, for `wait_ready`.
    address: Address,
}

enum State {
    /// Never started, or killed: nobody may start it but the story.
    Down,
    Running(Child),
    Paused(Child),
}

impl Process {
    /// Does not start it yet. Output goes to `log`.
    pub fn new(
        name: &str,
        log: PathBuf,
        address: Address,
        make: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Process {
        Process { name: name.to_string(), make: Box::new(make), log, state: Mutex::new(State::Down), address }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Without effect if it runs, or stands still.
    pub fn start(&self) -> Result<()> {
        let mut state = self.state();
        if matches!(*state, State::Down) {
            *state = State::Running(self.spawn()?);
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = (self.make)();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().map_err(|error| self.failure(&error.to_string()))
    }

    /// Waits until it answers; starts it again if it ends meanwhile (a predecessor may still hold its resources). Not
    /// if it is killed or paused meanwhile: then there is nothing to wait for.
    pub async fn wait_ready(&self, host: &Host) -> Result<()> {
        let deadline = host.monotonic() + READY_WITHIN;
        loop {
            let problem = match Connection::open(host, &self.address).await {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if !matches!(*self.state(), State::Running(_)) {
                return Ok(());
            }
            if host.monotonic() >= deadline {
                return Err(self.failure(&problem));
            }
            self.start_if_ended()?;
            host.sleep(Duration::from_millis(50)).await;
        }
    }

    fn start_if_ended(&self) -> Result<()> {
        let mut state = self.state();
        if let State::Running(child) = &mut *state
            && !matches!(child.try_wait(), Ok(None))
        {
            *state = State::Running(self.spawn()?);
        }
        Ok(())
    }

    /// SIGKILL to the server and all its processes.
    pub fn kill(&self) {
        let mut state = self.state();
        if let State::Running(mut child) | State::Paused(mut child) = std::mem::replace(&mut *state, State::Down) {
            // First it stands still: it must not start another while we look who is there.
            let family = stopped_family(&child);
            family.iter().rev().for_each(|pid| signal(*pid, libc::SIGKILL));
            let _ = child.wait();
        }
    }

    /// SIGSTOP to the server and all its processes. Without effect if it does not run.
    pub fn pause(&self) {
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Down) {
            State::Running(child) => {
                stopped_family(&child).into_iter().skip(1).for_each(|pid| signal(pid, libc::SIGSTOP));
                State::Paused(child)
            }
            other => other,
        };
    }

    /// SIGCONT to all of them. Without effect if it does not stand still.
    pub fn resume(&self) {
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Down) {
            State::Paused(child) => {
                stopped_family(&child).into_iter().rev().for_each(|pid| signal(pid, libc::SIGCONT));
                State::Running(child)
            }
            other => other,
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, reason: &str) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        let tail: Vec<&str> = lines.into_iter().rev().collect();
        Error::new(codes::CANNOT_CONNECT, format!("server \"{}\" did not start: {reason}", self.name))
            .with_detail(tail.join(" / "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The process, stopped, and its children: a PostgreSQL server is many processes, each in a group of its own. Nothing
/// if it has ended already, so that no signal meets a stranger.
fn stopped_family(child: &Child) -> Vec<libc::pid_t> {
    let parent = child.id() as libc::pid_t;
    signal(parent, libc::SIGSTOP);
    // A moment passes until it really stands still.
    for _ in 0..STOP_LOOKS_MAX {
        match state_and_parent(parent) {
            Some((state, _)) if !matches!(state.as_str(), "T" | "Z") => std::thread::yield_now(),
            _ => break,
        }
    }
    let children = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let pid: libc::pid_t = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (state_and_parent(pid)?.1 == parent).then_some(pid)
    });
    [parent].into_iter().chain(children).collect()
}

/// How often a process is looked at that was told to stop: one that sleeps in the kernel for long is left to it.
const STOP_LOOKS_MAX: u32 = 10_000;

/// From `/proc/PID/stat`: `PID (NAME) STATE PARENT …`, where the name may hold anything.
fn state_and_parent(pid: libc::pid_t) -> Option<(String, libc::pid_t)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_string(), fields.next()?.parse().ok()?))
}

fn signal(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: kill has no preconditions. A child is not waited for before it was signalled, and a child's child only
    // stands in `/proc` under a parent that is stopped, so that the number is still theirs.
    unsafe { libc::kill(pid, signal) };
}

/// Below the ports that the system gives to connections and to whoever asks for any: nobody takes one between our looking
/// and the server's start.
const PORTS: Range<u16> = 10_000..32_000;

/// A port of 127.0.0.1 that is free, and that this process has not handed out lately. Errors: all are taken.
pub async fn free_port(host: &Host) -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Processes side by side begin far from each other.
    let first = std::process::id().wrapping_mul(607) % count;
    for _ in PORTS {
        let number = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + number as u16;
        if host.net().listen("127.0.0.1", port).await.is_ok() {
            return Ok(port);
        }
    }
    Err(Error::new(
        codes::CANNOT_CONNECT,
        format!("no port of 127.0.0.1 from {} to {} is free", PORTS.start, PORTS.end),
    ))
}
