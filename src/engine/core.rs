//! What all transactions of one open database share, and how it is restored from the file.

use super::layout::{Layout, Piece};
use super::locks::Locks;
use super::prepared::Record;
use super::snapshot::{Catalog, Snapshot};
use super::stage::{Fault, Stage};
use super::store::{self, Health, META, PENDING, PREPARED, SEGMENTS, storage};
use super::writer::Queue;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::sabotage;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub(super) struct Core {
    pub host: Host,
    path: String,
    /// Only the writer's task locks it, so nobody ever waits: redb would block the thread. `None`: closed, for good
    /// or because the file could not be opened again after a failure.
    pub database: Mutex<Option<Database>>,
    pub health: Arc<Health>,
    closed: AtomicBool,
    /// Always the newest committed state; replaced by the writer after each batch.
    published: Mutex<Arc<Snapshot>>,
    /// Committed segments by table id.
    pub layouts: Mutex<BTreeMap<u64, Layout>>,
    prepared: Mutex<BTreeMap<String, Record>>,
    pub locks: Locks,
    pub queue: Mutex<Queue>,
    /// Bytes of rows one transaction holds in memory over all tables; what is more goes to the store. As much again
    /// may be on its way there.
    pub buffer_bytes_max: usize,
    pub next_transaction: AtomicU64,
    pub next_table: AtomicU64,
    pub next_data: AtomicU64,
    /// Tells after a failure whether a batch has arrived.
    pub next_batch: AtomicU64,
}

impl Core {
    /// Opens the store, removes what undecided transactions left behind, restores what prepared ones hold. Blocks.
    pub fn open(host: Host, path: &str, buffer_bytes_max: usize) -> Result<Core> {
        let health = Arc::new(Health::default());
        let database = store::open(&host, path, &health)?;
        let found = Found::read(&database)?;
        let locks = Locks::default();
        found.prepared.values().for_each(|record| hold_names(&locks, record, &found.catalog));
        Ok(Core {
            host,
            path: path.to_string(),
            published: Mutex::new(Arc::new(Snapshot::take(&database, found.catalog)?)),
            database: Mutex::new(Some(database)),
            health,
            closed: AtomicBool::new(false),
            layouts: Mutex::new(found.layouts),
            prepared: Mutex::new(found.prepared),
            locks,
            queue: Mutex::new(Queue::default()),
            buffer_bytes_max,
            next_transaction: AtomicU64::new(found.counters[0]),
            next_table: AtomicU64::new(found.counters[1]),
            next_data: AtomicU64::new(found.counters[2]),
            next_batch: AtomicU64::new(found.counters[3]),
        })
    }

    /// After a failure of the file: closes it and opens it again, as a restart would do. Open transactions go on if
    /// nothing of theirs was in the file yet; the others will be refused. Returns the number of the last batch that
    /// the file has. Blocks. Errors: `58030`.
    pub fn reopen(&self, database: &mut Option<Database>) -> Result<u64> {
        if self.is_closed() || self.health.has_sync_failed() {
            return Err(self.unwritable());
        }
        // Closes the file. Old snapshots get errors from now on; they could not read it anyway.
        *database = None;
        self.reopen_closed(database).inspect_err(|_| self.health.mark_failed())
    }

    fn reopen_closed(&self, database: &mut Option<Database>) -> Result<u64> {
        let opened = store::open(&self.host, &self.path, &self.health)?;
        let found = Found::read(&opened)?;
        for (counter, stored) in self.counters().into_iter().zip(found.counters) {
            counter.1.fetch_max(stored, Ordering::Relaxed);
        }
        self.publish(Snapshot::take(&opened, found.catalog.clone())?);
        *self.layouts.lock().expect("no code panics while it holds the layouts") = found.layouts;
        found.prepared.values().for_each(|record| hold_names(&self.locks, record, &found.catalog));
        let before = std::mem::replace(&mut *self.prepared(), found.prepared.clone());
        before
            .iter()
            .filter(|(gid, _)| !found.prepared.contains_key(*gid))
            .for_each(|(_, r)| self.locks.end(r.transaction));
        *database = Some(opened);
        tracing::warn!(node = self.host.name(), path = self.path, "the database was opened again after a failure");
        Ok(found.counters[3])
    }

