//! The deterministic world: every node a machine of a simulated [`World`], one seed one run.

use super::{ACCESS_NODE, Cluster, DATABASE, USER, data_node_names, make_cluster};
use crate::buggify;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::node::{Config, FIRST_DATABASE, Server, data_node_host};
use crate::sim::scenario::machines::{Machines, Simulated, play_in_world};
use crate::sim::scenario::run::Played;
use crate::sim::scenario::stage::Stage;
use crate::sim::scenario::{ClusterSpec, Scenario};
use crate::sim::world::{World, WorldConfig};
use crate::trial::session::Database;
use crate::trial::subject::Hypertables;
use crate::trial::words::Words;
use crate::wire::client::{Address, Connection};
use std::time::Duration;

/// The port of every simulated server.
const PORT: u16 = 5432;

/// A server whose disk does not let it start tries again after so long, as under systemd.
const START_ANEW_AFTER: Duration = Duration::from_secs(1);

/// A run that needs more simulated time hangs.
const TIME_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Plays a scenario in a world of its own.
pub fn run(scenario: &Scenario, seed: u64, config: WorldConfig) -> (Played, Simulated) {
    let buggify = scenario.buggify.iter().filter_map(|name| buggify::find(name)).collect();
    let config = WorldConfig { time_limit: TIME_LIMIT, supervised: Some(START_ANEW_AFTER), buggify, ..config };
    play_in_world(scenario, seed, config, &Words, Hypertables::default(), |world, scenario| async move {
        start(world, &scenario.cluster).await.map_err(|error| error.to_string())
    })
}

async fn start(world: World, spec: &ClusterSpec) -> Result<Machines> {
    let data_nodes = data_node_names(spec);
    for (k, name) in (0..).zip(&data_nodes) {
        world.alias(&data_node_host(k), name);
        world.start(name, serve);
    }
    world.start(ACCESS_NODE, serve);
    let names = data_nodes.clone();
    let machines = Machines::new(world, data_nodes, move |host, name| {
        let node = names.iter().map(String::as_str).find(|node| *node == name).unwrap_or(ACCESS_NODE);
        Box::new(Database::new(host.clone(), machine(node)))
    });
    for name in machines.nodes().iter().map(String::as_str).chain([ACCESS_NODE]) {
        wait_ready(machines.host(), name).await?;
    }
    make_cluster(&machines, spec.data).await?;
    Ok(machines)
}

async fn wait_ready(host: &Host, name: &str) -> Result<()> {
    let address = Address { database: FIRST_DATABASE.to_string(), ..machine(name) };
    let deadline = host.monotonic() + Duration::from_secs(60);
    loop {
        match Connection::open(host, &address).await {
            Ok(_) => return Ok(()),
            Err(error) if host.monotonic() >= deadline => return Err(error),
            Err(_) => host.sleep(Duration::from_millis(10)).await,
        }
    }
}

fn machine(name: &str) -> Address {
    Address {
        host: name.to_string(),
        port: PORT,
        database: DATABASE.to_string(),
        user: USER.to_string(),
        password: None,
    }
}

/// What a simulated machine runs: the server, and nothing else. A store that cannot be opened after a crash is a
/// failure of the run, which the panic makes it; with a disk that refuses to be read or written the server only ends.
async fn serve(host: Host) {
    let config = Config { port: PORT, password: None };
    let listener = host.net().listen("0.0.0.0", PORT).await.unwrap_or_else(|error| panic!("cannot listen: {error}"));
    match Server::open(&host, config).await {
        Ok(server) => server.run(listener).await,
        Err(error) if is_of_disk(&error) => {}
        Err(error) => panic!("the server cannot open its data: {error}"),
    }
}

/// Whether the disk itself, and not what is on it, is the reason.
fn is_of_disk(error: &Error) -> bool {
    [codes::IO_ERROR, codes::DISK_FULL].contains(&error.code())
}

impl Cluster for Machines {
    fn address(&self, node: &str) -> Option<Address> {
        (node == ACCESS_NODE || self.nodes().iter().any(|name| name == node)).then(|| machine(node))
    }
}
