//! Where a scenario is played: one access node, data nodes, and a nemesis that can hurt them.
//!
//! [`simulated`] is the deterministic world, [`loopback`] real processes of this binary on 127.0.0.1, [`postgres`] the
//! same with stock PostgreSQL servers as data nodes. A scenario sees addresses and faults only, so that the same file
//! runs on all three.

pub mod loopback;
pub mod postgres;
pub mod process;
pub mod simulated;

use super::scenario::{Nemesis, WorldKind};
use crate::error::Result;
use crate::host::Host;
use crate::wire::client::Address;
use async_trait::async_trait;
use std::time::Duration;

/// The database that every stage makes the cluster in.
pub const DATABASE: &str = "tsdb";

/// The user that scenarios connect as.
pub const USER: &str = "postgres";

/// The access node's name in scenarios.
pub const ACCESS_NODE: &str = "an";

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

    /// Ends all faults that lie in the world itself (partitions); crashed nodes stay down.
    async fn heal(&mut self) -> Result<()>;

    async fn advance(&mut self, duration: Duration) {
        self.host().sleep(duration).await;
    }

    /// A number in `range`, from the run's seed.
    fn draw(&mut self, range: std::ops::RangeInclusive<u64>) -> u64;

    /// Faults that were armed at a probe and have not struck: a story that went on without its villain.
    fn waiting(&self) -> Vec<String> {
        Vec::new()
    }

    /// Tells the run's event log something (simulation only).
    fn note(&mut self, text: &str);
}
