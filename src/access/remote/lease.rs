//! A connection on loan.

use super::pool::Node;
use super::{connection_lost, remote_error};
use crate::error::{Error, Result, codes};
use crate::sql::types::BatchStream;
use crate::wire::client::{Connection, CopyIn};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use futures::future::{Either, select};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A connection on loan. Dropping it gives it back when it is idle and outside a transaction, else closes it.
pub struct Lease {
    node: Arc<Node>,
    user: String,
    /// Taken on drop only.
    connection: Option<Connection>,
    generation: u64,
    pooled: bool,
    /// A request is under way, or was when its future was dropped, or the connection has broken.
    unsettled: AtomicBool,
    in_transaction: AtomicBool,
}

impl Lease {
    pub(super) fn new(node: Arc<Node>, user: &str, connection: Connection, generation: u64, pooled: bool) -> Lease {
        Lease {
            node,
            user: user.into(),
            connection: Some(connection),
            generation,
            pooled,
            unsettled: AtomicBool::new(false),
            in_transaction: AtomicBool::new(false),
        }
    }

    /// For what the lease has no method for; calls made on it end only with the connection, not when the node is down.
    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("taken on drop only")
    }

    pub fn node(&self) -> &str {
        self.node.name()
    }

    /// What was under way has come to its end, or what is left of it does not matter to the next request.
    pub fn declare_clean(&self) {
        self.unsettled.store(false, Ordering::Relaxed);
    }

    /// Keeps the connection out of the pool until [`Lease::end_transaction`].
    pub fn begin_transaction(&self) {
        self.in_transaction.store(true, Ordering::Relaxed);
    }

    pub fn end_transaction(&self) {
        self.in_transaction.store(false, Ordering::Relaxed);
    }

    /// An earlier request was given up before its end, or the connection has broken.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Relaxed) || self.connection().is_closed()
    }

    /// Replaces a connection that came from the pool and turned out to be dead by a new one; `false` if it was new.
    pub async fn renew(&mut self) -> Result<bool> {
        if !self.pooled {
            return Ok(false);
        }
        let (connection, generation) = self.node.open_fresh(&self.user).await?;
        (self.connection, self.generation, self.pooled) = (Some(connection), generation, false);
        self.declare_clean();
        self.end_transaction();
        Ok(true)
    }

    /// Runs one or more statements by simple query, ignoring rows. Errors: `08006` when the node is lost, else what
    /// the server said, with the node's name in front.
    pub async fn run(&self, sql: &str) -> Result<()> {
        self.settle(self.connection().run(sql)).await
    }

    /// Rows of a simple query as text.
    pub async fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.settle(self.connection().texts(sql)).await
    }

    /// Streams a query's rows. The connection counts as busy until [`Lease::declare_clean`].
    pub async fn query(&self, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        let rows = self.settle(self.connection().query(sql, schema)).await?;
        self.unsettled.store(true, Ordering::Relaxed);
        Ok(until_end(self.node.clone(), self.generation, rows))
    }

    /// Opens a COPY FROM STDIN, after the statements `before` (if any), which travel in the same packet. The
    /// connection counts as busy until the copy has ended and [`Lease::declare_clean`] was called.
    pub async fn copy_in(&self, before: Option<&str>, sql: &str, schema: SchemaRef) -> Result<RemoteCopy> {
        let connection = self.connection();
        let copy = match before {
            None => self.settle(connection.copy_in(sql, schema)).await?,
            // Requests go out in the order in which they are polled first; a join polls its left side first.
            Some(before) => {
                let both = async {
                    let (begun, copy) = futures::join!(connection.run(before), connection.copy_in(sql, schema));
                    begun.and(copy)
                };
                self.settle(both).await?
            }
        };
        self.unsettled.store(true, Ordering::Relaxed);
        Ok(RemoteCopy { node: self.node.clone(), generation: self.generation, copy })
    }

    async fn settle<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        self.unsettled.store(true, Ordering::Relaxed);
        let answer = until_lost(&self.node, self.generation, request).await;
        let broken = matches!(&answer, Err(error) if is_loss(error));
        self.unsettled.store(broken, Ordering::Relaxed);
        answer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let settled = !self.is_unsettled() && !self.in_transaction.load(Ordering::Relaxed);
        let connection = self.connection.take().expect("dropped once");
        if settled && connection.is_idle() {
            self.node.give_back(&self.user, connection, self.generation);
        }
    }
}

/// The connection, not the statement, is at fault: whether the request was carried out is not known.
pub fn is_loss(error: &Error) -> bool {
    error.code().class() == "08" || error.code() == codes::ADMIN_SHUTDOWN
}

async fn until_lost<T>(node: &Node, generation: u64, request: impl Future<Output = Result<T>>) -> Result<T> {
    // An answer that has come counts even if the node is down by now: the request is polled first.
    match select(pin!(request), pin!(node.lost(generation))).await {
        Either::Left((answer, _)) => answer.map_err(|error| remote_error(node.name(), error)),
        Either::Right(_) => Err(connection_lost(node.name(), "The data node does not answer, or has been restarted.")),
    }
}

fn until_end(node: Arc<Node>, generation: u64, rows: BatchStream) -> BatchStream {
    let next = move |(node, mut rows): (Arc<Node>, BatchStream)| async move {
        let batch = until_lost(&node, generation, async { rows.next().await.transpose() }).await.transpose()?;
        Some((batch, (node, rows)))
    };
    futures::stream::unfold((node, rows), next).boxed()
}

/// A COPY FROM STDIN to a data node under way. Dropping it aborts the copy, and with it the remote transaction.
pub struct RemoteCopy {
    node: Arc<Node>,
    generation: u64,
    copy: CopyIn,
}

impl RemoteCopy {
    /// Awaits while the server is slower than we are.
    pub async fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        until_lost(&self.node, self.generation, self.copy.send(batch)).await
    }

    /// Rows the server stored.
    pub async fn finish(self) -> Result<u64> {
        until_lost(&self.node, self.generation, self.copy.finish()).await
    }
}
