//! Unique constraints between rows, transactions and restarts.

use crate::engine::test_host::TestDisk;
use crate::engine::test_support::*;
use crate::engine::{Engine, Transaction};
use crate::error::{Error, codes};
use crate::sql::statement::Isolation;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::FutureExt;
use std::sync::Arc;
use std::time::Duration;

fn assert_violation(error: &Error, value: i64) {
    assert_eq!(error.code(), codes::UNIQUE_VIOLATION);
    assert_eq!(error.message(), "duplicate key value violates unique constraint \"t_key\"");
    assert_eq!(error.detail(), Some(format!("Key (a)=({value}) already exists.").as_str()));
}

async fn refused(engine: &Arc<Engine>, table: &Arc<crate::engine::table::Table>, value: i64) {
    assert_violation(&insert(engine, table, [value]).await.unwrap_err(), value);
}

#[tokio::test]
async fn a_key_is_unique_in_the_batch_in_the_transaction_and_in_the_table() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    assert_violation(&insert(&engine, &table, [1, 2, 1]).await.unwrap_err(), 1);
    let mut twice = begin(&engine);
    twice.append(&table, values([1, 2])).await.unwrap();
    assert_violation(&twice.append(&table, values([3, 2])).await.unwrap_err(), 2);
    drop(twice);
    insert(&engine, &table, [1, 2]).await.unwrap();
    refused(&engine, &table, 2).await;
    insert(&engine, &table, [3]).await.unwrap();
}

#[tokio::test]
async fn nulls_are_distinct() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    let nulls = Arc::new(Int64Array::from(vec![None, None])) as ArrayRef;
    let batch = RecordBatch::try_from_iter_with_nullable([("a", nulls, true)]).unwrap();
    for _ in 0..2 {
        let mut transaction = begin(&engine);
        transaction.append(&table, batch.clone()).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

#[tokio::test]
async fn keys_of_rolled_back_rows_are_free_whether_spilled_or_not() {
    let engine = open_spilling(&TestDisk::new(), 10 << 10).await;
    let table = create(&engine, keyed("t")).await;
    for rows in [1..2, 1..20_000] {
        let mut transaction = begin(&engine);
        transaction.append(&table, values(rows)).await.unwrap();
        transaction.rollback().await.unwrap();
    }
    insert(&engine, &table, 1..20_000).await.unwrap();
    refused(&engine, &table, 19_999).await;
}

#[tokio::test]
async fn a_spilled_key_conflicts_with_a_later_row_of_the_same_transaction() {
    let engine = open_spilling(&TestDisk::new(), 10 << 10).await;
    let table = create(&engine, keyed("t")).await;
    let mut transaction = begin(&engine);
    for start in (0..20_000).step_by(2_000) {
        transaction.append(&table, values(start..start + 2_000)).await.unwrap();
    }
    assert_violation(&transaction.append(&table, values([5])).await.unwrap_err(), 5);
}

/// Starts an append that must wait.
async fn blocked<'a>(
    transaction: &'a mut Transaction,
    table: &'a Arc<crate::engine::table::Table>,
    value: i64,
) -> futures::future::BoxFuture<'a, crate::Result<()>> {
    let mut append = transaction.append(table, values([value])).boxed();
    assert!((&mut append).now_or_never().is_none(), "the append should wait");
    append
}

#[tokio::test]
async fn a_key_of_an_open_transaction_makes_others_wait_for_its_outcome() {
    for (spilling, rows) in [(4 << 20, 1..2), (10 << 10, 1..20_000)] {
        let engine = open_spilling(&TestDisk::new(), spilling).await;
        let table = create(&engine, keyed("t")).await;
        let mut holder = begin(&engine);
        holder.append(&table, values(rows.clone())).await.unwrap();
        let mut waiter = begin(&engine);
        let waiting = blocked(&mut waiter, &table, 1).await;
        holder.rollback().await.unwrap();
        waiting.await.unwrap();
        drop(waiter);

        let mut holder = begin(&engine);
        holder.append(&table, values(rows)).await.unwrap();
        let mut waiter = begin_at(&engine, Isolation::RepeatableRead);
        let waiting = blocked(&mut waiter, &table, 1).await;
        holder.commit().await.unwrap();
        assert_violation(&waiting.await.unwrap_err(), 1);
    }
}

#[tokio::test]
async fn a_key_of_a_prepared_transaction_makes_others_wait_also_after_a_restart() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    let table = create(&engine, keyed("t")).await;
    for (gid, value) in [("g1", 1), ("g2", 2)] {
        let mut transaction = begin(&engine);
        transaction.append(&table, values([value])).await.unwrap();
        transaction.prepare(gid, "me").await.unwrap();
    }
    engine.close().await;
    let engine = open(&disk).await;
    let mut first = begin(&engine);
    let waiting = blocked(&mut first, &table, 1).await;
    engine.rollback_prepared("g1").await.unwrap();
    waiting.await.unwrap();
    let mut second = begin(&engine);
    let waiting = blocked(&mut second, &table, 2).await;
    engine.commit_prepared("g2").await.unwrap();
    assert_violation(&waiting.await.unwrap_err(), 2);
}

#[tokio::test]
async fn a_wait_for_a_key_ends_with_the_lock_timeout() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    let mut holder = begin(&engine);
    holder.append(&table, values([1])).await.unwrap();
    let mut waiter = begin(&engine);
    waiter.set_lock_timeout(Some(Duration::from_millis(20)));
    let error = waiter.append(&table, values([1])).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (codes::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout"));
    drop(waiter);
    holder.commit().await.unwrap();
    refused(&engine, &table, 1).await;
}

#[tokio::test]
async fn two_transactions_that_wait_for_each_other_are_a_deadlock() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    let (mut first, mut second) = (begin(&engine), begin(&engine));
    first.append(&table, values([1])).await.unwrap();
    second.append(&table, values([2])).await.unwrap();
    let waiting = blocked(&mut first, &table, 2).await;
    let error = second.append(&table, values([1])).await.unwrap_err();
    assert_eq!(error.code(), codes::DEADLOCK_DETECTED);
    drop(second);
    waiting.await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(committed(&engine, &table).await, [1, 2]);
}

#[tokio::test]
async fn a_cancelled_wait_reserves_nothing() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    let (mut holder, mut waiter) = (begin(&engine), begin(&engine));
    holder.append(&table, values([1])).await.unwrap();
    let mut waiting = waiter.append(&table, values([7, 1])).boxed();
    assert!((&mut waiting).now_or_never().is_none());
    drop(waiting);
    insert(&engine, &table, [7]).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_does_not_hide_a_conflict() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    let mut old = begin_at(&engine, Isolation::RepeatableRead);
    insert(&engine, &table, [1]).await.unwrap();
    assert_eq!(seen(&old, &table).await, NO_ROWS);
    assert_violation(&old.append(&table, values([1])).await.unwrap_err(), 1);
}

#[tokio::test]
async fn keys_go_with_their_table() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    insert(&engine, &table, [1]).await.unwrap();
    let mut again = begin(&engine);
    again.drop_table(&name("t")).unwrap();
    let table = again.create_table(keyed("t")).unwrap();
    again.append(&table, values([1])).await.unwrap();
    again.commit().await.unwrap();
    refused(&engine, &table, 1).await;
}
