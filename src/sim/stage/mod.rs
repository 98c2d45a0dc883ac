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

use super::scenario::{ClusterSpec, Nemesis, WorldKind};
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::node::{FIRST_DATABASE, data_node_host};
use crate::wire::client::{Address, Connection};
use async_trait::async_trait;
use std::time::Duration;

/// The database that every stage makes the cluster in.
pub const DATABASE: &str = "tsdb";

/// The user that scenarios connect as.
pub const USER: &str = "postgres";

/// The access node's name in scenarios.
pub const ACCESS_NODE: &str = "an";

/// The scenario's own place, as its faults call it.
pub const CLIENT: &str = "client";

/// What a number is drawn for: a scenario without its faults has the workload that it had with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Faults,
    Workload,
}

#[async_trait]
pub trait Stage: Send {
    fn kind(&self) -> WorldKind;

    /// The client's own door to this world.
    fn host(&self) -> &Host;

    /// Where `node` (`an`, `node0`, …) takes clients; `None` for an unknown name.
    fn address(&self, node: &str) -> Option<Address>;

    /// Names of all data nodes, those not added to the cluster included, in order.
    fn data_nodes(&self) -> Vec<String>;

    /// Whether this world can do such a thing at all; the reason if not.
    fn can(&self, nemesis: &Nemesis) -> std::result::Result<(), String>;

    /// Does it now, or arms it. Errors: an unknown node.
    async fn strike(&mut self, nemesis: &Nemesis) -> Result<()>;

    /// Ends all faults of links; nodes that crashed or stand still stay so.
    async fn heal(&mut self) -> Result<()>;

    async fn advance(&mut self, duration: Duration) {
        self.host().sleep(duration).await;
    }

    /// A number in `range`, from the run's seed; each purpose has a stream of its own.
    fn draw(&mut self, purpose: Purpose, range: std::ops::RangeInclusive<u64>) -> u64;

    /// Faults that were armed for later or at a probe and have not struck: a story that went on without its villain.
    fn waiting(&self) -> Vec<String> {
        Vec::new()
    }

    /// Looks back, when the story is over. Errors: something that the nemesis did in the background went wrong.
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Tells the run's event log something (simulation only).
    fn note(&mut self, text: &str);
}

fn unknown_node(name: &str) -> Error {
    Error::new(codes::UNDEFINED_OBJECT, format!("there is no node \"{name}\" in this scenario"))
}

/// Names of all data nodes of a scenario, in order.
fn data_node_names(spec: &ClusterSpec) -> Vec<String> {
    (0..spec.data + spec.spare).map(|k| format!("node{k}")).collect()
}

/// Makes the cluster's database on the access node and adds the first `count` data nodes, as a user would.
async fn make_cluster(stage: &mut dyn Stage, count: u16) -> Result<()> {
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
