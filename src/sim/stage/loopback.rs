//! Real processes of this binary on 127.0.0.1, one a server.

use super::process::{Folder, Process, free_port};
use super::{ACCESS_NODE, DATABASE, Stage, USER};
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::host::real::real;
use crate::node::FIRST_DATABASE;
use crate::sim::scenario::{ClusterSpec, Fault, Nemesis, When, WorldKind};
use crate::wire::client::{Address, Connection};
use async_trait::async_trait;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The processes of one scenario.
pub struct Loopback {
    host: Host,
    servers: BTreeMap<String, Process>,
    data_nodes: Vec<String>,
    random: ChaCha8Rng,
    // Last: processes must end before their folder goes.
    _folder: Folder,
}

impl Loopback {
    /// Starts an access node and data nodes and makes them a cluster. `program` is the hypertile binary.
    pub async fn start(program: &Path, spec: &ClusterSpec, seed: u64) -> Result<Loopback> {
        let folder = Folder::new()?;
        let host = real("client", &folder.path().join("client"))?;
        let mut ports = BTreeMap::new();
        let data_nodes: Vec<String> = (0..spec.data + spec.spare).map(|k| format!("node{k}")).collect();
        for name in &data_nodes {
            ports.insert(name.clone(), free_port(&host).await?);
        }
        let mut servers = BTreeMap::new();
        for (name, port) in &ports {
            servers.insert(name.clone(), server(program, folder.path(), name, *port, &[]));
        }
        let names: Vec<(String, u16)> =
            data_nodes.iter().enumerate().map(|(k, name)| (format!("dn{k}.example.com"), ports[name])).collect();
        let access = server(program, folder.path(), ACCESS_NODE, free_port(&host).await?, &names);
        servers.insert(ACCESS_NODE.to_string(), access);
        start_all(&host, &mut servers).await?;
        let mut stage =
            Loopback { host, servers, data_nodes, random: ChaCha8Rng::seed_from_u64(seed), _folder: folder };
        make_cluster(&mut stage, &|k| format!("dn{k}.example.com"), spec.data).await?;
        Ok(stage)
    }
}

/// A `hypertile serve` process; `hosts` are the names that it shall know.
pub fn server(program: &Path, folder: &Path, name: &str, port: u16, hosts: &[(String, u16)]) -> Process {
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
pub async fn start_all(host: &Host, servers: &mut BTreeMap<String, Process>) -> Result<()> {
    for server in servers.values_mut() {
        server.start()?;
    }
    for server in servers.values_mut() {
        server.wait_ready(host).await?;
    }
    Ok(())
}

/// Makes the cluster's database on the access node and adds the first `count` data nodes, as a user would.
/// `host_of` gives the host name by which the access node reaches data node k.
pub async fn make_cluster(stage: &mut dyn Stage, host_of: &(dyn Fn(u16) -> String + Sync), count: u16) -> Result<()> {
    let host = stage.host().clone();
    let access = stage.address(ACCESS_NODE).expect("every stage has an access node");
    let first = Address { database: FIRST_DATABASE.to_string(), ..access.clone() };
    Connection::open(&host, &first).await?.run(&format!("CREATE DATABASE {DATABASE}")).await?;
    let connection = Connection::open(&host, &access).await?;
    for k in 0..count {
        let name = format!("node{k}");
        let port = stage.address(&name).expect("one of the stage's data nodes").port;
        let call = format!("SELECT add_data_node('{name}', host => '{}', port => {port})", host_of(k));
        connection.run(&call).await?;
    }
    Ok(())
}

/// What a world of real processes can do to its nodes.
pub fn can_with_processes(kind: WorldKind, nemesis: &Nemesis) -> std::result::Result<(), String> {
    match (&nemesis.fault, &nemesis.when) {
        (_, When::At { .. }) => Err(format!("{kind} cannot strike at a probe")),
        _ if nemesis.lasts.is_some() => Err(format!("{kind} cannot end a fault by itself")),
        (Fault::Crash(_) | Fault::Restart(_), _) | (Fault::Heal, When::Now) => Ok(()),
        (fault, _) => Err(format!("{kind} cannot do \"{fault}\"")),
    }
}

/// Kills or restarts a process, now or after a pause.
pub async fn strike_process(host: &Host, servers: &mut BTreeMap<String, Process>, nemesis: &Nemesis) -> Result<()> {
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
        fault => return Err(Error::unsupported(format!("this world cannot do \"{fault}\""))),
    }
    Ok(())
}

#[async_trait]
impl Stage for Loopback {
    fn kind(&self) -> WorldKind {
        WorldKind::Loopback
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn address(&self, node: &str) -> Option<Address> {
        let server = self.servers.get(node)?;
        Some(Address { database: DATABASE.to_string(), ..server.address().clone() })
    }

    fn data_nodes(&self) -> Vec<String> {
        self.data_nodes.clone()
    }

    fn can(&self, nemesis: &Nemesis) -> std::result::Result<(), String> {
        can_with_processes(WorldKind::Loopback, nemesis)
    }

    async fn strike(&mut self, nemesis: &Nemesis) -> Result<()> {
        strike_process(&self.host, &mut self.servers, nemesis).await
    }

    async fn heal(&mut self) -> Result<()> {
        Ok(())
    }

    fn draw(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.random.random_range(range)
    }

    fn note(&mut self, _text: &str) {}

    async fn advance(&mut self, duration: Duration) {
        // Real time is dear: long waits stand for "until things have settled".
        self.host.sleep(duration.min(REAL_WAIT_MAX)).await;
    }
}

/// The longest that `advance` waits in a world of real time.
pub const REAL_WAIT_MAX: Duration = Duration::from_secs(5);
