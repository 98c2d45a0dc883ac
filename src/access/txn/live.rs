//! Transactions that have not come to their end: what the resolver must leave alone, and what readers must wait for.
//!
//! Three sets, all in memory, all rebuilt at start from the decisions in the store:
//!
//! * *live*: a session's commit is at work on it. From before the first PREPARE is sent until the outcome is handed
//!   over; a PREPARE still in flight belongs to a live transaction, whatever a node's list says.
//! * *pending*: decided to commit, but not confirmed by all nodes. A pending transaction *blocks* a node when its
//!   phase two did not end in time (the node might be missing rows that a client was told are stored), or when it
//!   changed the catalog (the catalog already names tables that the node does not show yet).
//! * *suspects*: nodes that may hold something for the resolver to end.

use super::gid::Gid;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::limits::RESOLUTION_WAIT_MAX;
use crate::sabotage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

/// Transactions of this access node that have not ended.
pub struct Live {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Mutex<Registry>,
    /// Moves whenever something stops blocking.
    changed: watch::Sender<()>,
    /// Wakes the resolver.
    kick: Notify,
}

#[derive(Default)]
struct Registry {
    last_number: u64,
    live: BTreeSet<Gid>,
    /// The decision is being stored, or the store could not say whether it is: nobody may touch them. With their
    /// participants.
    in_doubt: BTreeMap<Gid, Vec<String>>,
    /// By the decision's gid.
    pending: BTreeMap<String, Pending>,
    suspects: BTreeSet<String>,
}

struct Pending {
    unconfirmed: BTreeSet<String>,
    blocks: bool,
}

impl Default for Live {
    fn default() -> Live {
        let shared = Shared { registry: Mutex::default(), changed: watch::Sender::new(()), kick: Notify::new() };
        Live { shared: Arc::new(shared) }
    }
}

impl Live {
    /// A new transaction, live until the registration is dropped.
    pub fn register(&self, cluster: &str, incarnation: u64) -> Registration {
        let mut registry = self.shared.lock();
        registry.last_number += 1;
        let gid = Gid { cluster: cluster.into(), incarnation, number: registry.last_number };
        registry.live.insert(gid.clone());
        Registration { gid, shared: self.shared.clone(), leaves_work: AtomicBool::new(false) }
    }

    /// Whether the resolver must leave it alone.
    pub fn is_live(&self, gid: &Gid) -> bool {
        let registry = self.shared.lock();
        registry.live.contains(gid) || registry.in_doubt.contains_key(gid)
    }

    /// Takes over a decision found in the store: its participants block until they confirm.
    pub fn adopt(&self, decision: &str, participants: &[String]) {
        let mut registry = self.shared.lock();
        let unconfirmed: BTreeSet<String> = participants.iter().cloned().collect();
        registry.suspects.extend(unconfirmed.iter().cloned());
        registry.pending.insert(decision.into(), Pending { unconfirmed, blocks: true });
    }

    /// Transactions whose commit has ended without anybody knowing how.
    pub fn has_doubts(&self) -> bool {
        let registry = self.shared.lock();
        registry.in_doubt.keys().any(|gid| !registry.live.contains(gid))
    }

    /// The store can be read again: what `is_decided` knows becomes a decision to carry out, the rest is to be rolled
    /// back.
    pub fn settle_doubts(&self, is_decided: impl Fn(&str) -> bool) {
        let mut registry = self.shared.lock();
        let Registry { live, in_doubt, pending, suspects, .. } = &mut *registry;
        in_doubt.retain(|gid, participants| {
            if live.contains(gid) {
                return true;
            }
            suspects.extend(participants.iter().cloned());
            let decision = gid.to_string();
            if is_decided(&decision) {
                let unconfirmed = participants.iter().cloned().collect();
                pending.insert(decision, Pending { unconfirmed, blocks: true });
            }
            false
        });
    }

