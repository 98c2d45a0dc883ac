//! Does what the commit protocol says: sends its actions out, feeds the answers back.
//!
//! The order of things around the decision, and why:
//!
//! 1. The transaction is *live* before the first PREPARE is sent: whatever the resolver finds on a node from then on is
//!    left alone.
//! 2. The commit side of the [`gate`](super::gate) is entered after all have prepared and left when the last COMMIT
//!    PREPARED was answered or given up: no multi-node snapshot opens in between. One-phase commits pass through it
//!    too, so that snapshots stand between *all* commits.
//! 3. The decision's participants are marked as pending before it is stored: the store shows catalog changes at once,
//!    while the tables that they speak of appear with COMMIT PREPARED; who sees the change waits for the mark.
//! 4. The client is answered when all nodes have confirmed, or time is up; a node that has not is blocked until the
//!    resolver has made it. So what a client was told is stored is seen by every later statement.
//! 5. Only then is the transaction no longer live.

use super::gate::Pass;
use super::gid::{Gid, NO_CLUSTER};
use super::live::Registration;
use super::machine::{Action, Commit, Durability, Footprint, Input, LOCAL, Reply};
use super::member::Slot;
use super::transaction::HeldCatalog;
use crate::access::cluster::Cluster;
use crate::access::remote::is_loss;
use crate::catalog::store::Decision;
use crate::catalog::{Change, State};
use crate::error::{Error, Kind, Result, codes};
use crate::ids::quote_literal;
use crate::limits::{COMMIT_PREPARED_TIMEOUT, PREPARE_TIMEOUT, ROLLBACK_TIMEOUT};
use crate::{buggify, probe, sabotage};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// The access node's own database taking part in a distributed commit.
#[async_trait]
pub trait LocalParticipant: Send {
    /// Prepares the local transaction under `gid`, durably. It ends the session's local transaction either way.
    async fn prepare(&mut self, gid: &str) -> Result<()>;
    /// Rolls the local transaction back if it has not been prepared.
    async fn rollback(&mut self);
}

/// Everything that a transaction consists of when it comes to its end.
pub(super) struct Work {
    pub readers: BTreeMap<String, Vec<Arc<Slot>>>,
    pub writers: BTreeMap<String, Arc<Slot>>,
    pub catalog: Option<HeldCatalog>,
    pub local: Option<Box<dyn LocalParticipant>>,
}

/// PostgreSQL answers PREPARE TRANSACTION and COMMIT of an *aborted* transaction with success and the tag `ROLLBACK`,
/// which the client library does not show. Any other statement fails in an aborted transaction, so one goes first, in
/// the same message; the server then does not reach the second.
const UNLESS_ABORTED: &str = "SET LOCAL statement_timeout = 0; ";

/// How long phase two may dawdle where a simulation asks for it.
const SLOW: Duration = Duration::from_millis(300);

/// Runs the protocol in a task of its own and waits for its answer.
pub(super) async fn commit(cluster: &Arc<Cluster>, work: Work) -> Result<()> {
    let mut writers = BTreeMap::new();
    let mut broken = None;
    for (node, slot) in work.writers {
        // Whoever still sends on the connection is a task of a statement that was given up: it is about to end.
        let member = slot.lock().await;
        broken = broken.or_else(|| member.broken());
        if member.is_open() {
            drop(member);
            writers.insert(node, slot);
        }
    }
    let catalog = work.catalog.filter(|held| !held.changes.is_empty());
    if writers.is_empty() && catalog.is_none() && work.local.is_none() {
        // The protocol would say no more; the most frequent transactions need no task for it.
        release(cluster, work.readers.into_values().flatten().collect());
        return Ok(());
    }
    let work = Work { writers, catalog, ..work };
    let (answer, answered) = oneshot::channel();
    cluster.host.spawn("commit", run(cluster.clone(), work, broken, answer));
    answered.await.unwrap_or_else(|_| {
        Err(Error::new(codes::TRANSACTION_RESOLUTION_UNKNOWN, "the commit was interrupted: the outcome is unknown"))
    })
}

