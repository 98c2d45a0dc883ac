//! The loop of one open session, and simple queries.

use super::backends::Registration;
use super::extended::{Portal, Prepared};
use super::link::Link;
use super::message::Message;
use super::rows::OpenRows;
use super::{Failure, Stop, reply, transfer};
use crate::error::{Error, codes};
use crate::host::Host;
use crate::wire::values::utf8;
use crate::wire::{Frontend, Outcome, Parameter, TransactionStatus};
use postgres_types::Type;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct Connection<'a, F: Frontend> {
    host: &'a Host,
    pub(super) link: &'a mut Link,
    pub(super) session: F,
    /// Prepared statements and portals by name; the unnamed ones are called "".
    pub(super) statements: BTreeMap<String, Arc<Prepared<F::Statement>>>,
    pub(super) portals: BTreeMap<String, Portal<F::Statement>>,
    /// An extended-query message failed: all is ignored up to the next Sync.
    skip_to_sync: bool,
    /// The last thing said was ReadyForQuery: it is the client's turn.
    idle: bool,
}

impl<'a, F: Frontend> Connection<'a, F> {
    pub fn new(host: &'a Host, link: &'a mut Link, session: F) -> Self {
        let (statements, portals) = (BTreeMap::new(), BTreeMap::new());
        Connection { host, link, session, statements, portals, skip_to_sync: false, idle: false }
    }

    /// Serves messages until there is a reason to stop.
    pub async fn run(mut self, registration: &Registration) -> Stop {
        self.report_parameters();
        reply::backend_key_data(registration.process_id, registration.secret_key, &mut self.link.output);
        let mut outcome = self.ready().await;
        loop {
            outcome = match outcome {
                Ok(()) => self.next().await,
                Err(stop) => return stop,
            };
        }
    }

    async fn next(&mut self) -> Result<(), Stop> {
        let message = self.next_message().await?;
        match message {
            Message::Terminate => return Err(Stop::Gone),
            Message::Sync => {
                self.skip_to_sync = false;
                self.sync().await?;
            }
            _ if self.skip_to_sync => {}
            Message::Query(sql) => self.simple_query(&sql).await?,
            // Left over from a COPY that failed before its client had noticed.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => {}
            Message::FunctionCall => {
                self.fail(Error::unsupported("the function call sub-protocol is not supported")).await?;
                self.ready().await?;
            }
            Message::Authentication(_) => {
                let error = Error::new(codes::PROTOCOL_VIOLATION, "unexpected message of type 112");
                return Err(Stop::Fatal(error));
            }
            extended => match self.extended(extended).await {
                Ok(()) => {}
                Err(Failure::Stop(stop)) => return Err(stop),
                Err(Failure::Statement(error)) => {
                    self.skip_to_sync = true;
                    self.fail(error).await?;
                    // A client may wait for it before it says Sync.
                    self.link.flush().await?;
                }
            },
        }
        Ok(())
    }

    /// The timeouts of idle sessions end the wait for a statement, not for the rest of one.
    async fn next_message(&mut self) -> Result<Message, Stop> {
        let idle = std::mem::take(&mut self.idle);
        match self.session.idle_limit().filter(|_| idle) {
            None => self.link.next_message().await,
            Some((limit, error)) => {
                let message = self.host.timeout(limit, self.link.next_message()).await;
                message.unwrap_or(Err(Stop::Fatal(error)))
            }
        }
    }

    async fn simple_query(&mut self, sql: &[u8]) -> Result<(), Stop> {
        // A simple query takes the unnamed statement's place.
        self.statements.remove("");
        self.portals.remove("");
        match self.script(sql).await {
            Ok(()) => {}
            Err(Failure::Stop(stop)) => return Err(stop),
            Err(Failure::Statement(error)) => self.fail(error).await?,
        }
        self.ready().await
    }

    /// All statements of a query string, up to the first that fails.
    async fn script(&mut self, sql: &[u8]) -> Result<(), Failure> {
        let statements = self.session.parse(utf8(sql)?)?;
        if statements.is_empty() {
            reply::bare(reply::EMPTY_QUERY_RESPONSE, &mut self.link.output);
            return Ok(());
        }
        for (index, statement) in statements.iter().enumerate() {
            let last = index + 1 == statements.len();
            let outcome = self.run_statement(statement, &[], Vec::new()).await?;
            let tag = self.simple_outcome(outcome).await?;
            if last {
                self.end_implicit_transaction().await?;
            }
            self.complete(tag.as_deref());
            self.drop_dead_portals();
            self.link.flush_if_full().await?;
        }
        Ok(())
    }

