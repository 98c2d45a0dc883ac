//! Shrinks failures of this database, by runs in worker processes.

use super::report::{Report, again};
use super::words::Words;
use super::worker::{Request, Workers, side_by_side};
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
    let again = again(path, shrunk.seed, sabotage);
    format!(
        "# Shows: {}\n# Shrunk from {} lines to {} in {} tries. Again:\n#   {again}\n{}",
        shrunk.violation, shrunk.lines_before, shrunk.lines_after, shrunk.tries, shrunk.text
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

    fn violations(&self, runs: &[(String, u64)]) -> Vec<Option<String>> {
        let (workers, sabotage) = (self.order.workers, self.order.sabotage);
        side_by_side(runs, self.at_once(), |(text, seed)| violation(workers, text, *seed, sabotage))
    }

    fn enough(&self) -> bool {
        self.started.elapsed() >= self.order.time || (self.order.stopped)()
    }

    fn told(&self, so_far: &Shrunk) {
        (self.order.told)(so_far);
    }
}

fn violation(workers: &Workers, text: &str, seed: u64, sabotage: &[String]) -> Option<String> {
    let file = "shrinking.slt";
    let report = workers.run(&Request::new(file, text, seed, sabotage));
    report.unwrap_or_else(|why| Report::failed_early(file, seed, Failure::new(Class::Panic, why))).violation()
}
