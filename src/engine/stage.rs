//! Jobs turned into changes of the store, inside one redb write transaction.
//!
//! A job is first validated, then applied: one that is refused has changed nothing, and the others of its batch
//! go on. What must be remembered in memory once the batch is durable is collected as [`Effect`]s.

use super::job::{Job, Sealed, Work};
use super::keys::KeyCodec;
use super::layout::{Layout, Piece};
use super::prepared::{self, Record};
use super::segment;
use super::snapshot::{Catalog, Ddl};
use super::store::{self, BOUNDS, DATA, PENDING, PREPARED, SCHEMAS, SEGMENTS, TABLES, keys_definition, keys_table};
use super::table::Table;
use crate::error::{Error, Result, codes};
use crate::sabotage;
use redb::{ReadableTable, StorageError, TableError, WriteTransaction};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a job was not applied.
#[derive(Debug)]
pub(super) enum Fault {
    /// The job is at fault; the store is as before.
    Refused(Error),
    /// The store is at fault; the whole batch must be given up.
    Storage(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Storage(error)
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Fault {
        Fault::Storage(store::storage(error))
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Fault {
        Fault::Storage(store::storage(error))
    }
}

/// A change of what the engine remembers in memory, valid once the batch is committed.
#[derive(Debug)]
pub(super) enum Effect {
    Added { table: u64, position: u64, piece: Piece },
    Removed { table: u64, position: u64 },
    TableDropped { table: u64 },
    Prepared { gid: String, record: Record },
    Resolved { gid: String, transaction: u64 },
}

/// One batch under way.
pub(super) struct Stage<'t> {
    write: &'t WriteTransaction,
    schemas: redb::Table<'t, &'static str, ()>,
    tables: redb::Table<'t, u64, &'static [u8]>,
    segments: redb::Table<'t, (u64, u64), (u64, u64, u64)>,
    pending: redb::Table<'t, (u64, u64), (u64, u64, u64)>,
    data: redb::Table<'t, u64, &'static [u8]>,
    bounds: redb::Table<'t, u64, &'static [u8]>,
    prepared: redb::Table<'t, &'static str, &'static [u8]>,
    /// As it will be after the jobs applied so far.
    pub catalog: Arc<Catalog>,
    /// As before the batch.
    layouts: &'t BTreeMap<u64, Layout>,
    next_data: &'t AtomicU64,
    /// Next position in tables that this batch has added to.
    positions: BTreeMap<u64, u64>,
    pub effects: Vec<Effect>,
}

impl<'t> Stage<'t> {
    pub fn new(
        write: &'t WriteTransaction,
        catalog: Arc<Catalog>,
        layouts: &'t BTreeMap<u64, Layout>,
        next_data: &'t AtomicU64,
    ) -> Result<Stage<'t>, Fault> {
        Ok(Stage {
            write,
            schemas: write.open_table(SCHEMAS)?,
            tables: write.open_table(TABLES)?,
            segments: write.open_table(SEGMENTS)?,
            pending: write.open_table(PENDING)?,
            data: write.open_table(DATA)?,
            bounds: write.open_table(BOUNDS)?,
            prepared: write.open_table(PREPARED)?,
            catalog,
            layouts,
            next_data,
            positions: BTreeMap::new(),
            effects: Vec::new(),
        })
    }

    pub fn apply(&mut self, job: &Job) -> Result<(), Fault> {
        match job {
            Job::Spill { transaction, segments } => self.spill(*transaction, segments),
            Job::Commit(work) => match self.validate(work) {
                Ok(()) => self.commit(work),
                refused => self.discard(work.transaction).and(refused),
            },
            Job::Prepare { gid, owner, prepared_at, work } => match self.validate_prepare(gid, work) {
                Ok(()) => self.prepare(gid, owner, *prepared_at, work),
                refused => self.discard(work.transaction).and(refused),
            },
            Job::Discard { transaction } => self.discard(*transaction),
            Job::Resolve { gid, commit } => self.resolve(gid, *commit),
            Job::Merge { table, fan_in } => self.merge(*table, *fan_in),
            Job::Check | Job::Close => Ok(()),
        }
    }

