//! One client's session on a database: who does which statement.
//!
//! Underneath lies the plain session of the database; beside it, for as long as a transaction lasts, a distributed
//! [`Transaction`]. A statement that names no hypertable goes straight to the former.
//!
//! | statement | done by |
//! |---|---|
//! | SELECT, EXPLAIN, COPY … TO | the local session, which sees hypertables through an [`overlay`] |
//! | calls of cluster functions | [`admin`](super::admin), before the rest of the statement is planned |
//! | INSERT, COPY … FROM into a hypertable | the local session makes the rows, [`execute`](super::execute) stores them |
//! | DROP TABLE of a hypertable | both, in one distributed transaction |
//! | BEGIN, COMMIT, ROLLBACK | both |
//! | CREATE DATABASE, DROP DATABASE | the server: [`Databases`] |
//!
//! Whether the transaction has failed is known to the local session alone; the distributed half follows it.
//!
//! Reading order: this file (transactions), [`statements`] (the table above), [`overlay`], [`local`], [`copy`],
//! [`claims`], [`drop_table`], [`participant`], [`refused`], [`databases`].

pub mod claims;
pub mod copy;
pub mod databases;
pub mod drop_table;
pub mod local;
pub mod overlay;
pub mod participant;
pub mod refused;
pub mod statements;

pub use crate::session::planner::warm_up;
pub use databases::Databases;

use super::admin::calls::Mentions;
use super::cluster::{Cluster, Presence};
use super::txn::Transaction;
use crate::error::{Error, Notice, Result, codes};
use crate::session::{NoExtension, Session};
use crate::sql::statement::{self, Isolation, Kind, Statement};
use crate::wire::values::Format;
use crate::wire::{Description, Frontend, Outcome, Parameter, Startup, TransactionStatus};
use async_trait::async_trait;
use claims::Claims;
use participant::Participant;
use postgres_types::Type;
use std::sync::Arc;
use std::time::Duration;

/// One client's state.
pub struct AccessSession {
    cluster: Arc<Cluster>,
    databases: Arc<dyn Databases>,
    session: Session,
    /// The distributed half of the current transaction; made when a statement first has use for it.
    transaction: Option<Transaction>,
    /// Local tables that the current transaction has written to or turned into hypertables.
    claims: Claims,
    _presence: Presence,
}

impl AccessSession {
    /// `databases`: the server's.
    pub fn new(cluster: Arc<Cluster>, databases: Arc<dyn Databases>, startup: Startup) -> AccessSession {
        AccessSession {
            session: Session::new(&cluster.host, &cluster.engine, &startup),
            _presence: cluster.enter(),
            databases,
            transaction: None,
            claims: Claims::default(),
            cluster,
        }
    }

    /// The distributed half of the open transaction, in its isolation level. Opens a transaction if none is open.
    fn distributed(&mut self) -> Result<Transaction> {
        self.session.begin_implicit()?;
        let isolation = self.session.isolation()?;
        let transaction =
            self.transaction.get_or_insert_with(|| Transaction::new(&self.cluster, self.session.user())).clone();
        // Also of one that was there: describing BEGIN makes it before BEGIN itself says the level.
        transaction.set_isolation(isolation);
        Ok(transaction)
    }

    /// A REPEATABLE READ transaction sees local tables and data nodes as of one instant, that of its first statement.
    async fn open_repeatable_read(&mut self, mentions: &Mentions) -> Result<()> {
        let transaction = self.distributed()?;
        let state = transaction.state();
        if self.session.isolation()? != Isolation::RepeatableRead || state.hypertables.is_empty() {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for name in &mentions.relations {
            if let Some(hypertable) = self.hypertable(&state, name)? {
                wanted.extend(state.chunks_of(hypertable.id).flat_map(|chunk| chunk.nodes.iter().cloned()));
            }
        }
        wanted.sort();
        wanted.dedup();
        let session = &mut self.session;
        transaction.open_everywhere(&wanted, &mut || session.begin_statement()).await
    }

    /// Ends both halves: they commit together or not at all.
    async fn commit_work(&mut self) -> Result<()> {
        let Some(transaction) = self.transaction.take() else { return self.session.finish(true).await };
        self.keep_notices(&transaction);
        if !transaction.has_writes() {
            let committed = self.session.finish(true).await;
            // It holds snapshots at most.
            transaction.commit(None).await?;
            return committed;
        }
        let local: Option<Box<dyn super::txn::LocalParticipant>> = match self.session.has_local_writes() {
            true => {
                let owner = self.session.user().to_string();
                self.session.take_local().map(|local| Box::new(Participant::new(local, &owner)) as _)
            }
            false => None,
        };
        let committed = transaction.commit(local).await;
        // What is left of the local transaction has nothing to lose.
        let ended = self.session.finish(committed.is_ok()).await;
        committed.and(ended)
    }

    /// Ends the distributed half, if there is one; the local half is the caller's.
    async fn roll_back_distributed(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.keep_notices(&transaction);
            transaction.rollback().await;
        }
    }

