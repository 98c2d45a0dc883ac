//! Where a scenario is played: one access node, data nodes, and a nemesis that can hurt them.
//!
//! [`simulated`] is the deterministic world, [`loopback`] real processes of this binary on 127.0.0.1, [`postgres`] the
//! same with stock PostgreSQL servers as data nodes. A scenario sees addresses and faults only, so that the same file
//! runs on all three. Reading order: this file, `simulated`, then `process` and `proxy` (what can be done to processes
//! and to the links between them), `director` (who does it), `real`, `loopback`, `postgres`.

pub mod director;
pub mod loopback;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod real;
pub mod simulated;

use super::session::Database;
use crate::error::{Error, Result, codes};
use crate::node::{FIRST_DATABASE, data_node_host};
use crate::sim::scenario::ClusterSpec;
use crate::sim::scenario::session::Session;
use crate::sim::scenario::stage::Stage;
use crate::wire::client::{Address, Connection};

/// The database that every stage makes the cluster in.
pub const DATABASE: &str = "tsdb";

/// The user that scenarios connect as.
pub const USER: &str = "postgres";

/// The access node's name in scenarios.
pub const ACCESS_NODE: &str = "an";

pub use crate::sim::scenario::stage::CLIENT;

/// A stage whose nodes have addresses.
pub trait Cluster: Stage {
    /// Where `node` (`an`, `node0`, …) takes clients; `None` for an unknown name.
    fn address(&self, node: &str) -> Option<Address>;

    /// A connection called `name`: to the node of that name, or to the access node.
    fn connection(&self, name: &str) -> Box<dyn Session> {
        let access = || self.address(ACCESS_NODE).expect("every stage has an access node");
        Box::new(Database::new(self.host().clone(), self.address(name).unwrap_or_else(access)))
    }
}

fn unknown_node(name: &str) -> Error {
    Error::new(codes::UNDEFINED_OBJECT, format!("there is no node \"{name}\" in this scenario"))
}

/// Names of all data nodes of a scenario, in order.
pub fn data_node_names(spec: &ClusterSpec) -> Vec<String> {
    (0..spec.data + spec.spare).map(|k| format!("node{k}")).collect()
}

/// Makes the cluster's database on the access node and adds the first `count` data nodes, as a user would.
async fn make_cluster(stage: &dyn Cluster, count: u16) -> Result<()> {
    let host = stage.host().clone();
    let access = stage.address(ACCESS_NODE).expect("every stage has an access node");
    let first = Address { database: FIRST_DATABASE.to_string(), ..access.clone() };
    Connection::open(&host, &first).await?.run(&format!("CREATE DATABASE {DATABASE}")).await?;
    let connection = Connection::open(&host, &access).await?;
    for k in 0..count {
        let name = format!("node{k}");
        let port = stage.address(&name).expect("one of the stage's data nodes").port;
        let call = format!("SELECT add_data_node('{name}', host => '{}', port => {port})", data_node_host(k));
        connection.run(&call).await?;
    }
    Ok(())
}