    fn validate(&self, work: &Work) -> Result<(), Fault> {
        for data in &work.pending {
            if self.pending.get((work.transaction, *data))?.is_none() {
                let message = "rows of this transaction could not be stored; it was rolled back";
                return Err(Fault::Refused(Error::new(codes::IO_ERROR, message)));
            }
        }
        for (id, name) in &work.writes {
            if self.catalog.by_id(*id).is_none() && !work.ddl.created_tables.iter().any(|t| t.id == *id) {
                let error = Error::new(codes::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
                    .with_detail("Another transaction dropped it after this one had added rows.");
                return Err(Fault::Refused(error));
            }
        }
        // Names are held while transactions are open, so this cannot happen; if it did, two tables would share one.
        for table in &work.ddl.created_tables {
            let taken = self.catalog.tables.get(&table.name);
            if taken.is_some_and(|t| !work.ddl.dropped_tables.contains(&t.id)) {
                let message = format!("relation \"{}\" already exists", table.name);
                return Err(Fault::Refused(Error::new(codes::DUPLICATE_TABLE, message)));
            }
        }
        Ok(())
    }

    fn validate_prepare(&self, gid: &str, work: &Work) -> Result<(), Fault> {
        self.validate(work)?;
        match self.prepared.get(gid)? {
            Some(_) => Err(Fault::Refused(prepared::used_gid(gid))),
            None => Ok(()),
        }
    }

    fn commit(&mut self, work: &Work) -> Result<(), Fault> {
        self.apply_ddl(&work.ddl)?;
        self.publish_pending(work.transaction)?;
        for sealed in &work.tail {
            self.store(work.transaction, sealed)?;
            let piece =
                Piece { data: sealed.data, rows: sealed.encoded.rows, bytes: sealed.encoded.bytes.len() as u64 };
            self.add_segment(sealed.table.id, piece)?;
        }
        Ok(())
    }

    fn prepare(&mut self, gid: &str, owner: &str, prepared_at: i64, work: &Work) -> Result<(), Fault> {
        self.spill(work.transaction, &work.tail)?;
        let tables = self.pending_of(work.transaction)?.into_iter().map(|(_, (table, ..))| table).collect();
        let (transaction, owner, ddl) = (work.transaction, owner.to_string(), work.ddl.clone());
        let record = Record { transaction, owner, prepared_at, ddl, tables };
        self.prepared.insert(gid, record.to_bytes().as_slice())?;
        self.effects.push(Effect::Prepared { gid: gid.to_string(), record });
        Ok(())
    }

    fn resolve(&mut self, gid: &str, commit: bool) -> Result<(), Fault> {
        let Some(bytes) = self.prepared.remove(gid)?.map(|guard| guard.value().to_vec()) else {
            return Err(Fault::Refused(prepared::unknown_gid(gid)));
        };
        let record = Record::parse(gid, &bytes)?;
        if commit {
            self.apply_ddl(&record.ddl)?;
            self.publish_pending(record.transaction)?;
        } else if sabotage!("engine.prepared.rollback") {
            self.publish_pending(record.transaction)?;
        } else {
            self.discard(record.transaction)?;
        }
        self.effects.push(Effect::Resolved { gid: gid.to_string(), transaction: record.transaction });
        Ok(())
    }

    fn spill(&mut self, transaction: u64, segments: &[Sealed]) -> Result<(), Fault> {
        for sealed in segments {
            self.store(transaction, sealed)?;
            let value = (sealed.table.id, sealed.encoded.rows, sealed.encoded.bytes.len() as u64);
            self.pending.insert((transaction, sealed.data), value)?;
        }
        Ok(())
    }

    /// Stores rows, bounds and keys of a segment, but not yet where it belongs.
    fn store(&mut self, transaction: u64, sealed: &Sealed) -> Result<(), Fault> {
        self.data.insert(sealed.data, sealed.encoded.bytes.as_slice())?;
        if let Some(bounds) = &sealed.encoded.bounds {
            self.bounds.insert(sealed.data, bounds.as_slice())?;
        }
        for (index, keys) in sealed.keys.iter().enumerate() {
            let name = keys_table(sealed.table.id, index);
            let mut stored = self.write.open_table(keys_definition(&name))?;
            for key in keys {
                stored.insert(&**key, transaction)?;
            }
        }
        Ok(())
    }

    /// Gives a transaction's spilled segments to their tables. Rows of a table that is gone by now go with it: the
    /// drop counts as having come after them.
    fn publish_pending(&mut self, transaction: u64) -> Result<(), Fault> {
        for (data, (table, rows, bytes)) in self.pending_of(transaction)? {
            if self.catalog.by_id(table).is_some() {
                self.pending.remove((transaction, data))?;
                self.add_segment(table, Piece { data, rows, bytes })?;
            } else {
                self.remove_pending(transaction, data, table)?;
            }
        }
        Ok(())
    }

    /// Removes everything a transaction has spilled.
    pub fn discard(&mut self, transaction: u64) -> Result<(), Fault> {
        for (data, (table, ..)) in self.pending_of(transaction)? {
            self.remove_pending(transaction, data, table)?;
        }
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "key and value as they are stored")]
    fn pending_of(&self, transaction: u64) -> Result<Vec<(u64, (u64, u64, u64))>, Fault> {
        let mut found = Vec::new();
        for entry in self.pending.range((transaction, 0)..=(transaction, u64::MAX))? {
            let (key, value) = entry?;
            found.push((key.value().1, value.value()));
        }
        Ok(found)
    }

    fn remove_pending(&mut self, transaction: u64, data: u64, table: u64) -> Result<(), Fault> {
        match self.catalog.by_id(table).cloned() {
            Some(table) => self.remove_keys(transaction, data, &table)?,
            None => store::delete_keys(self.write, table)?,
        }
        self.pending.remove((transaction, data))?;
        self.remove_data(data)
    }

