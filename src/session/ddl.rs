//! CREATE and DROP of tables, schemas, indexes.

use super::parameters::Bound;
use super::shape::Compiled;
use super::{Extension, Session};
use crate::engine::table::{Check, Column, Key, Table};
use crate::error::{Error, Notice, Result, SqlState, codes};
use crate::ids::RelationName;
use crate::sql::statement::{fold, relation_name};
use crate::sql::type_names::{self, Declared};
use crate::sql::types;
use datafusion::arrow::datatypes::{DataType, Schema};
use futures::StreamExt;
use sqlparser::ast::{self, ColumnOption, TableConstraint};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

impl Session {
    /// Creates a table in the engine. Returns its name, or `None` when it was there (IF NOT EXISTS), and how many
    /// rows its query put into it.
    pub async fn create_table(
        &mut self,
        create: &ast::CreateTable,
        extension: &dyn Extension,
    ) -> Result<Option<(RelationName, Option<usize>)>> {
        refuse_unsupported(create)?;
        // Only an unqualified name needs the search path, which may name no schema to create in.
        let default_schema = if create.name.0.len() > 1 { String::new() } else { self.creation_schema()? };
        let name = relation_name(&create.name, &default_schema)?;
        if self.current.lease()?.table(&name)?.is_some() || extension.relation(&name)?.is_some() {
            let message = format!("relation \"{}\" already exists", name.name);
            if create.if_not_exists {
                self.notice(Notice::notice(codes::DUPLICATE_TABLE, format!("{message}, skipping")));
                return Ok(None);
            }
            return Err(Error::new(codes::DUPLICATE_TABLE, message));
        }
        let rows = match &create.query {
            Some(query) => Some(self.create_table_as(create, name.clone(), query, extension).await?),
            None => {
                let table = define(create, name.clone(), &self.facts.user)?;
                // Errors in defaults and checks are this statement's, not the first INSERT's.
                let compiled = Compiled::new(&table, &self.planner)?;
                drop(compiled);
                self.current.lease()?.create_table(table)?;
                None
            }
        };
        Ok(Some((name, rows)))
    }

