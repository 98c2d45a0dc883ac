//! Schemas and tables in transactions.

use crate::engine::test_host::TestDisk;
use crate::engine::test_support::*;
use crate::engine::{Engine, Transaction};
use crate::error::codes;
use crate::ids::RelationName;
use crate::sql::statement::Isolation;
use std::sync::Arc;

fn names(transaction: &Transaction) -> Vec<String> {
    transaction.tables().unwrap().iter().map(|table| table.name.to_string()).collect()
}

fn all(engine: &Arc<Engine>) -> Vec<String> {
    names(&begin(engine))
}

#[tokio::test]
async fn a_new_table_is_seen_by_its_creator_at_once_and_by_others_after_commit() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    let mut creator = begin(&engine);
    let table = creator.create_table(plain("t")).unwrap();
    assert_eq!(creator.table(&name("t")).unwrap(), Some(table.clone()));
    creator.append(&table, values([1])).await.unwrap();
    assert_eq!(seen(&creator, &table).await, [1]);
    assert_eq!(all(&engine), Vec::<String>::new());
    creator.commit().await.unwrap();
    engine.close().await;
    let engine = open(&disk).await;
    assert_eq!(begin(&engine).table(&name("t")).unwrap(), Some(table.clone()));
    assert_eq!(committed(&engine, &table).await, [1]);
}

#[tokio::test]
async fn a_rolled_back_table_never_was() {
    let engine = open_spilling(&TestDisk::new(), 10 << 10).await;
    let mut creator = begin(&engine);
    let first = creator.create_table(keyed("t")).unwrap();
    creator.append(&first, values(0..20_000)).await.unwrap();
    creator.rollback().await.unwrap();
    let second = create(&engine, keyed("t")).await;
    assert_ne!(first.id, second.id);
    insert(&engine, &second, [1]).await.unwrap();
    assert_eq!(committed(&engine, &second).await, [1]);
}

#[tokio::test]
async fn a_name_can_be_created_once() {
    let engine = open(&TestDisk::new()).await;
    let mut first = begin(&engine);
    first.create_table(plain("t")).unwrap();
    let mut second = begin(&engine);
    assert_eq!(second.create_table(plain("t")).unwrap_err().code(), codes::DUPLICATE_TABLE);
    first.commit().await.unwrap();
    let error = second.create_table(plain("t")).unwrap_err();
    assert_eq!(error.code(), codes::DUPLICATE_TABLE);
    assert_eq!(error.message(), "relation \"t\" already exists");
}

#[tokio::test]
async fn an_old_snapshot_does_not_hide_a_taken_name() {
    let engine = open(&TestDisk::new()).await;
    let mut old = begin_at(&engine, Isolation::RepeatableRead);
    create(&engine, plain("t")).await;
    assert_eq!(names(&old), Vec::<String>::new());
    assert_eq!(old.create_table(plain("t")).unwrap_err().code(), codes::DUPLICATE_TABLE);
}

#[tokio::test]
async fn a_table_being_dropped_by_another_transaction_is_in_use() {
    let engine = open(&TestDisk::new()).await;
    create(&engine, plain("t")).await;
    let (mut first, mut second) = (begin(&engine), begin(&engine));
    first.drop_table(&name("t")).unwrap();
    assert_eq!(names(&first), Vec::<String>::new());
    assert_eq!(names(&second), ["t"]);
    assert_eq!(second.drop_table(&name("t")).unwrap_err().code(), codes::OBJECT_IN_USE);
    drop(first);
    second.drop_table(&name("t")).unwrap();
    second.commit().await.unwrap();
    assert_eq!(all(&engine), Vec::<String>::new());
    assert_eq!(begin(&engine).drop_table(&name("t")).unwrap_err().code(), codes::UNDEFINED_TABLE);
}

#[tokio::test]
async fn rows_for_a_table_dropped_meanwhile_fail_to_commit() {
    let engine = open_spilling(&TestDisk::new(), 10 << 10).await;
    for rows in [1, 20_000] {
        let (doomed, other) = (create(&engine, keyed("doomed")).await, create(&engine, plain("other")).await);
        let mut writer = begin(&engine);
        writer.append(&other, values([1])).await.unwrap();
        writer.append(&doomed, values(0..rows)).await.unwrap();
        let mut dropper = begin(&engine);
        dropper.drop_table(&name("doomed")).unwrap();
        dropper.commit().await.unwrap();
        let error = writer.commit().await.unwrap_err();
        assert_eq!(error.code(), codes::UNDEFINED_TABLE);
        assert_eq!(error.message(), "relation \"doomed\" does not exist");
        assert_eq!(committed(&engine, &other).await, NO_ROWS, "all or nothing");
        let mut dropper = begin(&engine);
        dropper.drop_table(&name("other")).unwrap();
        dropper.commit().await.unwrap();
    }
}

