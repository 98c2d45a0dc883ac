//! The catalog's redb file. Everything here is synchronous and one at a time.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `incarnation` | number |
//! | `snapshot` | sequence number of its last change | [`State`] as JSON; at most one |
//! | `changes` | sequence number | [`Change`] as JSON, those after the snapshot |
//! | `decisions` | gid | [`Decision`] as JSON |
//!
//! JSON, because it can be read when something went wrong; the catalog is small and changes seldom.

use super::Decision;
use crate::catalog::{Change, State};
use crate::error::{Error, Result, codes};
use crate::host::{Host, StoreFile};
use crate::{probe, sabotage};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Raised whenever an older program could misread the file.
const FORMAT: u64 = 1;

/// A log longer than this is folded into a snapshot when the file is opened: replay takes milliseconds, and the
/// fold writes the whole state, so neither "always" nor "never" is right.
pub(super) const LOG_CHANGES_MAX: usize = 1_000;

const RESTART: &str = "Restart the server once the disk is in order.";

/// redb's page cache; the catalog is read once, when it is opened.
const CACHE_BYTES: usize = 4 << 20;

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const SNAPSHOT: TableDefinition<u64, &str> = TableDefinition::new("snapshot");
pub(super) const CHANGES: TableDefinition<u64, &str> = TableDefinition::new("changes");
const DECISIONS: TableDefinition<&str, &str> = TableDefinition::new("decisions");

pub(super) struct File {
    host: Host,
    path: String,
    /// `None` before it is opened, and after a disk error until it is opened again (redb does no more work after one),
    /// which is not before a restart if the error was a sync's.
    database: Mutex<Option<Database>>,
    published: Mutex<Published>,
    /// A sync has failed since the store was opened: what the file says cannot be believed until a restart.
    sync_failed: Arc<AtomicBool>,
}

/// What readers see: always what the disk has confirmed.
#[derive(Default)]
pub(super) struct Published {
    pub state: Arc<State>,
    pub decisions: BTreeMap<String, Decision>,
    /// Decided by a commit of which nobody knows whether it took place.
    pub in_doubt: Option<String>,
    /// Sequence number of the last change ever made.
    last_change: u64,
}

/// The disk failed; how far was the commit?
enum Failure {
    /// It had not begun: nothing changed.
    Before(Error),
    /// It may have taken place.
    During(Error),
}

impl File {
    pub fn new(host: Host, path: &str) -> File {
        let path = path.to_string();
        let (database, published, sync_failed) = (Mutex::default(), Mutex::default(), Arc::default());
        File { host, path, database, published, sync_failed }
    }

    pub fn published(&self) -> MutexGuard<'_, Published> {
        // Its fields are replaced whole, so a panic elsewhere cannot have left them half-made.
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file unless it is open, and publishes what is in it. Returns the incarnation, 0 if it was open.
    pub fn open(&self) -> Result<u64> {
        self.open_slot(&mut self.database())
    }

    fn open_slot(&self, slot: &mut Option<Database>) -> Result<u64> {
        if slot.is_some() {
            return Ok(0);
        }
        if self.sync_failed.load(Ordering::Acquire) {
            let message = "the catalog accepts no changes after a failure of its disk";
            return Err(Error::new(codes::IO_ERROR, message)
                .with_detail(format!("What \"{}\" holds can be told only by opening it again.", self.path))
                .with_hint(RESTART));
        }
        let backend = self.host.disk().open(&self.path)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder
            .create_with_backend(StoreFile::watched(backend, self.sync_failed.clone()))
            .map_err(failure(&self.path))?;
        // A synced commit: from here on, what the file says is durable, also if it comes from a commit that failed.
        let incarnation = begin_incarnation(&database, &self.path)?;
        let (found, log_length) = load(&database, &self.path)?;
        if log_length > LOG_CHANGES_MAX {
            fold(&database, &self.path, &found)?;
        }
        *self.published() = found;
        *slot = Some(database);
        Ok(incarnation)
    }

    pub fn commit(&self, changes: &[Change], decision: Option<Decision>) -> Result<()> {
        let mut slot = self.database();
        self.open_slot(&mut slot)?;
        let (next, last_change) = self.after(changes, decision.as_ref())?;
        let database = slot.as_ref().expect("it has just been opened");
        match self.record(database, changes, decision.as_ref()) {
            Ok(()) => {
                let mut published = self.published();
                if let Some(next) = next {
                    published.state = next;
                }
                published.last_change = last_change;
                published.decisions.extend(decision.map(|decision| (decision.gid.clone(), decision)));
                Ok(())
            }
            Err(failure) => {
                let gid = decision.map(|decision| decision.gid);
                self.find_out(&mut slot, failure, gid, last_change)
            }
        }
    }

