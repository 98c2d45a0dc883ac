//! What clients did and what came of it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How an operation ended, as its client saw it. Only checkers may interpret `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Ok,
    Failed,
    Unknown,
}

/// One transaction that wrote `rows` rows, all of them tagged with (`writer`, `number`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub writer: u32,
    pub number: u32,
    pub rows: u32,
    pub ending: Ending,
    /// Microseconds since the start of the run.
    pub invoked: u64,
    pub completed: u64,
}

/// The rows of one batch as somebody saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub writer: u32,
    pub number: u32,
    /// How many rows there were, and how many of them were different.
    pub rows: u32,
    pub distinct: u32,
    /// The number of rows that the batch says it has; different values in one batch make it 0.
    pub expected: u32,
}

/// One read of all batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub invoked: u64,
    pub completed: u64,
    /// Ordered by writer and number.
    pub seen: Vec<Seen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub batches: Vec<Batch>,
    /// Reads made while batches were being written.
    pub reads: Vec<Read>,
}

/// How much of a history there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub acknowledged: usize,
    /// Refused, or rolled back on purpose.
    pub refused: usize,
    pub unknown: usize,
    /// Reads that succeeded.
    pub reads: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acknowledged, refused, unknown, reads } = self;
        write!(f, "{acknowledged} acknowledged, {refused} refused or rolled back, {unknown} unknown, {reads} reads")
    }
}

impl History {
    pub fn counts(&self) -> Counts {
        let count = |ending| self.batches.iter().filter(|batch| batch.ending == ending).count();
        Counts {
            acknowledged: count(Ending::Ok),
            refused: count(Ending::Failed),
            unknown: count(Ending::Unknown),
            reads: self.reads.len(),
        }
    }
}
