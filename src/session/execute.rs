//! What each kind of statement does.

use super::parameters::Bound;
use super::prepared::{PreparedStatement, declared_types};
use super::query::{text_rows, text_schema, timed_out};
use super::transaction::{FailUnlessDone, aborted};
use super::{Extension, Session, insert, settings};
use crate::error::{Error, Notice, Result, codes};
use crate::sql::statement::{Isolation, Kind, Statement};
use crate::wire::{Description, Outcome, Parameter, TransactionStatus};
use datafusion::arrow::array::StringArray;
use datafusion::arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use postgres_types::Type;
use sqlparser::ast;
use std::sync::Arc;

fn done(tag: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Done { tag: tag.into() })
}

impl Session {
    /// Parameter and column types of a statement.
    pub async fn describe(
        &mut self,
        statement: &Statement,
        hints: &[Type],
        extension: &dyn Extension,
    ) -> Result<Description> {
        if self.current.is_failed() && !ends_block(&statement.kind) {
            return Err(aborted());
        }
        let guard = FailUnlessDone::new(&self.current);
        let description = self.described(statement, hints, extension)?;
        guard.done();
        Ok(description)
    }

    fn described(&mut self, statement: &Statement, hints: &[Type], extension: &dyn Extension) -> Result<Description> {
        let known = || hints.iter().map(|ty| if *ty == Type::UNKNOWN { Type::TEXT } else { ty.clone() }).collect();
        Ok(match &statement.kind {
            Kind::Query(query) => self.describe_query(query, hints, extension)?,
            Kind::Insert(insert) => self.describe_insert(insert, hints, extension)?,
            Kind::Explain { statement, .. } => {
                let inner = self.described(statement, hints, extension)?;
                Description { parameters: inner.parameters, columns: Some(text_schema(&["QUERY PLAN"])) }
            }
            Kind::Show(name) if name.eq_ignore_ascii_case("all") => {
                Description { parameters: known(), columns: Some(text_schema(&["name", "setting", "description"])) }
            }
            Kind::Show(name) => {
                Description { parameters: known(), columns: Some(text_schema(&[settings::canonical(name).as_str()])) }
            }
            Kind::Execute { name, .. } => {
                let prepared = self.prepared.get(name)?;
                let inner = self.described(&prepared.statement, &prepared.types, extension)?;
                Description { parameters: known(), columns: inner.columns }
            }
            _ => Description { parameters: known(), columns: None },
        })
    }

    fn describe_insert(
        &mut self,
        insert: &ast::Insert,
        hints: &[Type],
        extension: &dyn Extension,
    ) -> Result<Description> {
        self.begin_statement()?;
        let table = self.existing_table(insert::target(insert)?, extension)?;
        let mut parameters = hints.to_vec();
        insert::parameter_types(&table, insert, &mut parameters)?;
        // Parameters inside expressions or a query are inferred as a query's are.
        if let Some(source) = &insert.source
            && (insert::constant_rows(source).is_none() || parameters.is_empty())
        {
            parameters = self.describe_query(source, &parameters, extension)?.parameters;
        }
        parameters.iter_mut().filter(|ty| **ty == Type::UNKNOWN).for_each(|ty| *ty = Type::TEXT);
        Ok(Description { parameters, columns: None })
    }

    /// Runs any statement of one database; transaction control included.
    pub async fn execute(
        &mut self,
        statement: &Statement,
        types: &[Type],
        parameters: Vec<Parameter>,
        extension: &dyn Extension,
    ) -> Result<Outcome> {
        if self.current.is_failed() && !ends_block(&statement.kind) {
            return Err(aborted());
        }
        let guard = FailUnlessDone::new(&self.current);
        let host = self.facts.host.clone();
        // A commit given up half-way would leave its outcome in doubt: it may take its time.
        let ends = matches!(
            statement.kind,
            Kind::Commit | Kind::PrepareTransaction(_) | Kind::CommitPrepared(_) | Kind::RollbackPrepared(_)
        );
        let limit = self.start_deadline().filter(|_| !ends);
        let bound = Bound { types, values: &parameters };
        let running = self.dispatch(statement, &bound, extension);
        let outcome = match limit {
            // The clock is asked first: work that never waits would use up the task's budget, and the timer starve.
            Some(limit) => match futures::future::select(host.sleep(limit), running).await {
                futures::future::Either::Left(_) => return Err(timed_out()),
                futures::future::Either::Right((outcome, _)) => outcome?,
            },
            None => running.await?,
        };
        guard.done();
        Ok(outcome)
    }

