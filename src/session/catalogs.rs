//! The system relations of a plain session: what is prepared, set, and stored.

use super::Session;
use crate::engine::Transaction;
use crate::error::Result;
use crate::ids::RelationName;
use crate::sql::types::{self, timestamptz};
use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use std::sync::Arc;

/// The system relation of that name, as it is now.
pub fn relation(
    session: &Session,
    transaction: &Transaction,
    name: &RelationName,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let columns = match (name.schema.as_str(), name.name.as_str()) {
        ("pg_catalog", "pg_prepared_xacts") => prepared_transactions(session),
        ("pg_catalog", "pg_settings") => settings(session),
        ("pg_catalog", "pg_tables") => tables(transaction)?,
        ("pg_catalog", "pg_namespace") => namespaces(transaction)?,
        ("information_schema", "tables") => information_tables(session, transaction)?,
        ("information_schema", "columns") => information_columns(session, transaction)?,
        ("information_schema", "schemata") => information_schemata(session, transaction)?,
        _ => return Ok(None),
    };
    in_memory(columns).map(Some)
}

type Columns = Vec<(&'static str, ArrayRef)>;

/// A small relation with these columns.
pub fn in_memory(columns: Columns) -> Result<Arc<dyn TableProvider>> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn optional(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn prepared_transactions(session: &Session) -> Columns {
    let prepared = session.engine.prepared();
    let times: TimestampMicrosecondArray = prepared.iter().map(|p| Some(p.prepared_at)).collect();
    debug_assert_eq!(
        timestamptz(),
        DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, Some(types::UTC.into()))
    );
    vec![
        ("transaction", Arc::new(prepared.iter().map(|p| i64::try_from(p.transaction).ok()).collect::<Int64Array>())),
        ("gid", texts(prepared.iter().map(|p| &p.gid))),
        ("prepared", Arc::new(times.with_timezone(types::UTC))),
        ("owner", texts(prepared.iter().map(|p| &p.owner))),
        ("database", texts(prepared.iter().map(|_| session.database()))),
    ]
}

fn settings(session: &Session) -> Columns {
    let all = session.settings().all();
    vec![("name", texts(all.keys())), ("setting", texts(all.values()))]
}

fn tables(transaction: &Transaction) -> Result<Columns> {
    let tables = transaction.tables()?;
    Ok(vec![
        ("schemaname", texts(tables.iter().map(|t| &t.name.schema))),
        ("tablename", texts(tables.iter().map(|t| &t.name.name))),
        ("tableowner", texts(tables.iter().map(|t| &t.owner))),
    ])
}

fn namespaces(transaction: &Transaction) -> Result<Columns> {
    Ok(vec![("nspname", texts(transaction.schemas()?))])
}

fn information_tables(session: &Session, transaction: &Transaction) -> Result<Columns> {
    let tables = transaction.tables()?;
    Ok(vec![
        ("table_catalog", texts(tables.iter().map(|_| session.database()))),
        ("table_schema", texts(tables.iter().map(|t| &t.name.schema))),
        ("table_name", texts(tables.iter().map(|t| &t.name.name))),
        ("table_type", texts(tables.iter().map(|_| "BASE TABLE"))),
        ("is_insertable_into", texts(tables.iter().map(|_| "YES"))),
    ])
}

fn information_columns(session: &Session, transaction: &Transaction) -> Result<Columns> {
    let tables = transaction.tables()?;
    let all: Vec<_> =
        tables.iter().flat_map(|t| t.columns.iter().enumerate().map(move |(position, c)| (t, position, c))).collect();
    let number = |value: Option<i32>| value;
    Ok(vec![
        ("table_catalog", texts(all.iter().map(|_| session.database()))),
        ("table_schema", texts(all.iter().map(|(t, ..)| &t.name.schema))),
        ("table_name", texts(all.iter().map(|(t, ..)| &t.name.name))),
        ("column_name", texts(all.iter().map(|(_, _, c)| &c.name))),
        (
            "ordinal_position",
            Arc::new(all.iter().map(|(_, position, _)| i32::try_from(position + 1).ok()).collect::<Int32Array>()),
        ),
        ("column_default", optional(all.iter().map(|(_, _, c)| c.default.clone()))),
        ("is_nullable", texts(all.iter().map(|(_, _, c)| if c.not_null { "NO" } else { "YES" }))),
        ("data_type", texts(all.iter().map(|(_, _, c)| crate::sql::type_names::display(&c.pg_type())))),
        (
            "character_maximum_length",
            Arc::new(all.iter().map(|(_, _, c)| c.length.and_then(|n| i32::try_from(n).ok())).collect::<Int32Array>()),
        ),
        (
            "numeric_precision",
            Arc::new(all.iter().map(|(_, _, c)| number(c.numeric.map(|(p, _)| i32::from(p)))).collect::<Int32Array>()),
        ),
        (
            "numeric_scale",
            Arc::new(all.iter().map(|(_, _, c)| number(c.numeric.map(|(_, s)| i32::from(s)))).collect::<Int32Array>()),
        ),
        ("udt_name", texts(all.iter().map(|(_, _, c)| c.pg_type().name().to_string()))),
    ])
}

fn information_schemata(session: &Session, transaction: &Transaction) -> Result<Columns> {
    let schemas = transaction.schemas()?;
    Ok(vec![
        ("catalog_name", texts(schemas.iter().map(|_| session.database()))),
        ("schema_name", texts(&schemas)),
        ("schema_owner", texts(schemas.iter().map(|_| session.user()))),
    ])
}
