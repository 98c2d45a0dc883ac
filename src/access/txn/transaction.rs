//! One session's distributed transaction: which nodes it has joined, what it has changed, what it sees.
//!
//! On each data node a transaction has up to two kinds of connections. A *writer* carries its writes, and reads that
//! must see them. *Readers* hold nothing but a REPEATABLE READ snapshot, opened on all nodes of a statement at one
//! instant between commits (see [`gate`](super::gate)); several fragments of one statement on one node need several.
//!
//! | session | writer | readers |
//! |---|---|---|
//! | READ COMMITTED | READ COMMITTED | renewed with every statement |
//! | REPEATABLE READ | a reader of the same node becomes it | kept; the first statement, also a write, opens them all |
//!
//! TimescaleDB opens all remote transactions as REPEATABLE READ; under READ COMMITTED its sessions therefore do not see
//! what others commit between their statements. Ours do, and a writer sees chunk tables made after it began.
//! A limit that remains under READ COMMITTED: a statement which reads a node through the writer (because of own writes
//! there) sees that node as of a moment after the others' snapshots.
//!
//! How snapshots are opened is in [`snapshots`](super::snapshots).
//!
//! A statement that fails on a node has aborted the remote transaction there; it is remembered, and only a rollback is
//! accepted then.

use super::driver::{self, LocalParticipant, Work};
use super::member::{Member, Slot};
use crate::access::cluster::Cluster;
use crate::access::remote::RemoteCopy;
use crate::catalog::{Change, State};
use crate::error::{Error, Notice, Result, codes};
use crate::limits::CATALOG_LOCK_TIMEOUT;
use crate::sql::statement::Isolation;
use crate::wire::client::Connection;
use crate::{probe, sabotage};
use arrow::datatypes::SchemaRef;
use futures::future::{Either, select};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::OwnedMutexGuard;

/// One session's distributed transaction. Connections to data nodes join it at first use. Cheap to clone: a clone is
/// the same transaction (plans hold one as their [`FragmentSource`](crate::access::FragmentSource)). Dropping the last
/// clone rolls back.
#[derive(Clone)]
pub struct Transaction {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    cluster: Arc<Cluster>,
    pub user: String,
    inner: Mutex<Inner>,
    /// Held by whoever opens the snapshots of a REPEATABLE READ transaction.
    pub opening: tokio::sync::Mutex<()>,
}

pub(super) struct Inner {
    pub isolation: Isolation,
    pub members: BTreeMap<String, Members>,
    /// At which commit the readers' snapshots were opened, if they are known to be of one instant. Under REPEATABLE
    /// READ it is there as soon as the transaction has its snapshots.
    pub epoch: Option<u64>,
    catalog: Option<HeldCatalog>,
    /// The state that the running statement was planned with.
    planned: Option<Arc<State>>,
    notices: Vec<Notice>,
    ended: bool,
}

/// The connections of one node.
#[derive(Default)]
pub(super) struct Members {
    pub writer: Option<Arc<Slot>>,
    pub readers: Vec<Arc<Slot>>,
}

/// The catalog lock and what was changed under it.
pub(super) struct HeldCatalog {
    _lock: OwnedMutexGuard<()>,
    pub state: Arc<State>,
    pub changes: Vec<Change>,
}

/// The right to send statements on one node's connection of the transaction; calls queue up behind each other.
pub struct Writer {
    member: OwnedMutexGuard<Member>,
    isolation: Isolation,
}

impl Writer {
    /// For what has no method here. Calls on it do not end when the node is lost, and their errors are not noticed:
    /// tell them by [`Writer::fail`].
    pub fn connection(&self) -> &Connection {
        self.member.connection()
    }

    pub fn node(&self) -> &str {
        self.member.node()
    }

    /// Runs statements, ignoring rows. Errors: `08006`, or the server's, with the node's name in front.
    pub async fn run(&mut self, sql: &str) -> Result<()> {
        self.member.begin(self.isolation).await?;
        self.member.run(sql).await
    }

    /// Rows of a simple query as text.
    pub async fn texts(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.member.begin(self.isolation).await?;
        self.member.texts(sql).await
    }

    /// Opens a COPY FROM STDIN; if it is the first statement there, BEGIN travels with it. Ends with
    /// [`Writer::copied`] or [`Writer::fail`].
    pub(crate) async fn copy_in(&mut self, sql: &str, schema: SchemaRef) -> Result<RemoteCopy> {
        self.member.copy_in(self.isolation, sql, schema).await
    }

    /// The COPY has ended well.
    pub(crate) fn copied(&mut self) {
        self.member.copy_ended();
    }

    /// A statement on the connection has failed: the remote transaction is aborted.
    pub fn fail(&mut self, error: Error) {
        self.member.fail(error);
    }
}

