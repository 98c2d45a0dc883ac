//! `create_distributed_hypertable` and `create_hypertable`: an empty table becomes a hypertable.
//!
//! The catalog decides on values first: which dimensions, which nodes, which partitions. Only then are the data nodes
//! and the catalog written to, in the session's distributed transaction. The table itself stays, empty: its definition
//! is the hypertable's.

use super::arguments::{Arguments, Constant};
use super::context::Context;
use super::invalid;
use super::rows::{Cell, Rows};
use crate::catalog::planning::HypertableRequest;
use crate::catalog::{Change, Hypertable};
use crate::chunk::dimension::{IntervalArgument, coordinate_bounds, is_time, parse_interval};
use crate::engine::table::{Column, Table};
use crate::error::{Error, Notice, Result, codes};
use crate::ids::quote_identifier;
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Errors: those of TimescaleDB 2.13 for the same mistakes; on any of them nothing is created anywhere.
pub async fn create_distributed(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    let Some(table) = table_to_convert(context, arguments)? else { return existing(context, arguments) };
    make(context, arguments, table).await
}

/// A local hypertable is what TimescaleDB makes of `create_hypertable` without further words; we have none.
pub async fn create(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    let Some(table) = table_to_convert(context, arguments)? else { return existing(context, arguments) };
    let replicated = !arguments.is_null("replication_factor");
    match arguments.boolean("distributed") {
        Some(false) if replicated => Err(Error::unsupported("local hypertables cannot set replication_factor")
            .with_hint(
                "Set distributed => TRUE or use create_distributed_hypertable() to create a distributed hypertable.",
            )),
        Some(true) => make(context, arguments, table).await,
        None if replicated => make(context, arguments, table).await,
        _ => Err(Error::unsupported(format!(
            "cannot make \"{}\" a local hypertable: hypertables are distributed over data nodes",
            table.name.name
        ))
        .with_hint(
            "Use create_distributed_hypertable(), or pass distributed => true; a data node may be on this server.",
        )),
    }
}

/// The table that the call names, `None` if it is a hypertable already and that is fine.
fn table_to_convert(context: &mut Context<'_>, arguments: &Arguments) -> Result<Option<Arc<Table>>> {
    let Some(relation) = arguments.text("relation") else { return Err(invalid("relation cannot be NULL")) };
    if arguments.is_null("time_column_name") {
        return Err(invalid("partition column cannot be NULL"));
    }
    let table = context.relation(relation)?;
    if context.state().hypertable(&table.name).is_none() {
        return Ok(Some(table));
    }
    let message = format!("table \"{}\" is already a hypertable", table.name.name);
    if !arguments.flag("if_not_exists") {
        return Err(Error::new(codes::TS_ALREADY_HYPERTABLE, message));
    }
    context.local.notice(Notice::notice(codes::TS_ALREADY_HYPERTABLE, format!("{message}, skipping")));
    Ok(None)
}

fn existing(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    let table = context.relation(arguments.text("relation").unwrap_or_default())?;
    let hypertable = context.hypertable(&table.name)?;
    Ok(answer(arguments, &hypertable, false))
}

fn answer(arguments: &Arguments, hypertable: &Hypertable, created: bool) -> Rows {
    let mut rows = Rows::new(&arguments.function().columns());
    rows.push(vec![
        Cell::int(hypertable.id.0),
        Cell::text(&hypertable.name.schema),
        Cell::text(&hypertable.name.name),
        Cell::Bool(created),
    ]);
    rows
}

async fn make(context: &mut Context<'_>, arguments: &Arguments, table: Arc<Table>) -> Result<Rows> {
    refuse_unsupported(arguments)?;
    // Before the catalog lock: who writes to the table may need that to go on.
    let unguarded = context.local.claim(&table).await?;
    context.transaction.lock_catalog().await?;
    let state = context.state();
    // Another session may have been faster while we waited for the lock.
    if state.hypertable(&table.name).is_some() {
        if unguarded {
            return Err(overtaken(&table));
        }
        return match table_to_convert(context, arguments)? {
            None => existing(context, arguments),
            Some(_) => Err(Error::internal("a hypertable vanished while the catalog was locked")),
        };
    }
    let planned = state.plan_hypertable(request(arguments, &table, context.local.user())?)?;
    let Change::CreateHypertable { hypertable } = &planned.change else {
        return Err(Error::internal("a new hypertable is planned as one"));
    };
    if !context.local.is_empty(&table).await? {
        return Err(Error::unsupported(format!("table \"{}\" is not empty", table.name.name))
            .with_hint("Create the hypertable from an empty table, then insert or copy the rows into it."));
    }
    for notice in planned.notices {
        context.local.notice(notice);
    }
    let (definition, notice) = with_time_not_null(&table, &hypertable.dimensions[0].column);
    // Also if nothing changes: whoever drops the table meanwhile would leave a catalog entry without one.
    context.local.redefine(definition).await?;
    notice.into_iter().for_each(|notice| context.local.notice(notice));
    for node in &hypertable.nodes {
        prepare_node(context, &node.name, &hypertable.chunk_schema).await?;
    }
    let rows = answer(arguments, hypertable, true);
    context.transaction.change(planned.change)?;
    Ok(rows)
}

/// What a node needs before it can hold chunks: the schema for them.
pub async fn prepare_node(context: &Context<'_>, node: &str, chunk_schema: &str) -> Result<()> {
    let mut writer = context.transaction.join(node).await?;
    writer.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(chunk_schema))).await
}

