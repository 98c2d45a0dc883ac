//! The commit gate: phase two holds it shared, a multi-node read holds it for the instant in which its snapshots open.
//!
//! A commit reaches its nodes one after the other, and so do the snapshots of a read. If the two overlap, the read
//! may see a transaction on one node and miss it on another. So they take turns: any number of commits at a time, or
//! any number of snapshot openings at a time, never both (a *group lock*). Readers do not wait for readers, nor
//! commits for commits.
//!
//! Fairness: who finds others of the opposite kind waiting queues up behind them, and a turn admits all who wait for
//! that kind. So nobody waits for more than the commits under way plus one turn of the other kind, and both kinds of
//! turns are bounded by deadlines of their holders.

use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// One per access-node database.
#[derive(Default)]
pub struct Gate {
    shared: Arc<Mutex<Turns>>,
}

#[derive(Default)]
struct Turns {
    /// Whose turn it is while `inside` is not zero.
    kind: Kind,
    inside: usize,
    waiting: Vec<(Kind, oneshot::Sender<Pass>)>,
    /// Commits let in so far: two snapshots opened at the same count are the same snapshot.
    commits: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Commit,
    Snapshot,
}

/// The right to commit, or to open snapshots, until it is dropped.
pub struct Pass {
    shared: Arc<Mutex<Turns>>,
    epoch: u64,
}

impl Gate {
    /// Waits until no snapshots are being opened.
    pub async fn commit(&self) -> Pass {
        self.enter(Kind::Commit).await
    }

    /// Waits until no commit is under way.
    pub async fn snapshot(&self) -> Pass {
        self.enter(Kind::Snapshot).await
    }

    /// Commits let in so far, unless one is under way right now.
    pub fn quiet_epoch(&self) -> Option<u64> {
        let turns = lock(&self.shared);
        let commit_inside = turns.inside > 0 && turns.kind == Kind::Commit;
        (!commit_inside).then_some(turns.commits)
    }

    async fn enter(&self, kind: Kind) -> Pass {
        let waiter = {
            let mut turns = lock(&self.shared);
            let free = turns.inside == 0 || turns.kind == kind;
            // Nobody of our own kind can be waiting without one of the other kind in front.
            if free && turns.waiting.is_empty() {
                return turns.admit(kind, &self.shared);
            }
            let (sender, receiver) = oneshot::channel();
            turns.waiting.push((kind, sender));
            receiver
        };
        waiter.await.expect("a waiter leaves the queue only with a pass")
    }
}

impl Pass {
    /// Commits that had been let in when this pass was given out.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Turns {
    fn admit(&mut self, kind: Kind, shared: &Arc<Mutex<Turns>>) -> Pass {
        self.kind = kind;
        self.inside += 1;
        self.commits += u64::from(kind == Kind::Commit);
        Pass { shared: shared.clone(), epoch: self.commits }
    }

    /// The gate has become free: everybody who waits for the same as the first in the queue may come in.
    fn next_turn(&mut self, shared: &Arc<Mutex<Turns>>) -> Vec<(oneshot::Sender<Pass>, Pass)> {
        let Some((kind, _)) = self.waiting.first() else { return Vec::new() };
        let kind = *kind;
        let (admitted, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(waits_for, _)| *waits_for == kind);
        self.waiting = waiting;
        admitted.into_iter().map(|(_, sender)| (sender, self.admit(kind, shared))).collect()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let admitted = {
            let mut turns = lock(&self.shared);
            turns.inside -= 1;
            if turns.inside > 0 { Vec::new() } else { turns.next_turn(&self.shared) }
        };
        for (waiter, pass) in admitted {
            // A waiter may have given up: its pass then comes back and is dropped here, outside the lock it takes.
            let _ = waiter.send(pass);
        }
    }
}

fn lock(turns: &Mutex<Turns>) -> std::sync::MutexGuard<'_, Turns> {
    turns.lock().expect("nothing panics while it holds the turns")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    #[test]
    fn one_kind_shares_and_excludes_the_other() {
        let gate = Gate::default();
        let first = now(gate.commit()).unwrap();
        let second = now(gate.commit()).unwrap();
        let mut read = Box::pin(gate.snapshot());
        assert!(now(&mut read).is_none());
        drop(first);
        assert!(now(&mut read).is_none());
        drop(second);
        let read = now(&mut read).expect("no commit is left");
        let other_read = now(gate.snapshot()).unwrap();
        assert_eq!(read.epoch(), other_read.epoch());
        assert!(now(gate.commit()).is_none());
    }

    #[test]
    fn a_waiting_kind_is_not_overtaken_for_ever() {
        let gate = Gate::default();
        let commit = now(gate.commit()).unwrap();
        let mut read = Box::pin(gate.snapshot());
        let mut other_read = Box::pin(gate.snapshot());
        assert!(now(&mut read).is_none());
        let mut late_commit = Box::pin(gate.commit());
        assert!(now(&mut late_commit).is_none(), "a commit behind a waiting read queues up");
        assert!(now(&mut other_read).is_none());
        drop(commit);
        let (read, other_read) = (now(&mut read).unwrap(), now(&mut other_read).unwrap());
        assert!(now(&mut late_commit).is_none());
        drop((read, other_read));
        assert!(now(&mut late_commit).is_some());
    }

    #[test]
    fn a_waiter_that_gave_up_blocks_nobody() {
        let gate = Gate::default();
        let commit = now(gate.commit()).unwrap();
        {
            let mut read = Box::pin(gate.snapshot());
            assert!(now(&mut read).is_none());
        }
        let mut late_commit = Box::pin(gate.commit());
        assert!(now(&mut late_commit).is_none());
        drop(commit);
        assert!(now(&mut late_commit).is_some());
    }

    #[test]
    fn the_epoch_moves_with_every_commit() {
        let gate = Gate::default();
        let before = now(gate.snapshot()).unwrap().epoch();
        drop(now(gate.commit()).unwrap());
        assert_ne!(now(gate.snapshot()).unwrap().epoch(), before);
    }
}
