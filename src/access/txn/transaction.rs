//! One session's distributed transaction: which nodes it has joined, what it has changed, what it sees.
//!
//! On each data node a transaction has up to two kinds of connections. A *writer* carries its writes, and reads that
//! must see them. *Readers* hold nothing but a REPEATABLE READ snapshot, opened on all nodes of a statement at one
//! instant between commits (see [`gate`](super::gate)); several fragments of one statement on one node need several.
//!
//! | session | writer | readers |
//! |---|---|---|
//! | READ COMMITTED | READ COMMITTED | renewed with every statement |
//! | REPEATABLE READ | REPEATABLE READ; a reader of the same node becomes it | kept; the first statement opens them on all nodes |
//!
//! TimescaleDB opens all remote transactions as REPEATABLE READ; under READ COMMITTED its sessions therefore do not see
//! what others commit between their statements. Ours do, and a writer sees chunk tables made after it began.
//! A limit that remains: a statement which reads a node through the writer (because of own writes there) sees that node
//! as of a moment after the others' snapshots.
//!
//! A statement that fails on a node has aborted the remote transaction there; it is remembered, and only a rollback is
//! accepted then.

use super::driver::{self, LocalParticipant, Work};
use super::gate::Pass;
use super::member::{Member, Slot};
use crate::access::FragmentSource;
use crate::access::cluster::Cluster;
use crate::access::remote::RemoteCopy;
use crate::catalog::{Change, State};
use crate::error::{Error, Notice, Result, codes};
use crate::limits::{CATALOG_LOCK_TIMEOUT, SNAPSHOT_TIMEOUT};
use crate::probe;
use crate::sql::statement::Isolation;
use crate::sql::types::BatchStream;
use crate::wire::client::Connection;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::future::{Either, join_all, select, try_join_all};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::OwnedMutexGuard;

/// One session's distributed transaction. Connections to data nodes join it at first use. Cheap to clone: a clone is
/// the same transaction (plans hold one as their [`FragmentSource`]). Dropping the last clone rolls back.
#[derive(Clone)]
pub struct Transaction {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Arc<Cluster>,
    user: String,
    inner: Mutex<Inner>,
}

struct Inner {
    isolation: Isolation,
    members: BTreeMap<String, Members>,
    /// At which commit the readers' snapshots were opened, if they are known to be of one instant.
    epoch: Option<u64>,
    catalog: Option<HeldCatalog>,
    /// The state that the running statement was planned with.
    planned: Option<Arc<State>>,
    notices: Vec<Notice>,
    ended: bool,
}

/// The connections of one node.
#[derive(Default)]
struct Members {
    writer: Option<Arc<Slot>>,
    readers: Vec<Arc<Slot>>,
}

/// The catalog lock and what was changed under it.
pub(super) struct HeldCatalog {
    _lock: OwnedMutexGuard<()>,
    pub state: Arc<State>,
    pub changes: Vec<Change>,
}

/// A connection about to run a fragment.
struct Reader {
    slot: Arc<Slot>,
    member: OwnedMutexGuard<Member>,
    /// The transaction on it goes on after the statement.
    keep: bool,
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
        let shared = Shared { cluster: cluster.clone(), user: user.into(), inner: Mutex::new(inner) };
        Transaction { shared: Arc::new(shared) }
    }

    /// READ COMMITTED until it is set; before the first use of a data node.
    pub fn set_isolation(&self, isolation: Isolation) {
        self.inner().isolation = isolation;
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
    /// may lack chunks of transactions that the snapshots already see: `open_snapshots` then fails with `40001`, and
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
        probe!(cluster.host, "txn.waits_for_resolution");
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

    fn cluster(&self) -> &Arc<Cluster> {
        &self.shared.cluster
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().expect("nothing panics while it holds the transaction")
    }
}

impl Inner {
    fn check_open(&self) -> Result<()> {
        match self.ended {
            true => Err(Error::new(codes::NO_ACTIVE_TRANSACTION, "the distributed transaction has ended")),
            false => Ok(()),
        }
    }

    /// All readers, by node; nodes without any are left out.
    fn take_readers(&mut self) -> BTreeMap<String, Vec<Arc<Slot>>> {
        self.epoch = None;
        let members = self.members.iter_mut().filter(|(_, members)| !members.readers.is_empty());
        members.map(|(node, members)| (node.clone(), std::mem::take(&mut members.readers))).collect()
    }
}

