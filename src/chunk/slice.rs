//! Slices of one dimension, hypercubes of all, and how a new one is cut.
//!
//! Rules (TimescaleDB's, measured):
//!
//! * A time slice is aligned to the epoch. A point inside an existing time slice reuses it, whatever the interval is
//!   now; a new time slice is cut so that it overlaps none. So the time slices of a hypertable are equal or disjoint.
//! * A hash slice is one of N equal ranges. Where chunks exist with another N, the new slice is cut around them.

use super::dimension::{Dimension, DimensionKind, coordinate_bounds};
use super::hash::PARTITION_HASH_MAX;
use crate::error::Result;
use crate::sabotage;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// Coordinates `start..end`. `i64::MIN` and `i64::MAX` stand for "open": no bound on that side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slice {
    pub start: i64,
    pub end: i64,
}

impl Slice {
    /// Unbounded on both sides.
    pub const ALL: Slice = Slice { start: i64::MIN, end: i64::MAX };

    pub fn contains(&self, coordinate: i64) -> bool {
        let inside = coordinate < self.end || (coordinate == self.end && sabotage!("route.edge"));
        self.start <= coordinate && (inside || self.end == i64::MAX)
    }

    pub fn overlaps(&self, other: &Slice) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Gives up what `other` holds on either side of `coordinate`. No effect if `other` contains `coordinate`.
    fn cut_around(&mut self, other: &Slice, coordinate: i64) {
        if other.contains(coordinate) {
            return;
        }
        if other.start > coordinate {
            self.end = self.end.min(other.start);
        } else {
            self.start = self.start.max(other.end);
        }
    }
}

/// `[start, end)`, open ends as `-inf` and `inf`.
impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            i64::MIN => f.write_str("[-inf, ")?,
            start => write!(f, "[{start}, ")?,
        }
        match self.end {
            i64::MAX => f.write_str("inf)"),
            end => write!(f, "{end})"),
        }
    }
}

/// One slice per dimension, in the order of the hypertable's dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hypercube(pub Vec<Slice>);

impl Hypercube {
    /// `point` holds one coordinate per dimension.
    pub fn contains(&self, point: &[i64]) -> bool {
        self.0.len() == point.len() && self.0.iter().zip(point).all(|(slice, at)| slice.contains(*at))
    }

    pub fn overlaps(&self, other: &Hypercube) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(one, two)| one.overlaps(two))
    }

    /// The cube for a point that lies in none of the `existing` ones: it contains the point and overlaps none of them.
    /// `existing` holds all cubes of the hypertable; their order has no influence as long as there is one closed
    /// dimension. Errors: `42809` for an open dimension of a type without a time line.
    pub fn cut<'a>(
        dimensions: &[Dimension],
        existing: impl Iterator<Item = &'a Hypercube> + Clone,
        point: &[i64],
    ) -> Result<Hypercube> {
        let mut cube = Hypercube(Vec::with_capacity(dimensions.len()));
        for (nth, (dimension, at)) in dimensions.iter().zip(point).enumerate() {
            cube.0.push(match dimension.kind {
                DimensionKind::Closed { partitions } => closed_slice(*at, partitions),
                DimensionKind::Open { interval } => {
                    let slice =
                        open_slice(*at, interval, &coordinate_bounds(&dimension.column, &dimension.column_type())?);
                    aligned(slice, existing.clone().map(|cube| cube.0[nth]), *at)
                }
            });
        }
        for other in existing {
            if cube.overlaps(other) {
                // At least one dimension of `other` does not hold the point; cutting all such keeps the layout regular.
                for ((slice, taken), at) in cube.0.iter_mut().zip(&other.0).zip(point) {
                    slice.cut_around(taken, *at);
                }
            }
        }
        Ok(cube)
    }
}

impl fmt::Display for Hypercube {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, slice) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(" x ")?;
            }
            slice.fmt(f)?;
        }
        Ok(())
    }
}

/// The existing slice at this coordinate, else what the existing ones leave of `slice`.
fn aligned(mut slice: Slice, existing: impl Iterator<Item = Slice>, coordinate: i64) -> Slice {
    for other in existing {
        if other.contains(coordinate) {
            return other;
        }
        slice.cut_around(&other, coordinate);
    }
    slice
}

/// The slice of length `interval` (at least 1) around a coordinate, aligned to 0. A slice that would reach beyond the
/// type's `bounds` is open on that side, so the last one has no end that a value could not be compared with.
pub fn open_slice(coordinate: i64, interval: i64, bounds: &RangeInclusive<i64>) -> Slice {
    let interval = i128::from(interval.max(1));
    // In i128: the slices next to i64's limits start or end beyond them.
    let start = i128::from(coordinate).div_euclid(interval) * interval;
    let end = start + interval;
    Slice {
        start: if start < i128::from(*bounds.start()) { i64::MIN } else { start as i64 },
        end: if end > i128::from(*bounds.end()) { i64::MAX } else { end as i64 },
    }
}

/// The slice of one of `partitions` equal ranges of hashes that contains `hash`.
pub fn closed_slice(hash: i64, partitions: u16) -> Slice {
    let partitions = i64::from(partitions.max(1));
    let width = i64::from(PARTITION_HASH_MAX) / partitions;
    // The division leaves a rest, which the last range takes.
    let nth = (hash / width).clamp(0, partitions - 1);
    Slice {
        start: if nth == 0 { i64::MIN } else { nth * width },
        end: if nth == partitions - 1 { i64::MAX } else { (nth + 1) * width },
    }
}

/// First hash of each of `partitions` equal ranges; `i64::MIN` for the first one.
pub fn closed_starts(partitions: u16) -> Vec<i64> {
    let width = i64::from(PARTITION_HASH_MAX) / i64::from(partitions.max(1));
    (0..i64::from(partitions.max(1))).map(|nth| if nth == 0 { i64::MIN } else { nth * width }).collect()
}

#[cfg(test)]
mod tests;
