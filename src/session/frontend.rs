//! The plain session as the protocol drives it: a database without hypertables.

use super::{NoExtension, Session};
use crate::engine::Engine;
use crate::error::{Error, Notice, Result};
use crate::host::Host;
use crate::sql::statement::{self, Statement};
use crate::wire::values::Format;
use crate::wire::{Description, Frontend, Outcome, Parameter, Startup, TransactionStatus};
use async_trait::async_trait;
use postgres_types::Type;
use std::sync::Arc;
use std::time::Duration;

/// Serves one client from one engine.
pub struct PlainFrontend {
    session: Session,
}

impl PlainFrontend {
    pub fn new(host: &Host, engine: &Arc<Engine>, startup: &Startup) -> PlainFrontend {
        PlainFrontend { session: Session::new(host, engine, startup) }
    }

    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

#[async_trait]
impl Frontend for PlainFrontend {
    type Statement = Statement;

    fn interruptible(&self, statement: &Statement) -> bool {
        statement.is_interruptible()
    }

    fn parse(&mut self, sql: &str) -> Result<Vec<Arc<Statement>>> {
        Ok(statement::parse(sql)?.into_iter().map(Arc::new).collect())
    }

    async fn describe(&mut self, statement: &Arc<Statement>, hints: &[Type]) -> Result<Description> {
        self.session.describe(statement, hints, &NoExtension).await
    }

    async fn execute(
        &mut self,
        statement: &Arc<Statement>,
        types: &[Type],
        parameters: Vec<Parameter>,
    ) -> Result<Outcome> {
        self.session.execute(statement, types, parameters, &NoExtension).await
    }

    async fn sync(&mut self, ok: bool) -> Result<()> {
        self.session.sync(ok).await
    }

    fn status(&self) -> TransactionStatus {
        self.session.transaction_status()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        self.session.take_notices()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.session.take_parameter_changes()
    }

    fn idle_limit(&self) -> Option<(Duration, Error)> {
        self.session.idle_limit()
    }

    fn format(&self) -> Format {
        self.session.format()
    }
}
