//! One client connection of a scenario, as sqllogictest drives it.

use crate::error::{Error, codes};
use crate::host::Host;
use crate::wire::client::{Address, Connection, error_of};
use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, MakeConnection};
use std::future::{Ready, ready};
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

/// A statement that takes longer has an unknown outcome; the connection is given up.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// What such a statement's error says.
pub const NO_ANSWER: &str = "the statement was given up: no answer in time";

/// Connects at the first statement and again after its connection broke, as a client library's pool would.
pub struct Database {
    host: Host,
    address: Address,
    connection: Option<Connection>,
}

impl Database {
    pub fn new(host: Host, address: Address) -> Database {
        Database { host, address, connection: None }
    }

    /// Runs a query string; rows as text, `NULL` for NULL, `(empty)` for the empty string.
    pub async fn execute(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let work = async {
            let connection = match self.connection.take() {
                Some(connection) if !connection.is_closed() => connection,
                _ => Connection::open(&self.host, &self.address).await?,
            };
            let result = connection.client().simple_query(sql).await.map_err(|error| error_of(&error));
            // Put back only now: when this future is dropped half-way, the connection goes with it.
            self.connection = Some(connection);
            result.map(output)
        };
        match self.host.timeout(STATEMENT_TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(codes::CONNECTION_FAILURE, NO_ANSWER)),
        }
    }
}

fn output(messages: Vec<SimpleQueryMessage>) -> DBOutput<DefaultColumnType> {
    let mut rows = Vec::new();
    let mut columns = None;
    let mut count = 0;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(description) => columns = Some(description.len()),
            SimpleQueryMessage::Row(row) => {
                let cell = |index| match row.get(index) {
                    None => "NULL".to_string(),
                    Some("") => "(empty)".to_string(),
                    Some(text) => text.to_string(),
                };
                rows.push((0..row.len()).map(cell).collect());
            }
            SimpleQueryMessage::CommandComplete(rows) => count = rows,
            _ => {}
        }
    }
    match columns {
        Some(columns) => DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows },
        None => DBOutput::StatementComplete(count),
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        self.execute(sql).await
    }

    async fn shutdown(&mut self) {
        self.connection = None;
    }

    fn error_sql_state(error: &Error) -> Option<String> {
        Some(error.code().to_string())
    }
}

/// Makes the connections of one runner.
pub struct Maker {
    pub host: Host,
    pub address: Address,
}

impl MakeConnection for Maker {
    type Conn = Database;
    type MakeFuture = Ready<Result<Database, Error>>;

    fn make(&mut self) -> Self::MakeFuture {
        ready(Ok(Database::new(self.host.clone(), self.address.clone())))
    }
}
