//! What a cluster function may use of the session that calls it.

use super::arguments::Constant;
use crate::access::cluster::Cluster;
use crate::access::txn::Transaction;
use crate::catalog::{Hypertable, State};
use crate::engine::table::Table;
use crate::error::{Error, Notice, Result, codes};
use crate::ids::RelationName;
use async_trait::async_trait;
use sqlparser::ast::Expr;
use std::sync::Arc;

/// The session's own database and client, seen from inside one statement.
#[async_trait]
pub trait Local: Send + Sync {
    fn user(&self) -> &str;

    /// Inside BEGIN … COMMIT.
    fn in_block(&self) -> bool;

    /// A local table; without a schema it is looked for along the search path.
    fn table(&mut self, schema: Option<&str>, name: &str) -> Result<Option<Arc<Table>>>;

    /// Keeps all other transactions from writing to the table until this one ends. Returns whether another one may have
    /// given the table another meaning just before, unaware of rows that this one has for it. Errors: `55P03`.
    async fn claim(&mut self, table: &Table) -> Result<bool>;

    /// Neither committed rows nor this transaction's own are in it, nor those of prepared transactions.
    async fn is_empty(&mut self, table: &Arc<Table>) -> Result<bool>;

    /// Gives an empty table another definition, or the same again; nobody else can drop it from now on. Errors: `42P01`,
    /// `40001`, `55006` if somebody else has dropped it, has replaced it or is about to.
    async fn redefine(&mut self, table: Table) -> Result<()>;

    fn notice(&mut self, notice: Notice);

    /// Evaluates an expression over no rows; `$n` stand for the statement's parameters.
    async fn evaluate(&mut self, expression: &Expr) -> Result<Constant>;

    /// Reads an untyped literal as `ty`, by the session's settings.
    fn read(&self, ty: &postgres_types::Type, text: &str) -> Result<Constant>;

    /// Microseconds since 1970 UTC: `now()` of this transaction's statement.
    fn now(&self) -> i64;
}

/// What a function works on.
pub struct Context<'a> {
    pub cluster: &'a Arc<Cluster>,
    /// All remote statements and catalog changes belong to it.
    pub transaction: &'a Transaction,
    pub local: &'a mut dyn Local,
}

impl Context<'_> {
    pub fn state(&self) -> Arc<State> {
        self.transaction.state()
    }

    /// The local table that `regclass` text names. Errors: `42P01`, `42602`.
    pub fn relation(&mut self, text: &str) -> Result<Arc<Table>> {
        let (schema, name) = parse_regclass(text)?;
        self.local.table(schema.as_deref(), &name)?.ok_or_else(|| {
            let shown = schema.map_or(name.clone(), |schema| format!("{schema}.{name}"));
            Error::new(codes::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
        })
    }

    /// The hypertable of that name in this transaction's catalog. Errors: `TS001`.
    pub fn hypertable(&self, name: &RelationName) -> Result<Hypertable> {
        self.state().hypertable(name).cloned().ok_or_else(|| {
            Error::new(codes::TS_NOT_A_HYPERTABLE, format!("table \"{}\" is not a hypertable", name.name))
        })
    }
}

/// `schema` and `name` of the text form of `regclass`: `conditions`, `public.conditions`, `"Mixed"`, `"A".b`.
/// Errors: `42602`.
pub fn parse_regclass(text: &str) -> Result<(Option<String>, String)> {
    let invalid = || Error::new(crate::error::SqlState::new("42602"), format!("invalid name syntax: \"{text}\""));
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = identifier(rest).ok_or_else(invalid)?;
        parts.push(part);
        match after.trim_start().strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if after.trim().is_empty() => break,
            None => return Err(invalid()),
        }
    }
    let name = parts.pop().ok_or_else(invalid)?;
    // A database name in front of the schema is taken to be the current one.
    match parts.len() {
        0 => Ok((None, name)),
        1 | 2 => Ok((parts.pop(), name)),
        _ => Err(invalid()),
    }
}

/// The identifier that `text` begins with, folded unless quoted, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == '.' || c == '"' || c.is_whitespace()).unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        return (!word.is_empty()).then(|| (word.to_lowercase(), after));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regclass_text_reads_as_in_postgres() {
        let read = |text: &str| parse_regclass(text).unwrap();
        assert_eq!(read("conditions"), (None, "conditions".into()));
        assert_eq!(read("Conditions"), (None, "conditions".into()));
        assert_eq!(read(" public . conditions "), (Some("public".into()), "conditions".into()));
        assert_eq!(read("\"Mixed Case\""), (None, "Mixed Case".into()));
        assert_eq!(read("\"A\".\"say \"\"x\"\"\""), (Some("A".into()), "say \"x\"".into()));
        assert_eq!(read("tsdb.public.t"), (Some("public".into()), "t".into()));
        for bad in ["", "a.", ".a", "\"a", "a b", "a.b.c.d", "\"\""] {
            assert_eq!(parse_regclass(bad).unwrap_err().code().as_str(), "42602", "{bad}");
        }
    }
}
