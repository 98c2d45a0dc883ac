//! The tables inside a database's redb file, and redb's errors in PostgreSQL's words.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | format version, next ids |
//! | `schemas` | name | |
//! | `tables` | table id | [`Table`](super::table::Table) as JSON |
//! | `segments` | table id, position | data id, rows, bytes: committed segments |
//! | `pending` | transaction, data id | table id, rows, bytes: segments of undecided transactions |
//! | `data` | data id | a segment's rows ([`segment`](super::segment)) |
//! | `bounds` | data id | its smallest and largest values |
//! | `keys/<table id>/<key>` | key bytes | transaction that wrote it |
//! | `prepared` | gid | [`Record`](super::prepared::Record) as JSON |
//!
//! A key belongs to a committed row unless its transaction is open or prepared; commit need not touch it.

use crate::error::{Error, Result, codes};
use crate::host::Host;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, TableError, WriteTransaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const SCHEMAS: TableDefinition<&str, ()> = TableDefinition::new("schemas");
pub(super) const TABLES: TableDefinition<u64, &[u8]> = TableDefinition::new("tables");
pub(super) const SEGMENTS: TableDefinition<(u64, u64), (u64, u64, u64)> = TableDefinition::new("segments");
pub(super) const PENDING: TableDefinition<(u64, u64), (u64, u64, u64)> = TableDefinition::new("pending");
pub(super) const DATA: TableDefinition<u64, &[u8]> = TableDefinition::new("data");
pub(super) const BOUNDS: TableDefinition<u64, &[u8]> = TableDefinition::new("bounds");
pub(super) const PREPARED: TableDefinition<&str, &[u8]> = TableDefinition::new("prepared");

/// Prefix of the names of key tables.
pub(super) const KEYS_PREFIX: &str = "keys/";

/// Changes with every incompatible change of the tables above, of segments, or of Arrow's row encoding.
const FORMAT: u64 = 1;

/// redb's page cache of one database: enough for a few segments being written and the inner pages of the trees.
const CACHE_BYTES: usize = 32 << 20;

/// redb's file header: its magic number, and the page it begins.
const MAGIC_BYTES: usize = 9;
const HEADER_BYTES: usize = 4096;

/// A file just created by redb is smaller (about 1 MiB).
const NEW_FILE_BYTES_MAX: u64 = 16 << 20;

pub(super) fn keys_table(table: u64, key: usize) -> String {
    format!("{KEYS_PREFIX}{table}/{key}")
}

/// The table id in a name made by [`keys_table`].
pub(super) fn keys_table_owner(name: &str) -> Option<u64> {
    name.strip_prefix(KEYS_PREFIX)?.split('/').next()?.parse().ok()
}

pub(super) fn keys_definition(name: &str) -> TableDefinition<'_, &'static [u8], u64> {
    TableDefinition::new(name)
}

/// What the file has reported since it was opened. redb refuses everything after the first error of its file.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed: AtomicBool,
    sync_failed: AtomicBool,
    header_written: AtomicBool,
}

