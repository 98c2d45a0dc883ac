//! One transaction: what it sees, what it has buffered, how it ends.

use super::buffer::Buffer;
use super::core::Core;
use super::job::{Job, Sealed, Work};
use super::keys::{KeyBytes, KeyCodec};
use super::locks::{KeySpace, Taken};
use super::scan::{Source, TableScan};
use super::segment;
use super::snapshot::{Ddl, Snapshot, View};
use super::store::KeyReader;
use super::table::Table;
use super::writer::Answer;
use crate::error::{Error, Result, SqlState, codes};
use crate::ids::RelationName;
use crate::sql::statement::Isolation;
use crate::{buggify, probe, sabotage};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// `2BP01`: something else depends on it.
const DEPENDENT_OBJECTS_STILL_EXIST: SqlState = SqlState::new("2BP01");

/// One transaction. Dropping it rolls it back. Rows appended are held in memory up to a bound, then spilled to the
/// store as segments nobody else sees.
pub struct Transaction {
    core: Arc<Core>,
    id: u64,
    isolation: Isolation,
    /// None before the first statement.
    snapshot: Option<Arc<Snapshot>>,
    ddl: Ddl,
    /// Tables it has dropped, its own among them: rows it added to them do not matter any more.
    dropped: BTreeSet<u64>,
    rows: BTreeMap<u64, Rows>,
    flight: Option<Flight>,
    /// Rows were lost on their way to the store: only a rollback is left.
    doomed: Option<Error>,
    /// Registered with the locks.
    entered: bool,
    /// The writer will end it, not `drop`.
    handed_over: bool,
    /// How long it waits for another transaction's keys; `None`: until that one ends.
    lock_timeout: Option<Duration>,
}

/// What one transaction has appended to one table.
struct Rows {
    table: Arc<Table>,
    schema: SchemaRef,
    codecs: Vec<KeyCodec>,
    buffer: Buffer,
    /// Data ids of spilled segments that have arrived in the store, ascending.
    spilled: Vec<u64>,
}

/// Segments on their way to the store. They stay readable in memory until they have arrived, so that it does not
/// matter where a cancelled statement stopped.
struct Flight {
    table: u64,
    pieces: Vec<(u64, RecordBatch)>,
    answer: Answer,
}

impl Transaction {
    pub(super) fn new(core: Arc<Core>, isolation: Isolation) -> Transaction {
        let id = core.next_transaction.fetch_add(1, Ordering::Relaxed);
        Transaction {
            core,
            id,
            isolation,
            snapshot: None,
            ddl: Ddl::default(),
            dropped: BTreeSet::new(),
            rows: BTreeMap::new(),
            flight: None,
            doomed: None,
            entered: false,
            handed_over: false,
            lock_timeout: None,
        }
    }

    /// The number that `pg_prepared_xacts` and waiting transactions know it by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Starts a statement: under READ COMMITTED the snapshot moves to now.
    pub fn begin_statement(&mut self) -> Result<()> {
        let moves = self.isolation == Isolation::ReadCommitted || sabotage!("engine.snapshot");
        if self.snapshot.is_none() || moves {
            if self.core.health.has_failed() {
                // A reader has met the failure. The next statement will read the file opened anew.
                drop(self.core.submit(Job::Check));
            }
            self.snapshot = Some(self.core.published());
        }
        Ok(())
    }

    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// May still be changed before the first statement.
    pub fn set_isolation(&mut self, isolation: Isolation) {
        self.isolation = isolation;
    }

    /// How long each wait for another transaction may take from now on; `None`: as long as that one is open.
    pub fn set_lock_timeout(&mut self, limit: Option<Duration>) {
        self.lock_timeout = limit;
    }

    /// Something would be lost by a rollback.
    pub fn has_writes(&self) -> bool {
        let has_rows = self.flight.is_some() || self.rows.values().any(Rows::has_any);
        // Rows that were lost are something to report at commit.
        !self.ddl.is_empty() || has_rows || self.doomed.is_some()
    }

    pub fn schemas(&self) -> Result<Vec<String>> {
        Ok(self.visible().schemas())
    }

