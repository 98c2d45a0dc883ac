//! Opening a transaction's snapshots, and reading in them.
//!
//! All snapshots of a statement are opened while the commit [`gate`](super::gate) lets no commit in and no decided
//! transaction is unconfirmed on a node that is read, be it through a snapshot or through the transaction's own writer:
//! so they are of one instant between commits. Local rows of the same statement must be of that instant too. Under READ
//! COMMITTED the local snapshot is taken first, when the query is planned; if commits were let in since, it is moved
//! while the gate is held, and the query is planned anew. Under REPEATABLE READ local and remote snapshots are opened
//! together, before the first statement is planned.
//!
//! The right to keep commits out is never held while a client is waited for: what is opened late, for a stream of rows
//! that is read at its client's pace, is opened in a task of its own.

use super::driver;
use super::gate::Pass;
use super::member::{Member, Slot};
use super::transaction::{Transaction, aborted, in_use};
use crate::access::FragmentSource;
use crate::error::{Error, Result, codes};
use crate::limits::SNAPSHOT_TIMEOUT;
use crate::session::Begin;
use crate::sql::statement::Isolation;
use crate::sql::types::BatchStream;
use crate::{buggify, probe, sabotage};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::future::{join_all, try_join, try_join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, oneshot};

/// How long an opening may dawdle where a simulation asks for it.
const SLOW: Duration = Duration::from_millis(100);

/// The local rows of a statement that reads data nodes too.
pub struct LocalRows<'a> {
    /// [`Gate::quiet_epoch`](super::gate::Gate::quiet_epoch) of a moment before the local snapshot was taken.
    pub epoch: Option<u64>,
    /// Moves the local snapshot to now.
    pub begin: Begin<'a>,
}

/// A connection about to run a fragment.
struct Reader {
    slot: Arc<Slot>,
    member: OwnedMutexGuard<Member>,
    /// The transaction on it goes on after the statement.
    keep: bool,
}

impl Transaction {
    /// As [`FragmentSource::open_snapshots`], for a statement that may read `local` rows as well. Returns whether these
    /// were moved to the instant of the snapshots: the query must then be planned anew.
    pub async fn open(&self, nodes: &[String], local: Option<LocalRows<'_>>) -> Result<bool> {
        if self.is_repeatable() {
            self.open_everywhere(nodes, &mut || Ok(())).await?;
            self.open_missing(nodes).await?;
            return Ok(false);
        }
        let old = self.inner().take_readers();
        driver::release(self.cluster(), old.into_values().flatten().collect());
        let needed = self.snapshots_needed(nodes)?;
        let distinct: BTreeSet<&String> = nodes.iter().collect();
        // Also of nodes that are read through a writer: it does not show either what is not confirmed.
        let settled = try_join_all(distinct.iter().map(|node| self.settled(node)));
        let (_, mut members) = try_join(settled, self.connect_readers(&needed)).await?;
        let gate = &self.cluster().gate;
        let before = gate.quiet_epoch();
        // What is read on one node only is of one instant anyhow.
        let alone = distinct.len() == 1 || sabotage!("snapshot.late");
        let pass = if alone && local.is_none() { None } else { Some(self.instant(&distinct).await?) };
        self.open_all(&mut members).await.into_iter().collect::<Result<()>>()?;
        let mut moved = false;
        if let (Some(local), Some(pass)) = (local, &pass)
            && local.epoch != Some(pass.epoch())
        {
            (local.begin)()?;
            moved = true;
            probe!(self.cluster().host, "txn.local_snapshot_moved");
        }
        let stale = self.plan_is_stale();
        let epoch = match &pass {
            Some(pass) => Some(pass.epoch()),
            None => before.filter(|before| gate.quiet_epoch() == Some(*before)),
        };
        drop(pass);
        probe!(self.cluster().host, "txn.snapshots_open");
        self.keep_readers(members, epoch)?;
        if stale { Err(stale_plan()) } else { Ok(moved) }
    }

