//! What clients did and what came of it.

use super::question::{self, Question};
use crate::sim::history::Ending;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A transaction that wrote rows, all of them tagged with (`writer`, `number`).
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
    /// Its rows, as they were sent.
    pub content: Vec<Row>,
}

/// One row of a workload's table: as its writer sent it, or as somebody found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// -1 writes what is nobody's: see `workload::fresh_write`.
    pub writer: i64,
    pub number: u32,
    pub row: u32,
    /// How many rows the batch says that it has.
    pub rows: u32,
    /// Microseconds since 1970 UTC.
    pub time: i64,
    /// The value of the space column.
    pub place: String,
    /// 0 in tables that have no such column.
    pub value: i64,
}

impl Row {
    /// A row of a workload's table with its columns in order, as text. `None` if it cannot be read as one.
    pub fn from_text(columns: &[String]) -> Option<Row> {
        let number = |at: usize| columns.get(at)?.parse::<u32>().ok();
        // Whole numbers in a floating-point column, or the bank's.
        let value = columns.get(6).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        Some(Row {
            time: question::instant(columns.first()?)?,
            place: columns.get(1)?.clone(),
            writer: columns.get(2)?.parse().ok()?,
            number: number(3)?,
            row: number(4)?,
            rows: number(5)?,
            value: value as i64,
        })
    }
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

/// What one reader saw of a bank's accounts in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub invoked: u64,
    pub completed: u64,
    /// One for each statement: account (empty for the sum over all), sum of its amounts, number of them.
    pub statements: Vec<Vec<(String, i64, u64)>>,
}

/// A dashboard's question and what was answered, in text as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub question: Question,
    pub invoked: u64,
    pub completed: u64,
    pub rows: Vec<Vec<String>>,
}

/// What a statement was to make of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Absent,
    /// A table of the access node.
    Local,
    Hypertable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChange {
    pub table: String,
    pub to: Standing,
    pub ending: Ending,
}

/// A data node that somebody attached to a hypertable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub node: String,
    pub table: String,
    pub ending: Ending,
}

/// One operation of a client, whatever it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub client: String,
    pub invoked: u64,
    pub completed: u64,
    /// It came off as it was meant to.
    pub ok: bool,
}

/// Everything that clients did, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub batches: BTreeMap<String, Batches>,
    pub lists: BTreeMap<String, Lists>,
    /// How many clients have been given a number.
    pub clients: u64,
    pub audits: BTreeMap<String, Vec<Audit>>,
    pub answers: BTreeMap<String, Vec<Answer>>,
    /// In the order of each client.
    pub tables: Vec<TableChange>,
    pub attachments: Vec<Attachment>,
    pub turns: Vec<Turn>,
    /// Answers that no state of the database explains, such as a success where an error is due.
    pub surprises: Vec<String>,
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
