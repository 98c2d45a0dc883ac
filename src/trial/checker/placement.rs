//! Chunks lie where they should: on attached nodes only, as often as the hypertable says, overlapping no other, cut as the
//! dimensions say. A node whose attachment was acknowledged is attached.
//!
//! A chunk that was made while data nodes were down has fewer replicas, which `data_nodes` in
//! `timescaledb_information.chunks` shows; so that is a violation only in a run without faults. With faults it cannot be
//! decided: a new chunk avoids the nodes that the access node *believes* to be down, which neither the catalog nor
//! anything that a client is told records, and the belief lags behind the faults in both directions by a heartbeat or
//! several.

use super::{ChunkRow, FinalState, HypertableRow, Violation};
use crate::chunk::dimension::{Dimension, DimensionKind, coordinate_bounds};
use crate::chunk::slice::{Slice, closed_slice, open_slice};
use crate::sim::history::Ending;
use crate::trial::history::History;
use std::collections::BTreeSet;

const NAME: &str = "placement";

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    for chunk in &state.chunks {
        let Some(hypertable) = state.hypertables.iter().find(|hypertable| hypertable.name == chunk.hypertable) else {
            violation(format!("chunk {} is of {}, which there is not", chunk.table, chunk.hypertable));
            continue;
        };
        replicas(hypertable, chunk, state.faultless).into_iter().for_each(&mut violation);
        slices(hypertable, chunk).into_iter().for_each(&mut violation);
    }
    for (at, one) in state.chunks.iter().enumerate() {
        for two in state.chunks[at + 1..].iter().filter(|two| two.hypertable == one.hypertable) {
            if one.cube.overlaps(&two.cube) {
                violation(format!("chunks {} {} and {} {} overlap", one.table, one.cube, two.table, two.cube));
            }
        }
    }
    for attachment in history.attachments.iter().filter(|attachment| attachment.ending == Ending::Ok) {
        let table = state.hypertables.iter().find(|hypertable| hypertable.name == attachment.table);
        if table.is_some_and(|table| !table.nodes.contains(&attachment.node)) {
            violation(format!("{} was attached to {}, and is not", attachment.node, attachment.table));
        }
    }
    found
}

fn replicas(hypertable: &HypertableRow, chunk: &ChunkRow, faultless: bool) -> Vec<String> {
    let different: BTreeSet<&String> = chunk.nodes.iter().collect();
    let mut wrong: Vec<String> = different
        .iter()
        .filter(|node| !hypertable.nodes.contains(node))
        .map(|node| format!("chunk {} is on {node}, which is not attached to {}", chunk.table, hypertable.name))
        .collect();
    let (least, most) = (if faultless { hypertable.replication } else { 1 }, hypertable.replication);
    if !(least..=most).contains(&chunk.nodes.len()) || different.len() < chunk.nodes.len() {
        wrong.push(format!("chunk {} is on {:?}, the replication factor is {most}", chunk.table, chunk.nodes));
    }
    wrong
}

fn slices(hypertable: &HypertableRow, chunk: &ChunkRow) -> Vec<String> {
    if hypertable.dimensions.len() != chunk.cube.0.len() {
        let dimensions = hypertable.dimensions.len();
        return vec![format!("chunk {} {} has not {dimensions} dimensions", chunk.table, chunk.cube)];
    }
    let agrees = |(dimension, slice): &(&Dimension, &Slice)| match dimension.kind {
        DimensionKind::Open { interval } => is_open_slice(dimension, interval, slice),
        DimensionKind::Closed { partitions } => is_closed_slice(partitions, slice),
    };
    let pairs = hypertable.dimensions.iter().zip(&chunk.cube.0).filter(|pair| !agrees(pair));
    pairs
        .map(|(dimension, slice)| {
            format!("the slice {slice} of chunk {} is not one of dimension {:?}", chunk.table, dimension)
        })
        .collect()
}

/// The interval of a dimension never changes, so all slices are full ones.
fn is_open_slice(dimension: &Dimension, interval: i64, slice: &Slice) -> bool {
    let Ok(bounds) = coordinate_bounds(&dimension.column, &dimension.column_type()) else { return false };
    let inside = if slice.start == i64::MIN { *bounds.start() } else { slice.start };
    open_slice(inside, interval, &bounds) == *slice
}

/// The number of slices only grows (`attach_data_node`), and new ones are cut around those that are there: each bound is
/// one of some number of slices up to now's.
fn is_closed_slice(partitions: u16, slice: &Slice) -> bool {
    let is_bound = |at: i64| (1..=partitions).any(|count| closed_slice(at, count).start == at);
    slice.start < slice.end
        && (slice.start == i64::MIN || is_bound(slice.start))
        && (slice.end == i64::MAX || is_bound(slice.end))
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{DAY, state};
    use super::*;
    use crate::trial::history::Attachment;

    fn found(change: impl FnOnce(&mut FinalState)) -> usize {
        let mut state = FinalState { faultless: true, ..state(&[]) };
        change(&mut state);
        check(&History::default(), &state).len()
    }

    #[test]
    fn chunks_in_their_places_pass() {
        assert_eq!(found(|_| ()), 0);
    }

    #[test]
    fn missing_doubled_and_surplus_replicas_are_found() {
        assert_eq!(found(|state| state.chunks[0].nodes.truncate(1)), 1);
        let short = |state: &mut FinalState| {
            state.chunks[0].nodes.truncate(1);
            state.faultless = false;
        };
        assert_eq!(found(short), 0, "a node may have been down");
        assert_eq!(found(|state| state.chunks[0].nodes[1] = "node0".into()), 1);
        assert_eq!(found(|state| state.hypertables[0].replication = 1), 2);
    }

    #[test]
    fn a_chunk_on_a_node_that_is_not_attached_is_found() {
        assert_eq!(found(|state| state.hypertables[0].nodes.truncate(1)), 2);
        assert_eq!(found(|state| state.hypertables.clear()), 2);
    }

    #[test]
    fn overlapping_and_crooked_slices_are_found() {
        assert_eq!(found(|state| state.chunks[1].cube = state.chunks[0].cube.clone()), 1);
        assert_eq!(found(|state| state.chunks[1].cube.0[0].start += 1), 1);
        assert_eq!(found(|state| state.chunks[1].cube.0[1].start = 5), 1);
        assert_eq!(found(|state| state.chunks[1].cube.0[0].end += DAY), 1);
    }

    #[test]
    fn a_hash_slice_has_bounds_of_some_number_of_slices_up_to_now() {
        let third = closed_slice(i64::from(i32::MAX) / 2, 3);
        assert!(is_closed_slice(3, &third) && is_closed_slice(4, &third) && !is_closed_slice(2, &third));
        assert!(is_closed_slice(1, &Slice::ALL));
    }

    #[test]
    fn an_acknowledged_attachment_that_is_not_there_is_found() {
        let attachment = |ending| Attachment { node: "node7".into(), table: "t".into(), ending };
        let history = |ending| History { attachments: vec![attachment(ending)], ..History::default() };
        assert_eq!(check(&history(Ending::Ok), &state(&[])).len(), 1);
        assert!(check(&history(Ending::Unknown), &state(&[])).is_empty());
    }
}
