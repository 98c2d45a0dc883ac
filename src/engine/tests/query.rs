//! Tables as DataFusion reads them.

use crate::engine::test_host::TestDisk;
use crate::engine::test_support::*;
use crate::engine::{Engine, Transaction, table::Table};
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use postgres_types::Type;
use std::sync::Arc;

fn readings() -> Table {
    let mut time = column("time", Type::TIMESTAMPTZ);
    time.not_null = true;
    table("readings", vec![time, column("device", Type::TEXT), column("value", Type::FLOAT8)])
}

/// One reading a second from `start`.
fn batch(table: &Table, start: i64, rows: i64) -> RecordBatch {
    let time = TimestampMicrosecondArray::from_iter_values((start..start + rows).map(|s| s * 1_000_000));
    let device = StringArray::from_iter_values((start..start + rows).map(|s| format!("device-{:06}", s / 1_000)));
    let value = Float64Array::from_iter_values((start..start + rows).map(|s| s as f64));
    let columns = [Arc::new(time.with_timezone("+00:00")) as ArrayRef, Arc::new(device), Arc::new(value)];
    RecordBatch::try_new(table.schema().unwrap(), columns.to_vec()).unwrap()
}

async fn filled(engine: &Arc<Engine>) -> Arc<Table> {
    let table = create(engine, readings()).await;
    let mut writer = begin(engine);
    for start in (0..400_000).step_by(8_000) {
        writer.append(&table, batch(&table, start, 8_000)).await.unwrap();
    }
    writer.commit().await.unwrap();
    table
}

async fn explain(transaction: &Transaction, table: &Arc<Table>, sql: &str) -> String {
    let plan = query(transaction, table, &format!("EXPLAIN {sql}")).await.unwrap();
    pretty_format_batches(&plan).unwrap().to_string()
}

async fn number(transaction: &Transaction, table: &Arc<Table>, sql: &str) -> i64 {
    let batches = query(transaction, table, sql).await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn filters_prune_segments_and_change_no_result() {
    let engine = open(&TestDisk::new()).await;
    let table = filled(&engine).await;
    let reader = begin(&engine);
    let by_time =
        "SELECT count(*) FROM readings WHERE time >= '1970-01-02T00:00:00Z' AND time < '1970-01-02T00:10:00Z'";
    assert_eq!(number(&reader, &table, by_time).await, 600);
    assert!(explain(&reader, &table, by_time).await.contains("pruned="), "{}", explain(&reader, &table, by_time).await);
    let by_text = "SELECT count(value) FROM readings WHERE device = 'device-000007'";
    assert_eq!(number(&reader, &table, by_text).await, 1_000);
    assert!(explain(&reader, &table, by_text).await.contains("pruned="));
    let nothing = "SELECT count(*) FROM readings WHERE value < 0";
    assert_eq!(number(&reader, &table, nothing).await, 0);
    let all = "SELECT count(*) FROM readings WHERE value + 1 > 0";
    assert_eq!(number(&reader, &table, all).await, 400_000);
}

#[tokio::test]
async fn explain_names_the_table_and_the_columns_read() {
    let engine = open(&TestDisk::new()).await;
    let table = filled(&engine).await;
    let plan = explain(&begin(&engine), &table, "SELECT r.device FROM readings r WHERE r.device < 'x'").await;
    assert!(plan.contains("SegmentScanExec: table=readings, segments="), "{plan}");
    assert!(plan.contains("projection=[device]"), "{plan}");
}

#[tokio::test]
async fn aggregates_see_stored_spilled_and_buffered_rows() {
    let engine = open_spilling(&TestDisk::new(), 1 << 20).await;
    let table = filled(&engine).await;
    let mut writer = begin(&engine);
    for start in (400_000..500_001).step_by(8_000) {
        writer.append(&table, batch(&table, start, 8_000.min(500_001 - start))).await.unwrap();
    }
    assert_eq!(number(&writer, &table, "SELECT count(*) FROM readings").await, 500_001);
    assert_eq!(number(&writer, &table, "SELECT CAST(max(value) AS BIGINT) FROM readings").await, 500_000);
    let late = "SELECT count(*) FROM readings WHERE time >= '1970-01-06T00:00:00Z'";
    assert_eq!(number(&writer, &table, late).await, 500_001 - 432_000);
    assert_eq!(number(&begin(&engine), &table, "SELECT count(*) FROM readings").await, 400_000);
}

#[tokio::test]
async fn limits_and_orders_are_kept() {
    let engine = open(&TestDisk::new()).await;
    let table = filled(&engine).await;
    let reader = begin(&engine);
    let rows = |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(rows(query(&reader, &table, "SELECT * FROM readings LIMIT 10000").await.unwrap()), 10_000);
    let filtered = "SELECT * FROM readings WHERE device = 'device-000399' LIMIT 7";
    assert_eq!(rows(query(&reader, &table, filtered).await.unwrap()), 7);
    let last = "SELECT CAST(value AS BIGINT) FROM readings ORDER BY time DESC LIMIT 1";
    assert_eq!(number(&reader, &table, last).await, 399_999);
    assert_eq!(rows(query(&reader, &table, "SELECT * FROM readings LIMIT 0").await.unwrap()), 0);
}

#[tokio::test]
async fn batches_are_of_the_size_that_operators_like() {
    let engine = open(&TestDisk::new()).await;
    let table = filled(&engine).await;
    let batches = query(&begin(&engine), &table, "SELECT * FROM readings").await.unwrap();
    assert!(batches.iter().all(|batch| batch.num_rows() <= 8_192));
    assert!(batches.len() < 100, "{} batches", batches.len());
}

#[tokio::test]
async fn an_empty_table_has_columns_and_no_rows() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, readings()).await;
    let reader = begin(&engine);
    assert_eq!(number(&reader, &table, "SELECT count(*) FROM readings WHERE value > 1").await, 0);
    assert_eq!(number(&reader, &table, "SELECT count(device) FROM readings").await, 0);
}
