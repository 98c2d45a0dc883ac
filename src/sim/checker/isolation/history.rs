//! What transactions did, as their clients saw it.

use super::Ending;

/// Names a list.
pub type Key = u64;

/// An element of a list; appended to a key once at most.
pub type Value = u64;

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Stands for it in the evidence.
    pub name: String,
    /// Transactions of one process were begun one after the other.
    pub process: u64,
    /// Any unit, one clock for all.
    pub invoked: u64,
    /// Means something only if it is `Ok`.
    pub completed: u64,
    /// `Failed`: it did not happen. `Unknown`: it may have, and if anybody who committed saw one of its values, it did.
    pub ending: Ending,
    pub operations: Vec<MicroOperation>,
}

/// One step of a transaction, in the order in which they were done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MicroOperation {
    Append {
        key: Key,
        value: Value,
    },
    /// The whole list; `None` if no answer came.
    Read {
        key: Key,
        values: Option<Vec<Value>>,
    },
}