    fn keep_notices(&mut self, transaction: &Transaction) {
        for notice in transaction.take_notices() {
            self.session.notice(notice);
        }
    }

    /// COMMIT, ROLLBACK, PREPARE TRANSACTION; `None` for any other statement.
    async fn end_block(&mut self, statement: &Statement) -> Result<Option<Outcome>> {
        match &statement.kind {
            Kind::Commit if self.session.is_failed() => {}
            Kind::Commit if self.session.in_block() => {
                self.commit_work().await?;
                return Ok(Some(Outcome::Done { tag: "COMMIT".into() }));
            }
            // Warns that there is no block; what the same query string has done before is committed all the same.
            Kind::Commit => self.commit_work().await?,
            Kind::Rollback => {}
            Kind::PrepareTransaction(_) => {
                if self.transaction.as_ref().is_some_and(Transaction::has_writes) && !self.session.is_failed() {
                    self.session.fail();
                    self.roll_back_distributed().await;
                    return Err(Error::unsupported("cannot prepare a transaction that modified remote tables"));
                }
            }
            _ => return Ok(None),
        }
        self.roll_back_distributed().await;
        self.session.execute(statement, &[], Vec::new(), &NoExtension).await.map(Some)
    }

    /// Ends what does not outlive a statement: all of an implicit transaction, the snapshots of a block.
    async fn end_statement(&mut self, ok: bool) -> Result<()> {
        if !ok || self.session.is_failed() {
            self.roll_back_distributed().await;
        } else if !self.session.in_block() {
            self.commit_work().await?;
        } else if let Some(transaction) = &self.transaction {
            transaction.end_statement();
        }
        self.session.sync(ok).await
    }

    async fn change_databases(&mut self, kind: &Kind) -> Result<Option<Outcome>> {
        let in_block = self.session.in_block();
        let tag = match kind {
            Kind::CreateDatabase { name } => databases::create(&*self.databases, in_block, name).await?,
            Kind::DropDatabase { name, if_exists } => {
                let current = self.session.database().to_string();
                let (tag, notice) = databases::drop(&*self.databases, in_block, &current, name, *if_exists).await?;
                notice.into_iter().for_each(|notice| self.session.notice(notice));
                tag
            }
            _ => return Ok(None),
        };
        Ok(Some(Outcome::Done { tag }))
    }

    async fn execute_statement(
        &mut self,
        statement: &Statement,
        types: &[Type],
        parameters: Vec<Parameter>,
    ) -> Result<Outcome> {
        let ended = self.end_block(statement).await;
        if !matches!(ended, Ok(None)) {
            self.claims.clear();
        }
        if let Some(outcome) = ended? {
            return Ok(outcome);
        }
        if self.session.is_failed() {
            // It says so in its own words.
            return self.session.execute(statement, types, parameters, &NoExtension).await;
        }
        let guard = self.session.fail_unless_done();
        let outcome = match self.change_databases(&statement.kind).await? {
            Some(outcome) => outcome,
            None => self.run_in_time(statement, types, parameters).await?,
        };
        guard.done();
        Ok(outcome)
    }
}

#[async_trait]
impl Frontend for AccessSession {
    type Statement = Statement;

    fn interruptible(&self, statement: &Statement) -> bool {
        statement.is_interruptible()
    }

    fn parse(&mut self, sql: &str) -> Result<Vec<Arc<Statement>>> {
        Ok(statement::parse(sql)?.into_iter().map(Arc::new).collect())
    }

    async fn describe(&mut self, statement: &Arc<Statement>, hints: &[Type]) -> Result<Description> {
        if self.session.is_failed() {
            return self.session.describe(statement, hints, &NoExtension).await;
        }
        let guard = self.session.fail_unless_done();
        let description = self.describe_statement(statement, hints).await?;
        guard.done();
        Ok(description)
    }

    async fn execute(
        &mut self,
        statement: &Arc<Statement>,
        types: &[Type],
        parameters: Vec<Parameter>,
    ) -> Result<Outcome> {
        self.execute_statement(statement, types, parameters).await
    }

    async fn sync(&mut self, ok: bool) -> Result<()> {
        let open = ok && !self.session.is_failed() && self.session.in_block();
        let ended = self.end_statement(ok).await;
        if !open {
            self.claims.clear();
        }
        ended
    }

    fn status(&self) -> TransactionStatus {
        self.session.transaction_status()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        if let Some(transaction) = self.transaction.clone() {
            self.keep_notices(&transaction);
        }
        self.session.take_notices()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.session.take_parameter_changes()
    }

    fn idle_limit(&self) -> Option<(Duration, Error)> {
        self.session.idle_limit()
    }

    fn format(&self) -> Format {
        self.session.format()
    }
}

/// `25P02` and the like come from the local session; what else a statement may not do is said here.
fn stale(error: &Error, transaction: &Transaction) -> bool {
    error.code() == codes::SERIALIZATION_FAILURE && transaction.plan_is_stale()
}

#[cfg(test)]
mod tests;
