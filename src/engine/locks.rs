//! What open and prepared transactions hold against each other: unique keys not yet decided, names being created or
//! dropped, and who waits for whom.
//!
//! The rule that makes a uniqueness check sound: a transaction first *reserves* its keys here, then looks at the
//! newest published snapshot. Whoever ends a transaction does it in the opposite order: first the store and its
//! snapshot, then [`Locks::end`]. So of two transactions with the same key at least one sees the other.
//!
//! Keys of rows that were spilled to the store are found there, marked with the transaction's number, and are
//! dropped here: memory stays bounded by what transactions buffer.

use super::keys::KeyBytes;
use crate::error::{Error, Result, codes};
use crate::ids::RelationName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Semaphore;

/// Names one unique constraint: table id, and position in `Table::keys`.
pub(super) type KeySpace = (u64, usize);

#[derive(Default)]
pub(super) struct Locks(Mutex<State>);

#[derive(Default)]
struct State {
    holders: BTreeMap<u64, Holder>,
    keys: BTreeMap<KeySpace, BTreeMap<KeyBytes, u64>>,
    relations: BTreeMap<RelationName, u64>,
    schemas: BTreeMap<String, u64>,
    /// Waiting transaction -> the one it waits for.
    waiting: BTreeMap<u64, u64>,
}

/// A transaction that has written something and is not yet decided.
struct Holder {
    /// Closed when the transaction ends. A closed semaphore is a latch: whoever comes late does not wait, and
    /// all who wait are woken in the order in which they came (deterministic, unlike `watch`).
    ended: Arc<Semaphore>,
    keys: BTreeMap<KeySpace, BTreeSet<KeyBytes>>,
}

/// Why keys could not be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// By an earlier row of the same transaction: index into the keys asked for.
    Own(usize),
    /// By another transaction that is not decided yet.
    Other(u64),
}

impl Locks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no code panics while it holds the locks")
    }

    /// Registers a transaction before its first write; again is fine.
    pub fn enter(&self, transaction: u64) {
        self.state()
            .holders
            .entry(transaction)
            .or_insert_with(|| Holder { ended: Arc::new(Semaphore::new(0)), keys: BTreeMap::new() });
    }

    /// The transaction is decided and its outcome published: everything it held is free, whoever waits goes on.
    pub fn end(&self, transaction: u64) {
        let mut state = self.state();
        let Some(holder) = state.holders.remove(&transaction) else { return };
        for (space, keys) in &holder.keys {
            keys.iter().for_each(|key| state.free_key(space, key));
        }
        state.relations.retain(|_, by| *by != transaction);
        state.schemas.retain(|_, by| *by != transaction);
        state.waiting.remove(&transaction);
        drop(state);
        holder.ended.close();
    }

    pub fn is_open(&self, transaction: u64) -> bool {
        self.state().holders.contains_key(&transaction)
    }

    /// Reserves all keys or none. The transaction must have entered.
    pub fn reserve(&self, transaction: u64, space: KeySpace, keys: &[KeyBytes]) -> Result<(), Taken> {
        let mut state = self.state();
        let reserved = state.keys.entry(space).or_default();
        let mut placed = 0;
        let mut taken = None;
        for (index, key) in keys.iter().enumerate() {
            match reserved.get(key) {
                None => {
                    reserved.insert(key.clone(), transaction);
                    placed += 1;
                }
                Some(holder) if *holder == transaction => taken = Some(Taken::Own(index)),
                Some(holder) => taken = Some(Taken::Other(*holder)),
            }
            if taken.is_some() {
                break;
            }
        }
        if let Some(taken) = taken {
            keys[..placed].iter().for_each(|key| state.free_key(&space, key));
            return Err(taken);
        }
        let holder = state.holders.get_mut(&transaction).expect("a transaction enters before it reserves");
        holder.keys.entry(space).or_default().extend(keys.iter().cloned());
        Ok(())
    }

    /// Gives reserved keys back: their rows are not written after all, or their keys are in the store now.
    pub fn release<'a>(&self, transaction: u64, space: KeySpace, keys: impl IntoIterator<Item = &'a KeyBytes>) {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(holder) = state.holders.get_mut(&transaction) else { return };
        let Some(own) = holder.keys.get_mut(&space) else { return };
        let released = keys.into_iter().filter(|key| own.remove(*key)).collect::<Vec<_>>();
        released.into_iter().for_each(|key| state.free_key(&space, key));
    }

    /// Waits until `holder` has ended. Errors: `40P01` if it, directly or through others, waits for `waiter`.
    pub async fn wait(&self, waiter: u64, holder: u64) -> Result<()> {
        let Some(ended) = self.start_waiting(waiter, holder)? else { return Ok(()) };
        let _waiting = Waiting { locks: self, waiter };
        let _closed = ended.acquire().await;
        Ok(())
    }

    fn start_waiting(&self, waiter: u64, holder: u64) -> Result<Option<Arc<Semaphore>>> {
        let mut state = self.state();
        let Some(ended) = state.holders.get(&holder).map(|h| h.ended.clone()) else { return Ok(None) };
        // Everybody waits for one at most, so the graph is a set of chains: the newest edge closes any circle.
        let mut next = Some(holder);
        while let Some(transaction) = next {
            if transaction == waiter {
                let detail = format!("Transaction {waiter} waits for transaction {holder}, which waits for it.");
                return Err(Error::new(codes::DEADLOCK_DETECTED, "deadlock detected")
                    .with_detail(detail)
                    .with_hint("Run the transaction again."));
            }
            next = state.waiting.get(&transaction).copied();
        }
        state.waiting.insert(waiter, holder);
        Ok(Some(ended))
    }

    /// Holds a relation's name for creating or dropping. Errors: the transaction that holds it, or that creates or
    /// drops its schema: whoever drops a schema must not find that its emptiness was seen too early.
    pub fn hold_relation(&self, transaction: u64, name: &RelationName) -> Result<(), u64> {
        let mut state = self.state();
        let holders = [state.relations.get(name), state.schemas.get(&name.schema)];
        if let Some(other) = holders.into_iter().flatten().find(|holder| **holder != transaction) {
            return Err(*other);
        }
        state.relations.insert(name.clone(), transaction);
        Ok(())
    }

    /// Holds a schema's name for creating or dropping; not while others create or drop relations in it.
    pub fn hold_schema(&self, transaction: u64, name: &str) -> Result<(), u64> {
        let mut state = self.state();
        let inside = state.relations.iter().filter(|(relation, _)| relation.schema == name).map(|(_, holder)| holder);
        if let Some(other) = inside.chain(state.schemas.get(name)).find(|holder| **holder != transaction) {
            return Err(*other);
        }
        state.schemas.insert(name.to_string(), transaction);
        Ok(())
    }
}

