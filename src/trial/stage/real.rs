//! What the worlds of real processes have in common: data nodes behind an access node of this binary, proxies between
//! them, and what can be done to processes and links.

use super::director::Director;
use super::process::{Folder, Process, free_port};
use super::proxy::{Links, Proxy};
use super::{ACCESS_NODE, CLIENT, Cluster, DATABASE, USER, data_node_names, make_cluster};
use crate::error::Result;
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

/// The processes of one scenario, and the links between them.
pub struct RealStage {
    kind: WorldKind,
    host: Host,
    director: Director,
    data_nodes: Vec<String>,
    /// The client's way to each server.
    doors: BTreeMap<String, Proxy>,
    /// The access node's way to each data node. Data nodes talk to nobody.
    _inner: Vec<Proxy>,
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
        let links = Links::new(&host, seed);
        let (mut inner, mut names) = (Vec::new(), Vec::new());
        for (k, name) in (0..).zip(&data_nodes) {
            let proxy = links.open(ACCESS_NODE, name, servers[name].address().port).await?;
            names.push((data_node_host(k), proxy.port()));
            inner.push(proxy);
        }
        let access = server(program, folder.path(), ACCESS_NODE, free_port(&host).await?, &names);
        servers.insert(ACCESS_NODE.to_string(), access);
        let mut doors = BTreeMap::new();
        for (name, server) in &servers {
            doors.insert(name.clone(), links.open(CLIENT, name, server.address().port).await?);
        }
        let clocks = folder.path().to_path_buf();
        let director = Director::new(&host, servers, links, move |name| clock_file(&clocks, name));
        director.start_all().await?;
        let random = ChaCha8Rng::seed_from_u64(seed);
        let stage = RealStage { kind, host, director, data_nodes, doors, _inner: inner, random, _folder: folder };
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
    let (program, data, clock) = (program.to_path_buf(), folder.join(name), clock_file(folder, name));
    let hosts: Vec<String> = hosts.iter().map(|(name, port)| format!("{name}=127.0.0.1:{port}")).collect();
    Process::new(name, folder.join(format!("{name}.log")), address, move || {
        let mut command = Command::new(&program);
        command.arg("serve").arg("--dir").arg(&data).arg("--port").arg(port.to_string());
        command.arg("--clock-file").arg(&clock);
        for host in &hosts {
            command.arg("--host").arg(host);
        }
        command
    })
}

/// Where a server reads how wrong its clock is.
fn clock_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.clock"))
}

/// What a world of real processes can do to its nodes.
fn can_with_processes(kind: WorldKind, nemesis: &Nemesis) -> std::result::Result<(), String> {
    match (&nemesis.fault, &nemesis.when) {
        (_, When::At { .. }) => Err(format!("{kind} cannot strike at a probe: its servers are processes of their own")),
        (Fault::Clock(node, _) | Fault::Drift(node, _), _) if kind == WorldKind::Postgres && node != ACCESS_NODE => {
            Err(format!("{kind} cannot do \"{}\": a stock PostgreSQL server reads the machine's clock", nemesis.fault))
        }
        (fault, _) if fault.is_of_disk() => {
            Err(format!("{kind} cannot do \"{fault}\": the disk is that of the machine the tests run on"))
        }
        (fault, _) if fault.links().is_none() && fault.nodes().contains(&CLIENT) => {
            Err(format!("{kind} cannot do \"{fault}\": the client is the process that plays the story"))
        }
        _ => Ok(()),
    }
}

impl Cluster for RealStage {
    fn address(&self, node: &str) -> Option<Address> {
        let (server, door) = (self.director.server(node)?, self.doors.get(node)?);
        Some(Address { port: door.port(), database: DATABASE.to_string(), ..server.address().clone() })
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
        self.director.strike(nemesis).await.map_err(|error| error.to_string())
    }

    fn waiting(&self) -> Vec<String> {
        self.director.waiting()
    }

    async fn finish(&mut self) -> std::result::Result<(), String> {
        self.director.finish().map_err(|error| error.to_string())
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
