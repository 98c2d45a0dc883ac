//! Real processes for the real worlds: started, killed, started again, and gone when the stage is.

#![expect(
    clippy::disallowed_methods,
    reason = "starts and stops the processes of the real worlds; no node's code runs here"
)]

use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::wire::client::{Address, Connection};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
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

/// One server process that can be killed and started again.
pub struct Process {
    name: String,
    make: Box<dyn Fn() -> Command + Send + Sync>,
    log: PathBuf,
    child: Option<Child>,
    /// Where it takes clients, for `wait_ready`.
    address: Address,
}

impl Process {
    /// Does not start it yet. Output goes to `log`.
    pub fn new(
        name: &str,
        log: PathBuf,
        address: Address,
        make: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Process {
        Process { name: name.to_string(), make: Box::new(make), log, child: None, address }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn start(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = (self.make)();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().map_err(|error| self.failure(&error.to_string()))?);
        Ok(())
    }

    /// Waits until it answers; starts it again if it ends meanwhile (a predecessor may still hold its resources).
    pub async fn wait_ready(&mut self, host: &Host) -> Result<()> {
        let deadline = host.monotonic() + READY_WITHIN;
        loop {
            let problem = match Connection::open(host, &self.address).await {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if host.monotonic() >= deadline {
                return Err(self.failure(&problem));
            }
            if self.has_ended() {
                self.start()?;
            }
            host.sleep(Duration::from_millis(50)).await;
        }
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Starts it if it does not run.
    pub async fn recover(&mut self, host: &Host) -> Result<()> {
        if self.has_ended() {
            self.start()?;
            self.wait_ready(host).await?;
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
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

/// A port of 127.0.0.1 that is free now.
pub async fn free_port(host: &Host) -> Result<u16> {
    let listener = host.net().listen("127.0.0.1", 0).await?;
    Ok(listener.local_address().port())
}
