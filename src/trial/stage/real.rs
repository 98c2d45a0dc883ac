//! What the worlds of real processes have in common: an access node of this binary, and what can be done to processes.

use super::process::{Folder, Process, free_port};
use super::{ACCESS_NODE, Cluster, DATABASE, USER, data_node_names, make_cluster};
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::node::{FIRST_DATABASE, data_node_host};
use crate::sim::scenario::session::Session;
use crate::sim::scenario::stage::{Purpose, Stage};
use crate::sim::scenario::{ClusterSpec, Fault, Nemesis, When, WorldKind};
use crate::wire::client::Address;
use async_trait::async_trait;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The processes of one scenario.
pub struct RealStage {
    kind: WorldKind,
    host: Host,
    servers: BTreeMap<String, Process>,
    data_nodes: Vec<String>,
    random: ChaCha8Rng,
    // Last: processes must end before their folder goes.
    _folder: Folder,
}

impl RealStage {
    /// Starts `data_nodes` (by name, not yet running) and an access node, and makes them a cluster. `program` is the
    /// hypertile binary.
    pub(super) async fn start(
        kind: WorldKind,
        program: &Path,
        spec: &ClusterSpec,
        seed: u64,
        host: Host,
        folder: Folder,
        mut servers: BTreeMap<String, Process>,
    ) -> Result<RealStage> {
        let data_nodes = data_node_names(spec);
        let names: Vec<(String, u16)> =
            (0..).zip(&data_nodes).map(|(k, name)| (data_node_host(k), servers[name].address().port)).collect();
        let access = server(program, folder.path(), ACCESS_NODE, free_port(&host).await?, &names);
        servers.insert(ACCESS_NODE.to_string(), access);
        start_all(&host, &mut servers).await?;
        let random = ChaCha8Rng::seed_from_u64(seed);
        let stage = RealStage { kind, host, servers, data_nodes, random, _folder: folder };
        make_cluster(&stage, spec.data).await?;
        Ok(stage)
    }
}

/// A `hypertile serve` process; `hosts` are the names that it shall know.
#[expect(clippy::disallowed_methods, reason = "says how a process of the real worlds is started")]
pub(super) fn server(program: &Path, folder: &Path, name: &str, port: u16, hosts: &[(String, u16)]) -> Process {
    let address = Address {
        host: "127.0.0.1".to_string(),
        port,
        database: FIRST_DATABASE.to_string(),
        user: USER.to_string(),
        password: None,
    };
    let (program, data): (PathBuf, PathBuf) = (program.to_path_buf(), folder.join(name));
    let hosts: Vec<String> = hosts.iter().map(|(name, port)| format!("{name}=127.0.0.1:{port}")).collect();
    Process::new(name, folder.join(format!("{name}.log")), address, move || {
        let mut command = Command::new(&program);
        command.arg("serve").arg("--dir").arg(&data).arg("--port").arg(port.to_string());
        for host in &hosts {
            command.arg("--host").arg(host);
        }
        command
    })
}

/// Starts all, then waits for all: they start side by side.
async fn start_all(host: &Host, servers: &mut BTreeMap<String, Process>) -> Result<()> {
    for server in servers.values_mut() {
        server.start()?;
    }
    for server in servers.values_mut() {
        server.wait_ready(host).await?;
    }
    Ok(())
}

/// What a world of real processes can do to its nodes.
fn can_with_processes(kind: WorldKind, nemesis: &Nemesis) -> std::result::Result<(), String> {
    match (&nemesis.fault, &nemesis.when) {
        (_, When::At { .. }) => Err(format!("{kind} cannot strike at a probe")),
        _ if nemesis.lasts.is_some() => Err(format!("{kind} cannot end a fault by itself")),
        (Fault::Crash(_) | Fault::Restart(_), _) | (Fault::Heal | Fault::Recover, When::Now) => Ok(()),
        (fault, _) => Err(format!("{kind} cannot do \"{fault}\"")),
    }
}

/// Kills or restarts a process, now or after a pause.
async fn strike_process(host: &Host, servers: &mut BTreeMap<String, Process>, nemesis: &Nemesis) -> Result<()> {
    // Later faults of real processes are waited for: the scenario's next step must see them, as in the simulation
    // where time stands still while nothing happens.
    if let When::After(delay, _) = nemesis.when {
        host.sleep(delay).await;
    }
    let unknown =
        |name: &str| Error::new(codes::UNDEFINED_OBJECT, format!("there is no node \"{name}\" in this scenario"));
    match &nemesis.fault {
        Fault::Crash(name) => servers.get_mut(name).ok_or_else(|| unknown(name))?.kill(),
        Fault::Restart(name) => {
            let server = servers.get_mut(name).ok_or_else(|| unknown(name))?;
            server.start()?;
            server.wait_ready(host).await?;
        }
        Fault::Heal => {}
        Fault::Recover => {
            for server in servers.values_mut() {
                server.recover(host).await?;
            }
        }
        fault => return Err(Error::unsupported(format!("this world cannot do \"{fault}\""))),
    }
    Ok(())
}

impl Cluster for RealStage {
    fn address(&self, node: &str) -> Option<Address> {
        let server = self.servers.get(node)?;
        Some(Address { database: DATABASE.to_string(), ..server.address().clone() })
    }
}

#[async_trait]
impl Stage for RealStage {
    fn kind(&self) -> WorldKind {
        self.kind
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn session(&self, name: &str) -> Box<dyn Session> {
        self.connection(name)
    }

    fn nodes(&self) -> Vec<String> {
        self.data_nodes.clone()
    }

    fn can(&self, nemesis: &Nemesis) -> std::result::Result<(), String> {
        can_with_processes(self.kind, nemesis)
    }

    async fn strike(&mut self, nemesis: &Nemesis) -> std::result::Result<(), String> {
        strike_process(&self.host, &mut self.servers, nemesis).await.map_err(|error| error.to_string())
    }

    fn draw(&mut self, _purpose: Purpose, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.random.random_range(range)
    }

    async fn advance(&mut self, duration: Duration) {
        // Real time is dear: long waits stand for "until things have settled".
        self.host.sleep(duration.min(REAL_WAIT_MAX)).await;
    }
}

/// The longest that `advance` waits in a world of real time.
const REAL_WAIT_MAX: Duration = Duration::from_secs(5);