    /// The state and the last sequence number with `changes` applied; `None` for the state if there are none (a decision
    /// alone must not copy the catalog). Errors: the commit is refused.
    fn after(&self, changes: &[Change], decision: Option<&Decision>) -> Result<(Option<Arc<State>>, u64)> {
        let published = self.published();
        if let Some(decision) = decision
            && published.decisions.contains_key(&decision.gid)
        {
            return Err(Error::internal(format!("transaction {} is decided already", decision.gid)));
        }
        let last_change = published.last_change + changes.len() as u64;
        if changes.is_empty() {
            return Ok((None, last_change));
        }
        let mut next = State::clone(&published.state);
        changes.iter().try_for_each(|change| next.apply(change))?;
        Ok((Some(Arc::new(next)), last_change))
    }

    fn record(&self, database: &Database, changes: &[Change], decision: Option<&Decision>) -> Result<(), Failure> {
        let transaction = self.prepare(database, changes, decision).map_err(Failure::Before)?;
        probe!(self.host, "catalog.commit");
        transaction.commit().map_err(failure(&self.path)).map_err(Failure::During)?;
        probe!(self.host, "catalog.committed");
        Ok(())
    }

    fn prepare(
        &self,
        database: &Database,
        changes: &[Change],
        decision: Option<&Decision>,
    ) -> Result<WriteTransaction> {
        let path = &self.path;
        let mut transaction = database.begin_write().map_err(failure(path))?;
        if sabotage!("decision.sync") {
            transaction.set_durability(Durability::None).map_err(failure(path))?;
        }
        if !changes.is_empty() {
            let mut log = transaction.open_table(CHANGES).map_err(failure(path))?;
            let first = self.published().last_change + 1;
            for (sequence, change) in (first..).zip(changes) {
                if matches!(change, Change::CreateChunk { .. }) && sabotage!("catalog.chunk") {
                    continue;
                }
                log.insert(sequence, &*to_json(change)).map_err(failure(path))?;
            }
        }
        if let Some(decision) = decision {
            let mut decisions = transaction.open_table(DECISIONS).map_err(failure(path))?;
            decisions.insert(&*decision.gid, &*to_json(decision)).map_err(failure(path))?;
        }
        Ok(transaction)
    }

    /// After a disk error: opens the file again and looks whether the commit took place, unless a sync has failed.
    fn find_out(
        &self,
        slot: &mut Option<Database>,
        failure: Failure,
        gid: Option<String>,
        last_change: u64,
    ) -> Result<()> {
        // Closed first: two handles on one file would fight for its lock.
        *slot = None;
        let error = match failure {
            Failure::Before(error) => return Err(error),
            Failure::During(error) => error,
        };
        self.published().in_doubt = gid.clone();
        if self.open_slot(slot).is_err() {
            return Err(Error::new(
                codes::TRANSACTION_RESOLUTION_UNKNOWN,
                "the catalog's disk failed while the transaction was committed: its outcome is unknown",
            )
            .with_detail(error.message())
            .with_hint(match self.sync_failed.load(Ordering::Acquire) {
                true => RESTART,
                false => "It will be known, and carried out, when the disk works again.",
            }));
        }
        let published = self.published();
        let took_place = match gid {
            Some(gid) => published.decisions.contains_key(&gid),
            None => published.last_change >= last_change,
        };
        if took_place { Ok(()) } else { Err(error) }
    }

    pub fn forget(&self, gid: &str) -> Result<()> {
        let mut slot = self.database();
        self.open_slot(&mut slot)?;
        if !self.published().decisions.contains_key(gid) {
            return Ok(());
        }
        let removed = remove_decision(slot.as_ref().expect("it has just been opened"), &self.path, gid);
        match removed {
            Ok(()) => drop(self.published().decisions.remove(gid)),
            Err(_) => *slot = None,
        }
        removed
    }
}

/// Checks the format, or writes it to a new file, and counts this opening, durably.
fn begin_incarnation(database: &Database, path: &str) -> Result<u64> {
    let transaction = database.begin_write().map_err(failure(path))?;
    let foreign = transaction.list_tables().map_err(failure(path))?.any(|table| table.name() != META.name());
    let incarnation = {
        let mut meta = transaction.open_table(META).map_err(failure(path))?;
        let format = meta.get("format").map_err(failure(path))?.map(|format| format.value());
        match format {
            Some(FORMAT) => {}
            None if !foreign => {
                meta.insert("format", FORMAT).map_err(failure(path))?;
            }
            other => return Err(other_format(path, other)),
        }
        let before = meta.get("incarnation").map_err(failure(path))?.map_or(0, |count| count.value());
        meta.insert("incarnation", before + 1).map_err(failure(path))?;
        before + 1
    };
    // The tables exist from here on: reading needs no case for their absence.
    transaction.open_table(SNAPSHOT).map_err(failure(path))?;
    transaction.open_table(CHANGES).map_err(failure(path))?;
    transaction.open_table(DECISIONS).map_err(failure(path))?;
    transaction.commit().map_err(failure(path))?;
    Ok(incarnation)
}

