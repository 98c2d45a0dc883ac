//! Who hurts the processes of a real world: now, later, and until a fault ends by itself.
//!
//! What strikes later runs beside the story, in a task of its own; whether it has struck, and whether that went well, is
//! asked when the story is over. Ends that have not come by then never come: the processes go with their stage.
//!
//! Knows no scenario records. Crash and kill are the same here, SIGKILL: a power loss cannot be had without a machine.

use super::process::Process;
use super::proxy;
use super::{CLIENT, unknown_node};
use crate::error::{Error, Result};
use crate::host::{AbortOnDrop, ClockLine, Host};
use crate::sim::clock::{ClockFault, NodeClock};
use crate::sim::net::{Trouble, TroubleId};
use crate::sim::scenario::{Fault, Links, Nemesis, When};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The processes, the links between them, and what is under way against them.
pub struct Director {
    scene: Arc<Scene>,
    armed: Vec<Armed>,
}

/// A fault for later.
struct Armed {
    text: String,
    struck: Arc<AtomicBool>,
    _task: AbortOnDrop,
}

/// What the tasks share.
struct Scene {
    host: Host,
    servers: BTreeMap<String, Process>,
    links: proxy::Links,
    clocks: Mutex<BTreeMap<String, NodeClock>>,
    /// Where the server of this name reads its clock.
    clock_file: Box<dyn Fn(&str) -> PathBuf + Send + Sync>,
    troubles: AtomicU64,
    /// The first thing that went wrong in the background.
    failure: Mutex<Option<Error>>,
    ends: Mutex<Vec<AbortOnDrop>>,
}

/// What ends a fault.
enum End {
    Restart(String),
    Resume(String),
    Mend(TroubleId),
}

impl Director {
    pub fn new(
        host: &Host,
        servers: BTreeMap<String, Process>,
        links: proxy::Links,
        clock_file: impl Fn(&str) -> PathBuf + Send + Sync + 'static,
    ) -> Director {
        let scene = Scene {
            host: host.clone(),
            servers,
            links,
            clocks: Mutex::default(),
            clock_file: Box::new(clock_file),
            troubles: AtomicU64::new(0),
            failure: Mutex::default(),
            ends: Mutex::default(),
        };
        Director { scene: Arc::new(scene), armed: vec![] }
    }

    pub fn server(&self, name: &str) -> Option<&Process> {
        self.scene.servers.get(name)
    }

    /// Starts all, then waits for all: they start side by side.
    pub async fn start_all(&self) -> Result<()> {
        for server in self.scene.servers.values() {
            server.start()?;
        }
        for server in self.scene.servers.values() {
            server.wait_ready(&self.scene.host).await?;
        }
        Ok(())
    }

    /// Does it, or arms it. Errors: an unknown node, a server that does not start again.
    pub async fn strike(&mut self, nemesis: &Nemesis) -> Result<()> {
        if nemesis.fault == Fault::Recover {
            // Nothing that was to come comes any more.
            self.armed.clear();
            lock(&self.scene.ends).clear();
        }
        let known = |name: &&str| *name == CLIENT || self.scene.servers.contains_key(*name);
        if let Some(name) = nemesis.fault.nodes().into_iter().find(|name| !known(name)) {
            return Err(unknown_node(name));
        }
        let delay = match nemesis.when {
            When::Now => return strike(&self.scene, nemesis).await,
            When::After(delay, _) => delay,
            When::At { .. } => return Err(Error::unsupported("processes have no probes")),
        };
        let struck = Arc::new(AtomicBool::new(false));
        let (scene, done, later) = (self.scene.clone(), struck.clone(), nemesis.clone());
        let task = self.scene.host.spawn("nemesis", async move {
            scene.host.sleep(delay).await;
            done.store(true, Ordering::Relaxed);
            let result = strike(&scene, &later).await;
            scene.remember(result);
        });
        self.armed.push(Armed { text: nemesis.to_string(), struck, _task: task.abort_on_drop() });
        Ok(())
    }

    /// What was armed and has not struck.
    pub fn waiting(&self) -> Vec<String> {
        let waiting = self.armed.iter().filter(|armed| !armed.struck.load(Ordering::Relaxed));
        waiting.map(|armed| armed.text.clone()).collect()
    }

    /// Errors: what went wrong in the background, the first of it.
    pub fn finish(&self) -> Result<()> {
        lock(&self.scene.failure).take().map_or(Ok(()), Err)
    }
}

/// Strikes now; the end, if it has one by itself, comes in the background.
async fn strike(scene: &Arc<Scene>, nemesis: &Nemesis) -> Result<()> {
    let ends = scene.begin(&nemesis.fault).await?;
    if let Some((lasts, _)) = nemesis.lasts {
        let later = scene.clone();
        let task = scene.host.spawn("end of a fault", async move {
            later.host.sleep(lasts).await;
            for end in ends {
                let result = later.end(end).await;
                later.remember(result);
            }
        });
        lock(&scene.ends).push(task.abort_on_drop());
    }
    Ok(())
}

