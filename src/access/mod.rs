//! Hypertables over many nodes.
//!
//! Knows data nodes only as PostgreSQL servers (`wire::client`) and the local database only as a `session`.
//!
//! Reading order: [`cluster`] (what all sessions of a database share), [`plan`] (what goes down to which node), [`remote`] (connections, heartbeats), [`txn`] (commit
//! protocol, resolver, commit gate), [`execute`] (routing and writing rows), [`admin`] (functions and views),
//! [`session`] (one client's statements).

pub mod admin;
pub mod cluster;
pub mod execute;
pub mod plan;
pub mod remote;
pub mod session;
pub mod txn;

use crate::error::Result;
use crate::sql::types::BatchStream;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

/// Where a plan's remote fragments get their rows: the distributed transaction of the session.
#[async_trait]
pub trait FragmentSource: Send + Sync {
    /// Opens one snapshot per node in `nodes`, all at one instant between distributed commits; nodes whose snapshot
    /// this transaction already holds keep it. Called once a statement, before any `fragment`.
    async fn open_snapshots(&self, nodes: &[String]) -> Result<()>;

    /// Streams the rows of `sql` on `node`, in the snapshot opened before.
    async fn fragment(&self, node: &str, sql: &str, schema: SchemaRef) -> Result<BatchStream>;
}