/// Opening snapshots.
impl Transaction {
    /// How many snapshots are to be opened on which node, and whether that must be the instant of earlier ones.
    fn snapshots_needed(&self, nodes: &[String]) -> Result<BTreeMap<String, usize>> {
        let mut inner = self.inner();
        inner.check_open()?;
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for node in nodes {
            *wanted.entry(node.clone()).or_default() += 1;
        }
        // A REPEATABLE READ transaction may come to need any node later, at the instant of its first statement.
        if inner.isolation == Isolation::RepeatableRead && inner.epoch.is_none() {
            let cluster = self.cluster();
            for node in &cluster.store.state().nodes {
                if cluster.nodes.is_up(&node.name) {
                    wanted.entry(node.name.clone()).or_insert(1);
                }
            }
        }
        wanted.retain(|node, count| {
            let Some(members) = inner.members.get_mut(node) else { return true };
            *count = match members.writer {
                Some(_) => 0,
                None => count.saturating_sub(members.readers.len()),
            };
            *count > 0
        });
        Ok(wanted)
    }

    /// Nodes that are not in `required` are left out if they cannot be connected to.
    async fn connect_readers(&self, needed: &BTreeMap<String, usize>, required: &[String]) -> Result<Vec<Member>> {
        let connections = needed.iter().flat_map(|(node, count)| std::iter::repeat_n(node, *count)).map(|node| async {
            let connected = async {
                self.settled(node).await?;
                self.cluster().nodes.connect(node, &self.shared.user).await.map(Member::new)
            };
            match connected.await {
                Ok(member) => Ok(Some(member)),
                Err(error) if required.contains(node) => Err(error),
                Err(_) => Ok(None),
            }
        });
        Ok(try_join_all(connections).await?.into_iter().flatten().collect())
    }

    /// The instant between commits, in which no node may be unresolved.
    async fn instant(&self, nodes: impl Iterator<Item = &String> + Clone) -> Result<Pass> {
        let cluster = self.cluster();
        loop {
            let pass = cluster.gate.snapshot().await;
            let Some(blocked) = nodes.clone().find(|node| cluster.live.blocks(node)) else { return Ok(pass) };
            // A commit that ran out of time while we waited for the gate.
            drop(pass);
            self.settled(blocked).await?;
        }
    }

    async fn open_all(&self, members: &mut [Member]) -> Result<()> {
        let host = &self.cluster().host;
        let openings = members.iter_mut().map(|member| async move {
            let node = member.node().to_string();
            match host.timeout(SNAPSHOT_TIMEOUT, member.open_snapshot()).await {
                Ok(opened) => opened,
                Err(_) => Err(too_slow(&node)),
            }
        });
        // Not `try_join_all`: a commit must not come in while some node still opens its snapshot.
        join_all(openings).await.into_iter().collect()
    }

    /// One more snapshot on `node`, the same as those opened before: no commit may have happened since.
    async fn late_snapshot(&self, node: &str) -> Result<Arc<Slot>> {
        let nodes = [node.to_string()];
        let mut members = self.connect_readers(&BTreeMap::from([(node.to_string(), 1)]), &nodes).await?;
        let pass = self.instant(nodes.iter()).await?;
        if self.inner().epoch != Some(pass.epoch()) {
            probe!(self.cluster().host, "txn.snapshot_too_late");
            return Err(snapshot_too_late(node));
        }
        self.open_all(&mut members).await?;
        drop(pass);
        let slot = Slot::new(members.pop().expect("one was asked for"));
        self.inner().members.entry(node.into()).or_default().readers.push(slot.clone());
        Ok(slot)
    }

