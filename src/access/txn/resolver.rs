//! The resolver: finishes what a crash or a lost connection left prepared.
//!
//! Looks at a node when somebody suspects it of leftovers, and at all nodes at start and once in a while. Of the
//! prepared transactions that a node lists it touches only those of this cluster, and of these only those that are
//! not live. The rule is [`verdict`]: a decision means commit, its absence rollback (presumed abort).
//!
//! The order of its looks matters:
//!
//! * *Is it live?* is asked after the node's list was read, and *is it decided?* after that. A transaction that was
//!   listed and is not live any more has come to its end, so a decision, if there ever was one, was stored before. (If
//!   it has been forgotten since, all participants have committed, and ROLLBACK PREPARED finds nothing.)
//! * What was pending is noted *before* the node's list is read. A transaction pending then was prepared there; if it
//!   is not in the list, it has been committed and only the answer was lost.

use super::driver::place;
use super::gid::Gid;
use super::machine::LOCAL;
use crate::access::cluster::Cluster;
use crate::access::remote::Lease;
use crate::error::{Error, Result, codes};
use crate::ids::quote_literal;
use crate::limits::{PREPARE_TIMEOUT, RESOLVER_INTERVAL, RESOLVER_SWEEP_INTERVAL};
use crate::{buggify, probe, sabotage};
use futures::future::{join_all, select};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the resolver may dawdle where a simulation asks for it.
const SLOW: Duration = Duration::from_secs(1);

/// What to do with a prepared transaction of this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Commit,
    Rollback,
    Leave,
}

/// `incarnation`: ours. `live`: a commit is at work on it, or its decision is in doubt. `decided`: the store holds a
/// decision for it.
pub fn verdict(gid: &Gid, incarnation: u64, live: bool, decided: bool) -> Verdict {
    if live {
        Verdict::Leave
    } else if decided {
        Verdict::Commit
    } else if gid.incarnation > incarnation {
        // Our catalog is an old copy: what was decided after it was made is not for us to guess.
        Verdict::Leave
    } else {
        Verdict::Rollback
    }
}

/// Runs until the database is closed.
pub async fn run(cluster: Weak<Cluster>) {
    let mut swept_at = None;
    loop {
        let Some(cluster) = cluster.upgrade() else { return };
        let now = cluster.host.monotonic();
        let due = swept_at.is_none_or(|at| now.saturating_sub(at) >= RESOLVER_SWEEP_INTERVAL);
        let sweep = due || buggify!(cluster.host, "resolver.sweep");
        if sweep {
            swept_at = Some(now);
        }
        if buggify!(cluster.host, "resolver.slow") {
            cluster.host.sleep(SLOW).await;
        }
        round(&cluster, sweep).await;
        let (pause, kicked) = (cluster.host.sleep(RESOLVER_INTERVAL), cluster.live.kicked());
        drop(cluster);
        select(pin!(kicked), pause).await;
    }
}

/// Resolves the database's own prepared transactions. Called before the first session: local tables are read without
/// asking whether something is pending.
pub async fn recover_local(cluster: &Arc<Cluster>) -> Result<()> {
    Resolving::of(cluster).local().await
}

async fn round(cluster: &Arc<Cluster>, sweep: bool) {
    if cluster.live.has_doubts() && cluster.store.settle().await.is_ok() {
        let decisions = cluster.store.decisions();
        cluster.live.settle_doubts(|gid| decisions.iter().any(|decision| decision.gid == gid));
        probe!(cluster.host, "resolver.settled_doubts");
    }
    forget_finished(cluster).await;
    let mut nodes = cluster.live.take_suspects();
    let state = cluster.store.state();
    if sweep {
        nodes.extend(state.nodes.iter().map(|node| node.name.clone()));
        nodes.insert(LOCAL.into());
    }
    let resolving = Resolving::of(cluster);
    join_all(nodes.iter().map(|node| resolving.look_at(node))).await;
}

/// Removes decisions that all participants have confirmed and that are in the store all the same: their removal failed
/// with the disk, or was undone, not being synced, when the store was opened again after another failure. The store is
/// read first: what becomes live later is not in it.
async fn forget_finished(cluster: &Arc<Cluster>) {
    for decision in cluster.store.decisions() {
        if cluster.live.is_finished(&decision.gid)
            && let Err(error) = cluster.store.forget(&decision.gid).await
        {
            tracing::warn!(%error, gid = decision.gid, "a finished decision could not be removed");
        }
    }
}

/// One round's view.
struct Resolving<'a> {
    cluster: &'a Arc<Cluster>,
    /// Noted before any list is read.
    pending: BTreeMap<String, Vec<String>>,
}

