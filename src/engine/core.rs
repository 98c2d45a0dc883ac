//! What all transactions of one open database share, and how it is restored from the file.

use super::layout::{Layout, Piece};
use super::locks::Locks;
use super::prepared::Record;
use super::snapshot::{Catalog, Snapshot};
use super::stage::{Fault, Stage};
use super::store::{self, META, PENDING, PREPARED, SEGMENTS, storage};
use super::writer::Queue;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub(super) struct Core {
    pub host: Host,
    /// Only the writer's task locks it, so nobody ever waits: redb would block the thread.
    pub database: Mutex<Database>,
    /// Always the newest committed state; replaced by the writer after each batch.
    published: Mutex<Arc<Snapshot>>,
    /// Committed segments by table id.
    pub layouts: Mutex<BTreeMap<u64, Layout>>,
    prepared: Mutex<BTreeMap<String, Record>>,
    pub locks: Locks,
    pub queue: Mutex<Queue>,
    failed: Mutex<Option<Error>>,
    /// Bytes of rows one transaction holds in memory over all tables; what is more goes to the store. As much again
    /// may be on its way there.
    pub buffer_bytes_max: usize,
    pub next_transaction: AtomicU64,
    pub next_table: AtomicU64,
    pub next_data: AtomicU64,
}

impl Core {
    /// Opens the store, removes what undecided transactions left behind, restores what prepared ones hold. Blocks.
    pub fn open(host: Host, path: &str, buffer_bytes_max: usize) -> Result<Core> {
        let database = store::open(&host, path)?;
        let mut found = Found::read(&database)?;
        if found.has_leftovers() {
            found.remove_leftovers(&database)?;
        }
        let locks = Locks::default();
        found.prepared.values().for_each(|record| hold_names(&locks, record, &found.catalog));
        Ok(Core {
            host,
            published: Mutex::new(Arc::new(Snapshot::take(&database, found.catalog)?)),
            database: Mutex::new(database),
            layouts: Mutex::new(found.layouts),
            prepared: Mutex::new(found.prepared),
            locks,
            queue: Mutex::new(Queue::default()),
            failed: Mutex::new(None),
            buffer_bytes_max,
            next_transaction: AtomicU64::new(found.next_transaction),
            next_table: AtomicU64::new(found.next_table),
            next_data: AtomicU64::new(found.next_data),
        })
    }

    pub fn published(&self) -> Arc<Snapshot> {
        self.published.lock().expect("no code panics while it holds the snapshot").clone()
    }

    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        let old = std::mem::replace(
            &mut *self.published.lock().expect("no code panics while it holds the snapshot"),
            snapshot,
        );
        // Freed outside of the lock: the last reader of a snapshot gives its pages back.
        drop(old);
    }

    pub fn prepared(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.prepared.lock().expect("no code panics while it holds the prepared transactions")
    }

    /// The numbers that are kept across restarts, by their name in the store.
    pub fn counters(&self) -> [(&'static str, &AtomicU64); 3] {
        [(NEXT_TRANSACTION, &self.next_transaction), (NEXT_TABLE, &self.next_table), (NEXT_DATA, &self.next_data)]
    }

    /// Errors: `58030` once the disk has failed.
    pub fn check_writable(&self) -> Result<()> {
        match &*self.failed.lock().expect("no code panics while it holds the failure") {
            None => Ok(()),
            Some(cause) => {
                Err(Error::new(codes::IO_ERROR, "the database accepts no writes after a failure of its disk")
                    .with_detail(cause.message().to_string())
                    .with_hint("Restart the server once the disk is in order."))
            }
        }
    }

    /// From now on nothing is written any more. The first cause counts.
    pub fn fail(&self, cause: &Error) {
        let mut failed = self.failed.lock().expect("no code panics while it holds the failure");
        if failed.is_none() {
            tracing::error!(node = self.host.name(), "the database stops writing: {cause}");
            *failed = Some(cause.clone());
        }
    }
}

const NEXT_TRANSACTION: &str = "next_transaction";
const NEXT_TABLE: &str = "next_table";
const NEXT_DATA: &str = "next_data";

/// What the file holds when it is opened.
struct Found {
    catalog: Arc<Catalog>,
    layouts: BTreeMap<u64, Layout>,
    prepared: BTreeMap<String, Record>,
    /// Transactions that have spilled rows and were never decided.
    undecided: BTreeSet<u64>,
    /// Key tables whose table does not exist.
    orphan_keys: BTreeSet<u64>,
    next_transaction: u64,
    next_table: u64,
    next_data: u64,
}