    /// Has the session run a statement. A commit is seen through whatever happens meanwhile.
    pub(super) async fn run_statement(
        &mut self,
        statement: &Arc<F::Statement>,
        types: &[Type],
        parameters: Vec<Parameter>,
    ) -> Result<Outcome, Failure> {
        self.park_portals().await?;
        let interruptible = self.session.interruptible(statement);
        let execution = self.session.execute(statement, types, parameters);
        Ok(if interruptible { self.link.run(execution).await?? } else { execution.await? })
    }

    /// Sends what there is to send before completion; returns the tag, `None` for an empty statement.
    async fn simple_outcome(&mut self, outcome: Outcome) -> Result<Option<String>, Failure> {
        if let Outcome::Rows { schema, rows, tag } = outcome {
            reply::row_description(&schema, &[], &mut self.link.output);
            let format = self.session.format();
            let mut rows = OpenRows::new(schema, rows, tag);
            let sent = rows.send(self.link, &[], &format, None).await?;
            return Ok(Some(rows.tag(sent.rows)));
        }
        self.outcome_without_rows(outcome).await
    }

    /// Everything but rows is the same in simple and extended queries.
    pub(super) async fn outcome_without_rows(&mut self, outcome: Outcome) -> Result<Option<String>, Failure> {
        match outcome {
            Outcome::Done { tag } => Ok(Some(tag)),
            Outcome::Empty => Ok(None),
            Outcome::CopyIn { sink, columns, binary } => {
                let rows = transfer::copy_in(self.link, sink, columns, binary).await?;
                Ok(Some(format!("COPY {rows}")))
            }
            Outcome::CopyOut { data, columns, binary } => {
                let rows = transfer::copy_out(self.link, data, columns, binary).await?;
                Ok(Some(format!("COPY {rows}")))
            }
            Outcome::Rows { .. } => Err(Error::internal("rows came where none were expected").into()),
        }
    }

    /// Notices, then CommandComplete (or EmptyQueryResponse).
    pub(super) fn complete(&mut self, tag: Option<&str>) {
        self.report_notices();
        match tag {
            Some(tag) => reply::command_complete(tag, &mut self.link.output),
            None => reply::bare(reply::EMPTY_QUERY_RESPONSE, &mut self.link.output),
        }
    }

    /// Commits what the statements outside a block have done. Not interruptible: a commit that is dropped half-way
    /// leaves everybody guessing, and it does not take long.
    pub(super) async fn end_implicit_transaction(&mut self) -> Result<(), Failure> {
        if self.session.status() != TransactionStatus::InTransaction {
            // Rows must be drained or dropped before the session goes on.
            self.portals.clear();
        }
        Ok(self.session.sync(true).await?)
    }

    /// Reports an error and rolls back, or marks the block failed.
    async fn fail(&mut self, error: Error) -> Result<(), Stop> {
        self.report_notices();
        reply::error(&error, reply::Severity::Error, &mut self.link.output);
        self.portals.clear();
        if let Err(error) = self.session.sync(false).await {
            tracing::warn!(%error, "rolling back failed");
            if error.code() == codes::ADMIN_SHUTDOWN {
                return Err(Stop::Fatal(error));
            }
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Stop> {
        match self.end_implicit_transaction().await {
            Ok(()) => {}
            Err(Failure::Stop(stop)) => return Err(stop),
            Err(Failure::Statement(error)) => self.fail(error).await?,
        }
        self.ready().await
    }

    /// Portals do not outlive their transaction.
    pub(super) fn drop_dead_portals(&mut self) {
        if self.session.status() != TransactionStatus::InTransaction {
            self.portals.clear();
        }
    }

    fn report_notices(&mut self) {
        for notice in self.session.take_notices() {
            reply::notice(&notice, &mut self.link.output);
        }
    }

    fn report_parameters(&mut self) {
        for (name, value) in self.session.take_parameter_changes() {
            reply::parameter_status(&name, &value, &mut self.link.output);
        }
    }

    async fn ready(&mut self) -> Result<(), Stop> {
        self.report_notices();
        self.report_parameters();
        reply::ready_for_query(self.session.status(), &mut self.link.output);
        self.idle = true;
        self.link.flush().await
    }
}
