//! What exists in one cluster, as its access node knows it: data nodes, hypertables, dimensions, chunks, and the
//! decisions of distributed transactions.
//!
//! [`State`] is a deterministic state machine: the same [`Change`]s in the same order give the same state, anywhere.
//! [`store`] keeps the changes in redb; one redb transaction makes a change and a commit decision durable together.
//! Must not know: connections, SQL execution.

pub mod store;

pub use crate::chunk::dimension::{Dimension, DimensionKind};
pub use crate::chunk::placement::Partition;

use crate::chunk::slice::Hypercube;
use crate::error::Result;
use crate::ids::{ChunkId, HypertableId, RelationName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything the access node remembers, but for decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Identifies the cluster; set by the first data node (TimescaleDB's dist_uuid).
    pub cluster: Option<String>,
    /// In the order in which they were added.
    pub nodes: Vec<DataNode>,
    pub hypertables: BTreeMap<HypertableId, Hypertable>,
    pub chunks: BTreeMap<ChunkId, Chunk>,
    pub next_hypertable: u32,
    pub next_dimension: u32,
    pub next_chunk: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataNode {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub database: String,
    /// As whom the access node connects; `None`: as the session's own user.
    pub user: Option<String>,
    pub password: Option<String>,
    pub owner: String,
    /// `alter_data_node(available => …)`; `None` until it was called once.
    pub available: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypertable {
    pub id: HypertableId,
    pub name: RelationName,
    pub owner: String,
    /// The open dimension first.
    pub dimensions: Vec<Dimension>,
    pub replication_factor: u16,
    /// In placement order.
    pub nodes: Vec<HypertableNode>,
    /// Nodes of each partition of the first closed dimension (`_timescaledb_catalog.dimension_partition`);
    /// empty without a closed dimension.
    pub partitions: Vec<Partition>,
    pub chunk_schema: String,
    /// Chunks are named `<prefix>_<chunk id>_chunk`.
    pub chunk_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HypertableNode {
    pub name: String,
    pub block_chunks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    pub id: ChunkId,
    pub hypertable: HypertableId,
    pub table: RelationName,
    pub cube: Hypercube,
    /// Data nodes that hold a replica; the first is the preferred one for reads.
    pub nodes: Vec<String>,
    /// Microseconds since 1970 UTC.
    pub created_at: i64,
}

/// One step of the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The first one also names the cluster.
    AddDataNode {
        node: DataNode,
        cluster: String,
    },
    /// Ids of the hypertable and its dimensions must be the state's next ones.
    CreateHypertable {
        hypertable: Hypertable,
    },
    /// Replaces nodes, partition count of the first closed dimension and its partitions in one step.
    SetHypertableNodes {
        hypertable: HypertableId,
        nodes: Vec<HypertableNode>,
        slices: Option<u16>,
        partitions: Vec<Partition>,
    },
    DropHypertable {
        hypertable: HypertableId,
    },
    CreateChunk {
        chunk: Chunk,
    },
    DropChunk {
        chunk: ChunkId,
    },
}

impl State {
    /// Errors: `XX000` when the change does not fit the state (a fault of the caller; the state is then unchanged).
    pub fn apply(&mut self, change: &Change) -> Result<()> {
        let _ = change;
        todo!()
    }

    pub fn node(&self, name: &str) -> Option<&DataNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub fn hypertable(&self, name: &RelationName) -> Option<&Hypertable> {
        self.hypertables.values().find(|table| table.name == *name)
    }

    /// Chunks of one hypertable, by id.
    pub fn chunks_of(&self, hypertable: HypertableId) -> impl Iterator<Item = &Chunk> {
        self.chunks.values().filter(move |chunk| chunk.hypertable == hypertable)
    }
}
