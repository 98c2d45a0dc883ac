//! Carrying out one change.
//!
//! Every change is checked in full before the first field moves: a change that does not fit is a fault of the code that
//! made it (or a stale plan that raced with another), and the state must not be half of one.

use super::{Change, Chunk, DataNode, DimensionKind, Hypertable, HypertableNode, Partition, State};
use crate::chunk::placement::deal_partitions;
use crate::error::{Error, Result};
use crate::ids::{ChunkId, DimensionId, HypertableId};
use std::collections::BTreeSet;

impl State {
    /// Errors: `XX000` when the change does not fit the state (a fault of the caller; the state is then unchanged).
    pub fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::AddDataNode { node, cluster } => self.add_data_node(node, cluster),
            Change::DeleteDataNode { node } => self.delete_data_node(node),
            Change::CreateHypertable { hypertable } => self.create_hypertable(hypertable),
            Change::SetHypertableNodes { hypertable, nodes, slices, partitions } => {
                self.set_hypertable_nodes(*hypertable, nodes, *slices, partitions)
            }
            Change::DropHypertable { hypertable } => self.drop_hypertable(*hypertable),
            Change::CreateChunk { chunk } => self.create_chunk(chunk),
            Change::DropChunk { chunk } => self.drop_chunk(*chunk),
        }
    }

    fn add_data_node(&mut self, node: &DataNode, cluster: &str) -> Result<()> {
        ensure(self.node(&node.name).is_none(), || format!("data node \"{}\" exists", node.name))?;
        ensure(self.cluster.as_deref().is_none_or(|known| known == cluster), || {
            format!("data node \"{}\" is added to cluster {cluster}, which is not this one", node.name)
        })?;
        self.cluster = Some(cluster.to_string());
        self.nodes.push(node.clone());
        Ok(())
    }

    fn delete_data_node(&mut self, name: &str) -> Result<()> {
        ensure(self.node(name).is_some(), || format!("data node \"{name}\" does not exist"))?;
        let user = self.hypertables.values().find(|table| table.nodes.iter().any(|node| node.name == name));
        if let Some(user) = user {
            return Err(misfit(format!("data node \"{name}\" is attached to hypertable {}", user.name)));
        }
        self.nodes.retain(|node| node.name != name);
        if self.nodes.is_empty() {
            self.cluster = None;
        }
        Ok(())
    }

    fn create_hypertable(&mut self, hypertable: &Hypertable) -> Result<()> {
        let name = &hypertable.name;
        ensure(hypertable.id == HypertableId(self.next_hypertable), || {
            format!("hypertable {name} has number {}, the next one is {}", hypertable.id, self.next_hypertable)
        })?;
        ensure(self.hypertable(name).is_none(), || format!("hypertable {name} exists"))?;
        ensure(hypertable.replication_factor >= 1, || format!("hypertable {name} has no replicas"))?;
        ensure(hypertable.dimensions.first().is_some_and(|first| first.is_open()), || {
            format!("hypertable {name} has no open dimension")
        })?;
        for (dimension, expected) in hypertable.dimensions.iter().zip(self.next_dimension..) {
            ensure(dimension.id == DimensionId(expected), || {
                format!("dimension \"{}\" has number {}, the next one is {expected}", dimension.column, dimension.id)
            })?;
            ensure(length_of(dimension.kind) >= 1, || {
                format!("slices of dimension \"{}\" are empty", dimension.column)
            })?;
        }
        let columns: BTreeSet<&str> = hypertable.dimensions.iter().map(|dimension| &*dimension.column).collect();
        ensure(columns.len() == hypertable.dimensions.len(), || format!("hypertable {name} has a column twice"))?;
        self.check_nodes(hypertable)?;
        self.next_hypertable += 1;
        self.next_dimension += hypertable.dimensions.len() as u32;
        self.hypertables.insert(hypertable.id, hypertable.clone());
        Ok(())
    }

    fn set_hypertable_nodes(
        &mut self,
        id: HypertableId,
        nodes: &[HypertableNode],
        slices: Option<u16>,
        partitions: &[Partition],
    ) -> Result<()> {
        let mut next = self.existing_hypertable(id)?.clone();
        next.nodes = nodes.to_vec();
        next.partitions = partitions.to_vec();
        if let Some(slices) = slices {
            let closed = next.dimensions.iter_mut().find(|dimension| !dimension.is_open());
            let closed = closed.ok_or_else(|| misfit(format!("hypertable {id} has no closed dimension")))?;
            closed.kind = DimensionKind::Closed { partitions: slices };
        }
        self.check_nodes(&next)?;
        for chunk in self.chunks_of(id) {
            check_attached(&next, &chunk.nodes)?;
        }
        self.hypertables.insert(id, next);
        Ok(())
    }

    fn drop_hypertable(&mut self, id: HypertableId) -> Result<()> {
        self.existing_hypertable(id)?;
        self.hypertables.remove(&id);
        self.chunks.retain(|_, chunk| chunk.hypertable != id);
        Ok(())
    }

    fn create_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let hypertable = self.existing_hypertable(chunk.hypertable)?;
        ensure(chunk.id == ChunkId(self.next_chunk), || {
            format!("chunk {} has number {}, the next one is {}", chunk.table, chunk.id, self.next_chunk)
        })?;
        ensure(chunk.cube.0.len() == hypertable.dimensions.len(), || {
            format!(
                "chunk {} has {} dimensions, its hypertable {}",
                chunk.table,
                chunk.cube.0.len(),
                hypertable.dimensions.len()
            )
        })?;
        ensure(chunk.cube.0.iter().all(|slice| slice.start < slice.end), || format!("chunk {} is empty", chunk.table))?;
        ensure(!chunk.nodes.is_empty(), || format!("chunk {} has no data node", chunk.table))?;
        check_attached(hypertable, &chunk.nodes)?;
        if let Some(other) = self.chunks_of(chunk.hypertable).find(|other| other.cube.overlaps(&chunk.cube)) {
            return Err(misfit(format!("chunk {} overlaps chunk {}", chunk.table, other.table)));
        }
        self.next_chunk += 1;
        self.chunks.insert(chunk.id, chunk.clone());
        Ok(())
    }

    fn drop_chunk(&mut self, id: ChunkId) -> Result<()> {
        match self.chunks.remove(&id) {
            Some(_) => Ok(()),
            None => Err(misfit(format!("chunk {id} does not exist"))),
        }
    }

    fn existing_hypertable(&self, id: HypertableId) -> Result<&Hypertable> {
        self.hypertables.get(&id).ok_or_else(|| misfit(format!("hypertable {id} does not exist")))
    }

    /// Nodes are known, attached once, and the partitions are dealt over some of them.
    fn check_nodes(&self, hypertable: &Hypertable) -> Result<()> {
        let name = &hypertable.name;
        let mut names = BTreeSet::new();
        for node in &hypertable.nodes {
            ensure(self.node(&node.name).is_some(), || format!("data node \"{}\" does not exist", node.name))?;
            ensure(names.insert(&node.name), || format!("data node \"{}\" is attached twice to {name}", node.name))?;
        }
        let starts = |partitions: &[Partition]| -> Vec<i64> { partitions.iter().map(|p| p.range_start).collect() };
        let expected = match hypertable.partition_count() {
            Some(count) => starts(&deal_partitions(count, &[], 1)),
            None => Vec::new(),
        };
        ensure(starts(&hypertable.partitions) == expected, || format!("partitions of {name} do not cover the hashes"))?;
        for partition in &hypertable.partitions {
            check_attached(hypertable, &partition.nodes)?;
            ensure(partition.nodes.len() <= usize::from(hypertable.replication_factor), || {
                format!("a partition of {name} has more nodes than replicas")
            })?;
        }
        Ok(())
    }
}

/// Slice length or partition count.
fn length_of(kind: DimensionKind) -> i64 {
    match kind {
        DimensionKind::Open { interval } => interval,
        DimensionKind::Closed { partitions } => i64::from(partitions),
    }
}

/// `nodes` are different nodes of the hypertable.
fn check_attached(hypertable: &Hypertable, nodes: &[String]) -> Result<()> {
    for (nth, node) in nodes.iter().enumerate() {
        ensure(hypertable.nodes.iter().any(|attached| attached.name == *node), || {
            format!("data node \"{node}\" is not attached to {}", hypertable.name)
        })?;
        ensure(!nodes[..nth].contains(node), || format!("data node \"{node}\" appears twice"))?;
    }
    Ok(())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(misfit(otherwise())) }
}

fn misfit(why: String) -> Error {
    Error::internal(format!("catalog change does not fit: {why}"))
}
