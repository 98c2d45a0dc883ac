//! The one writer of a database, and group commit.
//!
//! Sessions queue [`Job`]s; a task that lives as long as there are any takes all that wait, applies them in one redb
//! transaction, syncs once, publishes the new snapshot and answers them all. While it syncs, the next batch gathers:
//! the more sessions commit, the fewer syncs each of them costs. The task belongs to nobody, so a batch completes
//! whichever client is cancelled meanwhile.
//!
//! After a batch, in this order: effects on what the engine remembers, new snapshot, end of the decided transactions
//! (see [`locks`](super::locks)), answers. A crash anywhere before the sync undoes the whole batch, after it nothing.
//!
//! *When the disk fails.* An error before the sync undoes the batch, and its transactions are told so. If the sync
//! itself fails, nobody can know what the disk has kept: they are told `08007`. In both cases redb accepts nothing
//! more until the file is opened anew (a failed fsync must not be tried again: the kernel may have dropped the
//! pages), and neither does the engine.

use super::core::Core;
use super::job::Job;
use super::layout::Layout;
use super::snapshot::{Catalog, Snapshot};
use super::stage::{Effect, Fault, Stage};
use super::store::{META, storage};
use crate::error::{Error, Result, codes};
use crate::probe;
use redb::{Database, Durability, WriteTransaction};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    /// A task is at work and will see what is queued.
    draining: bool,
}

struct Queued {
    job: Job,
    answer: oneshot::Sender<Result<()>>,
}

/// The answer to a job; an error also if the writer itself broke.
pub(super) struct Answer(oneshot::Receiver<Result<()>>);

impl Answer {
    /// May be dropped and called again: nothing is lost.
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

impl Core {
    /// Hands a job to the writer. It will be done even if nobody waits for the answer.
    pub fn submit(self: &Arc<Core>, job: Job) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.queue.lock().expect("no code panics while it holds the queue");
        queue.waiting.push_back(Queued { job, answer });
        if !queue.draining {
            queue.draining = true;
            drop(queue);
            self.host.spawn("engine.writer", drain(self.clone()));
        }
        Answer(receiver)
    }

    /// Takes all waiting jobs; if there are none, the writer has ended when this returns.
    fn next_batch(&self) -> Vec<Queued> {
        let mut queue = self.queue.lock().expect("no code panics while it holds the queue");
        queue.draining = !queue.waiting.is_empty();
        queue.waiting.drain(..).collect()
    }

    fn run_batch(self: &Arc<Core>, batch: Vec<Queued>) {
        let (jobs, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|queued| (queued.job, queued.answer)).unzip();
        let outcome = self.write(&jobs);
        let merges = self.remember(&outcome.effects);
        for (job, result) in jobs.iter().zip(&outcome.results) {
            self.settle(job, result);
        }
        for (answer, result) in answers.into_iter().zip(outcome.results) {
            // Nobody listens any more: the client was cancelled, its transaction is decided all the same.
            let _ = answer.send(result);
        }
        merges.into_iter().for_each(|table| drop(self.submit(Job::Merge { table })));
    }

    /// Applies the jobs in one redb transaction and publishes the new snapshot.
    fn write(&self, jobs: &[Job]) -> Outcome {
        let all = |error: Error| Outcome { results: vec![Err(error); jobs.len()], effects: Vec::new() };
        if let Err(error) = self.check_writable() {
            return all(error);
        }
        let database = self.database.lock().expect("a batch that panics ends the writer for good");
        match self.try_write(&database, jobs) {
            Ok((outcome, catalog)) => {
                match Snapshot::take(&database, catalog) {
                    Ok(snapshot) => self.publish(snapshot),
                    // The batch is durable all the same.
                    Err(error) => self.fail(&error),
                }
                outcome
            }
            Err(error) => {
                self.fail(&error);
                all(error)
            }
        }
    }

    fn try_write(&self, database: &Database, jobs: &[Job]) -> Result<(Outcome, Arc<Catalog>)> {
        let durable = jobs.iter().any(Job::is_durable);
        let mut write = database.begin_write().map_err(storage)?;
        if !durable {
            write.set_durability(Durability::None).map_err(storage)?;
        }
        let (outcome, catalog) = self.apply(&write, jobs)?;
        self.write_counters(&write)?;
        if !durable {
            write.commit().map_err(undecided)?;
            return Ok((outcome, catalog));
        }
        self.probe_jobs(jobs, Moment::BeforeSync);
        write.commit().map_err(undecided)?;
        self.probe_jobs(jobs, Moment::AfterSync);
        Ok((outcome, catalog))
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
        let mut meta = write.open_table(META).map_err(storage)?;
        for (name, counter) in self.counters() {
            meta.insert(name, counter.load(Ordering::Relaxed)).map_err(storage)?;
        }
        Ok(())
    }

    /// Brings the engine's memory up to the committed batch; returns the tables that have segments to merge.
    fn remember(&self, effects: &[Effect]) -> Vec<u64> {
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
        let has_candidates = |table: &u64| layouts.get(table).is_some_and(|l| !Layout::merge_candidates(l).is_empty());
        grown.into_iter().filter(has_candidates).collect()
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
            Job::Spill { .. } | Job::Resolve { .. } | Job::Merge { .. } => {}
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

/// redb: after a failed commit the changes "may already have become durable".
fn undecided(error: redb::CommitError) -> Error {
    let cause = storage(error);
    let message = format!("could not make a commit durable: {}", cause.message());
    Error::new(codes::TRANSACTION_RESOLUTION_UNKNOWN, message)
        .with_detail("Whether the transaction has committed will be known when the database is opened again.")
}

async fn drain(core: Arc<Core>) {
    let mut broken = Broken { core: core.clone(), armed: true };
    loop {
        let batch = core.next_batch();
        if batch.is_empty() {
            break;
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
            self.core.fail(&Error::internal("the storage writer ended unexpectedly"));
            let mut queue = self.core.queue.lock().expect("no code panics while it holds the queue");
            queue.draining = false;
            queue.waiting.clear();
        }
    }
}
