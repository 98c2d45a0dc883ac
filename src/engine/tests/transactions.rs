//! Commit, rollback, isolation, prepared transactions, spilling.

use crate::engine::test_host::TestDisk;
use crate::engine::test_support::*;
use crate::error::codes;
use crate::sql::statement::Isolation;

#[test]
fn transactions_may_move_between_threads_and_be_shared() {
    fn check<T: Send + Sync>() {}
    check::<crate::engine::Engine>();
    check::<crate::engine::Transaction>();
}

#[tokio::test]
async fn rows_are_seen_by_others_after_commit_only() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, plain("t")).await;
    let mut writer = begin(&engine);
    writer.append(&table, values([1, 2])).await.unwrap();
    assert_eq!(seen(&writer, &table).await, [1, 2]);
    assert_eq!(committed(&engine, &table).await, NO_ROWS);
    writer.commit().await.unwrap();
    assert_eq!(committed(&engine, &table).await, [1, 2]);
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, plain("t")).await;
    let mut dropped = begin(&engine);
    dropped.append(&table, values([1])).await.unwrap();
    drop(dropped);
    let mut rolled_back = begin(&engine);
    rolled_back.append(&table, values([2])).await.unwrap();
    rolled_back.rollback().await.unwrap();
    assert_eq!(committed(&engine, &table).await, NO_ROWS);
}

#[tokio::test]
async fn repeatable_read_keeps_the_snapshot_of_its_first_statement() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, plain("t")).await;
    let mut repeatable = engine.begin(Isolation::RepeatableRead);
    let mut committed = engine.begin(Isolation::ReadCommitted);
    insert(&engine, &table, [1]).await.unwrap();
    for reader in [&mut repeatable, &mut committed] {
        reader.begin_statement().unwrap();
        assert_eq!(seen(reader, &table).await, [1], "the snapshot is taken by the first statement, not by BEGIN");
    }
    insert(&engine, &table, [2]).await.unwrap();
    assert_eq!(seen(&committed, &table).await, [1], "a statement's snapshot does not move");
    repeatable.begin_statement().unwrap();
    committed.begin_statement().unwrap();
    assert_eq!(seen(&repeatable, &table).await, [1]);
    assert_eq!(seen(&committed, &table).await, [1, 2]);
}

#[tokio::test]
async fn a_repeatable_snapshot_survives_dropping_and_merging_of_what_it_reads() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, plain("t")).await;
    for i in 0..10 {
        insert(&engine, &table, [i]).await.unwrap();
    }
    let reader = begin_at(&engine, Isolation::RepeatableRead);
    for i in 10..100 {
        insert(&engine, &table, [i]).await.unwrap();
    }
    let mut dropper = begin(&engine);
    dropper.drop_table(&name("t")).unwrap();
    dropper.commit().await.unwrap();
    assert_eq!(seen(&reader, &table).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_scan_does_not_see_rows_appended_after_it_was_planned() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, plain("t")).await;
    let mut writer = begin(&engine);
    writer.append(&table, values([1])).await.unwrap();
    let context = context(&writer, &table);
    writer.append(&table, values([2])).await.unwrap();
    let rows = context.sql("SELECT * FROM t").await.unwrap().count().await.unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn large_transactions_spill_in_order_and_stay_invisible() {
    let disk = TestDisk::new();
    let engine = open_spilling(&disk, 100 << 10).await;
    let table = create(&engine, plain("t")).await;
    let mut writer = begin(&engine);
    for start in (0..200_000).step_by(1_000) {
        writer.append(&table, values(start..start + 1_000)).await.unwrap();
    }
    assert!(disk.bytes("db") > 1_200_000, "spilled to disk before commit");
    assert_eq!(committed(&engine, &table).await, NO_ROWS);
    assert_eq!(seen(&writer, &table).await, (0..200_000).collect::<Vec<_>>());
    writer.commit().await.unwrap();
    assert_eq!(committed(&engine, &table).await, (0..200_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn space_of_rolled_back_and_dropped_rows_is_used_again() {
    let disk = TestDisk::new();
    let engine = open_spilling(&disk, 100 << 10).await;
    let mut sizes = Vec::new();
    for round in 0..6 {
        let table = create(&engine, plain("t")).await;
        let mut writer = begin(&engine);
        for _ in 0..40 {
            writer.append(&table, values(0..8_000)).await.unwrap();
        }
        if round % 2 == 0 {
            writer.commit().await.unwrap()
        } else {
            writer.rollback().await.unwrap()
        }
        let mut dropper = begin(&engine);
        dropper.drop_table(&name("t")).unwrap();
        dropper.commit().await.unwrap();
        insert(&engine, &create(&engine, plain(&format!("small{round}"))).await, [1]).await.unwrap();
        sizes.push(disk.bytes("db"));
    }
    assert!(sizes[5] <= sizes[2], "the file keeps growing: {sizes:?}");
}

#[tokio::test]
async fn a_prepared_transaction_waits_for_its_decision_also_over_a_restart() {
    let disk = TestDisk::new();
    let engine = open_spilling(&disk, 10 << 10).await;
    let table = create(&engine, plain("t")).await;
    for (gid, start) in [("commit", 0), ("rollback", 50_000), ("later", 100_000)] {
        let mut transaction = begin(&engine);
        transaction.append(&table, values(start..start + 5_000)).await.unwrap();
        transaction.prepare(gid, "alice").await.unwrap();
    }
    let listed = engine.prepared();
    assert_eq!(listed.iter().map(|p| p.gid.as_str()).collect::<Vec<_>>(), ["commit", "later", "rollback"]);
    assert!(listed.iter().all(|p| p.owner == "alice" && p.prepared_at > 0));
    engine.close().await;

    let engine = open(&disk).await;
    assert_eq!(engine.prepared(), listed);
    assert_eq!(committed(&engine, &table).await, NO_ROWS);
    engine.commit_prepared("commit").await.unwrap();
    engine.rollback_prepared("rollback").await.unwrap();
    assert_eq!(committed(&engine, &table).await, (0..5_000).collect::<Vec<_>>());
    for outcome in [engine.commit_prepared("commit").await, engine.rollback_prepared("rollback").await] {
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), codes::UNDEFINED_OBJECT);
        assert!(error.message().ends_with("does not exist"), "{error}");
    }
    assert_eq!(engine.prepared().len(), 1);
}

#[tokio::test]
async fn a_gid_in_use_is_refused_and_rolls_back() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, plain("t")).await;
    begin(&engine).prepare("g", "me").await.unwrap();
    let mut second = begin(&engine);
    second.append(&table, values([1])).await.unwrap();
    let error = second.prepare("g", "me").await.unwrap_err();
    assert_eq!(error.code(), codes::DUPLICATE_OBJECT);
    assert_eq!(error.message(), "transaction identifier \"g\" is already in use");
    engine.commit_prepared("g").await.unwrap();
    assert_eq!(committed(&engine, &table).await, NO_ROWS);
}