impl State {
    fn free_key(&mut self, space: &KeySpace, key: &KeyBytes) {
        if let Some(keys) = self.keys.get_mut(space) {
            keys.remove(key);
            if keys.is_empty() {
                self.keys.remove(space);
            }
        }
    }
}

/// Takes the edge out of the wait graph also when the waiting statement is cancelled.
struct Waiting<'a> {
    locks: &'a Locks,
    waiter: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.locks.state().waiting.remove(&self.waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const SPACE: KeySpace = (1, 0);

    fn key(byte: u8) -> KeyBytes {
        Arc::from([byte].as_slice())
    }

    fn locks(transactions: u64) -> Locks {
        let locks = Locks::default();
        (1..=transactions).for_each(|t| locks.enter(t));
        locks
    }

    #[test]
    fn keys_are_reserved_all_or_none() {
        let locks = locks(2);
        locks.reserve(1, SPACE, &[key(1), key(2)]).unwrap();
        assert_eq!(locks.reserve(2, SPACE, &[key(3), key(2)]), Err(Taken::Other(1)));
        locks.reserve(1, SPACE, &[key(3)]).unwrap();
        assert_eq!(locks.reserve(1, SPACE, &[key(4), key(4)]), Err(Taken::Own(1)));
        assert_eq!(locks.reserve(1, SPACE, &[key(2)]), Err(Taken::Own(0)));
        locks.end(1);
        locks.reserve(2, SPACE, &[key(1), key(2), key(3), key(4)]).unwrap();
    }

    #[test]
    fn released_keys_are_free_again() {
        let locks = locks(2);
        locks.reserve(1, SPACE, &[key(1), key(2)]).unwrap();
        locks.release(1, SPACE, &[key(1)]);
        locks.release(2, SPACE, &[key(2)]);
        locks.reserve(2, SPACE, &[key(1)]).unwrap();
        assert_eq!(locks.reserve(2, SPACE, &[key(2)]), Err(Taken::Other(1)));
    }

    #[test]
    fn a_waiter_goes_on_when_the_holder_ends() {
        let locks = locks(2);
        let mut waiting = Box::pin(locks.wait(2, 1));
        assert!((&mut waiting).now_or_never().is_none());
        locks.end(1);
        waiting.now_or_never().unwrap().unwrap();
        locks.wait(2, 1).now_or_never().unwrap().unwrap();
    }

    #[test]
    fn a_circle_of_waiters_is_a_deadlock_for_the_last_one() {
        let locks = locks(3);
        let mut first = Box::pin(locks.wait(1, 2));
        let mut second = Box::pin(locks.wait(2, 3));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        let error = locks.wait(3, 1).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.code(), codes::DEADLOCK_DETECTED);
        locks.end(3);
        second.now_or_never().unwrap().unwrap();
    }

    #[test]
    fn a_cancelled_waiter_is_no_longer_in_the_way() {
        let locks = locks(2);
        let mut waiting = Box::pin(locks.wait(1, 2));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        let mut other = Box::pin(locks.wait(2, 1));
        assert!((&mut other).now_or_never().is_none(), "no deadlock: 1 does not wait any more");
    }

    #[test]
    fn names_are_held_by_one_transaction_until_it_ends() {
        let locks = locks(2);
        let name = RelationName::new("public", "t");
        assert_eq!(locks.hold_relation(1, &name), Ok(()));
        assert_eq!(locks.hold_relation(1, &name), Ok(()));
        assert_eq!(locks.hold_relation(2, &name), Err(1));
        assert_eq!(locks.hold_schema(2, "public"), Err(1));
        locks.end(1);
        assert_eq!(locks.hold_schema(2, "public"), Ok(()));
        locks.enter(3);
        assert_eq!(locks.hold_relation(3, &name), Err(2));
        locks.end(2);
        assert_eq!(locks.hold_relation(3, &name), Ok(()));
    }
}