#[tokio::test]
async fn rows_prepared_for_a_table_dropped_later_go_with_it() {
    let engine = open(&TestDisk::new()).await;
    let table = create(&engine, keyed("t")).await;
    let mut writer = begin(&engine);
    writer.append(&table, values([1])).await.unwrap();
    writer.prepare("g", "me").await.unwrap();
    let mut dropper = begin(&engine);
    dropper.drop_table(&name("t")).unwrap();
    dropper.commit().await.unwrap();
    engine.commit_prepared("g").await.unwrap();
    assert_eq!(all(&engine), Vec::<String>::new());
    assert_eq!(engine.statistics(), []);
}

#[tokio::test]
async fn rows_added_to_a_table_that_the_transaction_drops_itself_do_not_matter() {
    let engine = open_spilling(&TestDisk::new(), 10 << 10).await;
    let old = create(&engine, keyed("t")).await;
    let mut transaction = begin(&engine);
    transaction.append(&old, values(0..20_000)).await.unwrap();
    transaction.drop_table(&name("t")).unwrap();
    let temporary = transaction.create_table(keyed("t")).unwrap();
    transaction.append(&temporary, values(0..20_000)).await.unwrap();
    transaction.drop_table(&name("t")).unwrap();
    let last = transaction.create_table(keyed("t")).unwrap();
    transaction.append(&last, values([7])).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(all(&engine), ["t"]);
    assert_eq!(committed(&engine, &last).await, [7]);
}

#[tokio::test]
async fn schemas_are_transactional_and_must_be_empty_to_go() {
    let engine = open(&TestDisk::new()).await;
    let mut creator = begin(&engine);
    creator.create_schema("s").unwrap();
    let inside = RelationName::new("s", "t");
    creator.create_table(crate::engine::table::Table { name: inside.clone(), ..plain("t") }).unwrap();
    assert_eq!(creator.schemas().unwrap(), ["public", "s"]);
    assert_eq!(begin(&engine).schemas().unwrap(), ["public"]);
    creator.commit().await.unwrap();
    let mut transaction = begin(&engine);
    assert_eq!(transaction.create_schema("s").unwrap_err().code(), codes::DUPLICATE_SCHEMA);
    assert_eq!(transaction.drop_schema("s").unwrap_err().code().as_str(), "2BP01");
    assert_eq!(transaction.drop_schema("x").unwrap_err().code(), codes::INVALID_SCHEMA_NAME);
    transaction.drop_table(&inside).unwrap();
    transaction.drop_schema("s").unwrap();
    let orphan = crate::engine::table::Table { name: inside, ..plain("t") };
    assert_eq!(transaction.create_table(orphan).unwrap_err().code(), codes::INVALID_SCHEMA_NAME);
    transaction.commit().await.unwrap();
    assert_eq!(begin(&engine).schemas().unwrap(), ["public"]);
}

#[tokio::test]
async fn a_schema_cannot_go_while_another_transaction_creates_a_table_in_it() {
    let engine = open(&TestDisk::new()).await;
    let mut setup = begin(&engine);
    setup.create_schema("s").unwrap();
    setup.commit().await.unwrap();
    let (mut creator, mut dropper) = (begin(&engine), begin(&engine));
    let inside = || crate::engine::table::Table { name: RelationName::new("s", "t"), ..plain("t") };
    creator.create_table(inside()).unwrap();
    assert_eq!(dropper.drop_schema("s").unwrap_err().code(), codes::OBJECT_IN_USE);
    drop(creator);
    dropper.drop_schema("s").unwrap();
    assert!(begin(&engine).create_table(inside()).is_err());
}

#[tokio::test]
async fn prepared_ddl_holds_its_names_over_a_restart() {
    let disk = TestDisk::new();
    let engine = open(&disk).await;
    create(&engine, plain("old")).await;
    let mut transaction = begin(&engine);
    let new = transaction.create_table(keyed("new")).unwrap();
    transaction.append(&new, values([1])).await.unwrap();
    transaction.drop_table(&name("old")).unwrap();
    transaction.prepare("g", "me").await.unwrap();
    engine.close().await;
    let engine = open(&disk).await;
    assert_eq!(all(&engine), ["old"]);
    assert_eq!(begin(&engine).create_table(plain("new")).unwrap_err().code(), codes::DUPLICATE_TABLE);
    assert_eq!(begin(&engine).drop_table(&name("old")).unwrap_err().code(), codes::OBJECT_IN_USE);
    assert!(create(&engine, plain("other")).await.id > new.id, "ids are never used again");
    engine.commit_prepared("g").await.unwrap();
    assert_eq!(all(&engine), ["new", "other"]);
    assert_eq!(committed(&engine, &new).await, [1]);
    assert_eq!(insert(&engine, &new, [1]).await.unwrap_err().code(), codes::UNIQUE_VIOLATION);
}
