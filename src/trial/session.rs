//! One client connection of a scenario, over PostgreSQL's protocol.

use crate::error::{Error, codes};
use crate::host::Host;
use crate::sim::history::Ending;
use crate::sim::scenario::session::{NO_ANSWER, Output, Refusal, Session};
use crate::wire::client::{Address, Connection, error_of};
use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt;
use futures::future::{Either, select};
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

/// A statement that takes longer has an unknown outcome; the connection is given up.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Connects at the first statement and again after its connection broke, as a client library's pool would.
pub struct Database {
    host: Host,
    address: Address,
    connection: Option<Connection>,
    held: bool,
}

impl Database {
    pub fn new(host: Host, address: Address) -> Database {
        Database { host, address, connection: None, held: false }
    }

    async fn execute(&mut self, sql: &str) -> Result<Output, Refusal> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ if self.held => {
                let error = Error::new(codes::CONNECTION_FAILURE, "the connection is gone, and with it the block");
                return Err(refusal(&error, Ending::Failed));
            }
            // Not even sent: it cannot have happened.
            _ => Connection::open(&self.host, &self.address).await.map_err(|e| refusal(&e, Ending::Failed))?,
        };
        let result = match copy_data(sql) {
            Some((copy, data)) => copy_in(connection.client(), copy, data).await,
            None => connection.client().simple_query(sql).await.map(output),
        };
        // Put back only now: when this future is dropped half-way, the connection goes with it.
        self.connection = Some(connection);
        result.map_err(|error| {
            let refused = error.as_db_error().is_some();
            let error = error_of(&error);
            let knows = refused && error.code() != codes::TRANSACTION_RESOLUTION_UNKNOWN;
            refusal(&error, if knows { Ending::Failed } else { Ending::Unknown })
        })
    }
}

#[async_trait]
impl Session for Database {
    async fn run(&mut self, sql: &str) -> Result<Output, Refusal> {
        let host = self.host.clone();
        match host.timeout(STATEMENT_TIMEOUT, self.execute(sql)).await {
            Ok(result) => result,
            Err(_) => Err(refusal(&Error::new(codes::CONNECTION_FAILURE, NO_ANSWER), Ending::Unknown)),
        }
    }

    async fn run_until_cancelled(&mut self, text: &str, patience: Duration) -> Result<Output, Refusal> {
        let (host, canceller) = (self.host.clone(), self.connection.as_ref().map(Connection::canceller));
        let cancel = async {
            host.sleep(patience).await;
            if let Some(canceller) = canceller {
                // A request that does not arrive cancels nothing; the statement has its answer all the same.
                let _ = canceller.cancel().await;
            }
            pending::<Infallible>().await
        };
        match select(self.run(text), pin!(cancel)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((never, _)) => match never {},
        }
    }

    fn hang_up(&mut self) {
        self.connection = None;
    }

    fn hold(&mut self, held: bool) {
        self.held = held;
    }
}

fn refusal(error: &Error, ending: Ending) -> Refusal {
    Refusal { code: Some(error.code().to_string()), message: error.to_string(), ending }
}

/// `COPY t FROM STDIN` and its data on the lines below it.
fn copy_data(sql: &str) -> Option<(&str, &str)> {
    let (copy, data) = sql.split_once('\n').unwrap_or((sql, ""));
    let words: Vec<String> = copy.split_whitespace().map(str::to_uppercase).collect();
    let from_stdin = words.windows(2).any(|pair| pair[0] == "FROM" && pair[1].starts_with("STDIN"));
    (words.first().is_some_and(|word| word == "COPY") && from_stdin).then_some((copy, data))
}

async fn copy_in(client: &tokio_postgres::Client, copy: &str, data: &str) -> Result<Output, tokio_postgres::Error> {
    let mut sink = pin!(client.copy_in::<_, Bytes>(copy).await?);
    for line in data.lines() {
        sink.send(Bytes::from(format!("{line}\n"))).await?;
    }
    let rows = sink.as_mut().finish().await?;
    // Outside a block the COPY is committed only after it is complete, at the Sync, in PostgreSQL as here. The library
    // stops at the completion: asked again it tells what came then, an error, or ReadyForQuery, which it did not expect.
    match sink.as_mut().finish().await {
        Err(error) if error.as_db_error().is_some() || error.is_closed() => Err(error),
        _ => Ok(Output::StatementComplete(rows)),
    }
}

fn output(messages: Vec<SimpleQueryMessage>) -> Output {
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
        Some(columns) => Output::Rows { types: vec![sqllogictest::DefaultColumnType::Any; columns], rows },
        None => Output::StatementComplete(count),
    }
}
