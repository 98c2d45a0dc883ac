//! The one writer of a database, and group commit.
//!
//! Sessions queue [`Job`]s; a task that lives as long as there are any takes all that wait, applies them in one redb
//! transaction, syncs once, publishes the new snapshot and answers them all. While it syncs, the next batch gathers:
//! the more sessions commit, the fewer syncs each of them costs. The task belongs to nobody, so a batch completes
//! whichever client is cancelled meanwhile.
//!
//! After a batch, in this order: the new snapshot, what the engine remembers, the end of the decided transactions (see
//! [`locks`](super::locks)), the answers. A crash anywhere before the sync undoes the whole batch, after it nothing.
//!
//! *When the disk fails.* redb refuses everything after the first error. Before the next batch the writer opens the
//! file again, as a restart would, and goes on if it can (the disk was full and is not any more). An error before the
//! file's header is written undoes the batch, and its transactions are told so. After a later error the reopened file
//! tells whether the batch has arrived: its number is in it or not. Only if a *sync* has failed the file must not be
//! trusted in this process (the kernel may hold pages that the disk does not, and a second sync would succeed without
//! them): the outcome is then unknown, `08007`, and the engine refuses writes until the server is restarted.

use super::core::Core;
use super::job::Job;
use super::layout::MERGE_FAN_IN;
use super::snapshot::{Catalog, Snapshot};
use super::stage::{Effect, Fault, Stage};
use super::store::{META, storage};
use crate::error::{Error, Result, codes};
use crate::{buggify, probe, sabotage};
use redb::{Database, Durability, WriteTransaction};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Merges done along with jobs that somebody waits for, and without.
const MERGES_BESIDE_JOBS: usize = 1;
const MERGES_ALONE: usize = 8;

/// How long a writer may dawdle where a simulation asks for it.
const SLOW: Duration = Duration::from_millis(40);

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    /// Tables with segments to merge, each once, and how many are to be joined at least. Merged a few at a time, so that
    /// no commit waits long for them.
    merges: VecDeque<(u64, usize)>,
    /// A task is at work and will see what is queued.
    draining: bool,
}

struct Queued {
    job: Job,
    /// None: nobody has asked for it.
    answer: Option<oneshot::Sender<Result<()>>>,
}

/// The answer to a job; an error also if the writer itself broke.
pub(super) struct Answer(oneshot::Receiver<Result<()>>);

impl Answer {
    /// Until it has answered, this may be dropped and called again: nothing is lost.
    pub async fn wait(&mut self) -> Result<()> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(_) => Err(Error::internal("the storage writer ended without an answer")),
        }
    }
}

/// A batch that was committed, or undone as a whole.
struct Outcome {
    results: Vec<Result<()>>,
    effects: Vec<Effect>,
}

/// A batch that was not committed as far as redb says.
enum Failure {
    /// Nothing of it is in the store.
    Undone(Error),
    /// It may be in the store. With what the jobs would be told if it is.
    Undecided { cause: Error, results: Vec<Result<()>> },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Undone(error)
    }
}

impl Core {
    /// Waits until the file can be written, after a failure of it. Errors: `58030`, `53100`.
    pub async fn ensure_writable(self: &Arc<Core>) -> Result<()> {
        match self.health.has_failed() || self.is_closed() {
            true => self.submit(Job::Check).wait().await,
            false => Ok(()),
        }
    }

