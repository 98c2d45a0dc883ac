//! The PostgreSQL protocol over any byte stream.
//!
//! Knows messages, authentication, value formats and COPY encodings; knows nothing of tables or statements: what a
//! statement *is* belongs to the [`Frontend`] that the server loop drives.
//!
//! Reading order: this file (the seam), [`server`] (one connection's loop), [`values`] (Arrow <-> PostgreSQL text and
//! binary), [`copy`] (text, csv, binary streams), [`client`] (tokio-postgres over host streams, rows -> Arrow).

pub mod client;
pub mod copy;
pub mod server;
#[cfg(test)]
pub(crate) mod test_host;
#[cfg(test)]
mod toy;
pub mod values;

use crate::error::{Error, Notice, Result};
use crate::sql::types::BatchStream;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use postgres_types::Type;
use std::sync::Arc;
use std::time::Duration;

/// Longest CopyData sent, to clients and to data nodes: nobody need hold more than this at once, and its header is
/// nothing beside it.
const COPY_DATA_BYTES_MAX: usize = 256 << 10;

/// What a client said when it connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    pub user: String,
    pub database: String,
    /// `application_name`, `TimeZone`, … as given, in the order of the message.
    pub parameters: Vec<(String, String)>,
    /// This backend's process id, unique in the server; what `pg_backend_pid()` says.
    pub process_id: i32,
}

/// Opens sessions: what a server offers to the protocol. `Session` is one client's state.
#[async_trait]
pub trait Acceptor: Send + Sync + 'static {
    type Session: Frontend;

    /// The password of `user`, if one is configured: then SCRAM-SHA-256 is required. `None` trusts.
    fn password(&self, user: &str) -> Option<String>;

    /// Errors: `3D000` unknown database, `57P03` starting up or shutting down.
    async fn open(&self, startup: Startup) -> Result<Self::Session>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    Failed,
}

/// Parameter types and result columns of a statement; `columns` is `None` for one that returns no rows.
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub parameters: Vec<Type>,
    pub columns: Option<SchemaRef>,
}

/// A bound parameter as it came: bytes in text (`binary == false`) or binary format.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub binary: bool,
    pub bytes: Option<Bytes>,
}

/// What executing one statement gives.
pub enum Outcome {
    /// Rows of `schema` (already a `client_schema`), then the command tag `SELECT n` (or `tag n` where given).
    Rows { schema: SchemaRef, rows: BatchStream, tag: &'static str },
    /// A finished command and its whole tag, as `INSERT 0 5` or `CREATE TABLE`.
    Done { tag: String },
    /// An empty statement.
    Empty,
    /// The client now sends CopyData. `columns` counts them; `binary` is the format announced.
    CopyIn { sink: Box<dyn CopySink>, columns: usize, binary: bool },
    /// CopyData payloads for the client, then the tag `COPY rows`.
    CopyOut { data: futures::stream::BoxStream<'static, Result<CopyChunk>>, columns: usize, binary: bool },
}

/// A piece of a COPY TO stream and the rows that it completes.
#[derive(Clone, Debug)]
pub struct CopyChunk {
    pub bytes: Bytes,
    pub rows: u64,
}

/// Takes one COPY FROM STDIN. Dropping it without `finish` abandons the copy; the transaction then fails.
#[async_trait]
pub trait CopySink: Send {
    /// Bytes as they come: rows may span calls. Awaits when the receivers are slower than the client.
    async fn write(&mut self, data: Bytes) -> Result<()>;
    /// All data has come; returns the rows stored.
    async fn finish(self: Box<Self>) -> Result<u64>;
}

/// One client session as the server loop drives it. Calls never overlap. A call's future may be dropped at any
/// await (the client cancelled or left): the session must stay usable and its transaction count as failed.
///
/// Transactions: `execute` outside an explicit block starts an implicit transaction that lives until `sync`.
/// The server loop calls `sync(true)` after the last statement of a simple query (before its CommandComplete goes
/// out) and at each Sync message, `sync(false)` after an error. `sync` is never dropped half-way. Inside an explicit
/// block `sync(true)` does nothing, not even to rows that a suspended portal has yet to send.
#[async_trait]
pub trait Frontend: Send + 'static {
    type Statement: Send + Sync + 'static;

    /// Splits and parses a query string. Errors: `42601` with position.
    fn parse(&mut self, sql: &str) -> Result<Vec<Arc<Self::Statement>>>;

    /// Types of the parameters (`hints` from the client, `Type::UNKNOWN` where it has none) and result columns.
    async fn describe(&mut self, statement: &Arc<Self::Statement>, hints: &[Type]) -> Result<Description>;

    /// Runs a statement. `types` are the parameter types of `describe`. The rows returned borrow nothing, but must
    /// be drained or dropped before the next call.
    async fn execute(
        &mut self,
        statement: &Arc<Self::Statement>,
        types: &[Type],
        parameters: Vec<Parameter>,
    ) -> Result<Outcome>;

    /// Whether a cancel request, or the client's leaving, may drop `execute` of this statement half-way. Not that of a
    /// commit: its client would be told that it was cancelled when perhaps it was done.
    fn interruptible(&self, statement: &Self::Statement) -> bool {
        let _ = statement;
        true
    }

    /// Ends the implicit transaction, if one is open: commits (`ok`) or rolls back. Inside an explicit block
    /// `sync(false)` marks it failed.
    async fn sync(&mut self, ok: bool) -> Result<()>;

    /// `InTransaction` and `Failed` inside an explicit block only; an implicit transaction counts as `Idle`.
    fn status(&self) -> TransactionStatus;

    /// How long the client may keep silent before its next statement, and the error that ends the connection then.
    fn idle_limit(&self) -> Option<(Duration, Error)> {
        None
    }

    /// Notices since the last call, in order.
    fn take_notices(&mut self) -> Vec<Notice>;

    /// Settings whose value the client must know (ParameterStatus), all at first, then those changed since.
    fn take_parameter_changes(&mut self) -> Vec<(String, String)>;

    /// How timestamptz and intervals are written for this session.
    fn format(&self) -> values::Format;
}
