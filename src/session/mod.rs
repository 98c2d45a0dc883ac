//! One client session over an engine: statement -> plan -> rows; transactions; settings.
//!
//! Knows no hypertable and no other node. A layer above adds relations and optimizer rules through [`Extension`]; tests
//! run it plain, with [`NoExtension`], while servers put an `AccessSession` around every session, on data nodes too. Its
//! pieces stand alone, so that the layer above can put them together anew: [`Session::insert_source`] and
//! [`Session::copy_source`] make rows without storing them, [`Session::run_query`] runs a query,
//! [`Session::finish`] and [`Session::prepare_local`] end the local part of a distributed transaction.
//!
//! Reading order: this file (state, transactions, names), `execute` (what each statement does), [`prepared`] and
//! [`parameters`] (with `$1`), [`extension`], [`query`], [`planner`], [`catalogs`] and [`facts`] (what a query can see of
//! the system), [`insert`], [`shape`] (defaults and constraints), [`copy`], [`ddl`], [`transaction`], [`settings`],
//! [`frontend`].

pub mod catalogs;
pub mod copy;
pub mod ddl;
mod execute;
pub mod extension;
pub mod facts;
pub mod frontend;
pub mod insert;
pub mod parameters;
pub mod planner;
pub mod prepared;
pub mod query;
pub mod settings;
pub mod shape;
pub mod transaction;

pub use extension::{Begin, Extension, NoExtension};
pub use frontend::PlainFrontend;

use crate::engine::Engine;
use crate::engine::table::Table;
use crate::error::{Error, Notice, Result, Severity, SqlState, codes};
use crate::host::Host;
use crate::ids::RelationName;
use crate::sql::functions::Environment;
use crate::sql::statement::{Isolation, relation_name};
use crate::wire::values::Format;
use crate::wire::{Startup, TransactionStatus};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use facts::Facts;
use parameters::Bound;
use planner::Planner;
use settings::Settings;
use sqlparser::ast;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use transaction::Current;

/// One client's session state over one database.
pub struct Session {
    engine: Arc<Engine>,
    facts: Arc<Facts>,
    planner: Planner,
    current: Arc<Current>,
    compiled: shape::Cache,
    prepared: prepared::PreparedStatements,
    notices: Vec<Notice>,
    /// When the statement under way must be done, by `Host::monotonic`.
    deadline: Option<Duration>,
    /// A query has run in the open transaction: its isolation level is settled.
    has_queried: bool,
}

impl Session {
    pub fn new(host: &Host, engine: &Arc<Engine>, startup: &Startup) -> Session {
        let facts = Arc::new(Facts::new(host, startup));
        let environment: Arc<dyn Environment> = facts.clone();
        Session {
            engine: engine.clone(),
            planner: Planner::new(&environment),
            facts,
            current: Arc::default(),
            compiled: shape::Cache::default(),
            prepared: prepared::PreparedStatements::default(),
            notices: Vec::new(),
            deadline: None,
            has_queried: false,
        }
    }

    pub fn host(&self) -> &Host {
        &self.facts.host
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub fn database(&self) -> &str {
        &self.facts.database
    }

    pub fn user(&self) -> &str {
        &self.facts.user
    }

    /// Never hold it across an await.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        self.facts.settings()
    }

    /// Start of the transaction, microseconds since 1970: `now()`.
    pub fn transaction_time(&self) -> i64 {
        self.facts.transaction_time()
    }