    /// Opens the snapshots that a REPEATABLE READ transaction keeps, and calls `begin` at their instant; later calls do
    /// nothing. It may come to need any node, so all that can be had get one. One that is blocked is waited for only
    /// if it is `wanted`; whether the transaction can do without those left out is found out when it needs them.
    pub async fn open_everywhere(&self, wanted: &[String], begin: Begin<'_>) -> Result<()> {
        let _opening = self.shared.opening.lock().await;
        if self.has_instant()? {
            return Ok(());
        }
        let cluster = self.cluster();
        let state = cluster.store.state();
        let names = state.nodes.iter().map(|node| &node.name).filter(|node| cluster.nodes.is_up(node));
        let can_wait = |node: &String| wanted.contains(node) || !cluster.live.blocks(node);
        let connections = join_all(names.filter(|node| can_wait(node)).map(|node| self.connect_reader(node))).await;
        let mut members: Vec<Member> = connections.into_iter().filter_map(Result::ok).collect();
        let pass = loop {
            let pass = cluster.gate.snapshot().await;
            if !members.iter().any(|member| cluster.live.blocks(member.node())) {
                break pass;
            }
            // A commit that ran out of time while we waited for the gate.
            drop(pass);
            let keep = |member: Member| async {
                let node = member.node().to_string();
                (can_wait(&node) && self.settled(&node).await.is_ok()).then_some(member)
            };
            members = join_all(members.into_iter().map(keep)).await.into_iter().flatten().collect();
        };
        let opened = self.open_all(&mut members).await;
        begin()?;
        let epoch = pass.epoch();
        drop(pass);
        probe!(cluster.host, "txn.snapshots_open");
        let opened = members.into_iter().zip(opened).filter(|(_, opened)| opened.is_ok());
        self.keep_readers(opened.map(|(member, _)| member).collect(), Some(epoch))
    }

    /// Under REPEATABLE READ a writer goes on in the transaction's snapshot: sees to it that there is one on `node`.
    pub(super) async fn reserve(&self, node: &str) -> Result<()> {
        if !self.is_repeatable() {
            return Ok(());
        }
        let nodes = [node.to_string()];
        self.open_everywhere(&nodes, &mut || Ok(())).await?;
        self.open_missing(&nodes).await
    }

    fn is_repeatable(&self) -> bool {
        self.inner().isolation == Isolation::RepeatableRead
    }

    fn has_instant(&self) -> Result<bool> {
        let inner = self.inner();
        inner.check_open()?;
        Ok(inner.epoch.is_some())
    }

    /// What a REPEATABLE READ transaction lacks of the snapshots that a statement reads.
    async fn open_missing(&self, nodes: &[String]) -> Result<()> {
        // Chunks may be newer than the snapshots. Their tables are there for all who look, once they are confirmed.
        try_join_all(nodes.iter().map(|node| self.settled(node))).await?;
        let needed = self.snapshots_needed(nodes)?;
        if needed.is_empty() {
            return Ok(());
        }
        let members = self.open_later(needed).await?;
        let epoch = self.inner().epoch;
        self.keep_readers(members, epoch)
    }

    /// How many snapshots are to be opened on which node.
    fn snapshots_needed(&self, nodes: &[String]) -> Result<BTreeMap<String, usize>> {
        let inner = self.inner();
        inner.check_open()?;
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for node in nodes {
            *wanted.entry(node.clone()).or_default() += 1;
        }
        wanted.retain(|node, count| {
            let Some(members) = inner.members.get(node) else { return true };
            *count = match members.writer {
                Some(_) => 0,
                None => count.saturating_sub(members.readers.len()),
            };
            *count > 0
        });
        Ok(wanted)
    }

    async fn connect_readers(&self, needed: &BTreeMap<String, usize>) -> Result<Vec<Member>> {
        let nodes = needed.iter().flat_map(|(node, count)| std::iter::repeat_n(node, *count));
        try_join_all(nodes.map(|node| self.connect_reader(node))).await
    }

