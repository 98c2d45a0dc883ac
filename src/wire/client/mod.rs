//! A PostgreSQL client over host streams: what the access node uses to speak to data nodes, and scenarios to speak
//! to the access node.
//!
//! tokio-postgres speaks the protocol; here are the host's streams and tasks, deadlines, errors as ours, and rows as
//! Arrow batches. Calls may run side by side on one connection: the server answers them one after the other.
//!
//! A call's future or stream may be dropped half-way. The server then still works on it and the connection must not
//! go back to a pool: [`Connection::is_idle`] says so.
//!
//! Reading order: this file, `calls` (what is under way), `rows` (query results), `copy_in`, `errors`.

mod calls;
mod copy_in;
mod errors;
mod rows;
#[cfg(test)]
mod tests;

pub use copy_in::CopyIn;
pub use errors::error_of;

use crate::error::{Error, Notice, Result, codes};
use crate::host::{Host, TaskHandle};
use crate::limits::CONNECT_TIMEOUT;
use crate::sql::types::BatchStream;
use crate::{buggify, sabotage};
use arrow::datatypes::SchemaRef;
use calls::Calls;
use errors::notice_of;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_postgres::{AsyncMessage, NoTls, SimpleQueryMessage, Statement};

/// Prepared statements kept open on one connection; the least recently used goes first.
const STATEMENTS_MAX: usize = 64;

/// Where and as whom to connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: Option<String>,
}

/// An open connection. Dropping it closes the stream.
pub struct Connection {
    client: tokio_postgres::Client,
    calls: Arc<Calls>,
    /// By SQL text, most recently used last: a fragment that repeats is planned once by its node.
    statements: Mutex<VecDeque<(String, Statement)>>,
    server_version: String,
    host: Host,
    address: Address,
    task: TaskHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The task owns the stream. Without this it would first wait for the answers to all calls under way.
        self.task.abort();
    }
}

impl Connection {
    /// Connects within `limits::CONNECT_TIMEOUT`. Errors: `08001` with the reason as DETAIL, or what the server said.
    pub async fn open(host: &Host, address: &Address) -> Result<Connection> {
        match host.timeout(CONNECT_TIMEOUT, Connection::connect(host, address)).await {
            Ok(connected) => connected,
            Err(_) => Err(no_answer(address)),
        }
    }

    async fn connect(host: &Host, address: &Address) -> Result<Connection> {
        let stream = host.net().connect(&address.host, address.port).await;
        let stream = stream.map_err(|error| cannot_connect(address, error.to_string()))?;
        let mut config = tokio_postgres::Config::new();
        config.user(&address.user).dbname(&address.database).application_name("hypertile");
        if let Some(password) = &address.password {
            config.password(password);
        }
        let connected = config.connect_raw(stream, NoTls).await;
        let (client, mut connection) = connected.map_err(|error| match error.as_db_error() {
            Some(_) => error_of(&error),
            None => cannot_connect(address, errors::reasons(&error)),
        })?;
        let server_version = connection.parameter("server_version").unwrap_or_default().to_string();
        let calls = Arc::new(Calls::default());
        let task = host.spawn("wire.client", {
            let calls = calls.clone();
            async move {
                let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
                while let Some(message) = messages.next().await {
                    match message {
                        Ok(AsyncMessage::Notice(notice)) => calls.add_notice(notice_of(&notice)),
                        Ok(_) => {}
                        Err(error) => return calls.break_with(error_of(&error)),
                    }
                }
            }
        });
        let (host, address) = (host.clone(), address.clone());
        Ok(Connection { client, calls, statements: Mutex::default(), server_version, host, address, task })
    }

    /// For what has no method here. What is called directly is not seen by `is_idle`.
    pub fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The server's `server_version` when the connection was made, as `15.0 (Hypertile 0.1.0)`.
    pub fn server_version(&self) -> &str {
        &self.server_version
    }

    /// The other side has gone, or an error made the connection unusable.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Nothing is under way and nothing was dropped half-way: the next call finds the protocol where it should be.
    /// Says nothing of open transactions.
    pub fn is_idle(&self) -> bool {
        !self.is_closed() && self.calls.is_idle()
    }

