//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Flush.

use super::connection::Connection;
use super::message::{Bind, Message, Target};
use super::rows::OpenRows;
use super::{Failure, Stop, reply};
use crate::error::{Error, Result, SqlState, codes};
use crate::sql::types::pg_type;
use crate::wire::values::utf8;
use crate::wire::{Description, Frontend, Outcome, Parameter, TransactionStatus};
use arrow::datatypes::Schema;
use bytes::Bytes;
use postgres_types::Type;
use std::sync::Arc;

/// A parsed statement; `None` is an empty one.
pub struct Prepared<S> {
    statement: Option<Arc<S>>,
    description: Description,
}

/// A statement with parameters, and how far its execution has come.
pub struct Portal<S> {
    prepared: Arc<Prepared<S>>,
    parameters: Vec<Parameter>,
    /// By column: rows go out in binary.
    binary: Vec<bool>,
    progress: Progress,
}

enum Progress {
    Bound,
    Rows(OpenRows),
    /// All rows have been sent; asked again, there are none.
    Drained(String),
    Done,
}

impl<F: Frontend> Connection<'_, F> {
    pub(super) async fn extended(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Parse { name, sql, types } => self.parse(name, &sql, &types).await?,
            Message::Bind(bind) => self.bind(bind)?,
            Message::Describe(Target::Statement, name) => self.describe_statement(&name)?,
            Message::Describe(Target::Portal, name) => self.describe_portal(&name)?,
            Message::Execute { portal, rows_max } => self.execute(&portal, rows_max).await?,
            Message::Close(target, name) => {
                // Closing what is not there is no error.
                match target {
                    Target::Statement => drop(self.statements.remove(&name)),
                    Target::Portal => drop(self.portals.remove(&name)),
                }
                reply::bare(reply::CLOSE_COMPLETE, &mut self.link.output);
            }
            Message::Flush => self.link.flush().await?,
            _ => {
                let error = Error::new(codes::PROTOCOL_VIOLATION, "unexpected message");
                return Err(Stop::Fatal(error).into());
            }
        }
        self.link.flush_if_full().await
    }

    async fn parse(&mut self, name: String, sql: &Bytes, types: &[u32]) -> Result<(), Failure> {
        if name.is_empty() {
            self.statements.remove("");
        } else if self.statements.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(codes::DUPLICATE_PREPARED_STATEMENT, message).into());
        }
        let mut statements = self.session.parse(utf8(sql)?)?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Error::new(codes::SYNTAX_ERROR, message).into());
        }
        let statement = statements.pop();
        let description = match &statement {
            None => Description::default(),
            Some(statement) => {
                let hints = types.iter().map(|oid| type_of(*oid)).collect::<Result<Vec<_>>>()?;
                self.park_portals().await?;
                self.link.run(self.session.describe(statement, &hints)).await??
            }
        };
        self.statements.insert(name, Arc::new(Prepared { statement, description }));
        reply::bare(reply::PARSE_COMPLETE, &mut self.link.output);
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> Result<()> {
        let prepared = self.prepared(&bind.statement)?.clone();
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            let message = format!("cursor \"{}\" already exists", bind.portal);
            return Err(Error::new(SqlState::new("42P03"), message));
        }
        let expected = prepared.description.parameters.len();
        if bind.parameters.len() != expected {
            let message = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {expected}",
                bind.parameters.len(),
                bind.statement
            );
            return Err(Error::new(codes::PROTOCOL_VIOLATION, message));
        }
        let formats = expand_formats(&bind.parameter_formats, expected, "parameter formats but", "parameters")?;
        let parameters =
            bind.parameters.into_iter().zip(formats).map(|(bytes, binary)| Parameter { binary, bytes }).collect();
        let binary = match &prepared.description.columns {
            Some(columns) => {
                expand_formats(&bind.result_formats, columns.fields().len(), "result formats but query has", "columns")?
            }
            None => Vec::new(),
        };
        self.portals.insert(bind.portal, Portal { prepared, parameters, binary, progress: Progress::Bound });
        reply::bare(reply::BIND_COMPLETE, &mut self.link.output);
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<&Arc<Prepared<F::Statement>>> {
        self.statements.get(name).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_string(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            Error::new(codes::INVALID_STATEMENT_NAME, message)
        })
    }

    fn describe_statement(&mut self, name: &str) -> Result<()> {
        let prepared = self.prepared(name)?.clone();
        reply::parameter_description(&prepared.description.parameters, &mut self.link.output);
        match &prepared.description.columns {
            Some(columns) => reply::row_description(columns, &[], &mut self.link.output),
            None => reply::bare(reply::NO_DATA, &mut self.link.output),
        }
        Ok(())
    }

    fn describe_portal(&mut self, name: &str) -> Result<()> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        match &portal.prepared.description.columns {
            Some(columns) => reply::row_description(columns, &portal.binary, &mut self.link.output),
            None => reply::bare(reply::NO_DATA, &mut self.link.output),
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, rows_max: i32) -> Result<(), Failure> {
        // Taken out while it runs: should this future be dropped, the portal is gone, not half-run.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        if let Progress::Bound = portal.progress {
            let in_block = self.session.status() == TransactionStatus::InTransaction;
            let rows = self.start(&mut portal).await?;
            if in_block {
                // A COMMIT takes the portals of its block along.
                self.drop_dead_portals();
            }
            let Some(rows) = rows else {
                self.portals.insert(name.to_string(), portal);
                return Ok(());
            };
            portal.progress = Progress::Rows(rows);
        }
        match &mut portal.progress {
            Progress::Rows(rows) => {
                let format = self.session.format();
                let rows_max = u64::try_from(rows_max).ok().filter(|max| *max > 0);
                let sent = rows.send(self.link, &portal.binary, &format, rows_max).await?;
                if sent.suspended {
                    reply::bare(reply::PORTAL_SUSPENDED, &mut self.link.output);
                } else {
                    let tag = rows.tag(sent.rows);
                    portal.progress = Progress::Drained(rows.tag(0));
                    self.complete(Some(&tag));
                }
            }
            Progress::Drained(tag) => {
                let tag = tag.clone();
                self.complete(Some(&tag));
            }
            Progress::Done | Progress::Bound => {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(Error::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into());
            }
        }
        self.portals.insert(name.to_string(), portal);
        Ok(())
    }

    /// Runs a bound statement; `None` if that has completed it.
    async fn start(&mut self, portal: &mut Portal<F::Statement>) -> Result<Option<OpenRows>, Failure> {
        let prepared = portal.prepared.clone();
        portal.progress = Progress::Done;
        let Some(statement) = &prepared.statement else {
            self.complete(None);
            return Ok(None);
        };
        let parameters = std::mem::take(&mut portal.parameters);
        match self.run_statement(statement, &prepared.description.parameters, parameters).await? {
            Outcome::Rows { schema, rows, tag } => {
                check_columns(prepared.description.columns.as_deref(), &schema)?;
                Ok(Some(OpenRows::new(schema, rows, tag)))
            }
            other => {
                let tag = self.outcome_without_rows(other).await?;
                self.complete(tag.as_deref());
                Ok(None)
            }
        }
    }

    /// The session runs one thing at a time: rows that suspended portals have yet to send are taken into memory.
    pub(super) async fn park_portals(&mut self) -> Result<(), Failure> {
        let mut held = 0;
        for portal in self.portals.values_mut() {
            if let Progress::Rows(rows) = &mut portal.progress {
                rows.park(self.link, &mut held).await?;
            }
        }
        Ok(())
    }
}