    async fn connect_reader(&self, node: &str) -> Result<Member> {
        self.settled(node).await?;
        self.cluster().nodes.connect(node, &self.shared.user).await.map(Member::new)
    }

    /// The instant between commits, in which no node may be unresolved.
    async fn instant(&self, nodes: &BTreeSet<&String>) -> Result<Pass> {
        let cluster = self.cluster();
        loop {
            let pass = cluster.gate.snapshot().await;
            let Some(blocked) = nodes.iter().find(|node| cluster.live.blocks(node)) else { return Ok(pass) };
            // A commit that ran out of time while we waited for the gate.
            drop(pass);
            self.settled(blocked).await?;
        }
    }

    /// Waits for all, also after an error: a commit must not come in while some node still opens its snapshot.
    async fn open_all(&self, members: &mut [Member]) -> Vec<Result<()>> {
        let host = &self.cluster().host;
        if buggify!(host, "snapshot.slow") {
            host.sleep(SLOW).await;
        }
        let openings = members.iter_mut().map(|member| async move {
            let node = member.node().to_string();
            match host.timeout(SNAPSHOT_TIMEOUT, member.open_snapshot()).await {
                Ok(opened) => opened,
                Err(_) => Err(too_slow(&node)),
            }
        });
        join_all(openings).await
    }

    fn keep_readers(&self, members: Vec<Member>, epoch: Option<u64>) -> Result<()> {
        let mut inner = self.inner();
        inner.check_open()?;
        inner.epoch = epoch;
        for member in members {
            let readers = &mut inner.members.entry(member.node().to_string()).or_default().readers;
            readers.push(Slot::new(member));
        }
        Ok(())
    }

    /// More snapshots, the same as those opened before: no commit may have happened since, else `40001`. In a task of
    /// its own, because the caller may be polled at the pace of a client that reads its rows, or not at all.
    async fn open_later(&self, needed: BTreeMap<String, usize>) -> Result<Vec<Member>> {
        let (sender, opened) = oneshot::channel();
        let transaction = self.clone();
        self.cluster().host.spawn("snapshots", async move {
            let _ = sender.send(transaction.open_at_same_instant(&needed).await);
        });
        opened.await.unwrap_or_else(|_| Err(Error::internal("the opening of a snapshot was given up")))
    }

    async fn open_at_same_instant(&self, needed: &BTreeMap<String, usize>) -> Result<Vec<Member>> {
        let mut members = self.connect_readers(needed).await?;
        let pass = self.instant(&needed.keys().collect()).await?;
        if self.inner().epoch != Some(pass.epoch()) {
            probe!(self.cluster().host, "txn.snapshot_too_late");
            return Err(snapshot_too_late(needed.keys().next().map_or("", String::as_str)));
        }
        self.open_all(&mut members).await.into_iter().collect::<Result<()>>()?;
        drop(pass);
        Ok(members)
    }

    /// One more reader on `node`, in use by the caller from the start.
    async fn late_reader(&self, node: &str) -> Result<Reader> {
        let member = self.open_later(BTreeMap::from([(node.to_string(), 1)])).await?.remove(0);
        let slot = Slot::new(member);
        let member = slot.try_lock().expect("nobody else knows it yet");
        let mut inner = self.inner();
        inner.check_open()?;
        inner.members.entry(node.into()).or_default().readers.push(slot.clone());
        Ok(Reader { slot, member, keep: inner.isolation == Isolation::RepeatableRead })
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
        self.open(nodes, None).await.map(drop)
    }

    async fn fragment(&self, node: &str, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        let Reader { slot, mut member, keep } = match self.reader(node)? {
            Some(reader) => reader,
            None => self.late_reader(node).await?,
        };
        if !member.is_connected() {
            member.connect(self.cluster().nodes.connect(node, &self.shared.user).await?);
        }
        let isolation = self.inner().isolation;
        member.begin(isolation).await?;
        slot.stream(&self.cluster().host, member, sql, schema, keep).await
    }
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