    /// Hands a job to the writer. It will be done even if nobody waits for the answer.
    pub fn submit(self: &Arc<Core>, job: Job) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.queue.lock().expect("no code panics while it holds the queue");
        queue.waiting.push_back(Queued { job, answer: Some(answer) });
        if !queue.draining {
            queue.draining = true;
            drop(queue);
            self.host.spawn("engine.writer", drain(self.clone()));
        }
        Answer(receiver)
    }

    /// Takes all waiting jobs and some merges; if there is nothing, the writer has ended when this returns.
    fn next_batch(&self) -> Vec<Queued> {
        let mut queue = self.queue.lock().expect("no code panics while it holds the queue");
        let merges_max = if queue.waiting.is_empty() { MERGES_ALONE } else { MERGES_BESIDE_JOBS };
        let merges = merges_max.min(queue.merges.len());
        let merges = queue.merges.drain(..merges).collect::<Vec<_>>();
        let merges =
            merges.into_iter().map(|(table, fan_in)| Queued { job: Job::Merge { table, fan_in }, answer: None });
        let jobs =
            if buggify!(self.host, "engine.single_jobs") { queue.waiting.len().min(1) } else { queue.waiting.len() };
        let batch = queue.waiting.drain(..jobs).chain(merges).collect::<Vec<_>>();
        queue.draining = !batch.is_empty();
        batch
    }

    /// Only the writer's own task calls it, so it need not be woken.
    fn queue_merges(&self, tables: Vec<(u64, usize)>) {
        let mut queue = self.queue.lock().expect("no code panics while it holds the queue");
        for (table, fan_in) in tables {
            if queue.merges.iter().all(|(queued, _)| *queued != table) {
                queue.merges.push_back((table, fan_in));
            }
        }
    }

    fn run_batch(&self, batch: Vec<Queued>) {
        let (jobs, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|queued| (queued.job, queued.answer)).unzip();
        let outcome = self.write(&jobs);
        let merges = self.remember(&outcome.effects);
        for (job, result) in jobs.iter().zip(&outcome.results) {
            self.settle(job, result);
        }
        for (answer, result) in answers.into_iter().zip(outcome.results) {
            // Nobody listens any more: the client was cancelled, its transaction is decided all the same.
            let _ = answer.map(|answer| answer.send(result));
        }
        if jobs.iter().any(|job| matches!(job, Job::Close)) {
            self.close();
            *self.database.lock().expect("a batch that panics ends the writer for good") = None;
        }
        self.queue_merges(merges);
    }

    /// Applies the jobs in one redb transaction and publishes the new snapshot.
    fn write(&self, jobs: &[Job]) -> Outcome {
        let all = |error: Error| Outcome { results: vec![Err(error); jobs.len()], effects: Vec::new() };
        let mut database = self.database.lock().expect("a batch that panics ends the writer for good");
        if let Err(error) = self.make_ready(&mut database) {
            return all(error);
        }
        let opened = database.as_ref().expect("made ready");
        match self.try_write(opened, jobs) {
            Ok(outcome) => outcome,
            Err(Failure::Undone(error)) => all(error),
            Err(Failure::Undecided { cause, results }) => match self.reopen(&mut database) {
                // What the batch has changed was read from the store just now.
                Ok(last) if last == self.next_batch.load(Ordering::Relaxed) => Outcome { results, effects: Vec::new() },
                Ok(_) => all(cause),
                Err(_) => all(undecided(&cause)),
            },
        }
    }

    fn make_ready(&self, database: &mut Option<Database>) -> Result<()> {
        if self.is_closed() {
            return Err(self.unwritable());
        }
        if database.is_none() || self.health.has_failed() {
            self.reopen(database)?;
        }
        Ok(())
    }

    fn try_write(&self, database: &Database, jobs: &[Job]) -> Result<Outcome, Failure> {
        let durable = jobs.iter().any(Job::is_durable);
        let mut write = database.begin_write().map_err(storage)?;
        if !durable {
            write.set_durability(Durability::None).map_err(storage)?;
        }
        let (outcome, catalog) = self.apply(&write, jobs)?;
        self.write_counters(&write)?;
        self.probe_jobs(jobs, Moment::BeforeSync);
        self.health.begin_commit();
        if let Err(error) = write.commit() {
            if !self.health.may_have_committed() {
                return Err(Failure::Undone(storage(error)));
            }
            return Err(Failure::Undecided { cause: storage(error), results: outcome.results });
        }
        self.probe_jobs(jobs, Moment::AfterSync);
        match Snapshot::take(database, catalog) {
            Ok(snapshot) => self.publish(snapshot),
            // Committed all the same. The file has failed, so the next batch publishes what is in it.
            Err(error) => tracing::error!(node = self.host.name(), "no snapshot after a commit: {error}"),
        }
        Ok(outcome)
    }

    fn apply(&self, write: &WriteTransaction, jobs: &[Job]) -> Result<(Outcome, Arc<Catalog>)> {
        let layouts = self.layouts.lock().expect("no code panics while it holds the layouts");
        let catalog = self.published().catalog.clone();
        let unwrap = |fault| match fault {
            Fault::Refused(error) | Fault::Storage(error) => error,
        };
        let mut stage = Stage::new(write, catalog, &layouts, &self.next_data).map_err(unwrap)?;
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            results.push(match stage.apply(job) {
                Ok(()) => Ok(()),
                Err(Fault::Refused(error)) => Err(error),
                Err(Fault::Storage(error)) => return Err(error),
            });
        }
        Ok((Outcome { results, effects: stage.effects }, stage.catalog))
    }

    /// Numbers handed out so far are never handed out again, as far as anything stored carries them.
    fn write_counters(&self, write: &WriteTransaction) -> Result<()> {
        self.next_batch.fetch_add(1, Ordering::Relaxed);
        if sabotage!("engine.counters") {
            return Ok(());
        }
        let mut meta = write.open_table(META).map_err(storage)?;
        for (name, counter) in self.counters() {
            meta.insert(name, counter.load(Ordering::Relaxed)).map_err(storage)?;
        }
        Ok(())
    }

    /// Brings the engine's memory up to the committed batch; returns the tables that have segments to merge, and how many.
    fn remember(&self, effects: &[Effect]) -> Vec<(u64, usize)> {
        let mut layouts = self.layouts.lock().expect("no code panics while it holds the layouts");
        let mut grown = std::collections::BTreeSet::new();
        for effect in effects {
            match effect {
                Effect::Added { table, position, piece } => {
                    layouts.entry(*table).or_default().insert(*position, *piece);
                    grown.insert(*table);
                }
                Effect::Removed { table, position } => layouts.entry(*table).or_default().remove(*position),
                Effect::TableDropped { table } => drop(layouts.remove(table)),
                Effect::Prepared { gid, record } => drop(self.prepared().insert(gid.clone(), record.clone())),
                Effect::Resolved { gid, transaction } => {
                    self.prepared().remove(gid);
                    self.locks.end(*transaction);
                }
            }
        }
        let fan_in = if buggify!(self.host, "engine.merge_early") { 2 } else { MERGE_FAN_IN };
        let has_candidates = |table: &u64| layouts.get(table).is_some_and(|l| !l.merge_candidates(fan_in).is_empty());
        grown.into_iter().filter(has_candidates).map(|table| (table, fan_in)).collect()
    }

    /// Lets go what the job's transaction held, now that its outcome is published.
    fn settle(&self, job: &Job, result: &Result<()>) {
        match job {
            Job::Commit(work) => self.locks.end(work.transaction),
            Job::Discard { transaction } => self.locks.end(*transaction),
            Job::Prepare { work, .. } if result.is_err() => self.locks.end(work.transaction),
            // The store has the keys now, marked as this transaction's.
            Job::Prepare { work, .. } => self.release_keys(work.transaction, &work.tail),
            Job::Spill { transaction, segments } if result.is_ok() => self.release_keys(*transaction, segments),
            Job::Spill { .. } | Job::Resolve { .. } | Job::Merge { .. } | Job::Check | Job::Close => {}
        }
    }

    fn release_keys(&self, transaction: u64, segments: &[super::job::Sealed]) {
        for sealed in segments {
            for (index, keys) in sealed.keys.iter().enumerate() {
                self.locks.release(transaction, (sealed.table.id, index), keys);
            }
        }
    }

    fn probe_jobs(&self, jobs: &[Job], moment: Moment) {
        for job in jobs {
            match (job, moment) {
                (Job::Commit(_), Moment::BeforeSync) => probe!(self.host, "engine.commit.before_sync"),
                (Job::Commit(_), Moment::AfterSync) => probe!(self.host, "engine.commit.after_sync"),
                (Job::Prepare { .. }, Moment::BeforeSync) => probe!(self.host, "engine.prepare.before_sync"),
                (Job::Prepare { .. }, Moment::AfterSync) => probe!(self.host, "engine.prepare.after_sync"),
                (Job::Resolve { .. }, Moment::BeforeSync) => probe!(self.host, "engine.resolve.before_sync"),
                (Job::Resolve { .. }, Moment::AfterSync) => probe!(self.host, "engine.resolve.after_sync"),
                (Job::Merge { .. }, Moment::BeforeSync) => probe!(self.host, "engine.merge.before_sync"),
                _ => {}
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Moment {
    BeforeSync,
    AfterSync,
}

fn undecided(cause: &Error) -> Error {
    let message = format!("could not make a commit durable: {}", cause.message());
    Error::new(codes::TRANSACTION_RESOLUTION_UNKNOWN, message)
        .with_detail("Whether the transaction has committed will be known when the database is opened again.")
        .with_hint("Restart the server once the disk is in order.")
}

async fn drain(core: Arc<Core>) {
    let mut broken = Broken { core: core.clone(), armed: true };
    loop {
        let batch = core.next_batch();
        if batch.is_empty() {
            break;
        }
        if buggify!(core.host, "engine.slow") {
            core.host.sleep(SLOW).await;
        }
        let worker = core.clone();
        core.host.blocking(move || worker.run_batch(batch)).await;
    }
    broken.armed = false;
}

/// If the writer's task ends other than by running dry (a panic in a batch, the node's death), later jobs must fail
/// instead of waiting for ever.
struct Broken {
    core: Arc<Core>,
    armed: bool,
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.armed {
            self.core.close();
            let mut queue = self.core.queue.lock().expect("no code panics while it holds the queue");
            queue.draining = false;
            queue.waiting.clear();
            queue.merges.clear();
        }
    }
}
