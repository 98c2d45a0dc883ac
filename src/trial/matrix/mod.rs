//! The matrix: every planted bug, the judges that find it, and how many seeds that takes.
//!
//! A bug is tried several times, each time from another first seed on, until a run fails in a way in which the same seed
//! without the bug does not. All runs of a try come one after the other, so that the outcome does not hang on how many
//! tries run at the same time.
//!
//! Reading order: this file, [`exercise`] (which mix brings a bug out), [`kept`] (the matrix as a golden).

pub mod exercise;
pub mod kept;

use super::checker;
use super::plan::mix::Mix;
use super::report::Report;
use super::swarm;
use super::worker::Workers;
use crate::sabotage::{self, Bug};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first seeds of two tries are so far apart.
const SEEDS_APART: u64 = 10_000;

/// What to try.
pub struct Order {
    pub bugs: Vec<&'static Bug>,
    /// What all runs are drawn from; without it, what [`exercise`] has for the bug.
    pub mix: Option<Mix>,
    /// So many tries a bug.
    pub tries: u64,
    /// A try gives up after so many seeds.
    pub seeds_max: u64,
    pub jobs: u16,
}

/// What came of one bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub bug: String,
    /// What its runs were drawn from.
    pub mix: String,
    pub tries: Vec<Try>,
}

/// One try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    pub first_seed: u64,
    /// So many seeds were run.
    pub runs: u64,
    /// In so many of them the code with the bug was reached.
    pub reached: u64,
    pub find: Option<Find>,
}

/// A run that failed because of the bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    pub seed: u64,
    /// The judges that spoke; `liveness`, `panic` or `expectation` for a run that failed without one.
    pub finders: Vec<String>,
    pub reason: String,
}

impl Row {
    /// All that found it in any try.
    pub fn finders(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for finder in self.tries.iter().filter_map(|t| t.find.as_ref()).flat_map(|find| &find.finders) {
            *count.entry(finder.as_str()).or_default() += 1;
        }
        count
    }

    /// No judge finds it.
    pub fn is_open(&self) -> bool {
        self.tries.iter().all(|t| t.find.is_none())
    }

    /// Of the seeds that the tries took; `None` if most of them found nothing.
    pub fn median_seeds(&self) -> Option<u64> {
        let mut seeds: Vec<Option<u64>> = self.tries.iter().map(|t| t.find.as_ref().map(|_| t.runs)).collect();
        // What found nothing took longest.
        seeds.sort_by_key(|seeds| seeds.unwrap_or(u64::MAX));
        seeds.get(seeds.len() / 2).copied().flatten()
    }
}

/// The bug's mix, and what its runs have been without any bug, by seed.
type Controls = Mutex<BTreeMap<(String, u64), BTreeSet<String>>>;

/// Tries all bugs. `told` hears of every try that has ended; `stop` ends it all once the runs under way are through.
#[expect(clippy::disallowed_methods, reason = "threads that ask workers for simulations")]
pub fn run(order: &Order, workers: &Workers, stop: &AtomicBool, told: &(dyn Fn(&Bug, &Try) + Sync)) -> Vec<Row> {
    let tries = order.bugs.iter().flat_map(|bug| (0..order.tries).map(move |number| (*bug, number)));
    let waiting: Mutex<VecDeque<(&Bug, u64)>> = Mutex::new(tries.collect());
    let done: Mutex<BTreeMap<(&str, u64), Try>> = Mutex::default();
    let controls = Controls::default();
    let work = || {
        loop {
            let next = waiting.lock().expect("no run panics under this lock").pop_front();
            let Some((bug, number)) = next.filter(|_| !stop.load(Ordering::Relaxed)) else { break };
            let mix = order.mix.clone().unwrap_or_else(|| exercise::mix_of(bug));
            let outcome = try_one(order, &mix, bug, number, workers, stop, &controls);
            told(bug, &outcome);
            done.lock().expect("no run panics under this lock").insert((bug.name, number), outcome);
        }
    };
    std::thread::scope(|scope| (0..order.jobs).for_each(|_| drop(scope.spawn(work))));
    let done = done.into_inner().expect("no run panics under this lock");
    let row = |bug: &&'static Bug| Row {
        bug: bug.name.to_string(),
        mix: order.mix.as_ref().map_or_else(|| exercise::name_of(bug).to_string(), |mix| mix.file.clone()),
        tries: done.range((bug.name, 0)..=(bug.name, u64::MAX)).map(|(_, outcome)| outcome.clone()).collect(),
    };
    order.bugs.iter().map(row).filter(|row| !row.tries.is_empty()).collect()
}

