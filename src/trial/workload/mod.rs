//! Clients that write and read while faults strike, and remember what they were told.
//!
//! An [`Operation`] is one line of a `client` block, as text and as a value; a [`Performer`] carries operations out over
//! one connection and fills the history. A `workload` line is short for client blocks, whose operations are drawn from
//! the seed ([`clients`]). Reading order: this file, then a file for each workload: [`batches`], [`append`].

pub mod append;
pub mod batches;

use super::history::Shared;
use crate::host::Host;
use crate::sim::chance::Stream;
use crate::sim::history::Ending;
use crate::sim::scenario::session::{Output, Refusal, Session};
use crate::sim::scenario::stage::{Client, Done};
use crate::sim::scenario::{ClientBlock, WorkloadSpec};
use async_trait::async_trait;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A client gives a statement up after this long: a server that lost its power says nothing at all.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// When the access node is down: do not spin.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// What one line of a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Batches(batches::Operation),
    Append(append::Operation),
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Operation, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (verb, rest) = words.split_first().ok_or_else(|| format!("expected one of: {}", forms()))?;
        if let Some(operation) = batches::Operation::parse(verb, rest) {
            return operation.map(Operation::Batches);
        }
        if let Some(operation) = append::Operation::parse(verb, rest) {
            return operation.map(Operation::Append);
        }
        Err(format!("unknown operation \"{verb}\", expected one of: {}", forms()))
    }
}

/// The forms of all operations.
fn forms() -> String {
    [&batches::FORMS[..], &append::FORMS].concat().join(" | ")
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Batches(operation) => operation.fmt(f),
            Operation::Append(operation) => operation.fmt(f),
        }
    }
}

impl Operation {
    /// The same under another identity; see `Subject::again`.
    pub fn again(&self, number: u32) -> Option<Operation> {
        match self {
            Operation::Batches(operation) => Some(Operation::Batches(operation.again(number))),
            Operation::Append(operation) => Some(Operation::Append(operation.again(number))),
        }
    }

    /// Operations that might show the same in a simpler way; those with fewer words are tried anyway.
    pub fn simpler(&self) -> Vec<Operation> {
        match self {
            Operation::Batches(operation) => operation.simpler().into_iter().map(Operation::Batches).collect(),
        }
    }
}

/// The clients of a `workload` line. Errors name the option and what was expected.
pub fn clients(spec: &WorkloadSpec, chance: &mut Stream) -> Result<Vec<ClientBlock>, String> {
    match spec.name.as_str() {
        "batches" => Ok(batches::Options::from_spec(spec)?.clients(chance)),
        "append" => Ok(append::Options::from_spec(spec)?.clients(chance)),
        other => Err(format!("unknown workload \"{other}\", expected one of: {}", NAMES.join(", "))),
    }
}

/// All workloads.
pub const NAMES: [&str; 2] = ["batches", "append"];

/// The statement that makes the table of a workload; `None` if it needs none.
pub fn schema(workload: &str, table: &str) -> Option<String> {
    let columns = match workload {
        "batches" => batches::COLUMNS,
        "append" => append::COLUMNS,
        _ => return None,
    };
    Some(format!("CREATE TABLE {table} ({columns})"))
}

/// The column that a workload's hypertable may be partitioned by besides its time; `None` if it is no hypertable.
pub fn space_column(workload: &str) -> Option<&'static str> {
    match workload {
        "batches" | "append" => Some("device"),
        _ => None,
    }
}

/// A statement that writes something into a workload's table which its judges know how to take; `None` if there is none.
pub fn fresh_write(workload: &str, table: &str) -> Option<String> {
    match workload {
        "batches" => Some(batches::fresh_write(table)),
        "append" => Some(append::fresh_write(table)),
        _ => None,
    }
}

/// Carries out the operations of one client.
pub struct Performer {
    host: Host,
    session: Box<dyn Session>,
    history: Shared,
    /// No other of the run has it.
    number: u64,
}

impl Performer {
    pub fn new(host: Host, session: Box<dyn Session>, history: Shared) -> Performer {
        let number = history.lock().expect("no client panics while it holds the lock").next_client();
        Performer { host, session, history, number }
    }

    /// Runs one statement; the error says what a client may conclude.
    async fn statement(&mut self, sql: &str) -> Result<Output, Refusal> {
        let answer = self.host.timeout(STATEMENT_TIMEOUT, self.session.run(sql)).await;
        let refusal = match answer {
            Ok(Ok(output)) => return Ok(output),
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                self.session.hang_up();
                let message = format!("no answer within {STATEMENT_TIMEOUT:?}");
                Refusal { code: None, message, ending: Ending::Unknown }
            }
        };
        if refusal.code.as_deref() == Some(crate::error::codes::CANNOT_CONNECT.as_str()) {
            self.host.sleep(RECONNECT_PAUSE).await;
        }
        Err(refusal)
    }

    fn now(&self) -> u64 {
        self.host.monotonic().as_micros() as u64
    }
}

#[async_trait]
impl Client for Performer {
    async fn perform(&mut self, operation: &str) -> Done {
        match operation.parse::<Operation>() {
            Ok(Operation::Batches(operation)) => operation.perform(self).await,
            Ok(Operation::Append(operation)) => operation.perform(self).await,
            Err(message) => Done { ending: Ending::Failed, text: message },
        }
    }
}

/// The rows of an answer; none for a statement without any.
fn rows(output: Output) -> Vec<Vec<String>> {
    match output {
        Output::Rows { rows, .. } => rows,
        _ => Vec::new(),
    }
}