async fn run(cluster: Arc<Cluster>, work: Work, broken: Option<Error>, answer: oneshot::Sender<Result<()>>) {
    let footprint = Footprint {
        readers: work.readers.keys().cloned().collect(),
        writers: work.writers.keys().cloned().chain(work.local.is_some().then(|| LOCAL.to_string())).collect(),
        catalog: work.catalog.is_some(),
        broken,
    };
    let committed = cluster.store.state();
    let state = work.catalog.as_ref().map_or(&committed, |held| &held.state);
    let identity = state.cluster.as_deref().unwrap_or(NO_CLUSTER);
    let hands = Hands {
        registration: cluster.live.register(identity, cluster.store.incarnation()),
        changes_catalog: work.catalog.is_some(),
        catalog: Mutex::new(work.catalog),
        cluster,
        readers: Mutex::new(work.readers),
        writers: work.writers,
        local: tokio::sync::Mutex::new(work.local),
        pass: Mutex::new(None),
        answer: Mutex::new(Some(answer)),
    };
    drive(footprint, &hands).await;
}

/// What the protocol acts on: the real world, or a test's.
#[async_trait]
pub(super) trait World: Sync {
    /// Performs an action; `None` for one that has no answer.
    async fn perform(&self, action: Action) -> Option<Input>;
}

/// Runs one transaction's protocol to its end.
pub(super) async fn drive(footprint: Footprint, world: &impl World) {
    let (mut commit, actions) = Commit::start(footprint);
    let mut running: FuturesUnordered<_> = actions.into_iter().map(|action| world.perform(action)).collect();
    while let Some(input) = running.next().await {
        if let Some(input) = input {
            running.extend(commit.step(input).into_iter().map(|action| world.perform(action)));
        }
    }
    assert!(commit.is_finished(), "every action has been answered");
}

/// The real world.
struct Hands {
    cluster: Arc<Cluster>,
    registration: Registration,
    readers: Mutex<BTreeMap<String, Vec<Arc<Slot>>>>,
    writers: BTreeMap<String, Arc<Slot>>,
    local: tokio::sync::Mutex<Option<Box<dyn LocalParticipant>>>,
    changes_catalog: bool,
    /// With the catalog lock, which is given up with the answer: the next one finds this change complete.
    catalog: Mutex<Option<HeldCatalog>>,
    /// Held from before the decision to the answer.
    pass: Mutex<Option<Pass>>,
    answer: Mutex<Option<oneshot::Sender<Result<()>>>>,
}

#[async_trait]
impl World for Hands {
    async fn perform(&self, action: Action) -> Option<Input> {
        let host = &self.cluster.host;
        match action {
            Action::Release(node) => {
                let readers = lock(&self.readers).remove(&node);
                release(&self.cluster, readers.unwrap_or_default());
                None
            }
            Action::Commit(node) => {
                let _pass = self.cluster.gate.commit().await;
                probe!(host, "txn.one_phase", self.at(&node));
                let reply = self.end(&node, &format!("{UNLESS_ABORTED}COMMIT"), PREPARE_TIMEOUT).await;
                probe!(host, "txn.one_phase_done", self.at(&node));
                Some(Input::Committed(node, reply))
            }
            Action::Prepare(node) => {
                probe!(host, "txn.preparing", self.at(&node));
                let reply = self.prepare(&node).await;
                if reply == Reply::Done {
                    probe!(host, "txn.prepared", self.at(&node));
                }
                Some(Input::Prepared(node, reply))
            }
            Action::Rollback(node) => {
                self.roll_back(&node).await;
                Some(Input::RolledBack(node))
            }
            Action::RollbackPrepared(node) => {
                self.roll_back_prepared(&node).await;
                probe!(host, "txn.rolled_back", self.at(&node));
                Some(Input::RolledBack(node))
            }
            Action::Decide(participants) => Some(Input::Decided(self.decide(participants).await)),
            Action::CommitPrepared(node) => {
                let confirmed = self.commit_prepared(&node).await;
                if confirmed {
                    self.registration.confirmed(&node);
                    probe!(host, "txn.confirmed", self.at(&node));
                } else {
                    self.registration.unresolved(&node);
                    probe!(host, "txn.unresolved", self.at(&node));
                }
                Some(Input::CommittedPrepared(node, confirmed))
            }
            Action::Forget => {
                probe!(host, "txn.committed", self.registration.gid().short());
                if let Err(error) = self.cluster.store.forget(&self.registration.gid().to_string()).await {
                    tracing::warn!(%error, gid = %self.registration.gid(), "a finished decision could not be removed");
                }
                None
            }
            Action::Answer(answer) => {
                lock(&self.pass).take();
                lock(&self.catalog).take();
                if let Some(sender) = lock(&self.answer).take() {
                    let _ = sender.send(answer);
                }
                None
            }
        }
    }
}