impl Health {
    /// An operation has failed since the file was opened: it must be opened anew.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub fn mark_failed(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// A sync has failed at any time. What the kernel says it holds may then differ from what the disk holds, and
    /// opening the file again would believe the kernel.
    pub fn has_sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire)
    }

    /// A commit begins now: see [`may_have_committed`](Health::may_have_committed).
    pub fn begin_commit(&self) {
        self.header_written.store(false, Ordering::Release);
    }

    /// A commit that failed may be in the file all the same: it got as far as the file's header, which redb writes
    /// after everything else.
    pub fn may_have_committed(&self) -> bool {
        self.header_written.load(Ordering::Acquire)
    }

    fn note<T>(&self, result: std::io::Result<T>) -> std::io::Result<T> {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

/// The host's boxed backend as a type of its own, which redb asks for.
#[derive(Debug)]
struct Backend {
    file: Box<dyn redb::StorageBackend>,
    health: Arc<Health>,
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.health.note(self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.health.note(self.file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.health.note(self.file.set_len(len))
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let result = self.health.note(self.file.sync_data());
        if result.is_err() {
            self.health.sync_failed.store(true, Ordering::Release);
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        if offset < HEADER_BYTES as u64 {
            self.health.header_written.store(true, Ordering::Release);
        }
        self.health.note(self.file.write(offset, data))
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

/// Opens or creates the file and its tables. Blocks.
pub(super) fn open(host: &Host, path: &str, health: &Arc<Health>) -> Result<Database> {
    health.failed.store(false, Ordering::Release);
    let backend = Backend { file: host.disk().open(path)?, health: health.clone() };
    if is_unfinished(&backend)? {
        redb::StorageBackend::set_len(&backend, 0)?;
    }
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(backend)
        .map_err(|e| open_error(path, e))?;
    if format_of(&database)? != Some(FORMAT) {
        initialize(&database, path)?;
    }
    Ok(database)
}

/// Whether a power loss has cut short the creation of this file. redb writes its magic number last, and does not open
/// a file without. A file that is all zeros behind the header page has never held anything.
fn is_unfinished(file: &dyn redb::StorageBackend) -> Result<bool> {
    let length = file.len()?;
    if length == 0 || length > NEW_FILE_BYTES_MAX {
        return Ok(false);
    }
    let mut bytes = vec![0; length as usize];
    file.read(0, &mut bytes)?;
    let magic = &bytes[..bytes.len().min(MAGIC_BYTES)];
    let pages = bytes.get(HEADER_BYTES..).unwrap_or_default();
    Ok(magic.iter().chain(pages).all(|byte| *byte == 0))
}

fn format_of(database: &Database) -> Result<Option<u64>> {
    let read = database.begin_read().map_err(storage)?;
    match read.open_table(META) {
        Ok(meta) => Ok(meta.get("format").map_err(storage)?.map(|v| v.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(storage(e)),
    }
}

/// Creates all tables in a new file. A crash before leaves an empty redb file, which counts as new again.
fn initialize(database: &Database, path: &str) -> Result<()> {
    let write = database.begin_write().map_err(storage)?;
    let found = match format_of(database)? {
        Some(version) => Some(format!("version {version}")),
        None if write.list_tables().map_err(storage)?.next().is_some() => Some("no version".to_string()),
        None => None,
    };
    if let Some(found) = found {
        return Err(incompatible(path, &format!("has {found}, needed is version {FORMAT}")));
    }
    write.open_table(META).map_err(storage)?.insert("format", FORMAT).map_err(storage)?;
    write.open_table(SCHEMAS).map_err(storage)?.insert("public", ()).map_err(storage)?;
    write.open_table(TABLES).map_err(storage)?;
    write.open_table(SEGMENTS).map_err(storage)?;
    write.open_table(PENDING).map_err(storage)?;
    write.open_table(DATA).map_err(storage)?;
    write.open_table(BOUNDS).map_err(storage)?;
    write.open_table(PREPARED).map_err(storage)?;
    write.commit().map_err(storage)
}

fn incompatible(path: &str, why: &str) -> Error {
    let message = format!("database files are incompatible with this program: \"{path}\" {why}");
    Error::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_hint("Use the program that wrote them, or an empty directory.")
}

fn open_error(path: &str, error: redb::DatabaseError) -> Error {
    match error {
        redb::DatabaseError::UpgradeRequired(version) => incompatible(path, &format!("has redb file format {version}")),
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => {
            Error::new(codes::DATA_CORRUPTED, format!("\"{path}\" is not a Hypertile database: {e}"))
        }
        redb::DatabaseError::DatabaseAlreadyOpen => {
            Error::new(codes::OBJECT_IN_USE, format!("\"{path}\" is in use by another process"))
        }
        other => storage(other),
    }
}

/// Any redb error with the nearest SQLSTATE.
pub(super) fn storage(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(e) => Error::from(e),
        redb::Error::Backend(e) => Error::new(codes::IO_ERROR, e.to_string()),
        redb::Error::Corrupted(what) => Error::new(codes::DATA_CORRUPTED, what),
        redb::Error::PreviousIo => Error::new(codes::IO_ERROR, "the database is closed after an I/O error")
            .with_hint("Restart the server once the disk is in order."),
        redb::Error::DatabaseClosed => Error::new(codes::IO_ERROR, "the database was closed"),
        other => Error::internal(other.to_string()),
    }
}

/// Looks up one unique constraint's keys. A table that never had rows has no key table.
pub(super) struct KeyReader(Option<redb::ReadOnlyTable<&'static [u8], u64>>);

impl KeyReader {
    pub fn open(read: &ReadTransaction, table: u64, key: usize) -> Result<KeyReader> {
        match read.open_table(keys_definition(&keys_table(table, key))) {
            Ok(table) => Ok(KeyReader(Some(table))),
            Err(TableError::TableDoesNotExist(_)) => Ok(KeyReader(None)),
            Err(e) => Err(storage(e)),
        }
    }

    /// The transaction that wrote the key.
    pub fn writer(&self, key: &[u8]) -> Result<Option<u64>> {
        let Some(table) = &self.0 else { return Ok(None) };
        Ok(table.get(key).map_err(storage)?.map(|v| v.value()))
    }

    /// Whether there is any key from `first` to `last`. For rows in order of time this one look saves one for each.
    pub fn any_between(&self, first: &[u8], last: &[u8]) -> Result<bool> {
        let Some(table) = &self.0 else { return Ok(false) };
        Ok(table.range(first..=last).map_err(storage)?.next().transpose().map_err(storage)?.is_some())
    }
}

/// Forgets all keys of a table. Key tables of one table are always created together, so the first gap is the end.
pub(super) fn delete_keys(write: &WriteTransaction, table: u64) -> Result<(), TableError> {
    let mut key = 0;
    while write.delete_table(keys_definition(&keys_table(table, key)))? {
        key += 1;
    }
    Ok(())
}
