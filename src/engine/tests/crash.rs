//! Power losses and failing disks.

use super::assert_no_leftovers;
use crate::engine::Engine;
use crate::engine::core::Core;
use crate::engine::store;
use crate::engine::test_host::{self, TestDisk};
use crate::engine::test_support::*;
use crate::error::{Kind, codes};
use std::io::ErrorKind;
use std::sync::Arc;

/// A reproducible coin.
fn coin(mut seed: u64) -> impl FnMut() -> bool {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 63 == 1
    }
}

#[tokio::test]
async fn acknowledged_commits_survive_power_losses_at_any_write() {
    for seed in 0..150u64 {
        let disk = TestDisk::new();
        let engine = open_spilling(&disk, 4_000).await;
        let table = create(&engine, keyed("t")).await;
        disk.fail_after(3 + seed as i64, ErrorKind::Other);
        let mut acknowledged = Vec::new();
        let mut attempted = Vec::new();
        let mut prepared = None;
        for round in 0..40 {
            let rows = round * 1_000..round * 1_000 + if round % 5 == 4 { 900 } else { 1 + round % 3 };
            let mut transaction = begin(&engine);
            attempted = Vec::from_iter(rows.clone());
            if transaction.append(&table, values(rows)).await.is_err() {
                break;
            }
            let outcome = match round % 7 {
                6 => {
                    let gid = format!("g{round}");
                    let outcome = transaction.prepare(&gid, "me").await;
                    prepared = Some((gid.clone(), attempted.clone(), outcome.is_ok()));
                    match outcome {
                        Ok(()) => engine.commit_prepared(&gid).await,
                        Err(error) => Err(error),
                    }
                }
                _ => transaction.commit().await,
            };
            if outcome.is_err() {
                break;
            }
            prepared = None;
            acknowledged.append(&mut attempted);
        }
        disk.lose_power(coin(seed));
        drop(engine);
        let engine = open(&disk).await;
        if let Some((gid, rows, acknowledged_prepare)) = prepared {
            // Prepared for certain, perhaps prepared, or already committed: the decision works out the same.
            let outcome = engine.commit_prepared(&gid).await;
            let there = committed(&engine, &table).await.ends_with(&rows);
            assert!(outcome.is_err() || there, "seed {seed}: the prepared rows are lost");
            assert!(there || !acknowledged_prepare, "seed {seed}: an acknowledged PREPARE is lost");
        }
        let rows = committed(&engine, &table).await;
        let with_last = [acknowledged.clone(), attempted].concat();
        assert!(rows == acknowledged || rows == with_last, "seed {seed}: {rows:?} of {acknowledged:?}");
        assert_no_leftovers(&engine);
        insert(&engine, &table, [-1]).await.unwrap();
    }
}

#[tokio::test]
async fn spilled_rows_of_undecided_transactions_are_removed_at_the_next_start() {
    let disk = TestDisk::new();
    let engine = open_spilling(&disk, 4_000).await;
    let table = create(&engine, keyed("t")).await;
    let mut undecided = begin(&engine);
    undecided.append(&table, values(0..5_000)).await.unwrap();
    let new = undecided.create_table(keyed("new")).unwrap();
    undecided.append(&new, values(0..5_000)).await.unwrap();
    // Makes the spilled segments durable along with its own row.
    insert(&engine, &table, [-1]).await.unwrap();
    disk.lose_power(coin(1));
    drop(undecided);
    drop(engine);
    let engine = open(&disk).await;
    assert_eq!(committed(&engine, &table).await, [-1]);
    assert_no_leftovers(&engine);
    insert(&engine, &table, 0..5_000).await.unwrap();
}

#[tokio::test]
async fn a_rollback_leaves_nothing_behind() {
    let engine = open_spilling(&TestDisk::new(), 4_000).await;
    let table = create(&engine, keyed("t")).await;
    let mut transaction = begin(&engine);
    let new = transaction.create_table(keyed("new")).unwrap();
    transaction.append(&table, values(0..5_000)).await.unwrap();
    transaction.append(&new, values(0..5_000)).await.unwrap();
    drop(transaction);
    insert(&engine, &table, [1]).await.unwrap();
    assert_no_leftovers(&engine);
}

