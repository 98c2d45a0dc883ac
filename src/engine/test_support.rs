//! Short words for the engine's tests.

use super::table::{Column, Key, Table};
use super::test_host::{self, TestDisk};
use super::{Engine, Transaction};
use crate::error::Result;
use crate::ids::RelationName;
use crate::sql::statement::Isolation;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::prelude::{SessionConfig, SessionContext};
use postgres_types::Type;
use std::sync::Arc;

pub const NO_ROWS: [i64; 0] = [];

pub fn column(name: &str, ty: Type) -> Column {
    let (name, type_oid) = (name.to_string(), ty.oid());
    Column { name, type_oid, numeric: None, length: None, not_null: false, default: None }
}

pub fn name(name: &str) -> RelationName {
    RelationName::new("public", name)
}

pub fn table(table: &str, columns: Vec<Column>) -> Table {
    let (name, owner) = (name(table), "owner".to_string());
    Table { id: 0, name, owner, columns, checks: Vec::new(), keys: Vec::new() }
}

/// `CREATE TABLE table (a bigint)`.
pub fn plain(name: &str) -> Table {
    table(name, vec![column("a", Type::INT8)])
}

/// `CREATE TABLE table (a bigint, CONSTRAINT table_key UNIQUE (a))`.
pub fn keyed(name: &str) -> Table {
    let key = Key { name: format!("{name}_key"), columns: vec![0], primary: false };
    Table { keys: vec![key], ..plain(name) }
}

pub fn values(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column = Arc::new(Int64Array::from_iter_values(values)) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap()
}

/// A database on `disk` whose transactions spill after `buffer_bytes_max`.
pub async fn open_spilling(disk: &TestDisk, buffer_bytes_max: usize) -> Arc<Engine> {
    Engine::open_with(&test_host::host(disk), "db", buffer_bytes_max).await.unwrap()
}

pub async fn open(disk: &TestDisk) -> Arc<Engine> {
    Engine::open(&test_host::host(disk), "db").await.unwrap()
}

/// A transaction at its first statement.
pub fn begin(engine: &Arc<Engine>) -> Transaction {
    begin_at(engine, Isolation::ReadCommitted)
}

pub fn begin_at(engine: &Arc<Engine>, isolation: Isolation) -> Transaction {
    let mut transaction = engine.begin(isolation);
    transaction.begin_statement().unwrap();
    transaction
}

pub async fn create(engine: &Arc<Engine>, table: Table) -> Arc<Table> {
    let mut transaction = begin(engine);
    let table = transaction.create_table(table).unwrap();
    transaction.commit().await.unwrap();
    table
}

/// Appends and commits in a transaction of its own.
pub async fn insert(engine: &Arc<Engine>, table: &Arc<Table>, rows: impl IntoIterator<Item = i64>) -> Result<()> {
    let mut transaction = begin(engine);
    transaction.append(table, values(rows)).await?;
    transaction.commit().await
}

pub fn context(transaction: &Transaction, table: &Arc<Table>) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_table(table.name.name.as_str(), transaction.scan(table).unwrap()).unwrap();
    context
}

/// The batches of a query over one table.
pub async fn query(transaction: &Transaction, table: &Arc<Table>, sql: &str) -> Result<Vec<RecordBatch>> {
    Ok(context(transaction, table).sql(sql).await?.collect().await?)
}

/// The table's only column as this transaction sees it, in stored order.
pub async fn seen(transaction: &Transaction, table: &Arc<Table>) -> Vec<i64> {
    let batches = query(transaction, table, &format!("SELECT * FROM {}", table.name.name)).await.unwrap();
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// The committed rows.
pub async fn committed(engine: &Arc<Engine>, table: &Arc<Table>) -> Vec<i64> {
    seen(&begin(engine), table).await
}