impl Found {
    fn read(database: &Database) -> Result<Found> {
        let read = database.begin_read().map_err(storage)?;
        let catalog = Arc::new(Catalog::load(&read)?);
        let prepared = read_prepared(&read)?;
        let meta = read.open_table(META).map_err(storage)?;
        let counter = |name| Ok::<_, Error>(meta.get(name).map_err(storage)?.map_or(1, |value| value.value()));
        Ok(Found {
            layouts: read_layouts(&read)?,
            undecided: read_undecided(&read, &prepared)?,
            orphan_keys: read_orphan_keys(&read, &catalog, &prepared)?,
            next_transaction: counter(NEXT_TRANSACTION)?,
            next_table: counter(NEXT_TABLE)?,
            next_data: counter(NEXT_DATA)?,
            catalog,
            prepared,
        })
    }

    fn has_leftovers(&self) -> bool {
        !self.undecided.is_empty() || !self.orphan_keys.is_empty()
    }

    /// What a rollback would have done had there been time for it.
    fn remove_leftovers(&mut self, database: &Database) -> Result<()> {
        let write = database.begin_write().map_err(storage)?;
        let next_data = AtomicU64::new(self.next_data);
        let fault = |fault| match fault {
            Fault::Refused(error) | Fault::Storage(error) => error,
        };
        let mut stage = Stage::new(&write, self.catalog.clone(), &self.layouts, &next_data).map_err(fault)?;
        for transaction in &self.undecided {
            stage.discard(*transaction).map_err(fault)?;
        }
        drop(stage);
        for table in &self.orphan_keys {
            store::delete_keys(&write, *table).map_err(storage)?;
        }
        write.commit().map_err(storage)?;
        self.next_data = next_data.load(Ordering::Relaxed);
        Ok(())
    }
}

fn read_prepared(read: &ReadTransaction) -> Result<BTreeMap<String, Record>> {
    let mut prepared = BTreeMap::new();
    for entry in read.open_table(PREPARED).map_err(storage)?.iter().map_err(storage)? {
        let (gid, bytes) = entry.map_err(storage)?;
        prepared.insert(gid.value().to_string(), Record::parse(gid.value(), bytes.value())?);
    }
    Ok(prepared)
}

fn read_layouts(read: &ReadTransaction) -> Result<BTreeMap<u64, Layout>> {
    let mut layouts = BTreeMap::<u64, Layout>::new();
    for entry in read.open_table(SEGMENTS).map_err(storage)?.iter().map_err(storage)? {
        let (key, value) = entry.map_err(storage)?;
        let ((table, position), (data, rows, bytes)) = (key.value(), value.value());
        layouts.entry(table).or_default().insert(position, Piece { data, rows, bytes });
    }
    Ok(layouts)
}

fn read_undecided(read: &ReadTransaction, prepared: &BTreeMap<String, Record>) -> Result<BTreeSet<u64>> {
    let decided_later = prepared.values().map(|record| record.transaction).collect::<BTreeSet<_>>();
    let mut undecided = BTreeSet::new();
    for entry in read.open_table(PENDING).map_err(storage)?.iter().map_err(storage)? {
        let (transaction, _) = entry.map_err(storage)?.0.value();
        if !decided_later.contains(&transaction) {
            undecided.insert(transaction);
        }
    }
    Ok(undecided)
}

fn read_orphan_keys(
    read: &ReadTransaction,
    catalog: &Catalog,
    prepared: &BTreeMap<String, Record>,
) -> Result<BTreeSet<u64>> {
    use redb::TableHandle;
    let expected = prepared.values().flat_map(|record| record.ddl.created_tables.iter().map(|table| table.id));
    let expected = expected.collect::<BTreeSet<_>>();
    let names = read.list_tables().map_err(storage)?;
    let owners = names.filter_map(|handle| store::keys_table_owner(handle.name()));
    Ok(owners.filter(|table| catalog.by_id(*table).is_none() && !expected.contains(table)).collect())
}

/// A prepared transaction still holds the names it will create or drop.
fn hold_names(locks: &Locks, record: &Record, catalog: &Catalog) {
    locks.enter(record.transaction);
    let dropped = record.ddl.dropped_tables.iter().filter_map(|id| catalog.by_id(*id)).map(|table| &table.name);
    let created = record.ddl.created_tables.iter().map(|table| &table.name);
    for name in dropped.chain(created) {
        // Held by nobody else: when it was prepared, this transaction held it.
        let _ = locks.hold_relation(record.transaction, name);
    }
    for name in record.ddl.dropped_schemas.iter().chain(&record.ddl.created_schemas) {
        let _ = locks.hold_schema(record.transaction, name);
    }
}
