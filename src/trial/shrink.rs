//! Shrinks failures of this database, by runs in worker processes.

use super::report::Report;
use super::words::Words;
use super::worker::{Request, View, Workers};
use crate::sim::scenario::Scenario;
use crate::sim::scenario::run::{Class, Failure};
use crate::sim::shrink::{self, Limits, Oracle, Refusal, Shrunk};
use std::time::{Duration, Instant};

/// How a failure is shrunk.
pub struct Order<'a> {
    pub workers: &'a Workers,
    /// Runs at the same time.
    pub jobs: u16,
    /// The bugs that were planted when it failed.
    pub sabotage: &'a [String],
    pub limits: Limits,
    /// Of real time.
    pub time: Duration,
    /// Whether somebody wants it to end at once.
    pub stopped: &'a dyn Fn() -> bool,
    /// Hears of every step.
    pub told: &'a dyn Fn(&Shrunk),
}

/// Looks for a short scenario that fails as this one does with `seed`. Errors: it does not fail.
#[expect(clippy::disallowed_methods, reason = "the real time that shrinking takes")]
pub fn shrink(scenario: &Scenario, seed: u64, order: &Order) -> Result<Shrunk, Refusal> {
    let runs = Runs { order, started: Instant::now() };
    shrink::shrink(scenario, seed, &Words, &runs, order.limits)
}

/// The shrunk scenario as a file of its own: what it shows, and the line to see it again with `path`.
pub fn file(shrunk: &Shrunk, path: &str, sabotage: &[String]) -> String {
    let sabotage: String = sabotage.iter().map(|name| format!(" --sabotage {name}")).collect();
    format!(
        "# Shows: {}\n# Shrunk from {} lines to {} in {} tries. Again:\n#   hypertile run {path} --seed {}{sabotage}\n{}",
        shrunk.violation, shrunk.lines_before, shrunk.lines_after, shrunk.tries, shrunk.seed, shrunk.text
    )
}

struct Runs<'a> {
    order: &'a Order<'a>,
    started: Instant,
}

impl Oracle for Runs<'_> {
    fn at_once(&self) -> usize {
        self.order.jobs.into()
    }

    #[expect(clippy::disallowed_methods, reason = "threads that ask workers for simulations")]
    fn violations(&self, runs: &[(String, u64)]) -> Vec<Option<String>> {
        let (workers, sabotage) = (self.order.workers, self.order.sabotage);
        if let [(text, seed)] = runs {
            return vec![violation(workers, text, *seed, sabotage)];
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = runs
                .iter()
                .map(|(text, seed)| scope.spawn(move || violation(workers, text, *seed, sabotage)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a run's report is a value, even of a panic"))
                .collect()
        })
    }

    fn enough(&self) -> bool {
        self.started.elapsed() >= self.order.time || (self.order.stopped)()
    }

    fn told(&self, so_far: &Shrunk) {
        (self.order.told)(so_far);
    }
}

fn violation(workers: &Workers, text: &str, seed: u64, sabotage: &[String]) -> Option<String> {
    let file = "shrinking.slt".to_string();
    let request = Request {
        file: file.clone(),
        text: text.to_string(),
        seed,
        sabotage: sabotage.to_vec(),
        view: View::default(),
        turn: None,
    };
    let report = workers.run(&request);
    report.unwrap_or_else(|why| Report::failed_early(&file, seed, Failure::new(Class::Panic, why))).violation()
}