    /// `node` has committed the decided transaction. Returns whether all participants have by now.
    pub fn confirm(&self, decision: &str, node: &str) -> bool {
        self.shared.confirm(decision, node)
    }

    /// Whether a decision that the store held a moment ago has been confirmed by all: nobody is at work on it, nobody
    /// waits for it.
    pub fn is_finished(&self, decision: &str) -> bool {
        let registry = self.shared.lock();
        let at_work = |gid: &Gid| gid.to_string() == decision;
        !registry.pending.contains_key(decision)
            && !registry.live.iter().any(at_work)
            && !registry.in_doubt.keys().any(at_work)
    }

    /// Pending participants by decision, for the resolver.
    pub fn pending(&self) -> BTreeMap<String, Vec<String>> {
        let of = |pending: &Pending| pending.unconfirmed.iter().cloned().collect();
        self.shared.lock().pending.iter().map(|(gid, pending)| (gid.clone(), of(pending))).collect()
    }

    /// Asks the resolver to look at `node` soon.
    pub fn suspect(&self, node: &str) {
        self.shared.lock().suspects.insert(node.into());
        self.shared.kick.notify_one();
    }

    /// Nodes to look at; the caller gives back by [`Live::suspect_later`] those it could not clear.
    pub fn take_suspects(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.shared.lock().suspects)
    }

    /// Puts `node` on the list without waking the resolver: its next regular round is soon enough.
    pub fn suspect_later(&self, node: &str) {
        self.shared.lock().suspects.insert(node.into());
    }

    /// Resolves when somebody has asked for the resolver.
    pub fn kicked(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.kick.notified().await }
    }

    /// Waits while a decided transaction blocks `node`, for at most [`RESOLUTION_WAIT_MAX`].
    /// Errors: `55000` naming the node.
    pub async fn settled(&self, host: &Host, node: &str) -> Result<()> {
        let mut changes = self.shared.changed.subscribe();
        if !self.blocks(node) {
            return Ok(());
        }
        self.shared.kick.notify_one();
        let free = async {
            while self.blocks(node) {
                changes.changed().await.expect("the sender lives as long as self");
            }
        };
        host.timeout(RESOLUTION_WAIT_MAX, free).await.map_err(|_| unresolved(node))
    }

    /// A decided transaction blocks `node` right now.
    pub fn blocks(&self, node: &str) -> bool {
        let blocks = |pending: &Pending| pending.blocks && pending.unconfirmed.contains(node);
        self.shared.lock().pending.values().any(blocks) && !sabotage!("node.blocked")
    }
}

fn unresolved(node: &str) -> Error {
    let message = format!("data node \"{node}\" has not confirmed a committed transaction");
    Error::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail("What it would show could miss rows that are stored.")
        .with_hint(
            "It is resolved in the background as soon as the data node answers: check that it runs, and try again.",
        )
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("nothing panics while it holds the registry")
    }

    fn confirm(&self, decision: &str, node: &str) -> bool {
        let mut registry = self.lock();
        let Some(pending) = registry.pending.get_mut(decision) else { return true };
        pending.unconfirmed.remove(node);
        let all = pending.unconfirmed.is_empty();
        if all {
            registry.pending.remove(decision);
        }
        drop(registry);
        self.changed.send_replace(());
        all
    }
}

/// One live transaction. Dropping it hands what is left to the resolver.
pub struct Registration {
    gid: Gid,
    shared: Arc<Shared>,
    leaves_work: AtomicBool,
}

impl Registration {
    pub fn gid(&self) -> &Gid {
        &self.gid
    }

    /// Call *before* the decision is stored: from then on it may be durable. `blocks`: see the module's comment.
    pub fn deciding(&self, participants: &[String], blocks: bool) {
        let mut registry = self.shared.lock();
        registry.in_doubt.insert(self.gid.clone(), participants.to_vec());
        if !participants.is_empty() {
            let unconfirmed = participants.iter().cloned().collect();
            registry.pending.insert(self.gid.to_string(), Pending { unconfirmed, blocks });
        }
    }

