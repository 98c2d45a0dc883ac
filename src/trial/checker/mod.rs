//! The judges: one file a property, pure over the history and the final state.
//!
//! Each returns violations that carry their evidence. A checker that finds nothing has looked at something: the
//! runner fails a workload of which nothing came off, and its report has the counts.
//!
//! Reading order: this file, [`atomicity`], [`durability`], [`isolation`], [`agreement`], [`leftovers`]. They know neither world nor
//! cluster: `trial::observe` makes the final state, `trial::workload` the history.

pub mod agreement;
pub mod atomicity;
pub mod durability;
pub mod isolation;
pub mod leftovers;

use super::history::{History, ListTransaction, Read};
pub use crate::sim::checker::Violation;
use std::collections::BTreeMap;

/// What the cluster holds once the run is over and healed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalState {
    /// All batches of every table that batches were written to, through the access node.
    pub reads: BTreeMap<String, Read>,
    /// All lists of every table that lists were appended to: a read as any other.
    pub lists: BTreeMap<String, ListTransaction>,
    /// Chunks as the access node's catalog has them.
    pub chunks: Vec<ChunkRow>,
    /// What each data node holds.
    pub nodes: Vec<NodeState>,
    /// Global transaction ids whose decision the access node still keeps.
    pub decisions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    pub table: String,
    pub nodes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    pub name: String,
    /// Global ids of prepared transactions.
    pub prepared: Vec<String>,
    /// Chunk tables and their number of rows.
    pub tables: Vec<(String, u64)>,
}

/// All checkers by name, in the order in which they are run.
pub const ALL: [(&str, Checker); 5] = [
    ("atomicity", atomicity::check),
    ("durability", durability::check),
    ("isolation", isolation::check),
    ("agreement", agreement::check),
    ("leftovers", leftovers::check),
];

pub type Checker = fn(&History, &FinalState) -> Vec<Violation>;