/// Options of TimescaleDB that have no meaning here: refused, not ignored.
fn refuse_unsupported(arguments: &Arguments) -> Result<()> {
    if arguments.flag("migrate_data") {
        return Err(Error::unsupported("cannot migrate data for distributed hypertable"));
    }
    for name in ["partitioning_func", "time_partitioning_func"] {
        if !arguments.is_null(name) {
            return Err(Error::unsupported(format!("{name} is not supported"))
                .with_hint("Rows are partitioned by PostgreSQL's own hash of the column."));
        }
    }
    match arguments.text("chunk_target_size") {
        None | Some("off" | "disable") => Ok(()),
        Some(_) => Err(Error::unsupported("adaptive chunking is not supported").with_hint("Set chunk_time_interval.")),
    }
}

/// The request as the catalog takes it: columns looked up, keys and lengths checked.
fn request(arguments: &Arguments, table: &Table, owner: &str) -> Result<HypertableRequest> {
    let (time, space) = columns(arguments, table)?;
    check_keys(table, &time.name, space.map(|column| column.name.as_str()))?;
    let named = |column: &Column| (column.name.clone(), column.type_oid);
    let text = |name: &str| arguments.text(name).map(str::to_string);
    Ok(HypertableRequest {
        name: table.name.clone(),
        owner: owner.to_string(),
        time: named(time),
        interval: interval_argument(arguments.any("chunk_time_interval"), time)?,
        space: space.map(named),
        number_partitions: arguments.integer("number_partitions").map(i64::from),
        replication_factor: arguments.integer("replication_factor").map(i64::from),
        data_nodes: arguments.names("data_nodes").map(<[String]>::to_vec),
        chunk_schema: text("associated_schema_name"),
        chunk_prefix: text("associated_table_prefix"),
    })
}

/// The time column and the space column. Errors: `42703`; `42809` for a time column without a time line, before any
/// word about its keys.
fn columns<'a>(arguments: &Arguments, table: &'a Table) -> Result<(&'a Column, Option<&'a Column>)> {
    let named = |name: &str| {
        let at = table.column(name);
        at.map(|at| &table.columns[at])
            .ok_or_else(|| Error::new(codes::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")))
    };
    let time = named(arguments.text("time_column_name").unwrap_or_default())?;
    coordinate_bounds(&time.name, &time.pg_type())?;
    let space = arguments.text("partitioning_column").map(named).transpose()?;
    Ok((time, space))
}

/// A unique key can only be held chunk by chunk, so rows that collide must share a chunk.
fn check_keys(table: &Table, time: &str, space: Option<&str>) -> Result<()> {
    for key in &table.keys {
        for column in [Some(time), space].into_iter().flatten() {
            if !key.columns.iter().any(|at| table.columns[*at].name == column) {
                return Err(Error::new(
                    codes::TS_BAD_INDEX,
                    format!("cannot create a unique index without the column \"{column}\" (used in partitioning)"),
                )
                .with_hint(format!("Add the column to the key \"{}\".", key.name)));
            }
        }
    }
    Ok(())
}

/// Errors: `22023` for a type that is no length.
fn interval_argument(constant: Option<&Constant>, time: &Column) -> Result<Option<IntervalArgument>> {
    let Some(constant) = constant else { return Ok(None) };
    let ty = time.pg_type();
    let wrong = |shown: &str| {
        let hint = if is_time(&ty) {
            "Use an interval of type integer or interval."
        } else {
            "Use an interval of type integer."
        };
        invalid(format!("invalid interval type for {shown} dimension")).with_hint(hint)
    };
    let shown = crate::sql::type_names::display(&ty);
    Ok(Some(match constant {
        Constant::Null => return Ok(None),
        Constant::Untyped(text) => match text.trim().parse() {
            Ok(units) => IntervalArgument::Integer(units),
            Err(_) if is_time(&ty) => parse_interval(text)?,
            Err(_) => return Err(wrong(&shown)),
        },
        Constant::Typed(_, value) => match value {
            ScalarValue::Int16(Some(units)) => IntervalArgument::Integer(i64::from(*units)),
            ScalarValue::Int32(Some(units)) => IntervalArgument::Integer(i64::from(*units)),
            ScalarValue::Int64(Some(units)) => IntervalArgument::Integer(*units),
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months, days, nanoseconds })) => {
                IntervalArgument::Interval { months: *months, days: *days, micros: nanoseconds / 1_000 }
            }
            _ => return Err(wrong(&shown)),
        },
    }))
}

/// A transaction with rows for the table that was must not commit: nobody would ever see them.
fn overtaken(table: &Table) -> Error {
    let message = format!("table \"{}\" was made a hypertable by another transaction", table.name.name);
    Error::new(codes::SERIALIZATION_FAILURE, message)
        .with_detail("This transaction has rows for the table that it was before.")
        .with_hint("Run the transaction again.")
}

/// The table with NOT NULL on the time column, and what the client is told if it had none yet.
fn with_time_not_null(table: &Table, time: &str) -> (Table, Option<Notice>) {
    let mut table = table.clone();
    let Some(at) = table.column(time).filter(|at| !table.columns[*at].not_null) else { return (table, None) };
    table.columns[at].not_null = true;
    let mut notice = Notice::notice(codes::SUCCESS, format!("adding not-null constraint to column \"{time}\""));
    notice.error = notice.error.with_detail("Dimensions cannot have NULL values.");
    (table, Some(notice))
}

#[cfg(test)]
mod tests;
