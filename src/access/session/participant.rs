//! The session's own database in a distributed commit.

use crate::access::txn::LocalParticipant;
use crate::engine::Transaction;
use crate::error::{Error, Result};
use async_trait::async_trait;

/// A local transaction on its way to being prepared. Dropping it rolls it back.
pub struct Participant {
    transaction: Option<Transaction>,
    owner: String,
}

impl Participant {
    pub fn new(transaction: Transaction, owner: &str) -> Participant {
        Participant { transaction: Some(transaction), owner: owner.to_string() }
    }
}

#[async_trait]
impl LocalParticipant for Participant {
    async fn prepare(&mut self, gid: &str) -> Result<()> {
        match self.transaction.take() {
            Some(transaction) => transaction.prepare(gid, &self.owner).await,
            None => Err(Error::internal("the local transaction has ended")),
        }
    }

    async fn rollback(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            // It has no effect either way; an error only says that the store is out of order.
            let _ = transaction.rollback().await;
        }
    }
}
