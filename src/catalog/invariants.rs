//! What holds in every state, said independently of how changes are checked: for tests.

use super::{Hypertable, State};
use crate::chunk::slice::Slice;
use std::collections::BTreeSet;

/// Every broken invariant as a sentence; empty for a sound state.
pub fn violations(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    for (id, hypertable) in &state.hypertables {
        if hypertable.id != *id || id.0 >= state.next_hypertable {
            found.push(format!("hypertable {id} has a number that is not its own"));
        }
        if hypertable.dimensions.iter().any(|dimension| dimension.id.0 >= state.next_dimension) {
            found.push(format!("hypertable {id} has a dimension with a number of the future"));
        }
        found.extend(hypertable_violations(state, hypertable));
    }
    for (id, chunk) in &state.chunks {
        if chunk.id != *id || id.0 >= state.next_chunk {
            found.push(format!("chunk {id} has a number that is not its own"));
        }
        if !state.hypertables.contains_key(&chunk.hypertable) {
            found.push(format!("chunk {id} has no hypertable"));
        }
    }
    if state.cluster.is_none() && !state.nodes.is_empty() {
        found.push("there are data nodes but no cluster".to_string());
    }
    found
}

fn hypertable_violations(state: &State, hypertable: &Hypertable) -> Vec<String> {
    let mut found = Vec::new();
    let name = &hypertable.name;
    let attached: BTreeSet<&str> = hypertable.nodes.iter().map(|node| &*node.name).collect();
    let chunks: Vec<_> = state.chunks_of(hypertable.id).collect();
    for (nth, chunk) in chunks.iter().enumerate() {
        let distinct: BTreeSet<&str> = chunk.nodes.iter().map(|node| &**node).collect();
        if distinct.is_empty() || distinct.len() != chunk.nodes.len() || !distinct.is_subset(&attached) {
            found.push(format!("chunk {} lies on {:?}, {name} has {attached:?}", chunk.table, chunk.nodes));
        }
        for other in &chunks[..nth] {
            if chunk.cube.overlaps(&other.cube) {
                found.push(format!("chunks {} {} and {} {} overlap", chunk.table, chunk.cube, other.table, other.cube));
            }
            let (time, other_time): (Slice, Slice) = (chunk.cube.0[0], other.cube.0[0]);
            if time != other_time && time.overlaps(&other_time) {
                found.push(format!("time slices of chunks {} and {} are not aligned", chunk.table, other.table));
            }
        }
    }
    let starts: Vec<i64> = hypertable.partitions.iter().map(|partition| partition.range_start).collect();
    if starts.len() != usize::from(hypertable.partition_count().unwrap_or(0))
        || starts.first().is_some_and(|first| *first != i64::MIN)
        || !starts.is_sorted_by(|one, two| one < two)
    {
        found.push(format!("partitions of {name} do not cover the hashes: {starts:?}"));
    }
    for partition in &hypertable.partitions {
        if !partition.nodes.iter().all(|node| attached.contains(&**node)) {
            found.push(format!("a partition of {name} lies on {:?}", partition.nodes));
        }
    }
    found
}
