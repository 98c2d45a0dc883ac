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

/// A transaction over lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTransaction {
    /// As its client calls it; not always the only one of this name.
    pub name: String,
    /// The number of its client.
    pub process: u64,
    /// Under REPEATABLE READ, else READ COMMITTED.
    pub repeatable: bool,
    /// Microseconds since the start of the run.
    pub invoked: u64,
    pub completed: u64,
    /// `Failed` also for what was rolled back on purpose: it must never show.
    pub ending: Ending,
    pub steps: Vec<ListStep>,
}

/// What a transaction over lists did, as far as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListStep {
    /// Asked for; whether it came about is for the transaction's ending to say.
    Append { key: u64, value: u64 },
    /// One statement's answer: all lists that it asked for.
    Read { invoked: u64, completed: u64, lists: BTreeMap<u64, Vec<u64>> },
}

/// Lists of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// In the order in which they ended.
    pub transactions: Vec<ListTransaction>,
    /// The last value that was given out: no two appends have the same.
    pub values: u64,
}

/// Everything that clients did, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub batches: BTreeMap<String, Batches>,
    pub lists: BTreeMap<String, Lists>,
    /// How many clients have been given a number.
    pub clients: u64,
}

impl History {
    /// A number for a client that no other has.
    pub fn next_client(&mut self) -> u64 {
        self.clients += 1;
        self.clients
    }
}

/// The history that all clients of a run write into.
pub type Shared = Arc<Mutex<History>>;
