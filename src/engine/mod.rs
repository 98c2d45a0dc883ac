//! Embedded storage of one database: tables, rows, snapshots, prepared transactions, all in one redb file.
//!
//! Promises: what `commit` or `prepare` acknowledged survives a power loss; a transaction's rows appear all at once
//! or never; a REPEATABLE READ snapshot does not move. Must not know: SQL text, hypertables, other nodes.
//!
//! The caller (`session`) evaluates defaults, NOT NULL and CHECK; the engine holds unique keys, for only it sees
//! all rows.
//!
//! Reading order: [`table`] (what a table is), [`segment`] and [`buffer`] (rows as bytes), [`layout`] (which segments
//! make a table), [`store`] (what lies in the file), [`snapshot`] (a moment of it), [`locks`] and [`keys`] (what open
//! transactions hold against each other), [`transaction`] (what a session does), [`prepared`] (and what outlives it), [`job`], [`stage`] and [`writer`]
//! (how it becomes durable), [`scan`] and [`pruning`] (how it is read), [`core`] (how a file is opened again).

pub mod table;

mod buffer;
mod core;
mod job;
mod keys;
mod layout;
mod locks;
mod prepared;
mod pruning;
mod scan;
mod segment;
mod snapshot;
mod stage;
mod store;
mod transaction;
mod writer;

#[cfg(test)]
mod test_host;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use transaction::Transaction;

use self::core::Core;
use crate::error::Result;
use crate::host::Host;
use crate::ids::RelationName;
use crate::sql::statement::Isolation;
use job::Job;
use std::sync::Arc;

/// Bytes of rows that one transaction buffers: a few segments, so that each table's last one is well filled.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// One open database.
pub struct Engine {
    core: Arc<Core>,
}

/// A prepared transaction, as `pg_prepared_xacts` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub gid: String,
    pub owner: String,
    /// Microseconds since 1970 UTC by the node's clock.
    pub prepared_at: i64,
    pub transaction: u64,
}

/// What one table takes, as of the newest commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStatistics {
    pub id: u64,
    pub name: RelationName,
    pub rows: u64,
    /// Bytes of the rows as stored, without the file's own overhead.
    pub bytes: u64,
    pub segments: usize,
}

impl Engine {
    /// Opens or creates the store at `path` (a file below the host's disk). Errors: `58030`, `XX001`, and
    /// `55000` for a store of another version.
    pub async fn open(host: &Host, path: &str) -> Result<Arc<Engine>> {
        Engine::open_with(host, path, BUFFER_BYTES_MAX).await
    }

    async fn open_with(host: &Host, path: &str, buffer_bytes_max: usize) -> Result<Arc<Engine>> {
        let (owned, file) = (host.clone(), path.to_string());
        let core = host.blocking(move || Core::open(owned, &file, buffer_bytes_max)).await?;
        Ok(Arc::new(Engine { core: Arc::new(core) }))
    }

    pub fn begin(self: &Arc<Engine>, isolation: Isolation) -> Transaction {
        Transaction::new(self.core.clone(), isolation)
    }

    /// All prepared transactions, ordered by gid.
    pub fn prepared(&self) -> Vec<Prepared> {
        self.core.prepared().iter().map(|(gid, record)| record.describe(gid)).collect()
    }

    /// Whether a prepared transaction has rows for the table. If it has none, [`Engine::statistics`] called *afterwards*
    /// counts the rows of all that were prepared before and have been committed since.
    pub fn has_prepared_rows(&self, table: u64) -> bool {
        self.core.prepared().values().any(|record| record.tables.contains(&table))
    }

    /// Errors: `42704` `prepared transaction with identifier "…" does not exist`.
    pub async fn commit_prepared(&self, gid: &str) -> Result<()> {
        self.core.submit(Job::Resolve { gid: gid.to_string(), commit: true }).wait().await
    }

    /// Errors: as [`commit_prepared`](Engine::commit_prepared).
    pub async fn rollback_prepared(&self, gid: &str) -> Result<()> {
        self.core.submit(Job::Resolve { gid: gid.to_string(), commit: false }).wait().await
    }

    /// Ends all work on the file once what is queued is done: nothing is written or read afterwards, and the file may be
    /// opened again or removed. Transactions still open fail with `57P01` or `58030`.
    pub async fn close(&self) {
        // The only error is that it was closed before.
        let _ = self.core.submit(Job::Close).wait().await;
    }

    /// All tables with what they take, ordered by name.
    pub fn statistics(&self) -> Vec<TableStatistics> {
        let catalog = self.core.published().catalog.clone();
        let layouts = self.core.layouts.lock().expect("no code panics while it holds the layouts");
        let statistics = |table: &Arc<table::Table>| {
            let layout = layouts.get(&table.id);
            TableStatistics {
                id: table.id,
                name: table.name.clone(),
                rows: layout.map_or(0, |layout| layout.rows()),
                bytes: layout.map_or(0, |layout| layout.bytes()),
                segments: layout.map_or(0, |layout| layout.segments()),
            }
        };
        catalog.tables.values().map(statistics).collect()
    }
}
