//! What clients did and what came of it.

use crate::sim::history::Ending;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A transaction that wrote `rows` rows, all of them tagged with (`writer`, `number`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub writer: u32,
    pub number: u32,
    pub rows: u32,
    /// `Failed` also for what was rolled back on purpose: it must never show.
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

/// One read of all batches of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub invoked: u64,
    pub completed: u64,
    /// Ordered by writer and number.
    pub seen: Vec<Seen>,
}

/// Batches of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    pub written: Vec<Batch>,
    /// Reads made while batches were being written.
    pub reads: Vec<Read>,
}

/// Everything that clients did, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub batches: BTreeMap<String, Batches>,
}

/// The history that all clients of a run write into.
pub type Shared = Arc<Mutex<History>>;
