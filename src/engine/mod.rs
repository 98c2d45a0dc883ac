//! Embedded storage of one database: tables, rows, snapshots, prepared transactions, all in one redb file.
//!
//! Promises: what `commit` or `prepare` acknowledged survives a power loss; a transaction's rows appear all at once
//! or never; a REPEATABLE READ snapshot does not move. Must not know: SQL text, hypertables, other nodes.
//!
//! The caller (`session`) evaluates defaults, NOT NULL and CHECK; the engine holds unique keys, for only it sees
//! all rows.

pub mod table;

use crate::error::Result;
use crate::host::Host;
use crate::ids::RelationName;
use crate::sql::statement::Isolation;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use std::sync::Arc;
use table::Table;

/// One open database.
pub struct Engine {
    _todo: (),
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

impl Engine {
    /// Opens or creates the store at `path` (a file below the host's disk). Errors: `58030`, `XX001`, and
    /// `55000` for a store of another version.
    pub async fn open(host: &Host, path: &str) -> Result<Arc<Engine>> {
        let _ = (host, path);
        todo!()
    }

    pub fn begin(self: &Arc<Engine>, isolation: Isolation) -> Transaction {
        let _ = isolation;
        todo!()
    }

    pub fn prepared(&self) -> Vec<Prepared> {
        todo!()
    }

    /// Errors: `42704` `prepared transaction with identifier "…" does not exist`.
    pub async fn commit_prepared(&self, gid: &str) -> Result<()> {
        let _ = gid;
        todo!()
    }

    pub async fn rollback_prepared(&self, gid: &str) -> Result<()> {
        let _ = gid;
        todo!()
    }
}

/// One transaction. Dropping it rolls it back. Rows appended are held in memory up to a bound, then spilled to the
/// store as segments nobody else sees.
pub struct Transaction {
    _todo: (),
}

impl Transaction {
    /// Starts a statement: under READ COMMITTED the snapshot moves to now.
    pub fn begin_statement(&mut self) -> Result<()> {
        todo!()
    }

    pub fn isolation(&self) -> Isolation {
        todo!()
    }

    /// May still be changed before the first statement.
    pub fn set_isolation(&mut self, isolation: Isolation) {
        let _ = isolation;
        todo!()
    }

    /// Something would be lost by a rollback.
    pub fn has_writes(&self) -> bool {
        todo!()
    }

    pub fn schemas(&self) -> Result<Vec<String>> {
        todo!()
    }

    pub fn create_schema(&mut self, name: &str) -> Result<()> {
        let _ = name;
        todo!()
    }

    pub fn drop_schema(&mut self, name: &str) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// All tables visible to this transaction, ordered by name.
    pub fn tables(&self) -> Result<Vec<Arc<Table>>> {
        todo!()
    }

    pub fn table(&self, name: &RelationName) -> Result<Option<Arc<Table>>> {
        let _ = name;
        todo!()
    }

    /// `table.id` is assigned here. Errors: `42P07` also when another open transaction is creating the same name;
    /// `3F000` for a missing schema.
    pub fn create_table(&mut self, table: Table) -> Result<Arc<Table>> {
        let _ = table;
        todo!()
    }

    pub fn drop_table(&mut self, name: &RelationName) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// Appends rows; the batch has the table's schema. Errors: `23505` with DETAIL `Key (a)=(1) already exists.`;
    /// waits while another transaction holds the same key undecided.
    pub async fn append(&mut self, table: &Arc<Table>, batch: RecordBatch) -> Result<()> {
        let _ = (table, batch);
        todo!()
    }

    /// The rows this transaction sees now, as a table for DataFusion: filters and projection are taken as hints.
    pub fn scan(&self, table: &Arc<Table>) -> Result<Arc<dyn TableProvider>> {
        let _ = table;
        todo!()
    }

    pub async fn commit(self) -> Result<()> {
        todo!()
    }

    pub async fn rollback(self) -> Result<()> {
        todo!()
    }

    /// Durable and invisible until `Engine::commit_prepared`. Errors: `42710` the gid is in use.
    pub async fn prepare(self, gid: &str, owner: &str) -> Result<()> {
        let _ = (gid, owner);
        todo!()
    }
}