    /// The decision is certainly durable, or (`false`) certainly not. Not called when nobody knows.
    pub fn decided(&self, durable: bool) {
        let mut registry = self.shared.lock();
        registry.in_doubt.remove(&self.gid);
        if !durable {
            registry.pending.remove(&self.gid.to_string());
            drop(registry);
            self.shared.changed.send_replace(());
        }
    }

    /// Nobody knows whether the decision is durable. Readers need not wait: nobody was told that it is stored.
    pub fn undecidable(&self) {
        self.shared.lock().pending.remove(&self.gid.to_string());
        self.shared.changed.send_replace(());
    }

    /// `node` has confirmed its commit.
    pub fn confirmed(&self, node: &str) {
        self.shared.confirm(&self.gid.to_string(), node);
    }

    /// `node` did not confirm its commit in time: it is not read until the resolver has made it.
    pub fn unresolved(&self, node: &str) {
        let mut registry = self.shared.lock();
        if let Some(pending) = registry.pending.get_mut(&self.gid.to_string()) {
            pending.blocks = true;
        }
        drop(registry);
        self.leftover(node);
    }

    /// `node` may have prepared, or not have heard of the rollback.
    pub fn leftover(&self, node: &str) {
        self.leaves_work.store(true, Ordering::Relaxed);
        self.shared.lock().suspects.insert(node.into());
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.lock().live.remove(&self.gid);
        if self.leaves_work.load(Ordering::Relaxed) {
            self.shared.kick.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_transaction_is_live_until_its_registration_is_dropped() {
        let live = Live::default();
        let registration = live.register("c", 1);
        let gid = registration.gid().clone();
        assert!(live.is_live(&gid));
        drop(registration);
        assert!(!live.is_live(&gid));
        assert_ne!(live.register("c", 1).gid(), &gid);
    }

    #[test]
    fn a_decision_in_doubt_stays_untouchable() {
        let live = Live::default();
        let registration = live.register("c", 1);
        let gid = registration.gid().clone();
        registration.deciding(&names(&["a"]), false);
        registration.undecidable();
        assert!(!live.has_doubts(), "its commit has not ended");
        drop(registration);
        assert!(live.is_live(&gid) && live.has_doubts());
        assert!(!live.blocks("a"));
        live.settle_doubts(|decision| decision == gid.to_string());
        assert!(!live.is_live(&gid) && !live.has_doubts());
        assert!(live.blocks("a"), "it was decided after all");
    }

    #[test]
    fn an_unconfirmed_node_blocks_until_it_confirms() {
        let live = Live::default();
        let registration = live.register("c", 1);
        let decision = registration.gid().to_string();
        registration.deciding(&names(&["a", "b"]), false);
        registration.decided(true);
        assert!(!live.blocks("a"), "a phase two that runs in time blocks nobody");
        registration.confirmed("b");
        registration.unresolved("a");
        drop(registration);
        assert!(live.blocks("a") && !live.blocks("b"));
        assert_eq!(live.take_suspects(), BTreeSet::from(["a".to_string()]));
        assert!(live.confirm(&decision, "a"));
        assert!(!live.blocks("a"));
    }

    #[test]
    fn catalog_changes_block_their_nodes_from_before_they_are_visible() {
        let live = Live::default();
        let registration = live.register("c", 1);
        registration.deciding(&names(&["a"]), true);
        assert!(live.blocks("a"));
        registration.decided(false);
        assert!(!live.blocks("a"));
    }

    #[test]
    fn a_decision_found_at_start_blocks_all_its_nodes() {
        let live = Live::default();
        live.adopt("hypertile-c-1-1", &names(&["", "a"]));
        assert!(live.blocks("a") && live.blocks(""));
        assert!(!live.confirm("hypertile-c-1-1", "a"));
        assert!(live.confirm("hypertile-c-1-1", ""));
    }
}