fn try_one(
    order: &Order,
    mix: &Mix,
    bug: &Bug,
    number: u64,
    workers: &Workers,
    stop: &AtomicBool,
    controls: &Controls,
) -> Try {
    let first_seed = number * SEEDS_APART + 1;
    let mut outcome = Try { first_seed, ..Try::default() };
    for seed in first_seed..first_seed + order.seeds_max {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (report, _) = swarm::one(mix, seed, &[bug.name.to_string()], None, workers);
        outcome.runs += 1;
        outcome.reached += u64::from(report.sabotage.values().any(|hits| *hits > 0));
        let mut found = finders(&report);
        if found.is_empty() {
            continue;
        }
        let control = || {
            let key = (mix.file.clone(), seed);
            let known = controls.lock().expect("no run panics under this lock").get(&key).cloned();
            known.unwrap_or_else(|| {
                let without = finders(&swarm::one(mix, seed, &[], None, workers).0);
                controls.lock().expect("no run panics under this lock").insert(key, without.clone());
                without
            })
        };
        // What the seed shows without the bug as well is not the bug.
        let control = control();
        found.retain(|finder| !control.contains(finder));
        if !found.is_empty() {
            let reason = report.reason.unwrap_or_default();
            outcome.find = Some(Find { seed, finders: found.into_iter().collect(), reason });
            break;
        }
    }
    outcome
}

/// Who found fault with a run.
fn finders(report: &Report) -> BTreeSet<String> {
    match &report.class {
        Some(class) if report.checkers.is_empty() => [class.clone()].into(),
        _ => report.checkers.iter().cloned().collect(),
    }
}

/// The bugs of these names, or all. Errors: an unknown name; says which there are.
pub fn bugs(names: &[String]) -> Result<Vec<&'static Bug>, String> {
    let known = sabotage::Sabotage::from_names(names)?;
    let wanted = |bug: &&Bug| names.is_empty() || known.names().any(|name| name == bug.name);
    Ok(sabotage::ALL.iter().filter(wanted).collect())
}

/// Bugs down, judges across: in how many tries each spoke.
pub fn text(rows: &[Row]) -> String {
    let mut columns: Vec<&str> = checker::ALL.iter().map(|(name, _)| *name).collect();
    let others: BTreeSet<&str> = rows.iter().flat_map(|row| row.finders().into_keys().collect::<Vec<_>>()).collect();
    columns.extend(others.into_iter().filter(|name| !columns.contains(name)).collect::<Vec<_>>());
    let mut text = format!("{:<26}{:>8}", "bug", "seeds");
    for column in &columns {
        let _ = write!(text, "  {column}");
    }
    for row in rows {
        let seeds = row.median_seeds().map_or("-".to_string(), |seeds| seeds.to_string());
        let _ = write!(text, "\n{:<26}{seeds:>8}", row.bug);
        if row.is_open() {
            let (runs, reached) = row.tries.iter().fold((0, 0), |sum, t| (sum.0 + t.runs, sum.1 + t.reached));
            let _ = write!(text, "  OPEN: no judge finds it, its code was reached in {reached} of {runs} runs");
            continue;
        }
        let finders = row.finders();
        for column in &columns {
            let tries = finders.get(column).map_or(".".to_string(), ToString::to_string);
            let _ = write!(text, "  {tries:>width$}", width = column.len());
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
