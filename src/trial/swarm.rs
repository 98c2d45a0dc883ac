//! A swarm: many runs at the same time, each drawn from a seed, and what they came to in all.

use super::coverage::Coverage;
use super::diversity;
use super::plan::Plan;
use super::plan::mix::Mix;
use super::report::Report;
use super::worker::{Request, Workers};
use crate::sim::history::{Measures, Tallies};
use crate::sim::scenario::run::{Class, Failure};
use crate::sim::world::Fires;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What to run.
pub struct Order<'a> {
    pub mix: &'a Mix,
    pub seeds: Box<dyn Iterator<Item = u64> + Send + 'a>,
    pub jobs: u16,
    pub until_failure: bool,
    pub time: Option<Duration>,
    /// Every run twice, the second time in another process; two that differ are a failure.
    pub twice: bool,
    pub sabotage: Vec<String>,
}

/// What a swarm came to. Joins with others: see [`Summary::add`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    pub mix: String,
    /// Seeds that were run, as ranges of neighbours.
    pub seeds: Vec<(u64, u64)>,
    pub ok: u64,
    /// Runs that failed, by class.
    pub failed: BTreeMap<String, u64>,
    pub simulated_seconds: f64,
    /// Of all jobs together.
    pub worker_seconds: f64,
    pub operations: Tallies,
    pub faults: u64,
    pub events: u64,
    /// Sum of the runs' fingerprints: the same for the same seeds, in whatever order, company and parts they were run.
    #[serde(default)]
    pub fingerprints: u64,
    pub peak_kilobytes: u64,
    /// How often each probe was reached.
    pub probes: BTreeMap<String, u64>,
    /// How often each point of buggify was reached, and fired.
    #[serde(default)]
    pub buggify: BTreeMap<String, Fires>,
    /// How much of the workloads really met: see `trial::diversity`.
    #[serde(default)]
    pub diversity: Measures,
    pub failures: Vec<FailedRun>,
}

/// One failing seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedRun {
    pub seed: u64,
    pub class: String,
    /// See [`Report::violation`].
    pub violation: String,
    pub reason: String,
    pub fingerprint: Option<String>,
    /// The scenario that the seed stands for.
    pub scenario: String,
    /// A shorter one that fails in the same way, where one was looked for.
    #[serde(default)]
    pub shrunk: Option<String>,
}

/// The class of a seed whose two runs differed.
pub const NOT_DETERMINISTIC: &str = "nondeterminism";

impl Summary {
    fn count(&mut self, seed: u64, report: &Report) {
        self.add_seeds(seed, seed);
        self.simulated_seconds += report.simulated_seconds.unwrap_or_default();
        self.worker_seconds += report.wall_seconds;
        self.faults += report.faults;
        self.events += report.events;
        self.fingerprints = self.fingerprints.wrapping_add(report.fingerprint_number());
        self.peak_kilobytes = self.peak_kilobytes.max(report.peak_kilobytes.unwrap_or_default());
        add_tallies(&mut self.operations, &report.operations);
        self.cover(&report.probes, &report.buggify);
        add_measures(&mut self.diversity, &report.diversity);
        match &report.class {
            Some(class) => *self.failed.entry(class.clone()).or_default() += 1,
            None => self.ok += 1,
        }
    }

    /// Adds what another part of the same sweep came to.
    pub fn add(&mut self, other: Summary) {
        if self.mix.is_empty() {
            self.mix.clone_from(&other.mix);
        }
        for (first, last) in &other.seeds {
            self.add_seeds(*first, *last);
        }
        self.ok += other.ok;
        for (class, count) in other.failed {
            *self.failed.entry(class).or_default() += count;
        }
        self.simulated_seconds += other.simulated_seconds;
        self.worker_seconds += other.worker_seconds;
        add_tallies(&mut self.operations, &other.operations);
        self.faults += other.faults;
        self.events += other.events;
        self.fingerprints = self.fingerprints.wrapping_add(other.fingerprints);
        self.peak_kilobytes = self.peak_kilobytes.max(other.peak_kilobytes);
        self.cover(&other.probes, &other.buggify);
        add_measures(&mut self.diversity, &other.diversity);
        self.failures.extend(other.failures);
        self.failures.sort_by_key(|failure| failure.seed);
    }

    fn cover(&mut self, probes: &BTreeMap<String, u64>, points: &BTreeMap<String, Fires>) {
        let mut coverage = self.coverage();
        coverage.add(probes, points);
        (self.probes, self.buggify) = (coverage.probes, coverage.points);
    }