#[tokio::test]
async fn a_full_disk_undoes_commits_and_is_survived_without_a_restart() {
    for operations in 0..40 {
        let disk = TestDisk::new();
        let engine = open(&disk).await;
        let table = create(&engine, keyed("t")).await;
        insert(&engine, &table, [1]).await.unwrap();
        let mut prepared = begin(&engine);
        prepared.append(&table, values([100])).await.unwrap();
        prepared.prepare("g", "me").await.unwrap();
        let mut open = begin(&engine);
        open.append(&table, values([200])).await.unwrap();

        disk.fail_after(operations, ErrorKind::StorageFull);
        let (mut expected, mut unknown) = (vec![1], Vec::new());
        for row in 2..10 {
            match insert(&engine, &table, [row]).await {
                Ok(()) => expected.push(row),
                // The disk was too full even for looking; from then on nothing is tried before looking again.
                Err(error) if error.kind() == Kind::Unknown => unknown.push(row),
                Err(error) => assert_eq!(error.code(), codes::DISK_FULL, "{error}"),
            }
        }
        assert!(unknown.len() <= 1, "{unknown:?}");
        disk.repair();
        insert(&engine, &table, [10]).await.unwrap();
        engine.commit_prepared("g").await.unwrap();
        open.commit().await.unwrap();
        expected.extend([10, 100, 200]);
        let rows = committed(&engine, &table).await;
        let certain = rows.into_iter().filter(|row| !unknown.contains(row)).collect::<Vec<_>>();
        assert_eq!(certain, expected, "after {operations} operations");
        assert_no_leftovers(&engine);
    }
}

#[tokio::test]
async fn rows_spilled_before_a_failure_are_lost_and_their_transaction_is_told() {
    let disk = TestDisk::new();
    let engine = open_spilling(&disk, 4_000).await;
    let table = create(&engine, keyed("t")).await;
    let mut large = begin(&engine);
    large.append(&table, values(0..5_000)).await.unwrap();
    large.append(&table, values(5_000..10_000)).await.unwrap();
    disk.fail_after(0, ErrorKind::StorageFull);
    assert_eq!(insert(&engine, &table, [-1]).await.unwrap_err().code(), codes::DISK_FULL);
    disk.repair();
    insert(&engine, &table, [-2]).await.unwrap();
    assert!(large.commit().await.is_err());
    assert_eq!(committed(&engine, &table).await, [-2]);
    assert_no_leftovers(&engine);
    insert(&engine, &table, 0..10_000).await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_any_more() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    let table = create(&engine, plain("t")).await;
    disk.fail_syncs();
    let error = insert(&engine, &table, [1]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unknown, "{error}");
    disk.repair();
    let error = insert(&engine, &table, [2]).await.unwrap_err();
    assert_eq!(error.code(), codes::IO_ERROR);
    assert!(error.hint().unwrap().starts_with("Restart"));
}

#[tokio::test]
async fn a_closed_database_says_so() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    let table = create(&engine, plain("t")).await;
    let mut late = begin(&engine);
    late.append(&table, values([1])).await.unwrap();
    engine.close().await;
    assert_eq!(late.commit().await.unwrap_err().code(), codes::ADMIN_SHUTDOWN);
    let again = open(&disk).await;
    insert(&again, &table, [2]).await.unwrap();
    assert_eq!(committed(&again, &table).await, [2]);
    engine.close().await;
}

#[tokio::test]
async fn an_outcome_nobody_can_know_is_called_unknown() {
    for operations in 0..40 {
        let disk = TestDisk::new();
        let engine = open(&disk).await;
        let table = create(&engine, plain("t")).await;
        disk.fail_after(operations, ErrorKind::Other);
        let outcome = insert(&engine, &table, [1]).await;
        disk.lose_power(coin(operations as u64));
        drop(engine);
        let engine = open(&disk).await;
        let there = committed(&engine, &table).await == [1];
        match outcome {
            Ok(()) => assert!(there),
            Err(error) => assert!(!there || error.kind() == Kind::Unknown, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_store_of_another_version_is_refused_by_name() {
    let disk = TestDisk::new();
    open(&disk).await.close().await;
    let host = test_host::host(&disk);
    let database = store::open(&host, "db", &Arc::default()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(store::META).unwrap().insert("format", 99).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = Engine::open(&host, "db").await.err().unwrap();
    assert_eq!(error.code(), codes::OBJECT_NOT_IN_PREREQUISITE_STATE);
    let message = "database files are incompatible with this program: \"db\" has version 99, needed is version 1";
    assert_eq!(error.message(), message);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let disk = TestDisk::new();
    let host = test_host::host(&disk);
    host.disk().write("db", &[b'x'; 10_000]).unwrap();
    let error = Core::open(host, "db", 1).err().unwrap();
    assert_eq!(error.code(), codes::DATA_CORRUPTED);
    assert!(error.message().contains("\"db\""), "{error}");
}

#[tokio::test]
async fn a_power_loss_while_the_file_is_created_leaves_a_file_that_opens() {
    for operations in 0..30 {
        let disk = TestDisk::new();
        disk.fail_after(operations, ErrorKind::Other);
        let first = Engine::open(&test_host::host(&disk), "db").await;
        disk.lose_power(coin(operations as u64));
        drop(first);
        let engine = open(&disk).await;
        create(&engine, plain("t")).await;
    }
}