#[tokio::test]
async fn sessions_that_commit_together_share_a_sync() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    let table = create(&engine, plain("t")).await;
    let before = disk.syncs();
    let commits = (0..50).map(|i| insert(&engine, &table, [i]));
    futures::future::try_join_all(commits).await.unwrap();
    assert!(disk.syncs() - before <= 4, "{} syncs", disk.syncs() - before);
    assert_eq!(committed(&engine, &table).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_do_not_lose_commits() {
    let disk = TestDisk::new();
    let engine = crate::engine::Engine::open(&crate::engine::test_host::threaded_host(&disk), "db").await.unwrap();
    let table = create(&engine, keyed("t")).await;
    let tasks = (0..8).map(|task| {
        let (engine, table) = (engine.clone(), table.clone());
        tokio::runtime::Handle::current().spawn(async move {
            for i in 0..40 {
                insert(&engine, &table, [task * 1_000 + i]).await.unwrap();
            }
        })
    });
    futures::future::join_all(tasks.collect::<Vec<_>>()).await.into_iter().for_each(|task| task.unwrap());
    assert_eq!(committed(&engine, &table).await.len(), 320);
}

#[tokio::test]
async fn a_commit_completes_although_nobody_waits_for_it() {
    use futures::FutureExt;
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, plain("t")).await;
    let mut writer = begin(&engine);
    writer.append(&table, values([1])).await.unwrap();
    assert!(writer.commit().now_or_never().is_none(), "cancelled while the commit is under way");
    insert(&engine, &table, [2]).await.unwrap();
    assert_eq!(committed(&engine, &table).await, [1, 2]);
}

#[tokio::test]
async fn single_row_commits_are_merged_to_few_segments_in_order() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    let table = create(&engine, plain("t")).await;
    for i in 0..500 {
        insert(&engine, &table, [i]).await.unwrap();
    }
    assert_eq!(committed(&engine, &table).await, (0..500).collect::<Vec<_>>());
    let statistics = engine.statistics();
    assert_eq!((statistics.len(), statistics[0].rows), (1, 500));
    assert!(statistics[0].segments < 50, "{statistics:?}");
    engine.close().await;
    let engine = open(&disk).await;
    assert_eq!(committed(&engine, &table).await, (0..500).collect::<Vec<_>>());
    assert_eq!(engine.statistics()[0].rows, 500);
}

#[tokio::test]
async fn read_only_transactions_write_nothing() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    let table = create(&engine, plain("t")).await;
    let before = disk.syncs();
    let reader = begin(&engine);
    assert!(!reader.has_writes());
    assert_eq!(seen(&reader, &table).await, NO_ROWS);
    reader.commit().await.unwrap();
    assert_eq!(disk.syncs(), before);
}