    /// Errors: `42P06`; `55006` while another open transaction creates or drops it.
    pub fn create_schema(&mut self, name: &str) -> Result<()> {
        self.hold_schema(name)?;
        if self.newest().has_schema(name) {
            return Err(Error::new(codes::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists")));
        }
        self.ddl.created_schemas.insert(name.to_string());
        Ok(())
    }

    /// Errors: `3F000`; `2BP01` unless it is empty; `55006` while another open transaction uses it.
    pub fn drop_schema(&mut self, name: &str) -> Result<()> {
        self.hold_schema(name)?;
        let newest = self.newest();
        if !newest.has_schema(name) {
            return Err(unknown_schema(name));
        }
        if let Some(inside) = newest.tables().iter().map(|table| &table.name).find(|table| table.schema == name) {
            let message = format!("cannot drop schema {name} because other objects depend on it");
            return Err(Error::new(DEPENDENT_OBJECTS_STILL_EXIST, message)
                .with_detail(format!("table {inside} depends on schema {name}"))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        if !self.ddl.created_schemas.remove(name) {
            self.ddl.dropped_schemas.insert(name.to_string());
        }
        Ok(())
    }

    /// All tables visible to this transaction, ordered by name.
    pub fn tables(&self) -> Result<Vec<Arc<Table>>> {
        Ok(self.visible().tables())
    }

    /// Under REPEATABLE READ a table that is newer than the snapshot is found too, as in PostgreSQL: empty but for what
    /// this transaction adds to it.
    pub fn table(&self, name: &RelationName) -> Result<Option<Arc<Table>>> {
        match self.visible().table(name) {
            None if self.isolation == Isolation::RepeatableRead => Ok(self.newest().table(name).cloned()),
            found => Ok(found.cloned()),
        }
    }

    /// `table.id` is assigned here. Errors: `42P07`, also while another open transaction is creating the same name;
    /// `55006` while one is dropping it or its schema; `3F000` for a missing schema.
    pub fn create_table(&mut self, mut table: Table) -> Result<Arc<Table>> {
        table.schema()?;
        self.hold_relation(&table.name)?;
        let newest = self.newest();
        if !newest.has_schema(&table.name.schema) {
            return Err(unknown_schema(&table.name.schema));
        }
        if newest.table(&table.name).is_some() {
            return Err(relation_exists(&table.name));
        }
        table.id = self.core.next_table.fetch_add(1, Ordering::Relaxed);
        let table = Arc::new(table);
        self.ddl.created_tables.push(table.clone());
        Ok(table)
    }

    /// Errors: `42P01`; `55006` while another open transaction creates or drops it.
    pub fn drop_table(&mut self, name: &RelationName) -> Result<()> {
        self.hold_relation(name)?;
        let Some(table) = self.newest().table(name).map(|table| table.id) else {
            return Err(Error::new(codes::UNDEFINED_TABLE, format!("table \"{name}\" does not exist")));
        };
        match self.ddl.created_tables.iter().position(|created| created.id == table) {
            Some(own) => drop(self.ddl.created_tables.remove(own)),
            None => drop(self.ddl.dropped_tables.insert(table)),
        }
        self.dropped.insert(table);
        Ok(())
    }

    /// Keeps others from dropping the table until this transaction ends. Errors: `42P01` it is gone by now, `40001` its
    /// name belongs to another one by now; `55006` while another open transaction drops it or its schema.
    pub fn hold_table(&mut self, table: &Table) -> Result<()> {
        self.hold_relation(&table.name)?;
        match self.newest().table(&table.name).map(|now| now.id) {
            Some(id) if id == table.id => Ok(()),
            Some(_) => {
                let message = format!("table \"{}\" was replaced by another transaction", table.name);
                Err(Error::new(codes::SERIALIZATION_FAILURE, message).with_hint("Run the transaction again."))
            }
            None => Err(Error::new(codes::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", table.name))),
        }
    }

    /// Appends rows; the batch has the table's schema. Errors: `23505` with DETAIL `Key (a)=(1) already exists.`;
    /// waits while another transaction holds the same key undecided; `40P01` if that one waits for this one, `55P03`
    /// after [`lock_timeout`](Transaction::set_lock_timeout).
    /// After an error, or when dropped half-way, the caller should roll back: some of the rows may be in.
    pub async fn append(&mut self, table: &Arc<Table>, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.core.ensure_writable().await?;
        self.enter();
        let rows = match self.rows.entry(table.id) {
            Entry::Occupied(rows) => rows.into_mut(),
            Entry::Vacant(empty) => empty.insert(Rows::new(table)?),
        };
        let batch = conform(batch, &rows.schema, table)?;
        claim_keys(&self.core, self.id, self.lock_timeout, rows, &batch).await?;
        // The keys are reserved and the rows not yet there: no await may come between.
        rows.buffer.push(batch)?;
        self.spill_while_large().await
    }

    /// The rows this transaction sees now, as a table for DataFusion: filters and projection are taken as hints.
    pub fn scan(&self, table: &Arc<Table>) -> Result<Arc<dyn TableProvider>> {
        let snapshot = self.snapshot.clone().unwrap_or_else(|| self.core.published());
        Ok(Arc::new(TableScan::new(table.clone(), snapshot, self.own_sources(table.id))?))
    }

    /// Rows of this transaction, oldest first.
    fn own_sources(&self, table: u64) -> Vec<Source> {
        let Some(rows) = self.rows.get(&table) else { return Vec::new() };
        // Newer than the transaction's own snapshot: its spilled rows came later.
        let snapshot = self.core.published();
        let spilled = rows.spilled.iter().map(|data| Source::Stored { snapshot: snapshot.clone(), data: *data });
        let flying = self.flight.iter().filter(|flight| flight.table == table).flat_map(|flight| &flight.pieces);
        let flying = flying.map(|(_, batch)| Source::Memory(batch.clone()));
        let buffered = rows.buffer.batches().iter().cloned().map(Source::Memory);
        spilled.chain(flying).chain(buffered).collect()
    }

    /// Errors: `42P01` a table it has written to was dropped meanwhile; `58030`, `53100` not committed; `08007` not
    /// known whether committed.
    pub async fn commit(mut self) -> Result<()> {
        if !self.has_writes() {
            return Ok(());
        }
        let work = self.work()?;
        probe!(self.core.host, "engine.commit.queued");
        self.handed_over = true;
        self.core.submit(Job::Commit(work)).wait().await
    }

    pub async fn rollback(mut self) -> Result<()> {
        if let Some(mut answer) = self.give_up() {
            // The rows are invisible whatever the answer is, and removed at the next start if not now.
            let _ = answer.wait().await;
        }
        Ok(())
    }

    /// Durable and invisible until `Engine::commit_prepared`. On an error the transaction is rolled back. Errors:
    /// `42710` the gid is in use; those of [`commit`](Transaction::commit).
    pub async fn prepare(mut self, gid: &str, owner: &str) -> Result<()> {
        self.enter();
        let work = self.work()?;
        let prepared_at = self.core.host.utc_micros();
        probe!(self.core.host, "engine.prepare.queued");
        self.handed_over = true;
        let job = Job::Prepare { gid: gid.to_string(), owner: owner.to_string(), prepared_at, work };
        self.core.submit(job).wait().await
    }

    /// Everything done so far, as a job's content. On an error the transaction can only be rolled back.
    fn work(&mut self) -> Result<Work> {
        if let Some(error) = &self.doomed {
            return Err(error.clone());
        }
        let mut work = Work {
            transaction: self.id,
            ddl: self.ddl.clone(),
            writes: BTreeMap::new(),
            pending: self.flight.iter().flat_map(|flight| &flight.pieces).map(|(data, _)| *data).collect(),
            tail: Vec::new(),
        };
        for (id, rows) in &mut self.rows {
            work.pending.extend(&rows.spilled);
            if self.dropped.contains(id) || !(rows.has_any() || self.flight.as_ref().is_some_and(|f| f.table == *id)) {
                continue;
            }
            work.writes.insert(*id, rows.table.name.clone());
            if !rows.buffer.is_empty() {
                let batch = rows.buffer.take()?;
                work.tail.extend(rows.seal(&self.core, &batch)?.into_iter().map(|(sealed, _)| sealed));
            }
        }
        Ok(work)
    }

    /// Ends the transaction without effect. An answer comes if the store has to forget something.
    fn give_up(&mut self) -> Option<Answer> {
        if std::mem::replace(&mut self.handed_over, true) {
            return None;
        }
        let spilled = self.flight.is_some() || self.rows.values().any(|rows| !rows.spilled.is_empty());
        if spilled {
            return Some(self.core.submit(Job::Discard { transaction: self.id }));
        }
        if self.entered {
            self.core.locks.end(self.id);
        }
        None
    }

    fn enter(&mut self) {
        if !self.entered {
            self.core.locks.enter(self.id);
            self.entered = true;
        }
    }

    /// The catalog of the statement's snapshot with own changes.
    fn visible(&self) -> View<'_> {
        let base = match &self.snapshot {
            Some(snapshot) => snapshot.catalog.clone(),
            None => self.core.published().catalog.clone(),
        };
        View { base, ddl: &self.ddl }
    }

    /// The newest committed catalog with own changes: what names must not collide with, whatever the snapshot says.
    fn newest(&self) -> View<'_> {
        View { base: self.core.published().catalog.clone(), ddl: &self.ddl }
    }

    fn hold_relation(&mut self, name: &RelationName) -> Result<()> {
        self.enter();
        match self.core.locks.hold_relation(self.id, name) {
            Ok(()) => Ok(()),
            // A name that is not there yet can only be held by somebody who creates it.
            Err(_) if self.newest().table(name).is_none() => Err(relation_exists(name)
                .with_detail("Another transaction that is not yet committed is creating or dropping it.")),
            Err(_) => Err(in_use(&format!("relation \"{name}\""))),
        }
    }

    fn hold_schema(&mut self, name: &str) -> Result<()> {
        self.enter();
        self.core.locks.hold_schema(self.id, name).map_err(|_| in_use(&format!("schema \"{name}\"")))
    }

    /// Keeps the rows in memory bounded. While one spill is on its way the next rows gather; two never are.
    async fn spill_while_large(&mut self) -> Result<()> {
        let early = buggify!(self.core.host, "engine.spill_early");
        let bytes_max = if early { 0 } else { self.core.buffer_bytes_max };
        while self.rows.values().map(|rows| rows.buffer.bytes()).sum::<usize>() > bytes_max {
            self.settle_flight().await?;
            self.launch_largest()?;
        }
        Ok(())
    }

    async fn settle_flight(&mut self) -> Result<()> {
        let Some(flight) = &mut self.flight else { return Ok(()) };
        let arrived = flight.answer.wait().await;
        let flight = self.flight.take().expect("looked at before the wait, and nobody else can take it");
        if let Some(rows) = self.rows.get_mut(&flight.table) {
            // Also after an error: a rollback must then look for them.
            rows.spilled.extend(flight.pieces.iter().map(|(data, _)| *data));
        }
        if let Err(error) = &arrived {
            self.doomed = Some(error.clone());
        }
        arrived
    }

    fn launch_largest(&mut self) -> Result<()> {
        let Some(rows) = self.rows.values_mut().max_by_key(|rows| rows.buffer.bytes()) else { return Ok(()) };
        let batch = rows.buffer.take_full()?;
        let sealed = rows.seal(&self.core, &batch).inspect_err(|error| self.doomed = Some(error.clone()))?;
        let (segments, batches): (Vec<_>, Vec<_>) = sealed.into_iter().unzip();
        let pieces = segments.iter().map(|sealed| sealed.data).zip(batches).collect();
        let answer = self.core.submit(Job::Spill { transaction: self.id, segments });
        self.flight = Some(Flight { table: rows.table.id, pieces, answer });
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let _ = self.give_up();
    }
}

impl Rows {
    fn new(table: &Arc<Table>) -> Result<Rows> {
        let schema = table.schema()?;
        Ok(Rows {
            table: table.clone(),
            codecs: KeyCodec::all(table)?,
            buffer: Buffer::new(schema.clone()),
            schema,
            spilled: Vec::new(),
        })
    }

    fn has_any(&self) -> bool {
        !self.buffer.is_empty() || !self.spilled.is_empty()
    }

    /// Rows as segments, each with the batch it was made of.
    fn seal(&self, core: &Core, batch: &RecordBatch) -> Result<Vec<(Sealed, RecordBatch)>> {
        let seal = |(piece, encoded): (RecordBatch, segment::Encoded)| {
            let keys = |codec: &KeyCodec| Ok(codec.keys(&piece)?.into_iter().map(|key| key.bytes).collect());
            let keys = self.codecs.iter().map(keys).collect::<Result<Vec<_>>>()?;
            let data = core.next_data.fetch_add(1, Ordering::Relaxed);
            Ok((Sealed { table: self.table.clone(), data, encoded, keys }, piece))
        };
        segment::encode_pieces(batch)?.into_iter().map(seal).collect()
    }
}

/// Reserves the unique keys of a batch, waiting for undecided transactions that hold one of them. When this returns
/// an error or is dropped, what the batch had reserved is free again.
async fn claim_keys(
    core: &Arc<Core>,
    transaction: u64,
    lock_timeout: Option<Duration>,
    rows: &Rows,
    batch: &RecordBatch,
) -> Result<()> {
    let mut claims = Vec::new();
    for (index, codec) in rows.codecs.iter().enumerate() {
        claims.push(claim(core, transaction, lock_timeout, (rows.table.id, index), codec, batch).await?);
    }
    claims.into_iter().for_each(Claim::keep);
    Ok(())
}

async fn claim<'a>(
    core: &'a Arc<Core>,
    transaction: u64,
    lock_timeout: Option<Duration>,
    space: KeySpace,
    codec: &KeyCodec,
    batch: &RecordBatch,
) -> Result<Claim<'a>> {
    let keys = codec.keys(batch)?;
    let bytes = keys.iter().map(|key| key.bytes.clone()).collect::<Vec<_>>();
    let before = sabotage!("engine.keys.snapshot").then(|| core.published());
    loop {
        let holder = match core.locks.reserve(transaction, space, &bytes) {
            Err(Taken::Own(index)) => return Err(codec.violation(batch, keys[index].row)),
            Err(Taken::Other(holder)) => holder,
            Ok(()) => {
                let claim = Claim { core, transaction, space, keys: bytes.clone() };
                // Only now, with the reservation in place, does looking at the store decide anything.
                let snapshot = before.clone().unwrap_or_else(|| core.published());
                match find_stored(&snapshot, space, &bytes)? {
                    None => return Ok(claim),
                    Some((index, writer)) if writer == transaction || !core.locks.is_open(writer) => {
                        // A rollback may have ended between the two looks: only what is there now is committed.
                        if writer == transaction
                            || find_stored(&core.published(), space, &bytes[index..=index])?.is_some()
                        {
                            return Err(codec.violation(batch, keys[index].row));
                        }
                        continue;
                    }
                    Some((_, writer)) => writer,
                }
            }
        };
        let ended = core.locks.wait(transaction, holder);
        match lock_timeout {
            None => ended.await?,
            Some(limit) => core.host.timeout(limit, ended).await.unwrap_or_else(|_| Err(lock_timeout_passed()))?,
        }
    }
}

/// The first of the keys that the snapshot has, and the transaction that wrote it.
fn find_stored(snapshot: &Snapshot, space: KeySpace, keys: &[KeyBytes]) -> Result<Option<(usize, u64)>> {
    let reader = KeyReader::open(&snapshot.read, space.0, space.1)?;
    let (Some(first), Some(last)) = (keys.iter().min(), keys.iter().max()) else { return Ok(None) };
    if !reader.any_between(first, last)? {
        return Ok(None);
    }
    for (index, key) in keys.iter().enumerate() {
        if let Some(writer) = reader.writer(key)? {
            return Ok(Some((index, writer)));
        }
    }
    Ok(None)
}

/// Reserved keys whose rows are not yet buffered.
struct Claim<'a> {
    core: &'a Core,
    transaction: u64,
    space: KeySpace,
    keys: Vec<KeyBytes>,
}

impl Claim<'_> {
    fn keep(mut self) {
        self.keys.clear();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.core.locks.release(self.transaction, self.space, &self.keys);
        }
    }
}

/// The same rows under exactly the table's schema (metadata and nullability of computed batches may differ).
fn conform(batch: RecordBatch, schema: &SchemaRef, table: &Table) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    RecordBatch::try_new(schema.clone(), batch.columns().to_vec())
        .map_err(|e| Error::internal(format!("rows do not fit table \"{}\": {e}", table.name)))
}

fn lock_timeout_passed() -> Error {
    Error::new(codes::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout")
}

fn unknown_schema(name: &str) -> Error {
    Error::new(codes::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
}

fn relation_exists(name: &RelationName) -> Error {
    Error::new(codes::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
}

fn in_use(object: &str) -> Error {
    Error::new(codes::OBJECT_IN_USE, format!("{object} is being changed by another transaction"))
        .with_hint("Try again when that transaction has ended.")
}
