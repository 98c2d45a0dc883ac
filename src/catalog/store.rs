//! The catalog's durable form: the log of changes and the open commit decisions, in one redb file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `incarnation` | number |
//! | `snapshot` | sequence number of its last change | [`State`] as JSON; at most one |
//! | `changes` | sequence number | [`Change`] as JSON, those after the snapshot |
//! | `decisions` | gid | [`Decision`] as JSON |
//!
//! JSON, because it can be read when something went wrong; the catalog is small and changes seldom. Opening folds a long
//! log into a snapshot.
//!
//! What a commit promises: changes and decision become durable together or not at all; memory follows only when the disk
//! has confirmed; commits take effect one after the other. A commit whose sync failed may or may not be found after a
//! restart: that is `08007`, the transaction's participants must stay prepared, and the store refuses further
//! work until it is opened anew.

use super::{Change, State};
use crate::error::{Error, Result, codes};
use crate::host::{Host, StoreFile};
use crate::probe;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Raised whenever an older program could misread the file.
const FORMAT: u64 = 1;

/// A log longer than this is folded into a snapshot when the store is opened: replay takes milliseconds, and the
/// fold writes the whole state, so neither "always" nor "never" is right.
const LOG_CHANGES_MAX: u64 = 1_000;

/// redb's page cache; the catalog is read once, when it is opened.
const CACHE_BYTES: usize = 4 << 20;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const SNAPSHOT: TableDefinition<u64, &str> = TableDefinition::new("snapshot");
const CHANGES: TableDefinition<u64, &str> = TableDefinition::new("changes");
const DECISIONS: TableDefinition<&str, &str> = TableDefinition::new("decisions");

/// "This transaction commits": written before anybody is told to commit, removed when all participants have confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Global transaction id, as prepared on every participant.
    pub gid: String,
    /// Data node names that have prepared it.
    pub participants: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Sabotage switch for the simulator: without it a commit returns before it is durable, and a power loss can take back
    /// a decision that participants have acted upon. The judges must notice.
    pub sync_decisions: bool,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { sync_decisions: true }
    }
}

/// Open catalog of one access-node database.
pub struct Store {
    host: Host,
    incarnation: u64,
    /// Held from reading the state to publishing the next one. It moves into the storage work, so that a caller that
    /// goes away cannot let a second commit in before the first has ended.
    writer: Arc<tokio::sync::Mutex<()>>,
    file: Arc<File>,
}

/// What the storage work needs, wherever it runs.
struct File {
    host: Host,
    path: String,
    options: StoreOptions,
    database: Database,
    published: Mutex<Published>,
}

/// What readers see: always what the disk has confirmed.
struct Published {
    state: Arc<State>,
    decisions: BTreeMap<String, Decision>,
}

impl Store {
    /// Opens or creates; replays the changes. Counts the opening: see [`Store::incarnation`].
    /// Errors: `55000` for a file of another format, `XX001` for a damaged one, `58030` and `53100` from the disk.
    pub async fn open(host: &Host, path: &str) -> Result<Arc<Store>> {
        Store::open_with(host, path, StoreOptions::default()).await
    }

    /// As [`Store::open`], with sabotage.
    pub async fn open_with(host: &Host, path: &str, options: StoreOptions) -> Result<Arc<Store>> {
        let (inner_host, path) = (host.clone(), path.to_string());
        let (file, incarnation) = host.blocking(move || File::open(inner_host, path, options)).await?;
        let writer = Arc::new(tokio::sync::Mutex::new(()));
        Ok(Arc::new(Store { host: host.clone(), incarnation, writer, file: Arc::new(file) }))
    }

    /// How often this store has been opened: part of every gid, so that a restart never reuses one.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The current state; cheap (an `Arc` clone).
    pub fn state(&self) -> Arc<State> {
        self.file.published().state.clone()
    }