impl Hands {
    /// For probes: which transaction, on which participant.
    fn at<'a>(&'a self, participant: &'a str) -> impl fmt::Display + 'a {
        place(self.registration.gid(), &self.cluster, participant)
    }

    /// Runs a statement that ends the remote transaction.
    async fn end(&self, node: &str, sql: &str, limit: Duration) -> Reply {
        let Some(slot) = self.writers.get(node) else { return Reply::Refused(no_such_participant(node)) };
        let mut member = slot.lock().await;
        match self.cluster.host.timeout(limit, member.end(sql)).await {
            Ok(answer) => reply(answer),
            Err(_) => Reply::Lost(no_answer(node, limit)),
        }
    }

    async fn prepare(&self, node: &str) -> Reply {
        let gid = self.registration.gid().of(node);
        let reply = if node == LOCAL {
            match &mut *self.local.lock().await {
                Some(local) => reply(local.prepare(&gid).await),
                None => Reply::Refused(no_such_participant(node)),
            }
        } else {
            let sql = match sabotage!("commit.one_phase") {
                false => format!("{UNLESS_ABORTED}PREPARE TRANSACTION {}", quote_literal(&gid)),
                true => format!("{UNLESS_ABORTED}COMMIT"),
            };
            self.end(node, &sql, PREPARE_TIMEOUT).await
        };
        if let Reply::Lost(_) = reply {
            self.registration.leftover(node);
        }
        reply
    }

    async fn roll_back(&self, node: &str) {
        if node == LOCAL {
            if let Some(local) = &mut *self.local.lock().await {
                local.rollback().await;
            }
        } else if let Some(slot) = self.writers.get(node) {
            roll_back(&self.cluster, slot).await;
        }
    }

    async fn roll_back_prepared(&self, node: &str) {
        let gid = self.registration.gid().of(node);
        let done = if node == LOCAL {
            self.cluster.engine.rollback_prepared(&gid).await
        } else {
            self.run_outside(node, &format!("ROLLBACK PREPARED {}", quote_literal(&gid)), ROLLBACK_TIMEOUT).await
        };
        if done.is_err() {
            self.registration.leftover(node);
        }
    }

    async fn decide(&self, participants: Vec<String>) -> Durability {
        let store = &self.cluster.store;
        let changes = lock(&self.catalog).as_mut().map(|held| std::mem::take(&mut held.changes)).unwrap_or_default();
        // Found out before anything is written: afterwards nobody could tell whether it was.
        if let Err(error) = fits(&store.state(), &changes) {
            return Durability::Failed(error);
        }
        let pass = self.cluster.gate.commit().await;
        *lock(&self.pass) = (!sabotage!("commit.gate")).then_some(pass);
        probe!(self.cluster.host, "txn.before_decision", self.registration.gid().short());
        self.registration.deciding(&participants, self.changes_catalog);
        let gid = self.registration.gid().to_string();
        let decision = (!participants.is_empty()).then_some(Decision { gid, participants });
        match store.commit(changes, decision).await {
            Ok(()) => {
                self.registration.decided(true);
                if self.changes_catalog {
                    self.cluster.nodes.set(&store.state().nodes);
                }
                probe!(self.cluster.host, "txn.decided", self.registration.gid().short());
                Durability::Durable
            }
            Err(error) if error.kind() == Kind::Unknown => {
                self.registration.undecidable();
                probe!(self.cluster.host, "txn.in_doubt", self.registration.gid().short());
                Durability::Unknown(error)
            }
            Err(error) => {
                self.registration.decided(false);
                Durability::Failed(error)
            }
        }
    }

