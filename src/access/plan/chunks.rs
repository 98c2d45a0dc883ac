//! Which chunks a query needs, and from which data node each is read.

use super::bounds::Bounds;
use crate::catalog::{Chunk, Dimension, Hypertable, State};
use crate::chunk::slice::Slice;
use crate::error::{Error, Result, codes};
use std::collections::BTreeMap;

/// Chunks by the data node that they are read from; nodes in alphabetical order, chunks by id.
pub type Assignment<'a> = BTreeMap<&'a str, Vec<&'a Chunk>>;

/// Picks one replica for every chunk that the filters leave over.
///
/// Deterministic and balanced: each chunk goes to the node with the fewest chunks so far, the chunk's preferred node
/// first among equals. But all chunks of one hash slice stay together while they can, for then a group by that column
/// never spans nodes. Errors: `XX000` (as in TimescaleDB) if all replicas of a chunk are on unavailable nodes.
pub fn assign<'a>(state: &'a State, hypertable: &Hypertable, bounds: &Bounds) -> Result<Assignment<'a>> {
    let mut assignment = Assignment::new();
    let mut homes: BTreeMap<Vec<Slice>, &str> = BTreeMap::new();
    for chunk in state.chunks_of(hypertable.id).filter(|chunk| bounds.admit(&chunk.cube)) {
        let candidates: Vec<&str> = live_nodes(state, chunk).collect();
        let slices = closed_slices(hypertable, chunk);
        let home = homes.get(&slices).copied().filter(|node| !slices.is_empty() && candidates.contains(node));
        let load = |node: &&str| assignment.get(*node).map_or(0, Vec::len);
        let Some(node) = home.or_else(|| candidates.iter().copied().min_by_key(load)) else {
            return Err(unavailable(chunk));
        };
        homes.insert(slices, node);
        assignment.entry(node).or_default().push(chunk);
    }
    Ok(assignment)
}

fn live_nodes<'a>(state: &State, chunk: &'a Chunk) -> impl Iterator<Item = &'a str> {
    let live = |node: &&String| state.node(node).is_none_or(|node| node.available != Some(false));
    chunk.nodes.iter().filter(live).map(String::as_str)
}

fn unavailable(chunk: &Chunk) -> Error {
    let node = chunk.nodes.first().map_or("", String::as_str);
    Error::new(codes::INTERNAL, format!("data node \"{node}\" is not available"))
        .with_detail(format!("Chunk \"{}\" has no replica on an available data node.", chunk.table))
        .with_hint("Bring the data node back.")
}

fn closed_slices(hypertable: &Hypertable, chunk: &Chunk) -> Vec<Slice> {
    let closed = |(dimension, slice): (&Dimension, &Slice)| (!dimension.is_open()).then_some(*slice);
    hypertable.dimensions.iter().zip(&chunk.cube.0).filter_map(closed).collect()
}

/// Whether all rows with one value of `column` come from one node: it is a closed dimension, and no two nodes hold
/// overlapping hash slices. A change of the number of slices, or sibling chunks, can make it false.
pub fn values_stay_on_one_node(hypertable: &Hypertable, column: &str, assignment: &Assignment) -> bool {
    let closed = |dimension: &Dimension| !dimension.is_open() && dimension.column == column;
    let Some(position) = hypertable.dimensions.iter().position(closed) else { return false };
    let slices_of = |chunks: &[&Chunk]| chunks.iter().map(|chunk| chunk.cube.0[position]).collect::<Vec<_>>();
    let by_node: Vec<Vec<Slice>> = assignment.values().map(|chunks| slices_of(chunks)).collect();
    by_node.iter().enumerate().all(|(index, slices)| {
        let mut others = by_node[index + 1..].iter().flatten();
        others.all(|other| slices.iter().all(|slice| !slice.overlaps(other)))
    })
}
