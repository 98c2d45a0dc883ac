//! The tables that chunks are on a data node.
//!
//! A data node knows nothing of hypertables, so the table itself says what a chunk may hold: CHECK constraints on the
//! time range and, with PostgreSQL's own hash functions, on the hash range. They are a safety net (rows are routed by
//! the access node), and PostgreSQL's planner can use the time range. The text must be understood by stock PostgreSQL
//! (14 or newer) and by the embedded server alike: names are quoted, types are spelt in full, literals carry their type.
//!
//! Defaults are left out: the access node has applied them.

use crate::catalog::{Chunk, Dimension, DimensionKind, Hypertable};
use crate::chunk::dimension::is_time;
use crate::chunk::hash::hash_function_name;
use crate::chunk::slice::Slice;
use crate::engine::table::{Column, Table};
use crate::error::Result;
use crate::ids::{ChunkId, quote_identifier, quote_literal};
use crate::limits::IDENTIFIER_BYTES_MAX;
use crate::sabotage;
use crate::sql::type_names;
use chrono::{DateTime, Datelike};
use postgres_types::Type;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Statements, each ended by a semicolon, that create the chunk's table; its schema too, if it is missing.
pub(super) fn create_chunk_table(table: &Table, hypertable: &Hypertable, chunk: &Chunk) -> Result<String> {
    let mut lines: Vec<String> = table.columns.iter().map(column).collect();
    for (dimension, slice) in hypertable.dimensions.iter().zip(&chunk.cube.0) {
        if let Some(check) = range_check(dimension, slice) {
            let name = constraint_name(chunk.id, &dimension.id.to_string(), &dimension.column);
            lines.push(format!("CONSTRAINT {} CHECK ({check})", quote_identifier(&name)));
        }
    }
    for check in &table.checks {
        lines.push(format!("CONSTRAINT {} CHECK ({})", quote_identifier(&check.name), check.expression));
    }
    for (nth, key) in table.keys.iter().enumerate() {
        let name = constraint_name(chunk.id, &(nth + 1).to_string(), &key.name);
        let columns: Vec<String> = key.columns.iter().map(|at| quote_identifier(&table.columns[*at].name)).collect();
        let kind = if key.primary { "PRIMARY KEY" } else { "UNIQUE" };
        lines.push(format!("CONSTRAINT {} {kind} ({})", quote_identifier(&name), columns.join(", ")));
    }
    let schema = quote_identifier(&chunk.table.schema);
    Ok(format!(
        "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE {} (\n  {}\n);",
        chunk.table.quoted(),
        lines.join(",\n  ")
    ))
}

fn column(column: &Column) -> String {
    let not_null = if column.not_null { " NOT NULL" } else { "" };
    format!("{} {}{not_null}", quote_identifier(&column.name), type_name(column))
}

fn type_name(column: &Column) -> String {
    let ty = column.pg_type();
    match (column.numeric, column.length) {
        (Some((precision, scale)), _) if ty == Type::NUMERIC => format!("numeric({precision},{scale})"),
        (_, Some(length)) => format!("{}({length})", type_names::display(&ty)),
        // A bare `character` would be character(1).
        _ if ty == Type::BPCHAR => "bpchar".into(),
        _ => type_names::display(&ty),
    }
}

/// `<chunk>_<n>_<name>`, as TimescaleDB names a chunk's constraints; index names are unique in a schema.
fn constraint_name(chunk: ChunkId, nth: &str, name: &str) -> String {
    let mut full = format!("{chunk}_{nth}_{name}");
    let mut end = full.len().min(IDENTIFIER_BYTES_MAX);
    while !full.is_char_boundary(end) {
        end -= 1;
    }
    full.truncate(end);
    full
}

/// The condition that a slice puts on its column; open ends are left out, and `None` if both are.
fn range_check(dimension: &Dimension, slice: &Slice) -> Option<String> {
    let column = quote_identifier(&dimension.column);
    let ty = dimension.column_type();
    let (value, literal): (String, Box<dyn Fn(i64) -> Option<String>>) = match dimension.kind {
        DimensionKind::Closed { .. } => {
            // Types whose hash function stock PostgreSQL does not let one call on them have no check.
            let function = hash_function_name(dimension.type_oid)?;
            (format!("({function}({column}) & {})", i32::MAX), Box::new(|hash: i64| Some(hash.to_string())))
        }
        DimensionKind::Open { .. } if is_time(&ty) => (column, Box::new(move |micros| time_literal(&ty, micros))),
        DimensionKind::Open { .. } => (column, Box::new(|number: i64| Some(number.to_string()))),
    };
    let start = (slice.start != i64::MIN).then(|| literal(slice.start)).flatten();
    let end = (slice.end != i64::MAX).then(|| literal(slice.end)).flatten();
    let below = if sabotage!("route.edge") { "<=" } else { "<" };
    let bounds: Vec<String> =
        [start.map(|at| format!("{value} >= {at}")), end.map(|at| format!("{value} {below} {at}"))]
            .into_iter()
            .flatten()
            .collect();
    (!bounds.is_empty()).then(|| bounds.join(" AND "))
}

/// `None` outside the years 1 to 9999, which the two kinds of servers do not read alike: the bound is left out.
fn time_literal(ty: &Type, micros: i64) -> Option<String> {
    // A day begins in the slice if its midnight does, so a bound within a day counts from the next one.
    let micros = match *ty {
        Type::DATE => {
            micros.div_euclid(MICROS_PER_DAY).checked_add((micros.rem_euclid(MICROS_PER_DAY) > 0).into())?
                * MICROS_PER_DAY
        }
        _ => micros,
    };
    let moment = DateTime::from_timestamp_micros(micros).filter(|moment| (1..=9999).contains(&moment.year()))?;
    let format = match *ty {
        Type::DATE => "%Y-%m-%d",
        Type::TIMESTAMPTZ => "%Y-%m-%d %H:%M:%S%.f+00",
        _ => "%Y-%m-%d %H:%M:%S%.f",
    };
    let text = moment.format(format).to_string();
    Some(format!("CAST({} AS {})", quote_literal(&text), type_names::display(ty)))
}

#[cfg(test)]
mod tests;
