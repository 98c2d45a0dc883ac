//! The judges: one file a property, pure over the history and the final state.
//!
//! Each returns violations that carry their evidence. A checker that finds nothing has looked at something: the
//! runner fails a workload of which nothing came off, and its report has the counts.
//!
//! Reading order: this file, [`homes`] (where rows belong), then the judges in the order of [`ALL`]. They know neither
//! world nor cluster: `trial::observe` makes the final state, `trial::workload` the history.

pub mod agreement;
pub mod atomicity;
pub mod bank;
pub mod durability;
pub mod homes;
pub mod isolation;
pub mod leftovers;
pub mod liveness;
pub mod model;
pub mod one_home;
pub mod phantom;
pub mod placement;
pub mod refusals;
pub mod tables;

use super::history::{Answer, Audit, History, ListTransaction, Read, Row};
use crate::chunk::dimension::Dimension;
use crate::chunk::slice::Hypercube;
pub use crate::sim::checker::Violation;
use std::collections::BTreeMap;

/// What the cluster holds once the run is over and healed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalState {
    /// All batches of every table that batches were written to, through the access node.
    pub reads: BTreeMap<String, Read>,
    /// All lists of every table that lists were appended to: a read as any other.
    pub lists: BTreeMap<String, ListTransaction>,
    /// The rows of the tables of batches, through the access node, in no order.
    pub rows: BTreeMap<String, Vec<Row>>,
    /// The last questions of each kind once more.
    pub answers: BTreeMap<String, Vec<Answer>>,
    /// The same of auditors.
    pub audits: BTreeMap<String, Audit>,
    /// Hypertables and chunks as the access node's catalog has them.
    pub hypertables: Vec<HypertableRow>,
    pub chunks: Vec<ChunkRow>,
    /// Tables of the schema `public` on the access node: those of hypertables, and its own.
    pub tables: Vec<String>,
    /// What each data node holds.
    pub nodes: Vec<NodeState>,
    /// Global transaction ids whose decision the access node still keeps.
    pub decisions: Vec<String>,
    /// Microseconds since the start of the run: no fault has been in force since then. `None` if one is, or if this world
    /// does not tell.
    pub calm_since: Option<u64>,
    /// No fault has struck at all, as far as this world can tell.
    pub faultless: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HypertableRow {
    pub name: String,
    pub replication: usize,
    /// Data nodes that are attached.
    pub nodes: Vec<String>,
    pub dimensions: Vec<Dimension>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    pub table: String,
    pub hypertable: String,
    pub cube: Hypercube,
    pub nodes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    pub name: String,
    /// Global ids of prepared transactions.
    pub prepared: Vec<String>,
    /// Sessions that stand still in a transaction, where the server shows them.
    pub idle_in_transaction: u64,
    pub tables: Vec<ChunkTable>,
}

/// A chunk's table as a data node has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkTable {
    pub name: String,
    pub columns: Vec<String>,
    /// Sorted; values as text.
    pub rows: Vec<Vec<String>>,
}

impl ChunkTable {
    /// Its rows if they are tagged as those of workloads are.
    pub fn tagged(&self) -> Option<Vec<Row>> {
        let tags = ["writer", "batch", "row", "rows"];
        let is_tagged = self.columns.get(2..6).is_some_and(|columns| columns == tags);
        is_tagged.then(|| self.rows.iter().filter_map(|row| Row::from_text(row)).collect())
    }
}

impl FinalState {
    /// The chunk tables that belong to a hypertable: node, chunk, table. Those that the catalog does not have there are
    /// left out.
    pub fn replicas(&self, hypertable: &str) -> impl Iterator<Item = (&NodeState, &ChunkRow, &ChunkTable)> {
        self.chunks.iter().filter(move |chunk| chunk.hypertable == hypertable).flat_map(move |chunk| {
            let holders = self.nodes.iter().filter(|node| chunk.nodes.contains(&node.name));
            holders.flat_map(move |node| {
                node.tables.iter().filter(|table| table.name == chunk.table).map(move |table| (node, chunk, table))
            })
        })
    }
}

/// All checkers by name, in the order in which they are run.
pub const ALL: [(&str, Checker); 13] = [
    ("atomicity", atomicity::check),
    ("durability", durability::check),
    ("isolation", isolation::check),
    ("phantom", phantom::check),
    ("one_home", one_home::check),
    ("agreement", agreement::check),
    ("placement", placement::check),
    ("tables", tables::check),
    ("leftovers", leftovers::check),
    ("model", model::check),
    ("bank", bank::check),
    ("refusals", refusals::check),
    ("liveness", liveness::check),
];

pub type Checker = fn(&History, &FinalState) -> Vec<Violation>;

#[cfg(test)]
pub mod made_up;
