//! Slices of one dimension.

use serde::{Deserialize, Serialize};

/// Coordinates `start..end`. `i64::MIN` and `i64::MAX` stand for "open": no bound on that side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slice {
    pub start: i64,
    pub end: i64,
}

impl Slice {
    pub fn contains(&self, coordinate: i64) -> bool {
        self.start <= coordinate && (coordinate < self.end || self.end == i64::MAX)
    }

    pub fn overlaps(&self, other: &Slice) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// One slice per dimension, in the order of the hypertable's dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hypercube(pub Vec<Slice>);