    /// The keys a segment has brought are not listed anywhere but in its rows.
    fn remove_keys(&mut self, transaction: u64, data: u64, table: &Table) -> Result<(), Fault> {
        if table.keys.is_empty() {
            return Ok(());
        }
        let rows = self.rows_of(data, table)?;
        for (index, codec) in KeyCodec::all(table)?.iter().enumerate() {
            let name = keys_table(table.id, index);
            let mut stored = self.write.open_table(keys_definition(&name))?;
            for key in codec.keys(&rows)? {
                let own = stored.get(&*key.bytes)?.is_some_and(|writer| writer.value() == transaction);
                if own {
                    stored.remove(&*key.bytes)?;
                }
            }
        }
        Ok(())
    }

    fn rows_of(&self, data: u64, table: &Table) -> Result<arrow::record_batch::RecordBatch, Fault> {
        let bytes = self.data.get(data)?.ok_or_else(|| missing_segment(data))?;
        Ok(segment::decode(bytes.value(), &table.schema()?, None)?)
    }

    fn remove_data(&mut self, data: u64) -> Result<(), Fault> {
        self.data.remove(data)?;
        self.bounds.remove(data)?;
        Ok(())
    }

    fn add_segment(&mut self, table: u64, piece: Piece) -> Result<(), Fault> {
        let behind_all = || self.layouts.get(&table).map_or(0, Layout::next_position);
        let next = self.positions.entry(table).or_insert_with(behind_all);
        let position = *next;
        *next += 1;
        self.segments.insert((table, position), (piece.data, piece.rows, piece.bytes))?;
        self.effects.push(Effect::Added { table, position, piece });
        Ok(())
    }

    fn apply_ddl(&mut self, ddl: &Ddl) -> Result<(), Fault> {
        if ddl.is_empty() {
            return Ok(());
        }
        for table in &ddl.dropped_tables {
            self.drop_table(*table)?;
        }
        for name in &ddl.dropped_schemas {
            self.schemas.remove(name.as_str())?;
        }
        for name in &ddl.created_schemas {
            self.schemas.insert(name.as_str(), ())?;
        }
        for table in &ddl.created_tables {
            let json = serde_json::to_vec(table).map_err(|e| Error::internal(e.to_string()))?;
            self.tables.insert(table.id, json.as_slice())?;
        }
        self.catalog = Arc::new(self.catalog.apply(ddl));
        Ok(())
    }

    fn drop_table(&mut self, table: u64) -> Result<(), Fault> {
        self.tables.remove(table)?;
        let mut stored = Vec::new();
        for entry in self.segments.range((table, 0)..=(table, u64::MAX))? {
            let (key, value) = entry?;
            stored.push((key.value().1, value.value().0));
        }
        for (position, data) in stored {
            self.segments.remove((table, position))?;
            self.remove_data(data)?;
        }
        store::delete_keys(self.write, table)?;
        self.effects.push(Effect::TableDropped { table });
        Ok(())
    }

    /// Joins the small segments at the end of a table. Readers keep their snapshot; a crash keeps the old ones.
    fn merge(&mut self, table: u64, fan_in: usize) -> Result<(), Fault> {
        let Some(definition) = self.catalog.by_id(table).cloned() else { return Ok(()) };
        let run = self.layouts.get(&table).map(|layout| layout.merge_candidates(fan_in)).unwrap_or_default();
        let Some((first, _)) = run.first().copied() else { return Ok(()) };
        let batches = run.iter().map(|(_, p)| self.rows_of(p.data, &definition)).collect::<Result<Vec<_>, _>>();
        // A damaged segment is for the reader to report; merging leaves it where it is.
        let Ok(mut batches) = batches else { return Ok(()) };
        if sabotage!("engine.merge.newest") {
            batches.pop();
        }
        let merged = arrow::compute::concat_batches(&definition.schema()?, &batches).map_err(Error::from)?;
        let encoded = segment::encode(&merged)?;
        for (position, piece) in &run {
            self.segments.remove((table, *position))?;
            self.remove_data(piece.data)?;
            self.effects.push(Effect::Removed { table, position: *position });
        }
        let data = self.next_data.fetch_add(1, Ordering::Relaxed);
        let piece = Piece { data, rows: encoded.rows, bytes: encoded.bytes.len() as u64 };
        self.data.insert(data, encoded.bytes.as_slice())?;
        if let Some(bounds) = &encoded.bounds {
            self.bounds.insert(data, bounds.as_slice())?;
        }
        self.segments.insert((table, first), (piece.data, piece.rows, piece.bytes))?;
        self.effects.push(Effect::Added { table, position: first, piece });
        Ok(())
    }
}

fn missing_segment(data: u64) -> Error {
    Error::new(codes::DATA_CORRUPTED, format!("segment {data} is missing from the store"))
}
