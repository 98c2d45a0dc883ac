//! One client connection of a scenario, as sqllogictest drives it.

use crate::sim::history::Ending;
use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, MakeConnection};
use std::fmt;
use std::future::{Ready, ready};
use std::time::Duration;

/// What a statement gave: rows as text, or the number of rows that it touched.
pub type Output = DBOutput<DefaultColumnType>;

/// Why a statement gave nothing.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The error code of the system, such as a SQLSTATE.
    pub code: Option<String>,
    pub message: String,
    /// What the client may conclude: `Failed` if it was refused or never sent, `Unknown` if no answer came.
    pub ending: Ending,
}

/// Stands in a refusal's text when there was no answer: `statement maybe` does not accept silence.
pub const NO_ANSWER: &str = "the statement was given up: no answer in time";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// A client's connection to the system under test. Connects by itself when it must, gives up by itself what takes too
/// long (a story may not hang). Rows hold `NULL` for NULL and `(empty)` for the empty string.
#[async_trait]
pub trait Session: Send {
    async fn run(&mut self, text: &str) -> Result<Output, Refusal>;

    /// The same; but if there is no answer within `patience`, the system is asked to give up what it does, and answers
    /// then. A system that cannot be asked goes on.
    async fn run_until_cancelled(&mut self, text: &str, patience: Duration) -> Result<Output, Refusal> {
        let _ = patience;
        self.run(text).await
    }

    /// Gives up the connection, and with it what was under way on it; the next statement connects anew.
    fn hang_up(&mut self);

    /// While it is held it does not connect anew: what would run outside of the block that was begun fails instead.
    fn hold(&mut self, _held: bool) {}
}

/// A session in sqllogictest's terms.
pub struct Connected(Box<dyn Session>);

#[async_trait]
impl AsyncDB for Connected {
    type Error = Refusal;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<Output, Refusal> {
        self.0.run(sql).await
    }

    async fn shutdown(&mut self) {}

    fn error_sql_state(refusal: &Refusal) -> Option<String> {
        refusal.code.clone()
    }
}

/// Hands one session to one runner.
pub struct Maker(Option<Box<dyn Session>>);

impl Maker {
    pub fn new(session: Box<dyn Session>) -> Maker {
        Maker(Some(session))
    }
}

impl MakeConnection for Maker {
    type Conn = Connected;
    type MakeFuture = Ready<Result<Connected, Refusal>>;

    fn make(&mut self) -> Self::MakeFuture {
        let none = || Refusal { code: None, message: "one runner, one session".to_string(), ending: Ending::Failed };
        ready(self.0.take().map(Connected).ok_or_else(none))
    }
}