    /// Notices of the server since the last call, in order; of very many the newest.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.calls.take_notices()
    }

    /// Can cancel, from any task, what this connection has under way.
    pub fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), host: self.host.clone(), address: self.address.clone() }
    }

    /// Runs one or more statements by simple query, ignoring rows.
    pub async fn run(&self, sql: &str) -> Result<()> {
        let call = self.calls.begin();
        match self.client.batch_execute(sql).await {
            Err(error) if error.is_closed() && sabotage!("wire.closed") => Ok(()),
            answer => call.end(answer),
        }
    }

    /// Rows of a simple query as text, column by column. All of them are kept: for what is known to be small.
    pub async fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let call = self.calls.begin();
        let rows = async {
            let messages = self.client.simple_query_raw(sql).await?;
            futures::pin_mut!(messages);
            let mut rows = Vec::new();
            while let Some(message) = messages.try_next().await? {
                if let SimpleQueryMessage::Row(row) = message {
                    rows.push((0..row.len()).map(|column| row.get(column).map(str::to_string)).collect());
                }
            }
            Ok(rows)
        };
        call.end(rows.await)
    }

    /// Streams a query's rows as batches of `schema` (a `client_schema`; the remote columns must have its types).
    /// The statement stays prepared for the next time. Errors: `42804` where columns differ, else the server's.
    pub async fn query(&self, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        let call = self.calls.begin();
        let statement = match self.prepare(sql).await {
            Ok(statement) => statement,
            Err(error) => return call.end(Err(error)),
        };
        if let Err(error) = rows::check_columns(&statement, &schema) {
            call.settle();
            return Err(error);
        }
        match self.client.query_raw(&statement, std::iter::empty::<i32>()).await {
            Ok(rows) => Ok(rows::batches(rows, schema, call)),
            Err(error) => {
                // Perhaps it is prepared for a table that has changed since.
                self.forget(sql);
                call.end(Err(error))
            }
        }
    }

    /// Opens `COPY table (columns) FROM STDIN (FORMAT binary)`.
    pub async fn copy_in(&self, sql: &str, schema: SchemaRef) -> Result<CopyIn> {
        let call = self.calls.begin();
        let opened = async {
            let statement = self.prepare(sql).await?;
            self.client.copy_in(&statement).await
        };
        match opened.await {
            Ok(sink) => Ok(CopyIn::new(sink, schema, call)),
            Err(error) => {
                self.forget(sql);
                call.end(Err(error))
            }
        }
    }

    fn statements(&self) -> MutexGuard<'_, VecDeque<(String, Statement)>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, sql: &str) -> Option<Statement> {
        let mut statements = self.statements();
        let index = statements.iter().position(|(text, _)| text == sql)?;
        let entry = statements.remove(index)?;
        let statement = entry.1.clone();
        statements.push_back(entry);
        Some(statement)
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if buggify!(self.host, "wire.statement_forgotten") {
            self.forget(sql);
        }
        if let Some(statement) = self.recall(sql) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements();
        statements.push_back((sql.to_string(), statement.clone()));
        if statements.len() > STATEMENTS_MAX {
            statements.pop_front();
        }
        Ok(statement)
    }

    fn forget(&self, sql: &str) {
        self.statements().retain(|(text, _)| text != sql);
    }
}

fn cannot_connect(address: &Address, reason: String) -> Error {
    let message = format!("connection to server at \"{}\", port {} failed", address.host, address.port);
    Error::new(codes::CANNOT_CONNECT, message).with_detail(reason)
}

fn no_answer(address: &Address) -> Error {
    cannot_connect(address, format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))
}

/// Cancels what runs on a connection, through a connection of its own.
pub struct Canceller {
    token: tokio_postgres::CancelToken,
    host: Host,
    address: Address,
}

impl Canceller {
    /// Done when the server has taken the request; whether anything was there to cancel is not told.
    /// Errors: `08001`.
    pub async fn cancel(&self) -> Result<()> {
        let request = async {
            let stream = self.host.net().connect(&self.address.host, self.address.port).await;
            let stream = stream.map_err(|error| cannot_connect(&self.address, error.to_string()))?;
            let sent = self.token.cancel_query_raw(stream, NoTls).await;
            sent.map_err(|error| cannot_connect(&self.address, errors::reasons(&error)))
        };
        match self.host.timeout(CONNECT_TIMEOUT, request).await {
            Ok(sent) => sent,
            Err(_) => Err(no_answer(&self.address)),
        }
    }
}
