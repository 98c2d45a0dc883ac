//! What one data node is asked for, as a value that can be printed, and its SQL.
//!
//! ```text
//! SELECT "hostname", max("usage_user") AS "max_1"
//!   FROM (SELECT "hostname", "time", "usage_user" FROM "s"."chunk_1" UNION ALL SELECT … FROM "s"."chunk_3") AS "cpu"
//!   WHERE ("time" >= '2023-01-01 00:00:00+00'::timestamptz) GROUP BY 1 ORDER BY 1 ASC NULLS LAST LIMIT 5
//! ```
//!
//! The filter stands outside the UNION ALL: both PostgreSQL and DataFusion push it into the branches themselves, and
//! PostgreSQL flattens branches (index scans, merge append under ORDER BY) only if they have no WHERE of their own.

use super::chunks::Assignment;
use crate::ids::{RelationName, quote_identifier};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The same question to several data nodes, each about its own chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The hypertable.
    pub relation: RelationName,
    pub nodes: Vec<NodeChunks>,
    /// Names of the columns that anything below refers to.
    pub columns: Vec<String>,
    /// SQL conditions, all of which must hold.
    pub filters: Vec<String>,
    pub outputs: Vec<Output>,
    pub shape: Shape,
    pub order_by: Vec<OrderKey>,
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChunks {
    pub node: String,
    pub tables: Vec<RelationName>,
}

/// One column of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub sql: String,
    /// Name and type on the wire (`sql::types::client_schema`).
    pub field: Field,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The rows themselves.
    Rows,
    /// Of the rows that agree in these expressions, the first by ORDER BY; no expressions: one row at all.
    FirstRows(Vec<String>),
    /// One row per group, or exactly one without grouping expressions.
    Groups { by: Vec<String>, completeness: Completeness },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// No group has rows on another node.
    Full,
    /// The access node combines the nodes' groups.
    Partial,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderKey {
    pub sql: String,
    pub ascending: bool,
    pub nulls_first: bool,
}

/// The column that stands in where no column is asked for.
const PRESENT: &str = "present";

impl Fragment {
    pub fn node_chunks(assignment: &Assignment) -> Vec<NodeChunks> {
        let tables = |chunks: &Vec<&crate::catalog::Chunk>| chunks.iter().map(|chunk| chunk.table.clone()).collect();
        assignment.iter().map(|(node, chunks)| NodeChunks { node: node.to_string(), tables: tables(chunks) }).collect()
    }

    /// Columns of the answer as they come over the wire; never none, for an empty select list is not everybody's SQL.
    pub fn wire_schema(&self) -> SchemaRef {
        match self.outputs.is_empty() {
            true => Arc::new(Schema::new(vec![Field::new(PRESENT, DataType::Boolean, true)])),
            false => Arc::new(Schema::new(self.outputs.iter().map(|output| output.field.clone()).collect::<Vec<_>>())),
        }
    }

    /// Keeps only the outputs at `positions`, in that order.
    pub fn project(&self, positions: &[usize]) -> Fragment {
        let outputs = positions.iter().map(|position| self.outputs[*position].clone()).collect();
        Fragment { outputs, ..self.clone() }
    }

    pub fn chunk_count(&self) -> usize {
        self.nodes.iter().map(|node| node.tables.len()).sum()
    }

    pub fn sql_for(&self, node: &NodeChunks) -> String {
        let mut sql = String::from("SELECT ");
        match &self.shape {
            Shape::FirstRows(by) if !by.is_empty() => sql += &format!("DISTINCT ON ({}) ", by.join(", ")),
            _ => {}
        }
        sql += &self.select_list();
        sql += " FROM ";
        sql += &self.source(&node.tables);
        if !self.filters.is_empty() {
            sql += &format!(" WHERE {}", self.filters.join(" AND "));
        }
        if let Shape::Groups { by, .. } = &self.shape
            && !by.is_empty()
        {
            sql += &format!(" GROUP BY {}", self.references(by).join(", "));
        }
        if !self.order_by.is_empty() {
            let keys: Vec<String> = self.order_by.iter().map(|key| self.order_key(key)).collect();
            sql += &format!(" ORDER BY {}", keys.join(", "));
        }
        match (&self.shape, self.limit) {
            (Shape::FirstRows(by), _) if by.is_empty() => sql += " LIMIT 1",
            (_, Some(limit)) => sql += &format!(" LIMIT {limit}"),
            (_, None) => {}
        }
        sql
    }

