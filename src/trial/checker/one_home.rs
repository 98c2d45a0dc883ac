//! Each row lies in exactly one chunk, whose cube contains it: the slice of its time, and that of its hash.
//!
//! Looks at what chunk tables really hold. Values of types that have no coordinate here are not judged.

use super::homes::coordinate;
use super::{ChunkRow, ChunkTable, FinalState, HypertableRow, Violation};
use crate::chunk::slice::Slice;
use crate::trial::history::History;
use std::collections::BTreeMap;

const NAME: &str = "one_home";

pub fn check(_history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    for hypertable in &state.hypertables {
        for (node, chunk, table) in state.replicas(&hypertable.name) {
            strangers(&node.name, hypertable, chunk, table, &mut found);
        }
        twice(state, &hypertable.name, &mut found);
    }
    found
}

/// Rows that lie outside of the chunk's cube.
fn strangers(node: &str, hypertable: &HypertableRow, chunk: &ChunkRow, table: &ChunkTable, found: &mut Vec<Violation>) {
    for (dimension, slice) in hypertable.dimensions.iter().zip(&chunk.cube.0) {
        let Some(column) = table.columns.iter().position(|column| *column == dimension.column) else { continue };
        for row in &table.rows {
            let at = row.get(column).and_then(|value| coordinate(dimension, value));
            if let Some(at) = at.filter(|at| !contains(slice, *at)) {
                found.push(Violation {
                    checker: NAME,
                    evidence: format!(
                        "{node} holds {row:?} in chunk {}, whose slice {slice} of {} does not contain {at}",
                        chunk.table, dimension.column
                    ),
                });
            }
        }
    }
}

/// A judge asks nobody who is on trial, [`Slice::contains`] neither.
fn contains(slice: &Slice, at: i64) -> bool {
    (slice.start..slice.end).contains(&at) || (slice.end == i64::MAX && at == i64::MAX)
}

/// Rows of batches that lie in several chunks.
fn twice(state: &FinalState, hypertable: &str, found: &mut Vec<Violation>) {
    let mut homes: BTreeMap<(i64, u32, u32), &str> = BTreeMap::new();
    for (node, chunk, table) in state.replicas(hypertable) {
        for row in table.tagged().unwrap_or_default().into_iter().filter(|row| row.writer >= 0) {
            let home = homes.entry((row.writer, row.number, row.row)).or_insert(&chunk.table);
            if *home != chunk.table {
                found.push(Violation {
                    checker: NAME,
                    evidence: format!(
                        "row {} of batch {}.{} of {hypertable} lies in {home}, and on {} in {} too",
                        row.row, row.writer, row.number, node.name, chunk.table
                    ),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{row, state, text};
    use super::*;

    #[test]
    fn rows_in_their_chunks_pass() {
        assert!(check(&History::default(), &state(&[row(0, 0), row(0, 1)])).is_empty());
    }

    #[test]
    fn a_row_in_the_wrong_chunk_is_found() {
        let mut state = state(&[]);
        state.nodes[0].tables[1].rows.push(text(&row(0, 0)));
        let found = check(&History::default(), &state);
        assert!(found.len() == 1 && found[0].evidence.contains("of time does not contain"), "{found:?}");
    }

    #[test]
    fn a_row_outside_of_the_slice_of_its_hash_is_found() {
        let mut state = state(&[row(0, 0)]);
        state.chunks[0].cube.0[1] = Slice { start: i64::from(i32::MAX), end: i64::MAX };
        assert_eq!(check(&History::default(), &state).len(), 2, "on each of its nodes");
    }

    #[test]
    fn a_row_in_two_chunks_is_found() {
        let mut state = state(&[row(0, 0)]);
        // Both chunks cover everything, so that neither is wrong by itself.
        state.chunks.iter_mut().for_each(|chunk| chunk.cube.0[0] = Slice::ALL);
        state.nodes[1].tables[1].rows.push(text(&row(0, 0)));
        assert_eq!(check(&History::default(), &state).len(), 1);
    }
}
