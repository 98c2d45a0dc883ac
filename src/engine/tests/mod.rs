//! The engine as a session sees it.

mod crash;
mod ddl;
mod keys;
mod model;
mod query;
mod transactions;

use super::Engine;
use super::store::{self, BOUNDS, DATA, PENDING, SEGMENTS};
use redb::{ReadableTable, ReadableTableMetadata, TableHandle};
use std::sync::Arc;

/// No segment without an owner, no pending row without a transaction, no key table without a table.
fn assert_no_leftovers(engine: &Arc<Engine>) {
    let snapshot = engine.core.published();
    let data = snapshot.read.open_table(DATA).unwrap();
    let mut owned = std::collections::BTreeSet::new();
    for entry in snapshot.read.open_table(SEGMENTS).unwrap().iter().unwrap() {
        owned.insert(entry.unwrap().1.value().0);
    }
    let open = engine.prepared().iter().map(|prepared| prepared.transaction).collect::<Vec<_>>();
    for entry in snapshot.read.open_table(PENDING).unwrap().iter().unwrap() {
        let (transaction, segment) = entry.unwrap().0.value();
        assert!(open.contains(&transaction), "rows of transaction {transaction} were left behind");
        owned.insert(segment);
    }
    assert_eq!(data.iter().unwrap().map(|entry| entry.unwrap().0.value()).collect::<Vec<_>>(), Vec::from_iter(owned));
    assert!(snapshot.read.open_table(BOUNDS).unwrap().len().unwrap() <= data.len().unwrap());
    for table in snapshot.read.list_tables().unwrap() {
        let Some(owner) = store::keys_table_owner(table.name()) else { continue };
        assert!(snapshot.catalog.by_id(owner).is_some() || !open.is_empty(), "{} was left behind", table.name());
    }
}