    /// Makes `changes` and the decision durable in one step, then visible. Durable before it returns, unless
    /// [`StoreOptions::sync_decisions`] is off. Once begun it runs to its end, even if the caller goes away.
    ///
    /// Errors: `08007` when the disk failed in the commit itself and nobody knows whether it took place (do not roll the
    /// participants back); any other error means that nothing changed.
    pub async fn commit(&self, changes: Vec<Change>, decision: Option<Decision>) -> Result<()> {
        if changes.is_empty() && decision.is_none() {
            return Ok(());
        }
        self.write(move |file| file.commit(&changes, decision)).await
    }

    /// All open decisions, by gid.
    pub fn decisions(&self) -> Vec<Decision> {
        self.file.published().decisions.values().cloned().collect()
    }

    /// All participants have confirmed. Not synced: losing it costs one round of the resolver.
    pub async fn forget(&self, gid: &str) -> Result<()> {
        let gid = gid.to_string();
        self.write(move |file| file.forget(&gid)).await
    }

    async fn write(&self, work: impl FnOnce(&File) -> Result<()> + Send + 'static) -> Result<()> {
        let turn = self.writer.clone().lock_owned().await;
        let file = self.file.clone();
        self.host
            .blocking(move || {
                let done = work(&file);
                drop(turn);
                done
            })
            .await
    }
}

impl File {
    fn open(host: Host, path: String, options: StoreOptions) -> Result<(File, u64)> {
        let backend = host.disk().open(&path)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_with_backend(StoreFile::new(backend)).map_err(failure(&path))?;
        let incarnation = begin_incarnation(&database, &path)?;
        let (state, decisions, log_length) = load(&database, &path)?;
        let published = Mutex::new(Published { state: Arc::new(state), decisions });
        let file = File { host, path, options, database, published };
        if log_length > LOG_CHANGES_MAX {
            file.fold()?;
        }
        Ok((file, incarnation))
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        // Its fields are replaced whole, so a panic elsewhere cannot have left them half-made.
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, changes: &[Change], decision: Option<Decision>) -> Result<()> {
        let next = self.state_after(changes)?;
        let mut transaction = self.database.begin_write().map_err(failure(&self.path))?;
        if !self.options.sync_decisions {
            transaction.set_durability(Durability::None).map_err(failure(&self.path))?;
        }
        append(&transaction, &self.path, changes)?;
        if let Some(decision) = &decision {
            let mut decisions = transaction.open_table(DECISIONS).map_err(failure(&self.path))?;
            let before = decisions.insert(&*decision.gid, &*to_json(decision)).map_err(failure(&self.path))?;
            if before.is_some() {
                return Err(Error::internal(format!("transaction {} is decided already", decision.gid)));
            }
        }
        probe!(self.host, "catalog.commit");
        transaction.commit().map_err(|error| self.unknown(error))?;
        probe!(self.host, "catalog.committed");
        let mut published = self.published();
        if let Some(next) = next {
            published.state = next;
        }
        if let Some(decision) = decision {
            published.decisions.insert(decision.gid.clone(), decision);
        }
        Ok(())
    }

