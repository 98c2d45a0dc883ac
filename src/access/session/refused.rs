//! Statements that Hypertile cannot do on a hypertable (yet): found, and refused by the table's name.

use crate::error::Error;
use crate::ids::RelationName;
use sqlparser::ast::{self, FromTable, ObjectName, TableFactor, TableWithJoins};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// The statement's name and the relation that it would change. `None` for anything else.
pub fn target(text: &str) -> Option<(&'static str, ObjectName)> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    match statements.pop()? {
        ast::Statement::Update(update) => Some(("UPDATE", joined(&update.table)?)),
        ast::Statement::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            Some(("DELETE", joined(from.first()?)?))
        }
        ast::Statement::Truncate(truncate) => Some(("TRUNCATE", truncate.table_names.into_iter().next()?.name)),
        ast::Statement::AlterTable(alter) => Some(("ALTER TABLE", alter.name)),
        ast::Statement::Merge(merge) => match merge.table {
            TableFactor::Table { name, .. } => Some(("MERGE", name)),
            _ => None,
        },
        _ => None,
    }
}

fn joined(table: &TableWithJoins) -> Option<ObjectName> {
    match &table.relation {
        TableFactor::Table { name, .. } => Some(name.clone()),
        _ => None,
    }
}

/// `0A000`.
pub fn refusal(statement: &str, hypertable: &RelationName) -> Error {
    let hint = match statement {
        "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => "Rows of a hypertable cannot be changed once they are stored.",
        _ => "Create the table with all of its columns before it becomes a hypertable.",
    };
    Error::unsupported(format!("{statement} is not supported on distributed hypertable \"{hypertable}\""))
        .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_statements_name_their_target() {
        let found = |sql: &str| target(sql).map(|(statement, name)| format!("{statement} {name}"));
        assert_eq!(found("UPDATE s.t SET a = 1 WHERE b"), Some("UPDATE s.t".into()));
        assert_eq!(found("DELETE FROM t WHERE a < 3"), Some("DELETE t".into()));
        assert_eq!(found("TRUNCATE t"), Some("TRUNCATE t".into()));
        assert_eq!(found("ALTER TABLE t ADD COLUMN x int"), Some("ALTER TABLE t".into()));
        assert_eq!(found("SELECT 1"), None);
        assert_eq!(found("UPDATE"), None);
    }
}
