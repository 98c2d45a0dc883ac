//! The session's current transaction: whether there is one, who began it, whether it failed.
//!
//! The engine's transaction lies in a slot that a statement, a COPY's sink or a row stream borrows through a
//! [`Lease`]. Whatever happens to the borrower (an error, its future dropped by a cancel), the transaction is back in
//! its slot, or rolled back by being dropped; it is never lost in between.

use crate::engine::{Engine, Transaction};
use crate::error::{Error, Result, codes};
use crate::sql::statement::Isolation;
use crate::wire::TransactionStatus;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct State {
    transaction: Option<Transaction>,
    block: Block,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    None,
    /// Lives until the next `sync`.
    Implicit { read_only: bool, failed: bool },
    /// Between BEGIN and COMMIT.
    Explicit { read_only: bool, failed: bool },
}

/// Shared by the session and what it hands out.
#[derive(Default)]
pub struct Current(Mutex<State>);

impl Current {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn status(&self) -> TransactionStatus {
        match self.state().block {
            Block::None | Block::Implicit { .. } => TransactionStatus::Idle,
            Block::Explicit { failed: false, .. } => TransactionStatus::InTransaction,
            Block::Explicit { failed: true, .. } => TransactionStatus::Failed,
        }
    }

    /// Between BEGIN and its end, failed or not.
    pub fn in_block(&self) -> bool {
        matches!(self.state().block, Block::Explicit { .. })
    }

    pub fn is_open(&self) -> bool {
        self.state().block != Block::None
    }

    pub fn is_failed(&self) -> bool {
        matches!(self.state().block, Block::Explicit { failed: true, .. } | Block::Implicit { failed: true, .. })
    }

    pub fn is_read_only(&self) -> bool {
        matches!(self.state().block, Block::Explicit { read_only: true, .. } | Block::Implicit { read_only: true, .. })
    }

    /// Opens the implicit transaction unless one is open. Returns whether it did.
    pub fn open(&self, engine: &Arc<Engine>, isolation: Isolation, read_only: bool) -> bool {
        let mut state = self.state();
        if state.block != Block::None {
            return false;
        }
        state.transaction = Some(engine.begin(isolation));
        state.block = Block::Implicit { read_only, failed: false };
        true
    }

    /// Makes the open transaction a block that lives until its explicit end.
    pub fn make_explicit(&self) {
        let mut state = self.state();
        if let Block::Implicit { read_only, failed } = state.block {
            state.block = Block::Explicit { read_only, failed };
        }
    }

    pub fn set_read_only(&self, value: bool) {
        match &mut self.state().block {
            Block::Explicit { read_only, .. } | Block::Implicit { read_only, .. } => *read_only = value,
            Block::None => {}
        }
    }

    /// The transaction can only be rolled back now; what it held is given up at once, as in PostgreSQL.
    pub fn fail(&self) {
        let mut state = self.state();
        match &mut state.block {
            Block::Explicit { failed, .. } | Block::Implicit { failed, .. } => *failed = true,
            Block::None => {}
        }
        let dropped = state.transaction.take();
        // Its rollback must not run under the lock.
        drop(state);
        drop(dropped);
    }

    /// Ends the block; what is left of the transaction is the caller's to commit, prepare or drop.
    pub fn take(&self) -> Option<Transaction> {
        let mut state = self.state();
        state.block = Block::None;
        state.transaction.take()
    }

    /// Borrows the open transaction. Errors: `25P02` when it failed.
    pub fn lease(self: &Arc<Current>) -> Result<Lease> {
        let mut state = self.state();
        match state.transaction.take() {
            Some(transaction) => Ok(Lease { transaction: Some(transaction), current: self.clone() }),
            None if matches!(state.block, Block::None) => Err(Error::internal("no transaction is open")),
            None => Err(aborted()),
        }
    }
}

pub fn aborted() -> Error {
    Error::new(
        codes::IN_FAILED_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// The transaction while somebody works with it.
pub struct Lease {
    transaction: Option<Transaction>,
    current: Arc<Current>,
}

impl Deref for Lease {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        self.transaction.as_ref().expect("only taken on drop")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Transaction {
        self.transaction.as_mut().expect("only taken on drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.current.state();
        let failed = matches!(
            state.block,
            Block::None | Block::Explicit { failed: true, .. } | Block::Implicit { failed: true, .. }
        );
        // It failed or ended while it was on loan: then it must not come back.
        let dropped = if failed {
            self.transaction.take()
        } else {
            state.transaction = self.transaction.take();
            None
        };
        drop(state);
        drop(dropped);
    }
}

/// Fails the transaction unless told that all went well: for futures that may be dropped at any await.
pub struct FailUnlessDone {
    current: Arc<Current>,
    done: bool,
}

impl FailUnlessDone {
    pub fn new(current: &Arc<Current>) -> FailUnlessDone {
        FailUnlessDone { current: current.clone(), done: false }
    }

    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for FailUnlessDone {
    fn drop(&mut self) {
        if !self.done {
            self.current.fail();
        }
    }
}
