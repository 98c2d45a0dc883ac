//! Clients that write and read while faults strike, and remember what they were told.
//!
//! An [`Operation`] is one line of a `client` block, as text and as a value; a [`Performer`] carries operations out over
//! one connection and fills the history. A `workload` line is short for client blocks, whose operations are drawn from
//! the seed ([`clients`]). Reading order: this file, [`writing`] (how batches of rows are written) and [`options`], then a
//! file for each workload: [`batches`], [`append`], [`bank`], [`dashboards`], [`churn`], [`ddl`], [`nodes`].

pub mod append;
pub mod bank;
pub mod batches;
pub mod churn;
pub mod dashboards;
pub mod ddl;
pub mod nodes;
pub mod options;
pub mod writing;

use super::history::{History, Shared, Turn};
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
    Bank(bank::Operation),
    Dashboards(dashboards::Operation),
    Churn(churn::Operation),
    Ddl(ddl::Operation),
    Nodes(nodes::Operation),
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
        if let Some(operation) = bank::Operation::parse(verb, rest) {
            return operation.map(Operation::Bank);
        }
        if let Some(operation) = dashboards::Operation::parse(verb, rest) {
            return operation.map(Operation::Dashboards);
        }
        if let Some(operation) = churn::Operation::parse(verb, rest) {
            return operation.map(Operation::Churn);
        }
        if let Some(operation) = ddl::Operation::parse(verb, rest) {
            return operation.map(Operation::Ddl);
        }
        if let Some(operation) = nodes::Operation::parse(verb, rest) {
            return operation.map(Operation::Nodes);
        }
        Err(format!("unknown operation \"{verb}\", expected one of: {}", forms()))
    }
}

/// The forms of all operations.
fn forms() -> String {
    let all: [&[&str]; 7] =
        [&batches::FORMS, &append::FORMS, &bank::FORMS, &dashboards::FORMS, &churn::FORMS, &ddl::FORMS, &nodes::FORMS];
    all.concat().join(" | ")
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Batches(operation) => operation.fmt(f),
            Operation::Append(operation) => operation.fmt(f),
            Operation::Bank(operation) => operation.fmt(f),
            Operation::Dashboards(operation) => operation.fmt(f),
            Operation::Churn(operation) => operation.fmt(f),
            Operation::Ddl(operation) => operation.fmt(f),
            Operation::Nodes(operation) => operation.fmt(f),
        }
    }
}

impl Operation {
    /// The same under another identity; see `Subject::again`.
    pub fn again(&self, number: u32) -> Option<Operation> {
        match self {
            Operation::Batches(operation) => Some(Operation::Batches(operation.again(number))),
            Operation::Append(operation) => Some(Operation::Append(operation.again(number))),
            Operation::Bank(operation) => Some(Operation::Bank(operation.again(number))),
            Operation::Churn(operation) => Some(Operation::Churn(operation.again(number))),
            Operation::Ddl(operation) => operation.again(number).map(Operation::Ddl),
            Operation::Dashboards(_) => Some(self.clone()),
            // What one of them needs may be another that did not come off.
            Operation::Nodes(_) => None,
        }
    }

    /// Operations that might show the same in a simpler way; those with fewer words are tried anyway.
    pub fn simpler(&self) -> Vec<Operation> {
        match self {
            Operation::Batches(operation) => operation.simpler().into_iter().map(Operation::Batches).collect(),
            _ => vec![],
        }
    }
}

/// The clients of a `workload` line. Errors name the option and what was expected.
pub fn clients(spec: &WorkloadSpec, chance: &mut Stream) -> Result<Vec<ClientBlock>, String> {
    match spec.name.as_str() {
        "batches" => Ok(batches::Options::from_spec(spec)?.clients(chance)),
        "append" => Ok(append::Options::from_spec(spec)?.clients(chance)),
        "bank" => Ok(bank::Options::from_spec(spec)?.clients(chance)),
        "dashboards" => Ok(dashboards::Options::from_spec(spec)?.clients(chance)),
        "churn" => Ok(churn::Options::from_spec(spec)?.clients(chance)),
        "ddl" => Ok(ddl::Options::from_spec(spec)?.clients(chance)),
        "nodes" => Ok(nodes::Options::from_spec(spec)?.clients(chance)),
        other => Err(format!("unknown workload \"{other}\", expected one of: {}", NAMES.join(", "))),
    }
}