    /// The state with `changes` applied; `None` if there are none (a decision alone must not copy the catalog).
    fn state_after(&self, changes: &[Change]) -> Result<Option<Arc<State>>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let mut next = State::clone(&self.published().state);
        for change in changes {
            next.apply(change)?;
        }
        Ok(Some(Arc::new(next)))
    }

    fn forget(&self, gid: &str) -> Result<()> {
        if !self.published().decisions.contains_key(gid) {
            return Ok(());
        }
        let mut transaction = self.database.begin_write().map_err(failure(&self.path))?;
        transaction.set_durability(Durability::None).map_err(failure(&self.path))?;
        {
            let mut decisions = transaction.open_table(DECISIONS).map_err(failure(&self.path))?;
            decisions.remove(gid).map_err(failure(&self.path))?;
        }
        transaction.commit().map_err(failure(&self.path))?;
        self.published().decisions.remove(gid);
        Ok(())
    }

    /// Replaces the log by a snapshot of the state.
    fn fold(&self) -> Result<()> {
        let state = self.published().state.clone();
        let transaction = self.database.begin_write().map_err(failure(&self.path))?;
        {
            let mut changes = transaction.open_table(CHANGES).map_err(failure(&self.path))?;
            let last = changes.last().map_err(failure(&self.path))?.map_or(0, |(sequence, _)| sequence.value());
            changes.retain(|_, _| false).map_err(failure(&self.path))?;
            let mut snapshot = transaction.open_table(SNAPSHOT).map_err(failure(&self.path))?;
            snapshot.retain(|_, _| false).map_err(failure(&self.path))?;
            snapshot.insert(last, &*to_json(&*state)).map_err(failure(&self.path))?;
        }
        transaction.commit().map_err(failure(&self.path))
    }

    /// The commit began and the disk did not confirm it.
    fn unknown(&self, error: redb::CommitError) -> Error {
        match error {
            redb::CommitError::Storage(_) => {
                let detail = failure(&self.path)(error);
                Error::new(codes::TRANSACTION_RESOLUTION_UNKNOWN, "the outcome of the transaction is unknown")
                    .with_detail(detail.message())
                    .with_hint("Restart the server: it finds out, and finishes or undoes the transaction.")
            }
            not_begun => failure(&self.path)(not_begun),
        }
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

/// The state, the open decisions, and how many changes were replayed on top of the snapshot.
fn load(database: &Database, path: &str) -> Result<(State, BTreeMap<String, Decision>, u64)> {
    let transaction = database.begin_read().map_err(failure(path))?;
    let snapshot = transaction.open_table(SNAPSHOT).map_err(failure(path))?;
    let mut state = match snapshot.last().map_err(failure(path))? {
        Some((sequence, json)) => from_json(path, &format!("snapshot {}", sequence.value()), json.value())?,
        None => State::default(),
    };
    let changes = transaction.open_table(CHANGES).map_err(failure(path))?;
    for entry in changes.iter().map_err(failure(path))? {
        let (sequence, json) = entry.map_err(failure(path))?;
        let place = format!("change {}", sequence.value());
        let change: Change = from_json(path, &place, json.value())?;
        state.apply(&change).map_err(|error| damaged(path, &place, error.message()))?;
    }
    let mut decisions = BTreeMap::new();
    for entry in transaction.open_table(DECISIONS).map_err(failure(path))?.iter().map_err(failure(path))? {
        let (gid, json) = entry.map_err(failure(path))?;
        let gid = gid.value().to_string();
        decisions.insert(gid.clone(), from_json(path, &format!("decision {gid}"), json.value())?);
    }
    Ok((state, decisions, changes.len().map_err(failure(path))?))
}

/// Numbers the changes on from the last one ever made.
fn append(transaction: &WriteTransaction, path: &str, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let folded = {
        let snapshot = transaction.open_table(SNAPSHOT).map_err(failure(path))?;
        snapshot.last().map_err(failure(path))?.map_or(0, |(sequence, _)| sequence.value())
    };
    let mut log = transaction.open_table(CHANGES).map_err(failure(path))?;
    let last = log.last().map_err(failure(path))?.map_or(folded, |(sequence, _)| sequence.value());
    for (sequence, change) in (last + 1..).zip(changes) {
        log.insert(sequence, &*to_json(change)).map_err(failure(path))?;
    }
    Ok(())
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
    let found = found.map_or("no".to_string(), |format| format!("format {format}"));
    Error::new(
        codes::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("\"{path}\" was written by another version of Hypertile: it has {found} catalog, this one is format {FORMAT}"),
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
        redb::Error::PreviousIo => Error::new(codes::IO_ERROR, format!("\"{path}\" failed before and is closed"))
            .with_hint("Restart the server."),
        redb::Error::Corrupted(why) => damaged(path, "the catalog", &why),
        redb::Error::UpgradeRequired(version) => other_format(path, Some(u64::from(version))),
        redb::Error::DatabaseAlreadyOpen => {
            Error::new(codes::OBJECT_IN_USE, format!("\"{path}\" is in use by another server"))
                .with_hint("Stop the other server, or use another data directory.")
        }
        other => Error::internal(format!("\"{path}\": {other}")),
    }
}

#[cfg(test)]
mod tests;