fn no_portal(name: &str) -> Error {
    Error::new(codes::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

/// 0 leaves the type to the statement. Errors: `42704` for a type Hypertile does not know.
fn type_of(oid: u32) -> Result<Type> {
    match oid {
        0 => Ok(Type::UNKNOWN),
        oid => Type::from_oid(oid)
            .ok_or_else(|| Error::new(codes::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))),
    }
}

/// No code: all text; one: it holds for all; else one for each. Returns whether each is binary.
fn expand_formats(codes: &[i16], count: usize, has: &str, of_what: &str) -> Result<Vec<bool>> {
    let is_binary = |code: i16| match code {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::new(codes::INVALID_PARAMETER_VALUE, format!("unsupported format code: {other}"))),
    };
    match codes {
        [] => Ok(vec![false; count]),
        [all] => Ok(vec![is_binary(*all)?; count]),
        each if each.len() == count => each.iter().map(|code| is_binary(*code)).collect(),
        each => {
            let message = format!("bind message has {} {has} {count} {of_what}", each.len());
            Err(Error::new(codes::PROTOCOL_VIOLATION, message))
        }
    }
}

/// The client has been told what columns come; others would be misread.
fn check_columns(described: Option<&Schema>, schema: &Schema) -> Result<()> {
    let same = described.is_some_and(|described| {
        described.fields().len() == schema.fields().len()
            && described.fields().iter().zip(schema.fields()).all(|(a, b)| pg_type(a) == pg_type(b))
    });
    if same { Ok(()) } else { Err(Error::unsupported("cached plan must not change result type")) }
}