/// All workloads.
pub const NAMES: [&str; 7] = ["batches", "append", "bank", "dashboards", "churn", "ddl", "nodes"];

/// The statement that makes the table of a workload; `None` if it needs none.
pub fn schema(workload: &str, table: &str) -> Option<String> {
    let columns = match workload {
        "batches" => batches::COLUMNS,
        "append" => append::COLUMNS,
        "bank" => bank::COLUMNS,
        "dashboards" => dashboards::COLUMNS,
        "churn" => churn::COLUMNS,
        _ => return None,
    };
    Some(format!("CREATE TABLE {table} ({columns})"))
}

/// The column that a workload's hypertable may be partitioned by besides its time; `None` if it is no hypertable.
pub fn space_column(workload: &str) -> Option<&'static str> {
    match workload {
        "batches" | "append" | "dashboards" | "churn" => Some("device"),
        "bank" => Some("account"),
        _ => None,
    }
}

/// Statements that make what a workload needs besides its table.
pub fn companions(workload: &str, table: &str) -> Vec<String> {
    if workload == "dashboards" { dashboards::companions(table) } else { vec![] }
}

/// A statement that writes something into a workload's table which its judges know how to take; `None` if there is none.
pub fn fresh_write(workload: &str, table: &str) -> Option<String> {
    match workload {
        "batches" => Some(batches::fresh_write(table)),
        "append" => Some(append::fresh_write(table)),
        "bank" => Some(bank::fresh_write(table)),
        "dashboards" => Some(dashboards::fresh_write(table)),
        // Of churn there is none: a second try of one that went through unheard would violate the table's key.
        _ => None,
    }
}

/// Carries out the operations of one client.
pub struct Performer {
    /// The client's.
    name: String,
    host: Host,
    session: Box<dyn Session>,
    history: Shared,
    /// No other of the run has it.
    number: u64,
}

impl Performer {
    pub fn new(name: &str, host: Host, session: Box<dyn Session>, history: Shared) -> Performer {
        let number = history.lock().expect("no client panics while it holds the lock").next_client();
        Performer { name: name.to_string(), host, session, history, number }
    }

    fn remember<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        note(&mut self.history.lock().expect("no client panics while it holds the lock"))
    }

    /// Runs one statement; the error says what a client may conclude.
    async fn statement(&mut self, sql: &str) -> Result<Output, Refusal> {
        let answer = self.host.timeout(STATEMENT_TIMEOUT, self.session.run(sql)).await;
        let refusal = match answer {
            Ok(Ok(output)) => return Ok(output),
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                self.session.hang_up();
                no_answer()
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
        let invoked = self.now();
        let done = match operation.parse::<Operation>() {
            Ok(Operation::Batches(operation)) => operation.perform(self).await,
            Ok(Operation::Append(operation)) => operation.perform(self).await,
            Ok(Operation::Bank(operation)) => operation.perform(self).await,
            Ok(Operation::Dashboards(operation)) => operation.perform(self).await,
            Ok(Operation::Churn(operation)) => operation.perform(self).await,
            Ok(Operation::Ddl(operation)) => operation.perform(self).await,
            Ok(Operation::Nodes(operation)) => operation.perform(self).await,
            Err(message) => Done { ending: Ending::Failed, text: message },
        };
        let (client, completed, ok) = (self.name.clone(), self.now(), done.ending == Ending::Ok);
        self.remember(|history| history.turns.push(Turn { client, invoked, completed, ok }));
        done
    }
}

fn no_answer() -> Refusal {
    Refusal { code: None, message: format!("no answer within {STATEMENT_TIMEOUT:?}"), ending: Ending::Unknown }
}

/// The rows of an answer; none for a statement without any.
fn rows(output: Output) -> Vec<Vec<String>> {
    match output {
        Output::Rows { rows, .. } => rows,
        _ => Vec::new(),
    }
}