    /// Whether the participant is known to have committed.
    async fn commit_prepared(&self, node: &str) -> bool {
        let is_last = self.writers.len() > 1 && self.writers.keys().next_back().is_some_and(|last| last == node);
        if is_last && sabotage!("commit.participant") {
            return true;
        }
        if buggify!(self.cluster.host, "commit.slow_phase_two") {
            self.cluster.host.sleep(SLOW).await;
        }
        let gid = self.registration.gid().of(node);
        let done = if node == LOCAL {
            self.cluster.engine.commit_prepared(&gid).await
        } else {
            self.run_outside(node, &format!("COMMIT PREPARED {}", quote_literal(&gid)), COMMIT_PREPARED_TIMEOUT).await
        };
        match done {
            Ok(()) => !buggify!(self.cluster.host, "commit.unconfirmed"),
            Err(error) if error.code() == codes::UNDEFINED_OBJECT => {
                // It had prepared, and we alone may end it: somebody has interfered by hand.
                tracing::error!(%gid, node, "a prepared transaction has disappeared before it was committed");
                true
            }
            Err(error) => {
                tracing::warn!(%gid, node, %error, "a committed transaction is left to the resolver");
                false
            }
        }
    }

    async fn run_outside(&self, node: &str, sql: &str, limit: Duration) -> Result<()> {
        let slot = self.writers.get(node).ok_or_else(|| no_such_participant(node))?;
        let mut member = slot.lock().await;
        let done = self.cluster.host.timeout(limit, member.run_outside(sql)).await;
        done.unwrap_or_else(|_| Err(no_answer(node, limit)))
    }
}

/// For probes: `<transaction> on <node>`, this node being called by its name as the others are.
pub(super) fn place<'a>(gid: &'a Gid, cluster: &'a Cluster, participant: &'a str) -> impl fmt::Display + 'a {
    let node = if participant == LOCAL { cluster.host.name() } else { participant };
    fmt::from_fn(move |f| write!(f, "{} on {node}", gid.short()))
}

fn lock<T>(cell: &Mutex<T>) -> MutexGuard<'_, T> {
    cell.lock().expect("nothing panics while it holds this")
}

fn fits(state: &Arc<State>, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut trial = State::clone(state);
    changes.iter().try_for_each(|change| trial.apply(change))
}

/// A server that answers with a fault of its own machinery may have done what it was asked nevertheless.
fn reply(answer: Result<()>) -> Reply {
    match answer {
        Ok(()) => Reply::Done,
        Err(error) if is_loss(&error) || matches!(error.code().class(), "53" | "57" | "58" | "XX") => {
            Reply::Lost(error)
        }
        Err(error) => Reply::Refused(error),
    }
}

fn no_answer(node: &str, limit: Duration) -> Error {
    Error::new(codes::CONNECTION_FAILURE, format!("data node \"{node}\" did not answer in time"))
        .with_detail(format!("No answer within {} s.", limit.as_secs()))
}

fn no_such_participant(node: &str) -> Error {
    Error::internal(format!("\"{node}\" takes no part in the transaction"))
}

/// Ends the snapshots of readers in the background; their connections return to the pool.
pub(super) fn release(cluster: &Arc<Cluster>, readers: Vec<Arc<Slot>>) {
    if readers.is_empty() {
        return;
    }
    let host = cluster.host.clone();
    cluster.host.spawn("release", async move {
        let releases = readers.iter().map(|slot| async {
            // Rows still on their way are dropped by whoever reads them; a reader in use is closed with its stream.
            if let Some(mut member) = slot.try_lock()
                && member.is_open()
                && member.broken().is_none()
            {
                let _ = host.timeout(ROLLBACK_TIMEOUT, member.end("COMMIT")).await;
            }
        });
        join_all(releases).await;
    });
}

/// Rolls back everywhere at once.
pub(super) async fn rollback(cluster: &Arc<Cluster>, work: Work) {
    release(cluster, work.readers.into_values().flatten().collect());
    join_all(work.writers.values().map(|slot| roll_back(cluster, slot))).await;
    drop(work.catalog);
}

/// A node that does not answer rolls back by itself when the connection closes.
async fn roll_back(cluster: &Arc<Cluster>, slot: &Slot) {
    let rollback = async {
        let mut member = slot.lock().await;
        if member.is_open() {
            // May follow an unfinished COPY or query: the server takes it after those.
            let _ = member.end(if sabotage!("rollback.sent") { "" } else { "ROLLBACK" }).await;
        }
    };
    let _ = cluster.host.timeout(ROLLBACK_TIMEOUT, rollback).await;
}

#[cfg(test)]
mod tests;
