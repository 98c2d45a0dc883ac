//! Carries out distributed transactions.

use crate::access::FragmentSource;
use crate::access::cluster::Cluster;
use crate::catalog::{Change, State};
use crate::error::Result;
use crate::sql::types::BatchStream;
use crate::wire::client::Connection;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use std::sync::Arc;

/// Transactions of this access node that have not ended: the resolver leaves them alone.
#[derive(Default)]
pub struct Live {
    _todo: (),
}

/// The access node's own database taking part in a distributed commit.
#[async_trait]
pub trait LocalParticipant: Send {
    /// Prepares the local transaction under `gid`, durably. It ends the session's local transaction either way.
    async fn prepare(&mut self, gid: &str) -> Result<()>;
    /// Rolls the local transaction back if it has not been prepared.
    async fn rollback(&mut self);
}

/// One session's distributed transaction. Connections to data nodes join it at first use. Cheap to clone: a clone is
/// the same transaction (plans hold one as their [`FragmentSource`]).
#[derive(Clone)]
pub struct Transaction {
    _todo: (),
}

/// The right to send statements on one node's connection of the transaction; calls queue up behind each other.
pub struct Writer {
    _todo: (),
}

impl Writer {
    pub fn connection(&self) -> &Connection {
        todo!()
    }
}

impl Transaction {
    /// `user`: as whom data nodes are connected to. Nothing is sent until a node is used.
    pub fn new(cluster: &Arc<Cluster>, user: &str) -> Transaction {
        let _ = (cluster, user);
        todo!()
    }

    /// The catalog as this transaction sees it: committed state plus its own changes.
    pub fn state(&self) -> Arc<State> {
        todo!()
    }

    /// Opens the remote transaction on `node` if need be, marks it as written to, and lends its connection
    /// exclusively. Errors: `08001`, `08006`.
    pub async fn writer(&self, node: &str) -> Result<Writer> {
        let _ = node;
        todo!()
    }

    /// Waits for the cluster's catalog lock and keeps it until this transaction ends. Errors: `55P03` after a bound.
    pub async fn lock_catalog(&self) -> Result<()> {
        todo!()
    }

    /// Whether this transaction holds the catalog lock (it has, or may have, uncommitted catalog changes).
    pub fn holds_catalog(&self) -> bool {
        todo!()
    }

    /// Takes effect with the commit; visible to this transaction at once. Needs the catalog lock.
    pub fn change(&self, change: Change) -> Result<()> {
        let _ = change;
        todo!()
    }

    /// Some node, the catalog or nothing was written to.
    pub fn has_writes(&self) -> bool {
        todo!()
    }

    /// Commits everywhere or nowhere. `local`: the session's own database if it was written to. Runs in a task of its
    /// own, so that a client that goes away cannot stop it half-way. Errors: anything before the decision means
    /// rolled back; `08007` means unknown (one-phase commit whose answer was lost).
    pub async fn commit(&self, local: Option<Box<dyn LocalParticipant>>) -> Result<()> {
        let _ = local;
        todo!()
    }

    pub async fn rollback(&self) {
        todo!()
    }
}

#[async_trait]
impl FragmentSource for Transaction {
    async fn open_snapshots(&self, nodes: &[String]) -> Result<()> {
        let _ = nodes;
        todo!()
    }

    async fn fragment(&self, node: &str, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        let _ = (node, sql, schema);
        todo!()
    }
}