impl Scene {
    /// Does it, and says what would end it.
    async fn begin(&self, fault: &Fault) -> Result<Vec<End>> {
        match fault {
            Fault::Crash(name) | Fault::Kill(name) => {
                self.server(name)?.kill();
                return Ok(vec![End::Restart(name.clone())]);
            }
            Fault::CrashAll => {
                self.servers.values().for_each(Process::kill);
                return Ok(self.servers.keys().map(|name| End::Restart(name.clone())).collect());
            }
            Fault::Pause(name) => {
                self.server(name)?.pause();
                return Ok(vec![End::Resume(name.clone())]);
            }
            Fault::Restart(name) => self.end(End::Restart(name.clone())).await?,
            Fault::Resume(name) => self.end(End::Resume(name.clone())).await?,
            Fault::Heal => self.links.heal(),
            Fault::Recover => self.recover().await?,
            Fault::Clock(name, micros) => self.set_clock(name, ClockFault::Step(*micros))?,
            Fault::Drift(name, ppm) => self.set_clock(name, ClockFault::DriftPpm(*ppm))?,
            Fault::Partition(_) | Fault::OneWay(..) | Fault::Slow(..) | Fault::Lose(..) => {
                return Ok(vec![End::Mend(self.trouble(fault))]);
            }
            Fault::Bandwidth(..) | Fault::Tail(..) => return Ok(vec![End::Mend(self.trouble(fault))]),
            Fault::FullDisk(..) | Fault::SlowDisk(..) | Fault::FailingDisk(..) | Fault::Rot(_) | Fault::LoseDisk(_) => {
                return Err(Error::unsupported("the disks of processes are the machine's own"));
            }
        }
        Ok(vec![])
    }

    /// Everything is well again: links, servers, clocks.
    async fn recover(&self) -> Result<()> {
        self.links.heal();
        let skewed: Vec<String> = lock(&self.clocks).keys().cloned().collect();
        for name in skewed {
            self.set_clock(&name, ClockFault::Correct)?;
        }
        for (name, server) in &self.servers {
            server.resume();
            self.end(End::Restart(name.clone())).await?;
        }
        Ok(())
    }

    async fn end(&self, end: End) -> Result<()> {
        match end {
            End::Restart(name) => {
                let server = self.server(&name)?;
                server.start()?;
                server.wait_ready(&self.host).await?;
            }
            End::Resume(name) => self.server(&name)?.resume(),
            End::Mend(id) => self.links.mend(id),
        }
        Ok(())
    }

    /// Links that no connection uses (between two data nodes) take it as well, and nothing comes of it.
    fn trouble(&self, fault: &Fault) -> TroubleId {
        let id = self.troubles.fetch_add(1, Ordering::Relaxed);
        let trouble = match fault {
            Fault::Slow(_, by) => Trouble::Slow(*by),
            Fault::Lose(_, ppm) => Trouble::Lossy(f64::from(*ppm) / 1e6),
            Fault::Bandwidth(_, bytes_per_second) => Trouble::Narrow(*bytes_per_second),
            Fault::Tail(_, ppm, by) => Trouble::Tail { chance: f64::from(*ppm) / 1e6, by: *by },
            _ => Trouble::Cut,
        };
        for (from, to) in fault.links().iter().flat_map(Links::pairs) {
            self.links.trouble(id, from, to, trouble);
        }
        id
    }

    fn set_clock(&self, name: &str, fault: ClockFault) -> Result<()> {
        let mut clocks = lock(&self.clocks);
        let clock = clocks.entry(name.to_string()).or_default();
        // The client's own clock is true, and all processes are on one machine.
        clock.apply(fault, self.host.utc_micros());
        write_clock(&(self.clock_file)(name), clock.line())
    }

    fn server(&self, name: &str) -> Result<&Process> {
        self.servers.get(name).ok_or_else(|| unknown_node(name))
    }

    fn remember(&self, result: Result<()>) {
        if let Err(error) = result {
            lock(&self.failure).get_or_insert(error);
        }
    }
}

/// Replaced in one step: the server may read it at any moment.
#[expect(clippy::disallowed_methods, reason = "tells the clock of another process what to show")]
fn write_clock(file: &std::path::Path, line: ClockLine) -> Result<()> {
    let beside = file.with_extension("new");
    std::fs::write(&beside, line.to_string())?;
    Ok(std::fs::rename(&beside, file)?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tasks in the background hold the scene: it must not wait for them to be gone.
impl Drop for Director {
    fn drop(&mut self) {
        self.armed.clear();
        lock(&self.scene.ends).clear();
        self.scene.servers.values().for_each(Process::kill);
    }
}