    async fn create_table_as(
        &mut self,
        create: &ast::CreateTable,
        name: RelationName,
        query: &ast::Query,
        extension: &dyn Extension,
    ) -> Result<usize> {
        let (schema, mut rows) = self.run_query(query, &Bound::NONE, extension).await?;
        let renamed: Vec<String> = create.columns.iter().map(|column| fold(&column.name)).collect();
        let table = Table {
            id: 0,
            name,
            owner: self.facts.user.clone(),
            columns: columns_of(&schema, &renamed)?,
            checks: vec![],
            keys: vec![],
        };
        let table = self.current.lease()?.create_table(table)?;
        let schema = table.schema()?;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch?.with_schema(schema.clone())?;
            count += batch.num_rows();
            self.current.lease()?.append(&table, batch).await?;
        }
        Ok(count)
    }

    pub(super) fn drop_tables(&mut self, names: &[ast::ObjectName], if_exists: bool) -> Result<()> {
        for written in names {
            let name = self.resolve(written)?;
            let mut lease = self.current.lease()?;
            if lease.table(&name)?.is_some() {
                lease.drop_table(&name)?;
                continue;
            }
            drop(lease);
            let message = format!("table \"{}\" does not exist", name.name);
            if !if_exists {
                return Err(Error::new(codes::UNDEFINED_TABLE, message));
            }
            self.notice(Notice::notice(codes::SUCCESS, format!("{message}, skipping")));
        }
        Ok(())
    }

    pub(super) fn create_schema(&mut self, name: &str, if_not_exists: bool) -> Result<()> {
        if name.starts_with("pg_") {
            return Err(Error::new(SqlState::new("42939"), format!("unacceptable schema name \"{name}\""))
                .with_detail("The prefix \"pg_\" is reserved for system schemas."));
        }
        let mut lease = self.current.lease()?;
        if !lease.schemas()?.iter().any(|schema| schema == name) {
            return lease.create_schema(name);
        }
        drop(lease);
        let message = format!("schema \"{name}\" already exists");
        if if_not_exists {
            self.notice(Notice::notice(codes::DUPLICATE_SCHEMA, format!("{message}, skipping")));
            return Ok(());
        }
        Err(Error::new(codes::DUPLICATE_SCHEMA, message))
    }

    pub(super) fn drop_schema(&mut self, name: &str, if_exists: bool, cascade: bool) -> Result<()> {
        let mut lease = self.current.lease()?;
        if !lease.schemas()?.iter().any(|schema| schema == name) {
            drop(lease);
            let message = format!("schema \"{name}\" does not exist");
            if if_exists {
                self.notice(Notice::notice(codes::SUCCESS, format!("{message}, skipping")));
                return Ok(());
            }
            return Err(Error::new(codes::INVALID_SCHEMA_NAME, message));
        }
        let mut inside = lease.tables()?;
        inside.retain(|table| table.name.schema == name);
        // In the order of their creation, as PostgreSQL lists them.
        inside.sort_by_key(|table| table.id);
        let inside: Vec<RelationName> = inside.iter().map(|table| table.name.clone()).collect();
        if !inside.is_empty() && !cascade {
            let dependent: Vec<String> =
                inside.iter().map(|table| format!("table {table} depends on schema {name}")).collect();
            return Err(Error::new(
                SqlState::new("2BP01"),
                format!("cannot drop schema {name} because other objects depend on it"),
            )
            .with_detail(dependent.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        for table in &inside {
            lease.drop_table(table)?;
        }
        lease.drop_schema(name)?;
        drop(lease);
        match inside.as_slice() {
            [] => {}
            [one] => self.notice(Notice::notice(codes::SUCCESS, format!("drop cascades to table {one}"))),
            many => {
                let message = format!("drop cascades to {} other objects", many.len());
                let each: Vec<String> = many.iter().map(|table| format!("drop cascades to table {table}")).collect();
                let mut notice = Notice::notice(codes::SUCCESS, message);
                notice.error = notice.error.with_detail(each.join("\n"));
                self.notice(notice);
            }
        }
        Ok(())
    }

    pub(super) fn create_index(&mut self, index: &ast::CreateIndex, extension: &dyn Extension) -> Result<()> {
        let table = self.existing_table(&index.table_name, extension)?;
        for column in &index.columns {
            if let ast::Expr::Identifier(ident) = &column.column.expr
                && table.column(&fold(ident)).is_none()
            {
                return Err(Error::new(codes::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", fold(ident))));
            }
        }
        if index.unique {
            return Err(Error::unsupported("CREATE UNIQUE INDEX is not supported on an existing table")
                .with_hint("Declare UNIQUE or PRIMARY KEY in CREATE TABLE."));
        }
        let name = index.name.as_ref().map_or_else(|| "the index".to_string(), |name| format!("index \"{name}\""));
        let notice = Notice::notice(codes::SUCCESS, format!("{name} is not needed and was not created"));
        self.notice(notice);
        Ok(())
    }
}

fn refuse_unsupported(create: &ast::CreateTable) -> Result<()> {
    let clauses = [
        (create.temporary, "CREATE TEMPORARY TABLE"),
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (create.external, "CREATE EXTERNAL TABLE"),
        (create.inherits.is_some(), "CREATE TABLE ... INHERITS"),
        (create.partition_by.is_some() || create.partition_of.is_some(), "CREATE TABLE ... PARTITION"),
        (create.like.is_some(), "CREATE TABLE ... LIKE"),
        (create.clone.is_some(), "CREATE TABLE ... CLONE"),
    ];
    match clauses.iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(Error::unsupported(format!("{name} is not supported"))),
        None => Ok(()),
    }
}

/// The table that a CREATE TABLE describes. Errors: `42701`, `42703`, `42704`, `42P16`, `0A000`.
pub fn define(create: &ast::CreateTable, name: RelationName, owner: &str) -> Result<Table> {
    let mut table = Table { id: 0, name, owner: owner.to_string(), columns: vec![], checks: vec![], keys: vec![] };
    for column in &create.columns {
        let name = fold(&column.name);
        if table.column(&name).is_some() {
            return Err(Error::new(codes::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once")));
        }
        let Declared { ty, numeric, length } = type_names::declared(&column.data_type)?;
        // Also refuses what Arrow has no form for.
        types::field(&name, &ty, true)?;
        table.columns.push(Column { name, type_oid: ty.oid(), numeric, length, not_null: false, default: None });
    }
    // After all columns: a column's check may name any of them.
    let mut names = BTreeSet::new();
    for (position, column) in create.columns.iter().enumerate() {
        for option in &column.options {
            column_option(&mut table, &mut names, position, option.name.as_ref().map(fold), &option.option)?;
        }
    }
    for constraint in &create.constraints {
        table_constraint(&mut table, &mut names, constraint)?;
    }
    Ok(table)
}

fn column_option(
    table: &mut Table,
    names: &mut BTreeSet<String>,
    position: usize,
    name: Option<String>,
    option: &ColumnOption,
) -> Result<()> {
    let column = &mut table.columns[position];
    match option {
        ColumnOption::Null | ColumnOption::Collation(_) | ColumnOption::Comment(_) => {}
        ColumnOption::NotNull => column.not_null = true,
        ColumnOption::Default(expr) => column.default = Some(expr.to_string()),
        ColumnOption::PrimaryKey(_) => add_key(table, names, name, vec![position], true)?,
        ColumnOption::Unique(_) => add_key(table, names, name, vec![position], false)?,
        ColumnOption::Check(check) => {
            let column = column.name.clone();
            add_check(table, names, name.or_else(|| check.name.as_ref().map(fold)), &check.expr, Some(&column))?;
        }
        ColumnOption::ForeignKey(_) => return Err(Error::unsupported("foreign keys are not supported")),
        ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
            return Err(Error::unsupported("generated and identity columns are not supported"));
        }
        other => return Err(Error::unsupported(format!("column option {other} is not supported"))),
    }
    Ok(())
}

fn table_constraint(table: &mut Table, names: &mut BTreeSet<String>, constraint: &TableConstraint) -> Result<()> {
    match constraint {
        TableConstraint::PrimaryKey(key) => {
            let columns = key_columns(table, &key.columns)?;
            add_key(table, names, key.name.as_ref().map(fold), columns, true)
        }
        TableConstraint::Unique(key) => {
            let columns = key_columns(table, &key.columns)?;
            add_key(table, names, key.name.as_ref().map(fold), columns, false)
        }
        TableConstraint::Check(check) => add_check(table, names, check.name.as_ref().map(fold), &check.expr, None),
        TableConstraint::ForeignKey(_) => Err(Error::unsupported("foreign keys are not supported")),
        other => Err(Error::unsupported(format!("table constraint {other} is not supported"))),
    }
}

fn key_columns(table: &Table, columns: &[ast::IndexColumn]) -> Result<Vec<usize>> {
    let mut positions = Vec::with_capacity(columns.len());
    for column in columns {
        let ast::Expr::Identifier(ident) = &column.column.expr else {
            return Err(Error::unsupported("a key over an expression is not supported"));
        };
        let name = fold(ident);
        let position = table.column(&name).ok_or_else(|| {
            Error::new(codes::UNDEFINED_COLUMN, format!("column \"{name}\" named in key does not exist"))
        })?;
        if positions.contains(&position) {
            return Err(Error::new(
                codes::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in unique constraint"),
            ));
        }
        positions.push(position);
    }
    Ok(positions)
}

fn add_key(
    table: &mut Table,
    names: &mut BTreeSet<String>,
    name: Option<String>,
    columns: Vec<usize>,
    primary: bool,
) -> Result<()> {
    if primary {
        if table.keys.iter().any(|key| key.primary) {
            return Err(Error::new(
                codes::INVALID_TABLE_DEFINITION,
                format!("multiple primary keys for table \"{}\" are not allowed", table.name.name),
            ));
        }
        for column in &columns {
            table.columns[*column].not_null = true;
        }
    }
    let listed: Vec<&str> = columns.iter().map(|column| table.columns[*column].name.as_str()).collect();
    let default = match primary {
        true => format!("{}_pkey", table.name.name),
        false => format!("{}_{}_key", table.name.name, listed.join("_")),
    };
    let name = constraint_name(names, &table.name.name, name, default)?;
    table.keys.push(Key { name, columns, primary });
    Ok(())
}

fn add_check(
    table: &mut Table,
    names: &mut BTreeSet<String>,
    name: Option<String>,
    expr: &ast::Expr,
    column: Option<&str>,
) -> Result<()> {
    let mentioned = mentioned_columns(table, expr);
    // PostgreSQL names the check after its column when there is exactly one.
    let after = match (column, mentioned.as_slice()) {
        (_, [one]) => Some(one.clone()),
        (column, _) => column.map(str::to_string),
    };
    let default = match after {
        Some(column) => format!("{}_{column}_check", table.name.name),
        None => format!("{}_check", table.name.name),
    };
    let name = constraint_name(names, &table.name.name, name, default)?;
    table.checks.push(Check { name, expression: expr.to_string() });
    Ok(())
}

fn mentioned_columns(table: &Table, expr: &ast::Expr) -> Vec<String> {
    let mut mentioned = BTreeSet::new();
    let _ = ast::visit_expressions(expr, |inner: &ast::Expr| -> ControlFlow<()> {
        if let ast::Expr::Identifier(ident) = inner
            && table.column(&fold(ident)).is_some()
        {
            mentioned.insert(fold(ident));
        }
        ControlFlow::Continue(())
    });
    mentioned.into_iter().collect()
}

fn constraint_name(
    names: &mut BTreeSet<String>,
    table: &str,
    given: Option<String>,
    default: String,
) -> Result<String> {
    if let Some(name) = given {
        if names.insert(name.clone()) {
            return Ok(name);
        }
        return Err(Error::new(
            codes::DUPLICATE_OBJECT,
            format!("constraint \"{name}\" for relation \"{table}\" already exists"),
        ));
    }
    let numbered = std::iter::once(default.clone()).chain((1..).map(|number| format!("{default}{number}")));
    let name = numbered.into_iter().find(|name| !names.contains(name)).expect("numbers do not run out");
    names.insert(name.clone());
    Ok(name)
}

/// Columns that hold a query's result.
fn columns_of(schema: &Schema, renamed: &[String]) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let name = renamed.get(index).unwrap_or(field.name()).clone();
        if columns.iter().any(|column| column.name == name) {
            return Err(Error::new(codes::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once")));
        }
        let numeric = match field.data_type() {
            DataType::Decimal128(38, types::NUMERIC_SCALE) => None,
            DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
            _ => None,
        };
        let type_oid = types::pg_type(field).oid();
        columns.push(Column { name, type_oid, numeric, length: None, not_null: false, default: None });
    }
    Ok(columns)
}