impl<'a> Resolving<'a> {
    fn of(cluster: &'a Arc<Cluster>) -> Resolving<'a> {
        Resolving { cluster, pending: cluster.live.pending() }
    }

    async fn look_at(&self, node: &str) {
        let cluster = self.cluster;
        let state = cluster.store.state();
        let resolved = if node == LOCAL {
            self.local().await
        } else if let Some(data) = state.node(node) {
            let user = data.user.as_deref().unwrap_or(&data.owner);
            let work = self.remote(node, user);
            cluster.host.timeout(PREPARE_TIMEOUT, work).await.unwrap_or_else(|_| Err(Error::internal("no answer")))
        } else {
            // The node was deleted: nobody will read what it holds.
            self.confirm_absent(node, &BTreeSet::new()).await;
            Ok(())
        };
        if let Err(error) = resolved {
            tracing::debug!(node, %error, "the resolver will come again");
            cluster.live.suspect_later(node);
        }
    }

    /// Errors: whatever keeps the node from being resolved completely; it is tried again.
    async fn remote(&self, node: &str, user: &str) -> Result<()> {
        let nodes = &self.cluster.nodes;
        let lease = nodes.connect(node, user).await?;
        let rows = lease.texts("SELECT gid, owner FROM pg_prepared_xacts WHERE database = current_database()").await?;
        let listed: Vec<(String, String)> = rows.into_iter().filter_map(text_pair).collect();
        let mut outcome = Ok(());
        for (gid, owner) in &listed {
            // PostgreSQL lets only the owner (or a superuser) end a prepared transaction.
            let other = if owner == user { None } else { nodes.connect(node, owner).await.ok() };
            outcome = outcome.and(self.resolve(node, gid, Ender::Remote(other.as_ref().unwrap_or(&lease))).await);
        }
        self.confirm_absent(node, &listed.into_iter().map(|(gid, _)| gid).collect()).await;
        outcome
    }

    async fn local(&self) -> Result<()> {
        let listed: BTreeSet<String> =
            self.cluster.engine.prepared().into_iter().map(|prepared| prepared.gid).collect();
        let mut outcome = Ok(());
        for gid in &listed {
            outcome = outcome.and(self.resolve(LOCAL, gid, Ender::Local).await);
        }
        self.confirm_absent(LOCAL, &listed).await;
        outcome
    }

    /// Ends one prepared transaction if it is ours to end.
    async fn resolve(&self, node: &str, text: &str, ender: Ender<'_>) -> Result<()> {
        let cluster = self.cluster;
        let store = &cluster.store;
        let Some((gid, participant)) = self.parse(node, text) else { return Ok(()) };
        let live = cluster.live.is_live(&gid) && !sabotage!("resolver.live");
        let decision = gid.to_string();
        let decided = store.decisions().iter().any(|known| known.gid == decision);
        match verdict(&gid, store.incarnation(), live, decided) {
            Verdict::Commit => {
                self.end(&ender, text, true).await?;
                probe!(cluster.host, "resolver.commit", place(&gid, cluster, &participant));
                tracing::info!(gid = text, node, "committed a prepared transaction");
                self.confirm(&decision, &participant).await;
                Ok(())
            }
            Verdict::Rollback => {
                self.end(&ender, text, false).await?;
                probe!(cluster.host, "resolver.rollback", place(&gid, cluster, &participant));
                tracing::info!(gid = text, node, "rolled back a prepared transaction");
                Ok(())
            }
            // Whoever is at work on it reports what it leaves behind.
            Verdict::Leave => Ok(()),
        }
    }

    /// Takes a gid apart if it is ours to end.
    fn parse(&self, node: &str, text: &str) -> Option<(Gid, String)> {
        if node == LOCAL {
            // Under another cluster's name it was prepared before the last data node went or the first one came.
            return Gid::parse_any(text).filter(|(_, participant)| participant == LOCAL);
        }
        let state = self.cluster.store.state();
        state.cluster.as_deref().and_then(|cluster| Gid::parse(text, cluster))
    }

    async fn end(&self, ender: &Ender<'_>, gid: &str, commit: bool) -> Result<()> {
        let ended = match ender {
            Ender::Local if commit => self.cluster.engine.commit_prepared(gid).await,
            Ender::Local => self.cluster.engine.rollback_prepared(gid).await,
            Ender::Remote(lease) => {
                let verb = if commit { "COMMIT" } else { "ROLLBACK" };
                lease.run(&format!("{verb} PREPARED {}", quote_literal(gid))).await
            }
        };
        match ended {
            // Ended since the list was read.
            Err(error) if error.code() == codes::UNDEFINED_OBJECT => Ok(()),
            ended => ended,
        }
    }

    /// Decided transactions that `node` does not list any more have committed there.
    async fn confirm_absent(&self, node: &str, listed: &BTreeSet<String>) {
        for (decision, unconfirmed) in &self.pending {
            let waits_for_node = unconfirmed.iter().any(|name| name == node);
            let gid = Gid::parse_any(&format!("{decision}-"));
            let ended = gid.filter(|(gid, _)| !self.cluster.live.is_live(gid));
            if let Some((gid, _)) = ended
                && waits_for_node
                && !listed.contains(&format!("{decision}-{node}"))
            {
                probe!(self.cluster.host, "resolver.confirmed", place(&gid, self.cluster, node));
                self.confirm(decision, node).await;
            }
        }
    }

    async fn confirm(&self, decision: &str, node: &str) {
        if self.cluster.live.confirm(decision, node)
            && let Err(error) = self.cluster.store.forget(decision).await
        {
            tracing::warn!(%error, gid = decision, "a finished decision could not be removed");
        }
    }
}

/// Through what a prepared transaction is ended.
enum Ender<'a> {
    Local,
    Remote(&'a Lease),
}

fn text_pair(row: Vec<Option<String>>) -> Option<(String, String)> {
    let mut texts = row.into_iter().flatten();
    Some((texts.next()?, texts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gid(incarnation: u64) -> Gid {
        Gid { cluster: "c".into(), incarnation, number: 1 }
    }

    #[test]
    fn a_decision_means_commit_and_none_means_rollback() {
        for incarnation in [3, 7] {
            assert_eq!(verdict(&gid(incarnation), 7, false, true), Verdict::Commit);
            assert_eq!(verdict(&gid(incarnation), 7, false, false), Verdict::Rollback);
        }
    }

    #[test]
    fn a_live_transaction_is_left_alone_whatever_is_stored() {
        assert_eq!(verdict(&gid(7), 7, true, false), Verdict::Leave);
        assert_eq!(verdict(&gid(7), 7, true, true), Verdict::Leave);
    }

    #[test]
    fn an_access_node_restored_from_an_old_copy_guesses_nothing() {
        assert_eq!(verdict(&gid(8), 7, false, false), Verdict::Leave);
    }
}