    /// A connection that reads `node` in the transaction's snapshot and is not in use.
    fn reader(&self, node: &str) -> Result<Option<Reader>> {
        let inner = self.inner();
        inner.check_open()?;
        let keep = inner.isolation == Isolation::RepeatableRead;
        let Some(members) = inner.members.get(node) else { return Ok(None) };
        // Readers of this statement go first: what it writes meanwhile is not for its own eyes.
        for reader in &members.readers {
            if let Some(member) = reader.try_lock()
                && member.broken().is_none()
            {
                return Ok(Some(Reader { slot: reader.clone(), member, keep }));
            }
        }
        match &members.writer {
            Some(writer) if members.readers.is_empty() => {
                let member = writer.try_lock().ok_or_else(|| in_use(node))?;
                match member.broken() {
                    Some(error) => Err(aborted(node, &error)),
                    None => Ok(Some(Reader { slot: writer.clone(), member, keep: true })),
                }
            }
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl FragmentSource for Transaction {
    /// A node named several times gets as many snapshots: one for each fragment that runs at the same time.
    async fn open_snapshots(&self, nodes: &[String]) -> Result<()> {
        let read_committed = self.inner().isolation == Isolation::ReadCommitted;
        if read_committed {
            let old = self.inner().take_readers();
            driver::release(self.cluster(), old.into_values().flatten().collect());
        }
        let needed = self.snapshots_needed(nodes)?;
        if needed.is_empty() {
            return Ok(());
        }
        let gate = &self.cluster().gate;
        let mut members = self.connect_readers(&needed, nodes).await?;
        let one_snapshot = read_committed && members.len() == 1;
        let before = gate.quiet_epoch();
        let pass = if one_snapshot { None } else { Some(self.instant(needed.keys()).await?) };
        let earlier = self.inner().epoch;
        if let (Some(earlier), Some(pass)) = (earlier, &pass)
            && earlier != pass.epoch()
        {
            return Err(snapshot_too_late(members[0].node()));
        }
        self.open_all(&mut members).await?;
        let stale = self.plan_is_stale();
        let epoch = match &pass {
            Some(pass) => Some(pass.epoch()),
            None => before.filter(|before| gate.quiet_epoch() == Some(*before)),
        };
        drop(pass);
        probe!(self.cluster().host, "txn.snapshots_open");
        let mut inner = self.inner();
        inner.check_open()?;
        inner.epoch = epoch;
        for member in members {
            let readers = &mut inner.members.entry(member.node().to_string()).or_default().readers;
            readers.push(Slot::new(member));
        }
        if stale { Err(stale_plan()) } else { Ok(()) }
    }

    async fn fragment(&self, node: &str, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        let Reader { slot, mut member, keep } = match self.reader(node)? {
            Some(reader) => reader,
            None => {
                let slot = self.late_snapshot(node).await?;
                let member = slot.lock().await;
                Reader { slot, member, keep: self.inner().isolation == Isolation::RepeatableRead }
            }
        };
        if !member.is_connected() {
            member.connect(self.cluster().nodes.connect(node, &self.shared.user).await?);
        }
        let isolation = self.inner().isolation;
        member.begin(isolation).await?;
        slot.stream(&self.cluster().host, member, sql, schema, keep).await
    }
}

fn in_use(node: &str) -> Error {
    Error::unsupported(format!(
        "the statement reads data node \"{node}\" more than once after writes of its own transaction"
    ))
    .with_detail("What the transaction has written there is visible on a single connection only, which is in use.")
    .with_hint("Commit before this statement, or store an intermediate result in a local table.")
}

fn aborted(node: &str, error: &Error) -> Error {
    let message = format!("the transaction has failed on data node \"{node}\" and can only be rolled back");
    Error::new(codes::IN_FAILED_TRANSACTION, message).with_detail(error.message())
}

fn no_catalog_lock() -> Error {
    Error::new(codes::LOCK_NOT_AVAILABLE, "could not obtain the catalog lock")
        .with_detail("Another transaction has changed the catalog of this cluster and has not ended.")
        .with_hint("End the other transaction, and try again.")
}

fn snapshot_too_late(node: &str) -> Error {
    let message = format!("could not read data node \"{node}\" as of the statement's snapshot");
    Error::new(codes::SERIALIZATION_FAILURE, message)
        .with_detail("Another transaction has committed in between.")
        .with_hint("Repeat the transaction.")
}

fn stale_plan() -> Error {
    Error::new(codes::SERIALIZATION_FAILURE, "the chunks have changed while the statement was planned")
        .with_hint("Repeat the transaction.")
}

fn too_slow(node: &str) -> Error {
    Error::new(codes::CONNECTION_FAILURE, format!("data node \"{node}\" did not open a snapshot in time"))
        .with_detail(format!("No answer within {} s.", SNAPSHOT_TIMEOUT.as_secs()))
}