    // Boxed because EXECUTE and EXPLAIN run a statement inside a statement.
    fn dispatch<'f>(
        &'f mut self,
        statement: &'f Statement,
        bound: &'f Bound<'f>,
        extension: &'f dyn Extension,
    ) -> BoxFuture<'f, Result<Outcome>> {
        async move {
            match &statement.kind {
                Kind::Empty => Ok(Outcome::Empty),
                Kind::Begin { isolation, read_only } => self.begin(*isolation, *read_only, &statement.text),
                Kind::SetTransaction { isolation, read_only } => self.set_transaction(*isolation, *read_only),
                Kind::Commit => self.commit().await,
                Kind::Rollback => self.rollback().await,
                Kind::PrepareTransaction(gid) => self.prepare_transaction(gid).await,
                Kind::CommitPrepared(gid) => {
                    self.refuse_in_block("COMMIT PREPARED")?;
                    self.engine.commit_prepared(gid).await?;
                    done("COMMIT PREPARED")
                }
                Kind::RollbackPrepared(gid) => {
                    self.refuse_in_block("ROLLBACK PREPARED")?;
                    self.engine.rollback_prepared(gid).await?;
                    done("ROLLBACK PREPARED")
                }
                Kind::Set { name, value, local } => {
                    let reset = statement.text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("reset"));
                    self.set(name, value.as_deref(), *local, reset)
                }
                Kind::Show(name) => self.show(name),
                Kind::DiscardAll => self.discard_all(),
                Kind::Query(query) => {
                    let (schema, rows) = self.run_query(query, bound, extension).await?;
                    Ok(Outcome::Rows { schema, rows, tag: "SELECT" })
                }
                Kind::Explain { analyze, verbose, statement } => {
                    self.explain(statement, bound, extension, *analyze, *verbose).await
                }
                Kind::Insert(insert) => self.insert(insert, bound, extension).await,
                Kind::Copy(copy) => self.copy(copy, extension).await,
                Kind::Prepare { name, types, statement } => self.prepare(name, types, statement, extension),
                Kind::Execute { name, arguments } => {
                    let (prepared, parameters) = self.executed(name, arguments)?;
                    let bound = Bound { types: &prepared.types, values: &parameters };
                    self.dispatch(&prepared.statement, &bound, extension).await
                }
                Kind::Deallocate { name } => {
                    self.prepared.remove(name.as_deref())?;
                    done(if name.is_none() { "DEALLOCATE ALL" } else { "DEALLOCATE" })
                }
                Kind::Call(function) => {
                    let name = function.name.to_string();
                    Err(Error::new(codes::UNDEFINED_FUNCTION, format!("procedure {name} does not exist")))
                }
                Kind::CreateDatabase { .. } => Err(not_here("CREATE DATABASE")),
                Kind::DropDatabase { .. } => Err(not_here("DROP DATABASE")),
                Kind::Unsupported(name) => Err(Error::unsupported(format!("{name} is not supported"))),
                definition => self.define(definition, extension).await,
            }
        }
        .boxed()
    }

    /// Statements that change what tables there are.
    async fn define(&mut self, kind: &Kind, extension: &dyn Extension) -> Result<Outcome> {
        let tag = match kind {
            Kind::CreateTable(create) if create.query.is_some() => "CREATE TABLE AS",
            Kind::CreateTable(_) => "CREATE TABLE",
            Kind::DropTable { .. } => "DROP TABLE",
            Kind::CreateSchema { .. } => "CREATE SCHEMA",
            Kind::DropSchema { .. } => "DROP SCHEMA",
            Kind::CreateIndex(_) => "CREATE INDEX",
            Kind::CreateExtension { .. } => "CREATE EXTENSION",
            other => return Err(Error::internal(format!("no definition: {other:?}"))),
        };
        self.refuse_in_read_only(tag)?;
        self.begin_statement()?;
        match kind {
            Kind::CreateTable(create) => {
                return match self.create_table(create, extension).await? {
                    Some((_, Some(rows))) => done(format!("SELECT {rows}")),
                    _ => done(tag),
                };
            }
            Kind::DropTable { names, if_exists } => self.drop_tables(names, *if_exists)?,
            Kind::CreateSchema { name, if_not_exists } => self.create_schema(name, *if_not_exists)?,
            Kind::DropSchema { name, if_exists, cascade } => self.drop_schema(name, *if_exists, *cascade)?,
            Kind::CreateIndex(index) => self.create_index(index, extension)?,
            Kind::CreateExtension { name } => create_extension(name)?,
            _ => {}
        }
        done(tag)
    }

    fn begin(&mut self, isolation: Option<Isolation>, read_only: Option<bool>, text: &str) -> Result<Outcome> {
        if self.current.in_block() {
            self.notice(Notice::warning(codes::ACTIVE_TRANSACTION, "there is already a transaction in progress"));
            return done("BEGIN");
        }
        self.begin_implicit()?;
        self.current.make_explicit();
        if let Some(isolation) = isolation {
            self.current.lease()?.set_isolation(isolation);
        }
        if let Some(read_only) = read_only {
            self.current.set_read_only(read_only);
        }
        if text.to_ascii_uppercase().contains("SERIALIZABLE") {
            self.notice(Notice::notice(codes::SUCCESS, "SERIALIZABLE is provided as REPEATABLE READ"));
        }
        done(if text.trim_start().to_ascii_uppercase().starts_with("START") { "START TRANSACTION" } else { "BEGIN" })
    }

    fn set_transaction(&mut self, isolation: Option<Isolation>, read_only: Option<bool>) -> Result<Outcome> {
        if !self.current.in_block() {
            let message = "SET TRANSACTION can only be used in transaction blocks";
            self.notice(Notice::warning(codes::NO_ACTIVE_TRANSACTION, message));
            return done("SET");
        }
        if let Some(isolation) = isolation {
            if self.has_queried {
                return Err(Error::new(
                    codes::ACTIVE_TRANSACTION,
                    "SET TRANSACTION ISOLATION LEVEL must be called before any query",
                ));
            }
            self.current.lease()?.set_isolation(isolation);
        }
        if let Some(read_only) = read_only {
            if !read_only && self.current.is_read_only() && self.has_queried {
                return Err(Error::new(
                    codes::ACTIVE_TRANSACTION,
                    "cannot set transaction read-write mode after any query",
                ));
            }
            self.current.set_read_only(read_only);
        }
        done("SET")
    }

    async fn commit(&mut self) -> Result<Outcome> {
        if !self.current.in_block() {
            self.finish(true).await?;
            self.warn_no_transaction();
            return done("COMMIT");
        }
        let failed = self.current.is_failed();
        self.finish(true).await?;
        done(if failed { "ROLLBACK" } else { "COMMIT" })
    }

    async fn rollback(&mut self) -> Result<Outcome> {
        if !self.current.in_block() {
            self.warn_no_transaction();
        }
        self.finish(false).await?;
        done("ROLLBACK")
    }

    async fn prepare_transaction(&mut self, gid: &str) -> Result<Outcome> {
        match self.current.status() {
            TransactionStatus::Idle => {
                self.finish(false).await?;
                self.warn_no_transaction();
                done("ROLLBACK")
            }
            TransactionStatus::Failed => {
                self.finish(false).await?;
                done("ROLLBACK")
            }
            TransactionStatus::InTransaction => {
                if gid.is_empty() || gid.len() > GID_BYTES_MAX {
                    let message = format!("transaction identifier \"{gid}\" is too long");
                    return Err(Error::new(codes::INVALID_PARAMETER_VALUE, message));
                }
                self.prepare_local(gid).await?;
                done("PREPARE TRANSACTION")
            }
        }
    }

    fn warn_no_transaction(&mut self) {
        self.notice(Notice::warning(codes::NO_ACTIVE_TRANSACTION, "there is no transaction in progress"));
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool, reset: bool) -> Result<Outcome> {
        if local && !self.current.in_block() {
            let message = "SET LOCAL can only be used in transaction blocks";
            self.notice(Notice::warning(codes::NO_ACTIVE_TRANSACTION, message));
            return done("SET");
        }
        // Outside a block the setting takes part in the implicit transaction: an error later in the same query
        // string takes it back.
        self.begin_implicit()?;
        self.settings().set(name, value, local)?;
        done(if reset { "RESET" } else { "SET" })
    }

    fn show(&mut self, name: &str) -> Result<Outcome> {
        if name.eq_ignore_ascii_case("all") {
            let all = self.settings().all();
            let schema = text_schema(&["name", "setting", "description"]);
            let batch = RecordBatch::try_new(
                schema.clone(),
                vec![
                    Arc::new(StringArray::from_iter_values(all.keys())),
                    Arc::new(StringArray::from_iter_values(all.values())),
                    Arc::new(StringArray::from_iter_values(all.keys().map(|_| ""))),
                ],
            )?;
            return Ok(Outcome::Rows { schema, rows: futures::stream::iter([Ok(batch)]).boxed(), tag: "SHOW" });
        }
        let value = match name.to_ascii_lowercase().as_str() {
            "transaction_isolation" => {
                let isolation =
                    if self.current.is_open() { self.current.lease()?.isolation() } else { self.default_modes().0 };
                match isolation {
                    Isolation::ReadCommitted => "read committed".to_string(),
                    Isolation::RepeatableRead => "repeatable read".to_string(),
                }
            }
            "transaction_read_only" => {
                let on = if self.current.is_open() { self.current.is_read_only() } else { self.default_modes().1 };
                if on { "on" } else { "off" }.to_string()
            }
            _ => self.settings().get(name)?.to_string(),
        };
        text_rows(&settings::canonical(name), vec![value], "SHOW")
    }

    fn discard_all(&mut self) -> Result<Outcome> {
        self.refuse_in_block("DISCARD ALL")?;
        self.settings().set("all", None, false)?;
        self.prepared.remove(None)?;
        done("DISCARD ALL")
    }

    async fn explain(
        &mut self,
        statement: &Statement,
        bound: &Bound<'_>,
        extension: &dyn Extension,
        analyze: bool,
        verbose: bool,
    ) -> Result<Outcome> {
        let lines = match &statement.kind {
            Kind::Query(query) => self.explain_query(query, bound, extension, analyze, verbose).await?,
            Kind::Insert(insert) if !analyze => {
                self.begin_statement()?;
                let table = self.existing_table(insert::target(insert)?, extension)?;
                let mut lines = vec![format!("Insert on {}", table.name)];
                match &insert.source {
                    Some(source) if insert::constant_rows(source).is_none() => {
                        let inner = self.explain_query(source, bound, extension, false, verbose).await?;
                        lines.extend(inner.into_iter().map(|line| format!("  {line}")));
                    }
                    _ => lines.push("  Constant rows".into()),
                }
                lines
            }
            Kind::Execute { name, arguments } => {
                let (prepared, parameters) = self.executed(name, arguments)?;
                let Kind::Query(query) = &prepared.statement.kind else {
                    return Err(Error::unsupported("EXPLAIN EXECUTE of this statement is not supported"));
                };
                let bound = Bound { types: &prepared.types, values: &parameters };
                self.explain_query(query, &bound, extension, analyze, verbose).await?
            }
            _ => return Err(Error::unsupported("EXPLAIN of this statement is not supported")),
        };
        text_rows("QUERY PLAN", lines, "EXPLAIN")
    }

    async fn insert(&mut self, insert: &ast::Insert, bound: &Bound<'_>, extension: &dyn Extension) -> Result<Outcome> {
        self.refuse_in_read_only("INSERT")?;
        self.begin_statement()?;
        let table = self.existing_table(insert::target(insert)?, extension)?;
        let mut batches = self.insert_source(&table, insert, bound, extension).await?;
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            rows += batch.num_rows();
            self.append(&table, batch).await?;
        }
        done(format!("INSERT 0 {rows}"))
    }

    fn prepare(
        &mut self,
        name: &str,
        types: &[ast::DataType],
        statement: &Statement,
        extension: &dyn Extension,
    ) -> Result<Outcome> {
        if !matches!(statement.kind, Kind::Query(_) | Kind::Insert(_)) {
            return Err(Error::new(codes::SYNTAX_ERROR, "only queries and INSERT can be prepared"));
        }
        let types = self.described(statement, &declared_types(types)?, extension)?.parameters;
        self.prepared.add(name, PreparedStatement { statement: statement.clone(), types })?;
        done("PREPARE")
    }
}

/// Longest global transaction identifier (PostgreSQL's GIDSIZE).
const GID_BYTES_MAX: usize = 199;

/// What a failed block still takes.
fn ends_block(kind: &Kind) -> bool {
    matches!(kind, Kind::Commit | Kind::Rollback | Kind::PrepareTransaction(_) | Kind::Empty)
}

fn not_here(statement: &str) -> Error {
    Error::unsupported(format!("{statement} is not supported in this session"))
}

/// What is built in needs no installation; anything else cannot be installed.
fn create_extension(name: &str) -> Result<()> {
    match name {
        "timescaledb" | "hypertile" | "plpgsql" | "pgcrypto" | "uuid-ossp" => Ok(()),
        _ => Err(Error::unsupported(format!("extension \"{name}\" is not available"))),
    }
}