impl Transaction {
    /// `user`: as whom data nodes are connected to. Nothing is sent until a node is used.
    pub fn new(cluster: &Arc<Cluster>, user: &str) -> Transaction {
        let inner = Inner {
            isolation: Isolation::ReadCommitted,
            members: BTreeMap::new(),
            epoch: None,
            catalog: None,
            planned: None,
            notices: Vec::new(),
            ended: false,
        };
        let shared = Shared {
            cluster: cluster.clone(),
            user: user.into(),
            inner: Mutex::new(inner),
            opening: tokio::sync::Mutex::default(),
        };
        Transaction { shared: Arc::new(shared) }
    }

    /// READ COMMITTED until it is set. Without effect once a data node has been used.
    pub fn set_isolation(&self, isolation: Isolation) {
        let mut inner = self.inner();
        if inner.members.is_empty() {
            inner.isolation = isolation;
        }
    }

    pub fn user(&self) -> &str {
        &self.shared.user
    }

    /// The catalog as this transaction sees it: committed state plus its own changes.
    pub fn state(&self) -> Arc<State> {
        match &self.inner().catalog {
            Some(held) => held.state.clone(),
            None => self.cluster().store.state(),
        }
    }

    /// The next statement was planned with `state`. If the catalog has moved on when its snapshots are open, the plan
    /// may lack chunks of transactions that the snapshots already see: opening them then fails with `40001`, and
    /// [`Transaction::plan_is_stale`] tells the caller to plan anew.
    pub fn planned_with(&self, state: Arc<State>) {
        self.inner().planned = Some(state);
    }

    /// Whether the state of `planned_with` is outdated.
    pub fn plan_is_stale(&self) -> bool {
        let inner = self.inner();
        let Some(planned) = &inner.planned else { return false };
        let current = match &inner.catalog {
            Some(held) => held.state.clone(),
            None => self.cluster().store.state(),
        };
        !Arc::ptr_eq(planned, &current)
            && (planned.chunks != current.chunks || planned.hypertables != current.hypertables)
            && !sabotage!("plan.stale")
    }

    /// Opens the remote transaction on `node` if need be, marks it as written to, and lends its connection
    /// exclusively. Errors: `08001`, `08006`; `55000` while an earlier transaction is unresolved there; `0A000` if the
    /// running statement still reads through that connection.
    pub async fn writer(&self, node: &str) -> Result<Writer> {
        let mut writer = self.join(node).await?;
        writer.member.begin(writer.isolation).await?;
        Ok(writer)
    }

    /// As [`Transaction::writer`], but the remote transaction is opened by the first statement only.
    pub(crate) async fn join(&self, node: &str) -> Result<Writer> {
        self.settled(node).await?;
        self.reserve(node).await?;
        let (slot, isolation) = self.writing_slot(node)?;
        if slot.is_streaming() {
            return Err(in_use(node));
        }
        let mut member = slot.lock().await;
        if let Some(error) = member.broken() {
            return Err(aborted(node, &error));
        }
        if !member.is_connected() {
            member.connect(self.cluster().nodes.connect(node, &self.shared.user).await?);
        }
        Ok(Writer { member, isolation })
    }

    /// Waits until no decided transaction keeps `node` from being used.
    pub(crate) async fn settled(&self, node: &str) -> Result<()> {
        let cluster = self.cluster();
        cluster.nodes.check(node)?;
        if !cluster.live.blocks(node) {
            return Ok(());
        }
        probe!(cluster.host, "txn.waits_for_resolution", format_args!("a statement on {node}"));
        match select(pin!(cluster.live.settled(&cluster.host, node)), pin!(cluster.nodes.down(node))).await {
            Either::Left((settled, _)) => settled,
            Either::Right(_) => cluster.nodes.check(node),
        }
    }

    fn writing_slot(&self, node: &str) -> Result<(Arc<Slot>, Isolation)> {
        let mut inner = self.inner();
        inner.check_open()?;
        let isolation = inner.isolation;
        let members = inner.members.entry(node.into()).or_default();
        let slot = match &members.writer {
            Some(slot) => slot.clone(),
            // The snapshot of a REPEATABLE READ session must not move: its reader goes on as the writer.
            None if isolation == Isolation::RepeatableRead && !members.readers.is_empty() => {
                let idle = members.readers.iter().position(|reader| reader.try_lock().is_some());
                members.readers.swap_remove(idle.ok_or_else(|| in_use(node))?)
            }
            None => Slot::new(Member::default()),
        };
        members.writer = Some(slot.clone());
        Ok((slot, isolation))
    }