    pub fn published(&self) -> Arc<Snapshot> {
        self.published.lock().expect("no code panics while it holds the snapshot").clone()
    }

    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        let mut published = self.published.lock().expect("no code panics while it holds the snapshot");
        let old = std::mem::replace(&mut *published, snapshot);
        // Freed outside of the lock: the last reader of a snapshot gives its pages back.
        drop(published);
        drop(old);
    }

    pub fn prepared(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.prepared.lock().expect("no code panics while it holds the prepared transactions")
    }

    /// The numbers that are kept across restarts, by their name in the store.
    pub fn counters(&self) -> [(&'static str, &AtomicU64); COUNTERS.len()] {
        let counters = [&self.next_transaction, &self.next_table, &self.next_data, &self.next_batch];
        std::array::from_fn(|i| (COUNTERS[i], counters[i]))
    }

    /// Nothing is written or read from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What a writer is told when the file cannot be used.
    pub fn unwritable(&self) -> Error {
        if self.is_closed() {
            return Error::new(codes::ADMIN_SHUTDOWN, "the database was closed");
        }
        Error::new(codes::IO_ERROR, "the database accepts no writes after a failure of its disk")
            .with_detail(format!("What \"{}\" holds can be told only by opening it again.", self.path))
            .with_hint("Restart the server once the disk is in order.")
    }
}

/// Names of the numbers that are kept across restarts.
const COUNTERS: [&str; 4] = ["next_transaction", "next_table", "next_data", "next_batch"];

/// What the file holds when it is opened.
struct Found {
    catalog: Arc<Catalog>,
    layouts: BTreeMap<u64, Layout>,
    prepared: BTreeMap<String, Record>,
    /// As [`COUNTERS`].
    counters: [u64; COUNTERS.len()],
}

impl Found {
    /// Reads everything that is kept in memory, after removing what undecided transactions left behind.
    fn read(database: &Database) -> Result<Found> {
        let read = database.begin_read().map_err(storage)?;
        let meta = read.open_table(META).map_err(storage)?;
        let mut counters = [1; COUNTERS.len()];
        for (counter, name) in counters.iter_mut().zip(COUNTERS) {
            *counter = meta.get(name).map_err(storage)?.map_or(1, |value| value.value());
        }
        let catalog = Arc::new(Catalog::load(&read)?);
        let prepared = read_prepared(&read)?;
        let found = Found { layouts: read_layouts(&read)?, catalog, prepared, counters };
        let undecided = read_undecided(&read, &found.prepared)?;
        let orphans = read_orphan_keys(&read, &found.catalog, &found.prepared)?;
        if !undecided.is_empty() || !orphans.is_empty() {
            found.remove_leftovers(database, &undecided, &orphans)?;
        }
        Ok(found)
    }

    /// What a rollback would have done had there been time for it.
    fn remove_leftovers(&self, database: &Database, undecided: &BTreeSet<u64>, orphans: &BTreeSet<u64>) -> Result<()> {
        let write = database.begin_write().map_err(storage)?;
        // Only merging makes new segments.
        let no_data = AtomicU64::new(u64::MAX);
        let fault = |fault| match fault {
            Fault::Refused(error) | Fault::Storage(error) => error,
        };
        let mut stage = Stage::new(&write, self.catalog.clone(), &self.layouts, &no_data).map_err(fault)?;
        for transaction in undecided {
            stage.discard(*transaction).map_err(fault)?;
        }
        drop(stage);
        for table in orphans {
            store::delete_keys(&write, *table).map_err(storage)?;
        }
        write.commit().map_err(storage)
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

/// Transactions that have spilled rows and were never decided.
fn read_undecided(read: &ReadTransaction, prepared: &BTreeMap<String, Record>) -> Result<BTreeSet<u64>> {
    let decided_later = prepared.values().map(|record| record.transaction).collect::<BTreeSet<_>>();
    let mut undecided = BTreeSet::new();
    for entry in read.open_table(PENDING).map_err(storage)?.iter().map_err(storage)? {
        let (transaction, _) = entry.map_err(storage)?.0.value();
        if !decided_later.contains(&transaction) || sabotage!("engine.prepared.rows") {
            undecided.insert(transaction);
        }
    }
    Ok(undecided)
}

/// Tables that do not exist but have key tables.
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
