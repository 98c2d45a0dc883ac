//! What transactions ask of the writer.

use super::keys::KeyBytes;
use super::segment::Encoded;
use super::snapshot::Ddl;
use super::table::Table;
use crate::ids::RelationName;
use crate::sabotage;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A segment on its way to the store.
#[derive(Debug)]
pub(super) struct Sealed {
    pub table: Arc<Table>,
    /// Key of its bytes in the store.
    pub data: u64,
    pub encoded: Encoded,
    /// For each unique constraint the keys of its rows.
    pub keys: Vec<Vec<KeyBytes>>,
}

/// All that a transaction has done.
#[derive(Debug)]
pub(super) struct Work {
    pub transaction: u64,
    pub ddl: Ddl,
    /// Tables that got rows and that it did not drop itself: they must still exist at the end.
    pub writes: BTreeMap<u64, RelationName>,
    /// Data ids of segments spilled before: they must have arrived.
    pub pending: Vec<u64>,
    /// Rows not spilled.
    pub tail: Vec<Sealed>,
}

#[derive(Debug)]
pub(super) enum Job {
    /// Stores rows that nobody else sees yet. Not durable by itself.
    Spill {
        transaction: u64,
        segments: Vec<Sealed>,
    },
    Commit(Work),
    Prepare {
        gid: String,
        owner: String,
        prepared_at: i64,
        work: Work,
    },
    /// Removes what a rolled back transaction has spilled. Not durable: a crash does the same.
    Discard {
        transaction: u64,
    },
    Resolve {
        gid: String,
        commit: bool,
    },
    /// Joins small segments at the end of a table.
    Merge {
        table: u64,
        /// So many are joined at least.
        fan_in: usize,
    },
    /// Does nothing but for what the writer does before any batch: it opens the file again after a failure.
    Check,
    /// The last one: closes the file.
    Close,
}

impl Job {
    /// Whether somebody relies on it after a power loss.
    pub fn is_durable(&self) -> bool {
        match self {
            Job::Commit(_) => !sabotage!("engine.commit.sync"),
            Job::Prepare { .. } => !sabotage!("engine.prepare.sync"),
            Job::Resolve { .. } => !sabotage!("engine.resolve.sync"),
            Job::Spill { .. } | Job::Discard { .. } | Job::Merge { .. } | Job::Check | Job::Close => false,
        }
    }
}