    fn add_seeds(&mut self, first: u64, last: u64) {
        self.seeds.push((first, last));
        self.seeds.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.seeds.len());
        for (first, last) in self.seeds.drain(..) {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        self.seeds = joined;
    }

    pub fn runs(&self) -> u64 {
        self.ok + self.failed.values().sum::<u64>()
    }

    /// Operations of all clients, whatever came of them.
    pub fn operation_count(&self) -> u64 {
        self.operations.values().map(|tally| tally.total()).sum()
    }

    pub fn coverage(&self) -> Coverage {
        Coverage { probes: self.probes.clone(), points: self.buggify.clone() }
    }

    /// `132 runs (3.2/s): 132 ok, 0 failed; 41.3 min simulated, 532 faults, 12345 operations`
    pub fn line(&self, elapsed: Duration) -> String {
        let rate = self.runs() as f64 / elapsed.as_secs_f64().max(0.001);
        format!(
            "{} runs ({rate:.1}/s): {} ok, {} failed; {:.1} min simulated, {} faults, {} operations",
            self.runs(),
            self.ok,
            self.failed.values().sum::<u64>(),
            self.simulated_seconds / 60.0,
            self.faults,
            self.operation_count()
        )
    }

    /// What a reader wants to know in the end, a few lines.
    pub fn text(&self, elapsed: Duration) -> String {
        let mut text = format!("{}\n", self.line(elapsed));
        for (verb, tally) in &self.operations {
            let _ = writeln!(text, "  {verb}: {tally}");
        }
        let mean = self.worker_seconds / self.runs().max(1) as f64;
        let _ = writeln!(
            text,
            "  a run: {mean:.2} s, {:.1} s simulated, {} events, at most {} MB",
            self.simulated_seconds / self.runs().max(1) as f64,
            self.events / self.runs().max(1),
            self.peak_kilobytes / 1024
        );
        if !self.diversity.is_empty() {
            let _ = writeln!(text, "  diversity: {}", diversity::text(&self.diversity));
        }
        text.push_str(&self.coverage().never_reached());
        text
    }

    /// JUnit's XML, for runners that show test results: a case for every failing seed, and one for all others.
    pub fn junit(&self) -> String {
        let failed: u64 = self.failed.values().sum();
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"swarm {}\" tests=\"{}\" failures=\"{failed}\" time=\"{:.3}\">\n",
            escaped(&self.mix),
            self.runs(),
            self.worker_seconds
        );
        let _ = writeln!(text, "  <testcase classname=\"swarm\" name=\"{} seeds without a failure\"/>", self.ok);
        for failure in &self.failures {
            let _ = writeln!(
                text,
                "  <testcase classname=\"swarm\" name=\"seed {}\"><failure type=\"{}\" message=\"{}\">{}</failure></testcase>",
                failure.seed,
                escaped(&failure.class),
                escaped(&failure.violation),
                escaped(&failure.reason)
            );
        }
        text.push_str("</testsuite>\n");
        text
    }
}

fn add_measures(sum: &mut Measures, more: &Measures) {
    for (name, number) in more {
        *sum.entry(name.clone()).or_default() += number;
    }
}

fn add_tallies(sum: &mut Tallies, more: &Tallies) {
    for (verb, tally) in more {
        sum.entry(verb.clone()).or_default().add(tally);
    }
}