    /// Waits for the cluster's catalog lock and keeps it until this transaction ends. Errors: `55P03` after a bound.
    pub async fn lock_catalog(&self) -> Result<()> {
        if self.holds_catalog() {
            return Ok(());
        }
        let cluster = self.cluster();
        let lock = cluster
            .host
            .timeout(CATALOG_LOCK_TIMEOUT, cluster.ddl.clone().lock_owned())
            .await
            .map_err(|_| no_catalog_lock())?;
        let mut inner = self.inner();
        inner.check_open()?;
        if inner.catalog.is_none() {
            inner.catalog = Some(HeldCatalog { _lock: lock, state: cluster.store.state(), changes: Vec::new() });
        }
        Ok(())
    }

    /// Whether this transaction holds the catalog lock (it has, or may have, uncommitted catalog changes).
    pub fn holds_catalog(&self) -> bool {
        self.inner().catalog.is_some()
    }

    /// Takes effect with the commit; visible to this transaction at once. Needs the catalog lock.
    pub fn change(&self, change: Change) -> Result<()> {
        let mut inner = self.inner();
        let held = inner
            .catalog
            .as_mut()
            .ok_or_else(|| Error::internal("a catalog change was made without the catalog lock"))?;
        Arc::make_mut(&mut held.state).apply(&change)?;
        held.changes.push(change);
        Ok(())
    }

    /// Whether a data node or the catalog was written to.
    pub fn has_writes(&self) -> bool {
        let inner = self.inner();
        inner.members.values().any(|members| members.writer.is_some())
            || inner.catalog.as_ref().is_some_and(|held| !held.changes.is_empty())
    }

    /// Something that the client should be told with the statement's result.
    pub fn notice(&self, notice: Notice) {
        self.inner().notices.push(notice);
    }

    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.inner().notices)
    }

    /// The statement has ended: under READ COMMITTED its snapshots are given up, so that the next one sees what others
    /// have committed. Connections go back to the pool in the background.
    pub fn end_statement(&self) {
        let readers = {
            let mut inner = self.inner();
            inner.planned = None;
            if inner.isolation == Isolation::ReadCommitted { inner.take_readers() } else { BTreeMap::new() }
        };
        driver::release(self.cluster(), readers.into_values().flatten().collect());
    }

    /// Commits everywhere or nowhere. `local`: the session's own database if it was written to. Runs in a task of its
    /// own, so that a client that goes away cannot stop it half-way. Errors: anything before the decision means
    /// rolled back; `08007` means unknown (one-phase commit whose answer was lost, or a store that failed while it
    /// wrote the decision).
    pub async fn commit(&self, local: Option<Box<dyn LocalParticipant>>) -> Result<()> {
        let Some(work) = self.end(local) else { return Ok(()) };
        driver::commit(self.cluster(), work).await
    }

    /// Rolls back everywhere. A node that cannot be told does so by itself when its connection closes.
    pub async fn rollback(&self) {
        if let Some(work) = self.end(None) {
            driver::rollback(self.cluster(), work).await;
        }
    }

    /// Takes everything out; later uses of the transaction fail. `None` if it had ended before.
    fn end(&self, local: Option<Box<dyn LocalParticipant>>) -> Option<Work> {
        let mut inner = self.inner();
        if std::mem::replace(&mut inner.ended, true) {
            return None;
        }
        let readers = inner.take_readers();
        let writers = std::mem::take(&mut inner.members)
            .into_iter()
            .filter_map(|(node, members)| members.writer.map(|writer| (node, writer)))
            .collect();
        Some(Work { readers, writers, catalog: inner.catalog.take(), local })
    }

    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.shared.cluster
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().expect("nothing panics while it holds the transaction")
    }
}

impl Inner {
    pub fn check_open(&self) -> Result<()> {
        match self.ended {
            true => Err(Error::new(codes::NO_ACTIVE_TRANSACTION, "the distributed transaction has ended")),
            false => Ok(()),
        }
    }

    /// All readers, by node; nodes without any are left out.
    pub fn take_readers(&mut self) -> BTreeMap<String, Vec<Arc<Slot>>> {
        self.epoch = None;
        let members = self.members.iter_mut().filter(|(_, members)| !members.readers.is_empty());
        members.map(|(node, members)| (node.clone(), std::mem::take(&mut members.readers))).collect()
    }
}

pub(super) fn in_use(node: &str) -> Error {
    Error::unsupported(format!(
        "the statement reads data node \"{node}\" more than once after writes of its own transaction"
    ))
    .with_detail("What the transaction has written there is visible on a single connection only, which is in use.")
    .with_hint("Commit before this statement, or store an intermediate result in a local table.")
}

pub(super) fn aborted(node: &str, error: &Error) -> Error {
    let message = format!("the transaction has failed on data node \"{node}\" and can only be rolled back");
    Error::new(codes::IN_FAILED_TRANSACTION, message).with_detail(error.message())
}

fn no_catalog_lock() -> Error {
    Error::new(codes::LOCK_NOT_AVAILABLE, "could not obtain the catalog lock")
        .with_detail("Another transaction has changed the catalog of this cluster and has not ended.")
        .with_hint("End the other transaction, and try again.")
}
