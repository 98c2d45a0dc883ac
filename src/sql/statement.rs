//! One SQL statement, parsed and sorted by what has to be done with it.

use super::copy_options::CopyOptions;
use crate::error::Result;
use crate::ids::RelationName;
use sqlparser::ast;

/// A parsed statement and its own text (without the semicolon).
#[derive(Clone, Debug)]
pub struct Statement {
    pub text: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    /// Snapshot isolation; SERIALIZABLE is taken as this, with a notice.
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
    /// `value` `None` is DEFAULT (and RESET). Lists are joined by `, `.
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
    /// SQL-level prepared statements.
    Prepare {
        name: String,
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
    let _ = sql;
    todo!()
}

/// Schema and name of a relation, folded; `default_schema` where none is written.
pub fn relation_name(name: &ast::ObjectName, default_schema: &str) -> Result<RelationName> {
    let _ = (name, default_schema);
    todo!()
}