    pub fn format(&self) -> Format {
        Format { time_zone: self.settings().time_zone() }
    }

    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Notices since the last call that the client wants to see (`client_min_messages`).
    pub fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        let wanted = self.settings().get("client_min_messages").unwrap_or("notice").to_string();
        notices.retain(|notice| match wanted.as_str() {
            "error" => notice.severity == Severity::Info,
            "warning" => notice.severity != Severity::Notice,
            _ => true,
        });
        notices
    }

    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.settings().take_changes()
    }

    pub fn transaction_status(&self) -> TransactionStatus {
        self.current.status()
    }

    /// Between BEGIN and its end, failed or not.
    pub fn in_block(&self) -> bool {
        self.current.in_block()
    }

    pub fn is_failed(&self) -> bool {
        self.current.is_failed()
    }

    /// The local transaction can only be rolled back from now on.
    pub fn fail(&mut self) {
        self.current.fail();
    }

    /// Fails the local transaction when it is dropped before `done`: for work on the session's behalf that may be given
    /// up at any await.
    pub fn fail_unless_done(&self) -> transaction::FailUnlessDone {
        transaction::FailUnlessDone::new(&self.current)
    }

    /// Of the open transaction. Errors: `25P02`.
    pub fn isolation(&self) -> Result<Isolation> {
        Ok(self.current.lease()?.isolation())
    }

    /// Starts the clock of `statement_timeout`: rows of queries that are run from now on end with it.
    pub fn start_deadline(&mut self) -> Option<Duration> {
        let limit = self.settings().statement_timeout();
        self.deadline = limit.map(|limit| self.facts.host.monotonic() + limit);
        limit
    }

    /// How long the client may keep silent now, and what it is told after that. Errors inside: `25P03`, `57P05`.
    pub fn idle_limit(&self) -> Option<(Duration, Error)> {
        let (name, code, message) = match self.in_block() {
            true => ("idle_in_transaction_session_timeout", "25P03", "idle-in-transaction timeout"),
            false => ("idle_session_timeout", "57P05", "idle-session timeout"),
        };
        let limit = self.settings().duration(name)?;
        Some((limit, Error::new(SqlState::new(code), format!("terminating connection due to {message}"))))
    }

    /// The local transaction, to be prepared by somebody else. [`Session::finish`] then ends what is left of it here.
    pub fn take_local(&mut self) -> Option<crate::engine::Transaction> {
        self.current.take()
    }

    /// Gives an empty table another definition, or the same again: its name is held until the transaction ends, through
    /// a crash if it has prepared. Errors: the engine's.
    pub fn redefine(&mut self, table: Table) -> Result<Arc<Table>> {
        let mut lease = self.current.lease()?;
        lease.hold_table(&table)?;
        lease.drop_table(&table.name)?;
        lease.create_table(table)
    }

    /// A statement prepared with PREPARE. Errors: `26000`.
    pub fn prepared_statement(&self, name: &str) -> Result<Arc<prepared::PreparedStatement>> {
        self.prepared.get(name)
    }

    /// The open local transaction would lose something by a rollback.
    pub fn has_local_writes(&self) -> bool {
        self.current.lease().is_ok_and(|lease| lease.has_writes())
    }

    /// Opens the implicit transaction if none is open; nothing is read yet.
    pub fn begin_implicit(&mut self) -> Result<()> {
        let (isolation, read_only) = self.default_modes();
        if self.current.open(&self.engine, isolation, read_only) {
            self.facts.begin_transaction();
            self.has_queried = false;
        }
        if self.current.is_failed() { Err(transaction::aborted()) } else { Ok(()) }
    }

    fn default_modes(&self) -> (Isolation, bool) {
        let settings = self.settings();
        let isolation = match settings.get("default_transaction_isolation") {
            Ok("serializable" | "repeatable read") => Isolation::RepeatableRead,
            _ => Isolation::ReadCommitted,
        };
        (isolation, settings.is_on("default_transaction_read_only", false))
    }

    /// Opens a transaction if none is open and starts a statement in it: the snapshot and the clock are fixed.
    pub fn begin_statement(&mut self) -> Result<()> {
        self.begin_implicit()?;
        self.facts.begin_statement();
        self.planner.begin_statement(self.facts.transaction_time());
        self.has_queried = true;
        let lock_timeout = self.settings().duration("lock_timeout");
        let mut lease = self.current.lease()?;
        lease.set_lock_timeout(lock_timeout);
        lease.begin_statement()
    }

    /// Ends the local transaction, implicit or explicit: commits it (`ok`, and it has not failed) or rolls it back.
    pub async fn finish(&mut self, ok: bool) -> Result<()> {
        let commit = ok && !self.current.is_failed();
        let transaction = self.current.take();
        let result = match transaction {
            Some(transaction) if commit => transaction.commit().await,
            Some(transaction) => transaction.rollback().await,
            None => Ok(()),
        };
        self.settings().end_transaction(commit && result.is_ok());
        result
    }

    /// Prepares the local transaction, which ends it for this session. Errors: `42710`; it is rolled back then.
    pub async fn prepare_local(&mut self, gid: &str) -> Result<()> {
        if self.current.is_failed() {
            return Err(transaction::aborted());
        }
        let transaction = self.current.take().ok_or_else(|| Error::internal("no transaction is open"))?;
        let result = transaction.prepare(gid, &self.facts.user).await;
        self.settings().end_transaction(result.is_ok());
        result
    }

    /// What the protocol's Sync means: ends the implicit transaction; inside a block only notes a failure.
    pub async fn sync(&mut self, ok: bool) -> Result<()> {
        self.deadline = None;
        if self.current.in_block() {
            if !ok {
                self.current.fail();
            }
            return Ok(());
        }
        if !self.current.is_open() {
            return Ok(());
        }
        let failed = self.current.is_failed();
        self.finish(ok).await?;
        if ok && failed {
            return Err(transaction::aborted());
        }
        Ok(())
    }

    pub fn search_path(&self) -> Vec<String> {
        self.settings().search_path(&self.facts.user)
    }

    /// Where an unqualified new table goes: the first schema of the search path that exists.
    pub fn creation_schema(&self) -> Result<String> {
        let existing = self.current.lease()?.schemas()?;
        let path = self.search_path();
        let found = path.into_iter().find(|schema| schema != "pg_catalog" && existing.contains(schema));
        found.ok_or_else(|| Error::new(codes::INVALID_SCHEMA_NAME, "no schema has been selected to create in"))
    }

    /// A table of the engine as the current transaction sees it. Opens a transaction if none is open.
    pub fn table(&mut self, name: &RelationName) -> Result<Option<Arc<Table>>> {
        self.begin_implicit()?;
        self.current.lease()?.table(name)
    }

    /// The full name of a relation: along the search path where no schema is written; `public` if it is nowhere.
    pub fn resolve(&mut self, name: &ast::ObjectName) -> Result<RelationName> {
        if name.0.len() > 1 {
            return relation_name(name, "public");
        }
        self.begin_implicit()?;
        let lease = self.current.lease()?;
        for schema in self.search_path() {
            let candidate = relation_name(name, &schema)?;
            if lease.table(&candidate)?.is_some() {
                return Ok(candidate);
            }
        }
        relation_name(name, "public")
    }

    /// Errors: `42P01`; `42809` for a relation that is not a table.
    pub fn existing_table(&mut self, name: &ast::ObjectName, extension: &dyn Extension) -> Result<Arc<Table>> {
        let resolved = self.resolve(name)?;
        if let Some(table) = self.table(&resolved)? {
            return Ok(table);
        }
        if extension.relation(&resolved)?.is_some() {
            return Err(Error::new(codes::WRONG_OBJECT_TYPE, format!("\"{resolved}\" is not a table")));
        }
        let error = Error::new(codes::UNDEFINED_TABLE, format!("relation \"{resolved}\" does not exist"));
        Err(match crate::sql::statement::position_of(name) {
            Some(position) => error.with_position(position),
            None => error,
        })
    }

    /// The value of a constant expression (a function's argument), and the field that tells its type. No
    /// transaction is opened.
    pub fn evaluate_constant(&mut self, expr: &ast::Expr, bound: &Bound<'_>) -> Result<(ScalarValue, FieldRef)> {
        self.planner.begin_statement(self.facts.transaction_time());
        self.planner.constant(expr, bound, &self.format())
    }

    /// Stores complete rows (of the table's schema) in the local transaction.
    pub async fn append(
        &mut self,
        table: &Arc<Table>,
        batch: datafusion::arrow::record_batch::RecordBatch,
    ) -> Result<()> {
        self.current.lease()?.append(table, batch).await
    }

    /// Errors: `25006`.
    pub fn refuse_in_read_only(&self, statement: &str) -> Result<()> {
        if !self.current.is_read_only() && (self.current.is_open() || !self.default_modes().1) {
            return Ok(());
        }
        Err(Error::new(codes::READ_ONLY_TRANSACTION, format!("cannot execute {statement} in a read-only transaction")))
    }

    /// Errors: `25001`.
    pub fn refuse_in_block(&self, statement: &str) -> Result<()> {
        if !self.current.in_block() {
            return Ok(());
        }
        Err(Error::new(codes::ACTIVE_TRANSACTION, format!("{statement} cannot run inside a transaction block")))
    }
}

#[cfg(test)]
mod tests;
