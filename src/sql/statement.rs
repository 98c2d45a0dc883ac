//! One SQL statement, parsed and sorted by what has to be done with it.
//!
//! sqlparser reads queries, INSERT, CALL and table definitions. What it cannot read as PostgreSQL does (transaction
//! control, SET and SHOW, COPY, EXPLAIN's options, PREPARE …) is read by hand from its tokens: see `by_hand`.

mod by_hand;
mod copy;
mod tokens;

use super::copy_options::CopyOptions;
use crate::error::{Error, Result, codes};
use crate::ids::RelationName;
use crate::limits;
use sqlparser::ast;
use tokens::Tokens;

/// A parsed statement and its own text (without the semicolon).
#[derive(Clone, Debug)]
pub struct Statement {
    pub text: String,
    pub kind: Kind,
}

impl Statement {
    /// Whether it may be stopped half-way without leaving its outcome in doubt: the end of a transaction may not.
    pub fn is_interruptible(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Commit | Kind::PrepareTransaction(_) | Kind::CommitPrepared(_) | Kind::RollbackPrepared(_)
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    /// Snapshot isolation; SERIALIZABLE is taken as this, with a notice where BEGIN asks for it.
    RepeatableRead,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Empty,
    Begin {
        isolation: Option<Isolation>,
        read_only: Option<bool>,
    },
    /// `SET TRANSACTION …` inside a block.
    SetTransaction {
        isolation: Option<Isolation>,
        read_only: Option<bool>,
    },
    Commit,
    Rollback,
    PrepareTransaction(String),
    CommitPrepared(String),
    RollbackPrepared(String),
    /// `value` `None` is DEFAULT (and RESET). Lists are joined by `, `. The name `all` (RESET ALL) is every setting.
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    Show(String),
    DiscardAll,
    Query(Box<ast::Query>),
    Explain {
        analyze: bool,
        verbose: bool,
        statement: Box<Statement>,
    },
    Insert(Box<ast::Insert>),
    Copy(Copy),
    CreateTable(Box<ast::CreateTable>),
    DropTable {
        names: Vec<ast::ObjectName>,
        if_exists: bool,
    },
    CreateSchema {
        name: String,
        if_not_exists: bool,
    },
    DropSchema {
        name: String,
        if_exists: bool,
        cascade: bool,
    },
    CreateDatabase {
        name: String,
    },
    DropDatabase {
        name: String,
        if_exists: bool,
    },
    CreateExtension {
        name: String,
    },
    CreateIndex(Box<ast::CreateIndex>),
    Call(Box<ast::Function>),
    /// SQL-level prepared statements. `types` may be shorter than the parameters used.
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Box<Statement>,
    },
    Execute {
        name: String,
        arguments: Vec<ast::Expr>,
    },
    /// `None` is ALL.
    Deallocate {
        name: Option<String>,
    },
    /// Understood by the parser, not by us: executing it is `0A000`, naming the statement.
    Unsupported(String),
}

#[derive(Clone, Debug)]
pub struct Copy {
    pub target: CopyTarget,
    pub direction: CopyDirection,
    pub options: CopyOptions,
}

#[derive(Clone, Debug)]
pub enum CopyTarget {
    /// `columns` empty: all of them.
    Table {
        name: ast::ObjectName,
        columns: Vec<String>,
    },
    Query(Box<ast::Query>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    FromStdin,
    ToStdout,
}

/// Splits and parses a query string. Errors: `42601` with the position in `sql`.
pub fn parse(sql: &str) -> Result<Vec<Statement>> {
    let tokens = Tokens::new(sql)?;
    let ranges = tokens.statements();
    if ranges.is_empty() {
        return Ok(vec![Statement { text: String::new(), kind: Kind::Empty }]);
    }
    ranges.into_iter().map(|range| by_hand::statement(&tokens, range)).collect()
}

/// One scalar expression, as stored defaults and checks are. Errors: `42601`.
pub fn parse_expression(sql: &str) -> Result<ast::Expr> {
    let tokens = Tokens::new(sql)?;
    let range = tokens.statements().into_iter().next().unwrap_or(0..0);
    tokens.parse(&range, |parser| parser.parse_expr())
}

/// An identifier in the case it is stored in: folded unless quoted, cut to 63 bytes.
pub fn fold(ident: &ast::Ident) -> String {
    let mut name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
    if name.len() > limits::IDENTIFIER_BYTES_MAX {
        let end = (0..=limits::IDENTIFIER_BYTES_MAX).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        name.truncate(end);
    }
    name
}

/// Schema and name of a relation, folded; `default_schema` where none is written. A database name in front is
/// taken to be the current one. Errors: `42601` for more than three parts.
pub fn relation_name(name: &ast::ObjectName, default_schema: &str) -> Result<RelationName> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(fold)).collect();
    match parts.as_deref() {
        Some([table]) => Ok(RelationName::new(default_schema, table)),
        Some([.., schema, table]) if name.0.len() <= 3 => Ok(RelationName::new(schema, table)),
        _ => Err(Error::new(codes::SYNTAX_ERROR, format!("improper qualified name (too many dotted names): {name}"))),
    }
}

/// The 1-based character at which a name stands in the query string, where the parser noted it.
pub fn position_of(name: &ast::ObjectName) -> Option<u32> {
    let column = name.0.first()?.as_ident()?.span.start.column;
    u32::try_from(column).ok().filter(|column| *column > 0)
}

#[cfg(test)]
mod tests;