    fn select_list(&self) -> String {
        // Without GROUP BY and without an aggregate function the one row of a global aggregate would be many.
        let stand_in = match &self.shape {
            Shape::Groups { by, .. } if by.is_empty() => "(count(*) >= 0)",
            _ => "true",
        };
        if self.outputs.is_empty() {
            return format!("{stand_in} AS {}", quote_identifier(PRESENT));
        }
        let item = |output: &Output| {
            let name = quote_identifier(output.field.name());
            if output.sql == name { name } else { format!("{} AS {name}", output.sql) }
        };
        self.outputs.iter().map(item).collect::<Vec<_>>().join(", ")
    }

    fn source(&self, tables: &[RelationName]) -> String {
        let alias = quote_identifier(&self.relation.name);
        if let [table] = tables {
            return format!("{} AS {alias}", table.quoted());
        }
        let columns = match self.columns.is_empty() {
            true => format!("true AS {}", quote_identifier(PRESENT)),
            false => self.columns.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", "),
        };
        let branch = |table: &RelationName| format!("SELECT {columns} FROM {}", table.quoted());
        format!("({}) AS {alias}", tables.iter().map(branch).collect::<Vec<_>>().join(" UNION ALL "))
    }

    /// Position in the select list where the expression is returned too, else the expression itself.
    fn reference(&self, sql: &str) -> String {
        match self.outputs.iter().position(|output| output.sql == sql) {
            Some(position) => (position + 1).to_string(),
            None => sql.to_string(),
        }
    }

    fn references(&self, expressions: &[String]) -> Vec<String> {
        expressions.iter().map(|sql| self.reference(sql)).collect()
    }

    fn order_key(&self, key: &OrderKey) -> String {
        // DISTINCT ON must be seen to agree with ORDER BY: the same text in both.
        let reference = match self.shape {
            Shape::FirstRows(_) => key.sql.clone(),
            _ => self.reference(&key.sql),
        };
        let direction = if key.ascending { "ASC" } else { "DESC" };
        let nulls = if key.nulls_first { "FIRST" } else { "LAST" };
        format!("{reference} {direction} NULLS {nulls}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(outputs: &[(&str, &str)], shape: Shape) -> Fragment {
        let output = |(sql, name): &(&str, &str)| Output {
            sql: sql.to_string(),
            field: Field::new(*name, DataType::Int64, true),
        };
        Fragment {
            relation: RelationName::new("public", "cpu"),
            nodes: Vec::new(),
            columns: vec!["a".into(), "b".into()],
            filters: vec!["(\"a\" > 1)".into()],
            outputs: outputs.iter().map(output).collect(),
            shape,
            order_by: Vec::new(),
            limit: None,
        }
    }

    fn node(tables: &[&str]) -> NodeChunks {
        let tables = tables.iter().map(|name| RelationName::new("s", *name)).collect();
        NodeChunks { node: "dn1".into(), tables }
    }

    #[test]
    fn one_chunk_needs_no_union() {
        let rows = fragment(&[("\"b\"", "b")], Shape::Rows);
        assert_eq!(rows.sql_for(&node(&["c1"])), r#"SELECT "b" FROM "s"."c1" AS "cpu" WHERE ("a" > 1)"#);
        assert_eq!(
            rows.sql_for(&node(&["c1", "c2"])),
            r#"SELECT "b" FROM (SELECT "a", "b" FROM "s"."c1" UNION ALL SELECT "a", "b" FROM "s"."c2") AS "cpu" WHERE ("a" > 1)"#
        );
    }

    #[test]
    fn no_column_at_all_still_returns_the_rows() {
        let mut rows = fragment(&[], Shape::Rows);
        rows.columns.clear();
        rows.filters.clear();
        assert_eq!(
            rows.sql_for(&node(&["c1", "c2"])),
            r#"SELECT true AS "present" FROM (SELECT true AS "present" FROM "s"."c1" UNION ALL SELECT true AS "present" FROM "s"."c2") AS "cpu""#
        );
        assert_eq!(rows.wire_schema().fields().len(), 1);
    }

    #[test]
    fn groups_are_named_by_position_where_they_are_returned() {
        let shape = Shape::Groups { by: vec!["\"a\"".into(), "\"b\"".into()], completeness: Completeness::Full };
        let mut groups = fragment(&[("\"b\"", "b"), ("count(*)", "count_1")], shape);
        groups.order_by.push(OrderKey { sql: "count(*)".into(), ascending: false, nulls_first: true });
        groups.limit = Some(3);
        let sql = groups.sql_for(&node(&["c1"]));
        assert!(sql.ends_with(r#"GROUP BY "a", 1 ORDER BY 2 DESC NULLS FIRST LIMIT 3"#), "{sql}");
    }
}