/// Everything in the file, and how many changes were replayed on top of the snapshot.
fn load(database: &Database, path: &str) -> Result<(Published, usize)> {
    let transaction = database.begin_read().map_err(failure(path))?;
    let snapshot = transaction.open_table(SNAPSHOT).map_err(failure(path))?;
    let (mut state, mut last_change) = match snapshot.last().map_err(failure(path))? {
        Some((sequence, json)) => (from_json(path, "the snapshot", json.value())?, sequence.value()),
        None => (State::default(), 0),
    };
    let mut replayed = 0;
    for entry in transaction.open_table(CHANGES).map_err(failure(path))?.iter().map_err(failure(path))? {
        let (sequence, json) = entry.map_err(failure(path))?;
        last_change = sequence.value();
        let place = format!("change {last_change}");
        let change: Change = from_json(path, &place, json.value())?;
        state.apply(&change).map_err(|error| damaged(path, &place, error.message()))?;
        replayed += 1;
    }
    let mut decisions = BTreeMap::new();
    for entry in transaction.open_table(DECISIONS).map_err(failure(path))?.iter().map_err(failure(path))? {
        let (gid, json) = entry.map_err(failure(path))?;
        let gid = gid.value().to_string();
        decisions.insert(gid.clone(), from_json(path, &format!("decision {gid}"), json.value())?);
    }
    Ok((Published { state: Arc::new(state), decisions, in_doubt: None, last_change }, replayed))
}

/// Replaces the log by a snapshot of the state.
fn fold(database: &Database, path: &str, found: &Published) -> Result<()> {
    let transaction = database.begin_write().map_err(failure(path))?;
    {
        let mut changes = transaction.open_table(CHANGES).map_err(failure(path))?;
        changes.retain(|_, _| false).map_err(failure(path))?;
        let mut snapshot = transaction.open_table(SNAPSHOT).map_err(failure(path))?;
        snapshot.retain(|_, _| false).map_err(failure(path))?;
        snapshot.insert(found.last_change, &*to_json(&*found.state)).map_err(failure(path))?;
    }
    transaction.commit().map_err(failure(path))
}

fn remove_decision(database: &Database, path: &str, gid: &str) -> Result<()> {
    let mut transaction = database.begin_write().map_err(failure(path))?;
    transaction.set_durability(Durability::None).map_err(failure(path))?;
    {
        let mut decisions = transaction.open_table(DECISIONS).map_err(failure(path))?;
        decisions.remove(gid).map_err(failure(path))?;
    }
    transaction.commit().map_err(failure(path))
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers, strings and lists of them always have a JSON form")
}

fn from_json<T: for<'a> Deserialize<'a>>(path: &str, place: &str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| damaged(path, place, &error.to_string()))
}

fn damaged(path: &str, place: &str, why: &str) -> Error {
    Error::new(codes::DATA_CORRUPTED, format!("{place} in \"{path}\" cannot be read")).with_detail(why)
}

fn other_format(path: &str, found: Option<u64>) -> Error {
    let found = found.map_or("is no catalog".to_string(), |format| format!("has catalog format {format}"));
    Error::new(
        codes::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("\"{path}\" was written by another version of Hypertile: it {found}, expected format {FORMAT}"),
    )
    .with_hint("Open it with the version that wrote it, or use another data directory.")
}

/// redb's errors as ours, with the file they happened in.
fn failure<E: Into<redb::Error>>(path: &str) -> impl Fn(E) -> Error + '_ {
    move |error| match error.into() {
        redb::Error::Io(error) => {
            let own = Error::from(error);
            Error::new(own.code(), format!("could not access \"{path}\": {}", own.message()))
        }
        redb::Error::Corrupted(why) => damaged(path, "the catalog", &why),
        redb::Error::UpgradeRequired(version) => other_format(path, Some(u64::from(version))),
        redb::Error::DatabaseAlreadyOpen => {
            Error::new(codes::OBJECT_IN_USE, format!("\"{path}\" is in use by another server"))
                .with_hint("Stop the other server, or use another data directory.")
        }
        other => Error::internal(format!("\"{path}\": {other}")),
    }
}
