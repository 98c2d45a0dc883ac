//! One moment of the committed database: what exists, and the rows that belong to it.

use super::store::{SCHEMAS, TABLES, storage};
use super::table::Table;
use crate::error::{Error, Result, codes};
use crate::ids::RelationName;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Schemas and tables. Shared by all snapshots between two changes of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Catalog {
    pub schemas: BTreeSet<String>,
    pub tables: BTreeMap<RelationName, Arc<Table>>,
    ids: BTreeMap<u64, Arc<Table>>,
}

/// What a transaction changes in the catalog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ddl {
    pub dropped_tables: BTreeSet<u64>,
    pub dropped_schemas: BTreeSet<String>,
    pub created_schemas: BTreeSet<String>,
    #[serde(with = "shared")]
    pub created_tables: Vec<Arc<Table>>,
}

impl Ddl {
    pub fn is_empty(&self) -> bool {
        self == &Ddl::default()
    }
}

impl Catalog {
    pub fn by_id(&self, id: u64) -> Option<&Arc<Table>> {
        self.ids.get(&id)
    }

    /// The catalog after a transaction's changes: for its own eyes, and for everybody's once it has committed.
    pub fn apply(&self, ddl: &Ddl) -> Catalog {
        let mut catalog = self.clone();
        for id in &ddl.dropped_tables {
            if let Some(table) = catalog.ids.remove(id) {
                catalog.tables.remove(&table.name);
            }
        }
        catalog.schemas.retain(|name| !ddl.dropped_schemas.contains(name));
        catalog.schemas.extend(ddl.created_schemas.iter().cloned());
        for table in &ddl.created_tables {
            catalog.insert(table.clone());
        }
        catalog
    }

    fn insert(&mut self, table: Arc<Table>) {
        self.ids.insert(table.id, table.clone());
        self.tables.insert(table.name.clone(), table);
    }

    /// Reads the stored catalog.
    pub fn load(read: &ReadTransaction) -> Result<Catalog> {
        let mut catalog = Catalog::default();
        for entry in read.open_table(SCHEMAS).map_err(storage)?.iter().map_err(storage)? {
            catalog.schemas.insert(entry.map_err(storage)?.0.value().to_string());
        }
        for entry in read.open_table(TABLES).map_err(storage)?.iter().map_err(storage)? {
            let (id, json) = entry.map_err(storage)?;
            let table = serde_json::from_slice(json.value()).map_err(|e| {
                Error::new(codes::DATA_CORRUPTED, format!("invalid definition of table {}: {e}", id.value()))
            })?;
            catalog.insert(Arc::new(table));
        }
        Ok(catalog)
    }
}

/// A catalog as one transaction sees it: with its own changes, which nobody else sees.
pub(super) struct View<'a> {
    pub base: Arc<Catalog>,
    pub ddl: &'a Ddl,
}

impl View<'_> {
    pub fn schemas(&self) -> Vec<String> {
        let kept = self.base.schemas.iter().filter(|name| !self.ddl.dropped_schemas.contains(*name));
        kept.chain(&self.ddl.created_schemas).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub fn has_schema(&self, name: &str) -> bool {
        self.ddl.created_schemas.contains(name)
            || (self.base.schemas.contains(name) && !self.ddl.dropped_schemas.contains(name))
    }

    pub fn table(&self, name: &RelationName) -> Option<&Arc<Table>> {
        let own = self.ddl.created_tables.iter().find(|table| table.name == *name);
        own.or_else(|| self.base.tables.get(name).filter(|table| !self.ddl.dropped_tables.contains(&table.id)))
    }

    /// Ordered by name.
    pub fn tables(&self) -> Vec<Arc<Table>> {
        let kept = self.base.tables.values().filter(|table| !self.ddl.dropped_tables.contains(&table.id));
        let mut tables = kept.chain(&self.ddl.created_tables).cloned().collect::<Vec<_>>();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }
}

/// Tables behind `Arc` in stored form.
mod shared {
    use super::{Arc, Table};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(tables: &[Arc<Table>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(tables.iter().map(|table| &**table))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Arc<Table>>, D::Error> {
        Ok(Vec::<Table>::deserialize(deserializer)?.into_iter().map(Arc::new).collect())
    }
}

/// A moment of the store. Pages it needs stay in the file until the last clone of its `Arc` is gone.
pub(super) struct Snapshot {
    pub read: ReadTransaction,
    pub catalog: Arc<Catalog>,
}

impl Snapshot {
    /// The newest state of the store. The caller must be the only writer, or `catalog` may not fit.
    pub fn take(database: &Database, catalog: Arc<Catalog>) -> Result<Snapshot> {
        Ok(Snapshot { read: database.begin_read().map_err(storage)?, catalog })
    }
}
