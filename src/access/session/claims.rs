//! Keeps rows from going into a table while it becomes a hypertable.
//!
//! A hypertable shadows the table that it was made from. Whoever still has rows to commit into that table, or commits
//! them after it was found empty, would see them vanish. So a transaction that writes to a local table shares a claim on
//! it until it ends, and one that makes a hypertable of it holds the claim alone:
//!
//! ```text
//!  INSERT INTO t …  share(t) ────────────── COMMIT          create_distributed_hypertable('t')
//!                                                └──────────  own(t), then: is it empty?
//! ```
//!
//! Rows of a prepared transaction have no session to claim anything: `own` is followed by a look for them, too.
//!
//! Waiting is bounded: two sessions that wait for each other's tables would otherwise do so for ever.

use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::ids::RelationName;
use crate::limits::CATALOG_LOCK_TIMEOUT;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The claims of all sessions of a database.
#[derive(Default)]
pub struct Tables(Mutex<BTreeMap<RelationName, Arc<RwLock<()>>>>);

impl Tables {
    fn lock(&self, name: &RelationName) -> Arc<RwLock<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !locks.contains_key(name) {
            // Nobody but this map knows of the lock: nobody claims the table any more.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(name.clone()).or_default().clone()
    }
}

enum Claim {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Owned { _guard: OwnedRwLockWriteGuard<()> },
}

/// The claims of one transaction. Clear it when the transaction has ended.
#[derive(Default)]
pub struct Claims(BTreeMap<RelationName, Claim>);

impl Claims {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// For writing rows to the table. Errors: `55P03`.
    pub async fn share(&mut self, host: &Host, tables: &Tables, name: &RelationName) -> Result<()> {
        if self.0.contains_key(name) {
            return Ok(());
        }
        let guard = host.timeout(CATALOG_LOCK_TIMEOUT, tables.lock(name).read_owned()).await;
        let guard = guard.map_err(|_| unavailable(name, "It is being made a hypertable by another transaction."))?;
        self.0.insert(name.clone(), Claim::Shared { _guard: guard });
        Ok(())
    }

    /// For giving the table another meaning. Returns whether others may have done so meanwhile *although this
    /// transaction has rows for it*: a shared claim is given up for the wait (two transactions that both want to own
    /// what they share would wait for each other), and whoever owns the table next does not see those rows. Errors:
    /// `55P03`.
    pub async fn own(&mut self, host: &Host, tables: &Tables, name: &RelationName) -> Result<bool> {
        if let Some(Claim::Owned { .. }) = self.0.get(name) {
            return Ok(false);
        }
        let shared = self.0.remove(name).is_some();
        let guard = host.timeout(CATALOG_LOCK_TIMEOUT, tables.lock(name).write_owned()).await;
        let guard =
            guard.map_err(|_| unavailable(name, "Other transactions that have written to it have not ended."))?;
        self.0.insert(name.clone(), Claim::Owned { _guard: guard });
        Ok(shared)
    }
}

fn unavailable(name: &RelationName, why: &str) -> Error {
    Error::new(codes::LOCK_NOT_AVAILABLE, format!("could not obtain lock on relation \"{}\"", name.name))
        .with_detail(why)
        .with_hint("End the other transactions, and try again.")
}
