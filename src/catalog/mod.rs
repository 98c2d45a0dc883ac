//! What exists in one cluster, as its access node knows it: data nodes, hypertables, dimensions, chunks, and the
//! decisions of distributed transactions.
//!
//! [`State`] is a deterministic state machine: the same [`Change`]s in the same order give the same state, anywhere.
//! [`planning`] computes the change that a request asks for, with the messages that go with it; [`apply`] carries a
//! change out, or refuses it and leaves the state alone; [`invariants`] says what holds in between. [`store`] keeps the
//! changes in redb; one redb transaction makes a change and a commit decision durable together.
//!
//! Promises: chunks of a hypertable never overlap; ids only grow; every hash has a home; a chunk lies on attached nodes
//! only. Must not know: connections, SQL execution.
//!
//! Reading order: this file, [`planning`], [`apply`], [`invariants`], [`store`].

pub mod apply;
pub mod invariants;
pub mod planning;
pub mod store;

pub use crate::chunk::dimension::{Dimension, DimensionKind};
pub use crate::chunk::placement::Partition;

use crate::chunk::slice::Hypercube;
use crate::ids::{ChunkId, HypertableId, RelationName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything the access node remembers, but for decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The last one leaves a database that is no access node any more.
    DeleteDataNode {
        node: String,
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

/// Nothing exists yet; ids start at 1.
impl Default for State {
    fn default() -> State {
        State {
            cluster: None,
            nodes: Vec::new(),
            hypertables: BTreeMap::new(),
            chunks: BTreeMap::new(),
            next_hypertable: 1,
            next_dimension: 1,
            next_chunk: 1,
        }
    }
}

impl State {
    pub fn node(&self, name: &str) -> Option<&DataNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub fn hypertable(&self, name: &RelationName) -> Option<&Hypertable> {
        self.hypertables.values().find(|table| table.name == *name)
    }

    /// Chunks of one hypertable, by id.
    pub fn chunks_of(&self, hypertable: HypertableId) -> impl Iterator<Item = &Chunk> + Clone {
        self.chunks.values().filter(move |chunk| chunk.hypertable == hypertable)
    }
}

impl Hypertable {
    /// The dimension that decides on which nodes rows are: the first closed one.
    pub fn closed_dimension(&self) -> Option<&Dimension> {
        self.dimensions.iter().find(|dimension| !dimension.is_open())
    }

    /// Partition count of [`Hypertable::closed_dimension`].
    pub fn partition_count(&self) -> Option<u16> {
        match self.closed_dimension()?.kind {
            DimensionKind::Closed { partitions } => Some(partitions),
            DimensionKind::Open { .. } => None,
        }
    }
}
