//! Which segments a table consists of, and which of them are worth merging. Pure.
//!
//! Each segment has a position; a scan reads in order of position. New segments get positions behind all others.
//! Single-row inserts leave one tiny segment each, so the tail of a table is kept tiered as in a log-structured
//! merge tree: [`MERGE_FAN_IN`] neighbours of similar size become one of the next size. Every row is thus rewritten
//! at most a handful of times (`log16(1 MiB / 1 KiB)`, about three), and a table of `n` full segments has at most
//! `n` plus a few dozen pieces at its end.

use crate::limits::SEGMENT_BYTES_MAX;
use std::collections::BTreeMap;

/// As many small neighbours are merged to one segment.
pub(super) const MERGE_FAN_IN: usize = 16;

/// Segments above half of the limit cannot be merged with an equal any more.
const SMALL_SEGMENT_BYTES_MAX: u64 = SEGMENT_BYTES_MAX as u64 / 2;

/// Sizes below this are alike.
const SMALLEST_CLASS_BYTES: u64 = 4 << 10;

/// One stored segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Key of the segment's bytes in the store.
    pub data: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// The committed segments of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pieces: BTreeMap<u64, Piece>,
    rows: u64,
    bytes: u64,
}

impl Layout {
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn segments(&self) -> usize {
        self.pieces.len()
    }

    /// The position behind all others.
    pub fn next_position(&self) -> u64 {
        self.pieces.last_key_value().map_or(0, |(position, _)| position + 1)
    }

    pub fn insert(&mut self, position: u64, piece: Piece) {
        self.remove(position);
        self.rows += piece.rows;
        self.bytes += piece.bytes;
        self.pieces.insert(position, piece);
    }

    pub fn remove(&mut self, position: u64) {
        if let Some(piece) = self.pieces.remove(&position) {
            self.rows -= piece.rows;
            self.bytes -= piece.bytes;
        }
    }

    /// Neighbours at the end that should become one segment, in order; empty if there is nothing to gain.
    /// `fan_in`: so many of one size at least, 2 or more.
    pub fn merge_candidates(&self, fan_in: usize) -> Vec<(u64, Piece)> {
        let mut run = Vec::new();
        // The class that would be merged, and its members; smaller ones between them go along.
        let (mut class, mut members) = (0, 0);
        for (position, piece) in self.pieces.iter().rev() {
            let Some(own) = size_class(piece.bytes) else { break };
            if own > class {
                if members >= fan_in {
                    break;
                }
                (class, members) = (own, 0);
            }
            members += usize::from(own == class);
            run.push((*position, *piece));
        }
        if members < fan_in {
            return Vec::new();
        }
        fitting(run.into_iter().rev())
    }
}

/// The first ones that together stay below the limit of one segment.
fn fitting(run: impl Iterator<Item = (u64, Piece)>) -> Vec<(u64, Piece)> {
    let mut total = 0;
    run.take_while(|(_, piece)| {
        total += piece.bytes;
        total <= SEGMENT_BYTES_MAX as u64
    })
    .collect()
}

/// `None`: too large for merging.
fn size_class(bytes: u64) -> Option<u32> {
    (bytes <= SMALL_SEGMENT_BYTES_MAX).then(|| (bytes / SMALLEST_CLASS_BYTES).max(1).ilog(MERGE_FAN_IN as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(bytes: u64) -> Piece {
        Piece { data: 0, rows: 1, bytes }
    }

    fn grow(layout: &mut Layout, bytes: u64) -> u64 {
        layout.insert(layout.next_position(), piece(bytes));
        let mut rewritten = 0;
        loop {
            let run = layout.merge_candidates(MERGE_FAN_IN);
            let Some((first, _)) = run.first().copied() else { return rewritten };
            assert!(run.len() >= 2, "a merge must make progress");
            let total = run.iter().map(|(_, p)| p.bytes).sum::<u64>();
            let rows = run.iter().map(|(_, p)| p.rows).sum::<u64>();
            assert!(total <= SEGMENT_BYTES_MAX as u64);
            run.iter().for_each(|(position, _)| layout.remove(*position));
            layout.insert(first, Piece { data: 0, rows, bytes: total });
            rewritten += total;
        }
    }

    #[test]
    fn many_tiny_commits_leave_few_segments_and_little_rewriting() {
        let mut layout = Layout::default();
        let rewritten = (0..20_000).map(|_| grow(&mut layout, 700)).sum::<u64>();
        assert!(layout.segments() < 80, "{} segments", layout.segments());
        assert_eq!(layout.rows(), 20_000);
        assert!(rewritten < 5 * 20_000 * 700, "each byte was rewritten {} times", rewritten / (20_000 * 700));
    }

    #[test]
    fn large_segments_are_left_alone() {
        let mut layout = Layout::default();
        for _ in 0..100 {
            assert_eq!(grow(&mut layout, SEGMENT_BYTES_MAX as u64), 0);
        }
        assert_eq!(layout.segments(), 100);
    }

    proptest! {
        #[test]
        fn merging_ends_and_keeps_rows_and_bytes(sizes in prop::collection::vec(1u64..SEGMENT_BYTES_MAX as u64, 0..400)) {
            let mut layout = Layout::default();
            for size in &sizes {
                grow(&mut layout, *size);
            }
            prop_assert_eq!(layout.rows(), sizes.len() as u64);
            prop_assert_eq!(layout.bytes(), sizes.iter().sum::<u64>());
        }
    }
}