/// XML's five characters, and none of those that it forbids.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && !"\n\t\r".contains(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Runs the swarm. `told` hears of every run, in the order in which they end; `stop` ends it once the runs under way are
/// through.
#[expect(clippy::disallowed_methods, reason = "threads that ask workers for simulations, and the real time they take")]
pub fn run(
    order: Order,
    workers: &Workers,
    stop: &AtomicBool,
    told: &(dyn Fn(&Summary, Option<&FailedRun>) + Sync),
) -> Summary {
    let started = std::time::Instant::now();
    let summary = Mutex::new(Summary { mix: order.mix.file.clone(), ..Summary::default() });
    let others = order.twice.then(|| workers.another());
    let seeds = Mutex::new(order.seeds);
    let enough = AtomicBool::new(false);
    let next = || {
        let over = order.time.is_some_and(|time| started.elapsed() >= time);
        if over || enough.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed) {
            return None;
        }
        seeds.lock().expect("no run panics under this lock").next()
    };
    std::thread::scope(|scope| {
        for _ in 0..order.jobs {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    let (report, text) = one(order.mix, seed, &order.sabotage, others.as_ref(), workers);
                    let failure = failed_run(&report, text);
                    let mut summary = summary.lock().expect("no run panics under this lock");
                    summary.count(seed, &report);
                    summary.failures.extend(failure.clone());
                    told(&summary, failure.as_ref());
                    if failure.is_some() && order.until_failure {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("no run panics under this lock");
    summary.failures.sort_by_key(|failure| failure.seed);
    summary
}

/// The run of one seed, and the scenario that it is. With `others` it is made once more there: other processes have their
/// memory elsewhere, and keys of their own for the hash maps of libraries.
pub fn one(mix: &Mix, seed: u64, sabotage: &[String], others: Option<&Workers>, workers: &Workers) -> (Report, String) {
    let file = format!("swarm seed {seed}");
    let failed = |message: String| Report::failed_early(&file, seed, Failure::new(Class::Panic, message));
    let text = match Plan::from_seed(seed, mix) {
        Ok(plan) => plan.text(),
        Err(why) => return (failed(why), String::new()),
    };
    let request = Request::new(&file, &text, seed, sabotage);
    let mut report = workers.run(&request).unwrap_or_else(failed);
    if let Some(others) = others.filter(|_| !report.failed()) {
        let again = others.run(&request).unwrap_or_else(failed);
        if again.fingerprint != report.fingerprint {
            let fingerprint = |report: &Report| report.fingerprint.clone().unwrap_or_default();
            report.verdict = "failed".to_string();
            report.class = Some(NOT_DETERMINISTIC.to_string());
            report.reason = Some(format!("fingerprints {} and {}", fingerprint(&report), fingerprint(&again)));
        }
    }
    (report, text)
}

fn failed_run(report: &Report, scenario: String) -> Option<FailedRun> {
    Some(FailedRun {
        seed: report.seed,
        class: report.class.clone()?,
        violation: report.violation()?,
        reason: report.reason.clone().unwrap_or_default(),
        fingerprint: report.fingerprint.clone(),
        scenario,
        shrunk: None,
    })
}

/// The seeds of part `part` (from 1) of `parts` of a range.
pub fn shard(seeds: RangeInclusive<u64>, part: u64, parts: u64) -> impl Iterator<Item = u64> + Send {
    let first = *seeds.start();
    seeds.filter(move |seed| (seed - first) % parts == part - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(seeds: &[u64], failing: &[u64]) -> Summary {
        let mut summary = Summary { mix: "m".into(), ..Summary::default() };
        for seed in seeds {
            let failed = failing.contains(seed);
            let mut report = Report::failed_early("x", *seed, Failure::new(Class::Safety, "lost <row>"));
            report.wall_seconds = 0.5;
            report.class = failed.then(|| "safety".to_string());
            report.probes = [("txn.decided".to_string(), 2)].into();
            summary.count(*seed, &report);
            if failed {
                summary.failures.extend(failed_run(&report, String::new()));
            }
        }
        summary
    }

    #[test]
    fn shards_are_disjoint_and_complete() {
        let mut all: Vec<u64> = (1..=3).flat_map(|part| shard(10..=30, part, 3)).collect();
        all.sort_unstable();
        assert_eq!(all, (10..=30).collect::<Vec<_>>());
    }

    #[test]
    fn parts_of_a_sweep_add_up_to_the_whole() {
        let whole = summary(&[1, 2, 3, 4, 5, 6], &[2, 5]);
        let mut joined = Summary::default();
        joined.add(summary(&[2, 4, 6], &[2]));
        joined.add(summary(&[1, 3, 5], &[5]));
        assert_eq!(serde_json::to_value(&joined).unwrap(), serde_json::to_value(&whole).unwrap());
        assert_eq!((joined.runs(), joined.ok, joined.seeds), (6, 4, vec![(1, 6)]));
        assert!(!whole.coverage().probes_never_reached().contains(&"txn.decided"));
    }

    #[test]
    fn junit_names_the_failing_seeds_and_escapes() {
        let text = summary(&[7], &[7]).junit();
        assert!(text.contains("tests=\"1\" failures=\"1\""), "{text}");
        assert!(
            text.contains("name=\"seed 7\"><failure type=\"safety\"") && text.contains("lost &lt;row&gt;"),
            "{text}"
        );
    }
}
