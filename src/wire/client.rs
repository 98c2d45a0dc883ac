//! A PostgreSQL client over host streams: what the access node uses to speak to data nodes, and scenarios to speak
//! to the access node.

use crate::error::{Error, Result};
use crate::host::Host;
use crate::sql::types::BatchStream;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

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
}

impl Connection {
    /// Connects within `limits::CONNECT_TIMEOUT`. Errors: `08001` with the reason as DETAIL, or what the server said.
    pub async fn open(host: &Host, address: &Address) -> Result<Connection> {
        let _ = (host, address);
        todo!()
    }

    /// For what has no method here.
    pub fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    /// The other side has gone, or an error made the connection unusable.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs one or more statements by simple query, ignoring rows.
    pub async fn run(&self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|e| error_of(&e))
    }

    /// Rows of a simple query as text, column by column.
    pub async fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let _ = sql;
        todo!()
    }

    /// Streams a query's rows as batches of `schema` (a `client_schema`; the remote columns must have its types).
    pub async fn query(&self, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        let _ = (sql, schema);
        todo!()
    }

    /// Opens `COPY table (columns) FROM STDIN (FORMAT binary)`.
    pub async fn copy_in(&self, sql: &str, schema: SchemaRef) -> Result<CopyIn> {
        let _ = (sql, schema);
        todo!()
    }
}

/// A COPY FROM STDIN under way. Dropping it aborts the copy (and with it the remote transaction).
pub struct CopyIn {
    _todo: (),
}

impl CopyIn {
    /// Awaits while the server is slower than we are.
    pub async fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        let _ = batch;
        todo!()
    }

    /// Rows the server stored.
    pub async fn finish(self) -> Result<u64> {
        todo!()
    }
}

/// A client error as one of ours: what the server said keeps its SQLSTATE, message, detail, hint; a broken
/// connection is `08006`.
pub fn error_of(error: &tokio_postgres::Error) -> Error {
    let _ = error;
    todo!()
}
