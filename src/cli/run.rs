//! `hypertile run`: plays scenario files.

use super::input::load;
use super::output::{must_be_writable, say, terminal_width, write};
use super::{Exit, Failure, input, why};
use crate::sabotage::Sabotage;
use crate::sim::scenario::{Scenario, WorldKind};
use crate::trial::coverage::Coverage;
use crate::trial::golden;
use crate::trial::report::{self, Report, Setting};
use crate::trial::worker::{View, Workers};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Mutex;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Scenario files, or folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The seed of the run; without it, the scenario's own, or 1
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many runs: a range of seeds, FIRST..LAST
    #[arg(long, value_parser = input::seed_range, value_name = "FIRST..LAST")]
    seeds: Option<(u64, u64)>,
    /// Where to play: sim, loopback or postgres
    #[arg(long, default_value = "sim")]
    world: WorldKind,
    /// Run everything twice, the second time in other processes and in the opposite order, and compare fingerprints (sim only)
    #[arg(long)]
    twice: bool,
    /// Runs at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Also write the reports as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Plant a bug, to see that the checkers find it (may be repeated); `hypertile sabotage --list` names all
    #[arg(long, value_name = "NAME")]
    sabotage: Vec<String>,
    /// Print how often each named point of the code was reached (sim only)
    #[arg(long)]
    coverage: bool,
    /// Write a page for a browser that shows the run (sim only, one scenario and one seed)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print what happened as a timeline (sim only, one scenario and one seed)
    #[arg(long)]
    timeline: bool,
    /// Write every event, one a line, for comparing two runs (sim only, one scenario and one seed)
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// If it fails, find out when that became inevitable (sim only, one scenario and one seed); with --report FILE.html
    /// the curve goes to FILE.why.svg. The number is that of continuations from each moment
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "6",
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    why: Option<u32>,
    /// Take the goldens of this run as the ones to expect
    #[arg(long)]
    accept: bool,
}

/// One run to make.
struct Job<'a> {
    scenario: &'a Scenario,
    file: &'a str,
    seed: u64,
}

pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let sabotage = Sabotage::from_names(&arguments.sabotage).map_err(Failure::usage)?;
    let sim_only = arguments.twice || arguments.coverage || !arguments.sabotage.is_empty();
    if arguments.world != WorldKind::Sim && sim_only {
        return Err(Failure::usage("--twice, --coverage and --sabotage need --world sim"));
    }
    let view = View {
        // Workers share this process's folder.
        page: arguments.report.clone(),
        timeline: arguments.timeline.then(terminal_width),
        events: arguments.events.clone(),
        surroundings: None,
    };
    let single = !view.is_empty() || arguments.why.is_some();
    if single && (arguments.world != WorldKind::Sim || arguments.seeds.is_some()) {
        return Err(Failure::usage("--report, --timeline, --events and --why need --world sim and one seed"));
    }
    must_be_writable([&arguments.json, &arguments.report, &arguments.events].into_iter().flatten())?;
    let workers = workers()?;
    // Twice means: in other processes, and after other runs.
    let others = workers.another();
    let scenarios = load(&arguments.paths)?;
    let mut jobs = Vec::new();
    for (file, scenario) in &scenarios {
        for seed in seeds(&arguments, scenario) {
            jobs.push(Job { scenario, file, seed });
        }
    }
    if single && jobs.len() > 1 {
        return Err(Failure::usage("--report, --timeline, --events and --why need one scenario"));
    }
    let run_one = |job: &Job, round: Round| {
        let workers = if round == Round::First { &workers } else { &others };
        let setting = Setting {
            world: arguments.world,
            seed: job.seed,
            workers: workers.clone(),
            sabotage: sabotage.clone(),
            view: view.clone(),
        };
        let mut report = report::run(job.scenario, job.file, &setting);
        if round == Round::First {
            golden::judge(&mut report, arguments.accept);
        }
        report
    };
    let outcome = run_all(&jobs, &arguments, &run_one);
    if let (Some(continuations), Some(report), Some((_, scenario))) =
        (arguments.why, outcome.reports.first(), scenarios.first())
    {
        let asker =
            why::Asker { sabotage: &arguments.sabotage, workers: &workers, jobs: arguments.jobs, continuations };
        asker.tell(scenario, report, arguments.report.as_deref())?;
    }
    finish(&arguments, outcome)
}

/// Processes of this very program.
pub fn workers() -> Result<Workers, Failure> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::input(format!("cannot find this program: {error}")))?;
    Ok(Workers::new(&program))
}

/// So many runs at the same time as there are processors.
pub fn cores() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u16)
}

/// With `--twice` everything is run a second time, from the last to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    First,
    Second,
}

/// What all runs came to.
#[derive(Default)]
struct Outcome {
    /// Of the first round.
    reports: Vec<Report>,
    /// By the number of the job, until its other run is through.
    fingerprints: BTreeMap<usize, Option<String>>,
    differing: usize,
}

#[expect(clippy::disallowed_methods, reason = "threads that start the processes of simulations and wait for them")]
fn run_all(jobs: &[Job], arguments: &Arguments, run_one: &(dyn Fn(&Job, Round) -> Report + Sync)) -> Outcome {
    let first = (0..jobs.len()).map(|number| (number, Round::First));
    let second = (0..jobs.len()).rev().filter(|_| arguments.twice).map(|number| (number, Round::Second));
    let queue: Mutex<VecDeque<(usize, Round)>> = Mutex::new(first.chain(second).collect());
    let outcome = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no run panics under this lock").pop_front();
                    let Some((number, round)) = next else { break };
                    let report = run_one(&jobs[number], round);
                    let mut outcome = outcome.lock().expect("no run panics under this lock");
                    if arguments.twice {
                        outcome.compare(number, &report);
                    }
                    if round == Round::First {
                        tell(&report, &arguments.sabotage);
                        outcome.reports.push(report);
                    }
                }
            });
        }
    });
    outcome.into_inner().expect("no run panics under this lock")
}

impl Outcome {
    /// Remembers the run's fingerprint, or compares it with that of the job's other run.
    fn compare(&mut self, number: usize, report: &Report) {
        let own = report.fingerprint.clone();
        let Some(other) = self.fingerprints.remove(&number) else {
            self.fingerprints.insert(number, own);
            return;
        };
        if other != own {
            let (other, own) = (other.unwrap_or_default(), own.unwrap_or_default());
            let (name, seed) = (&report.scenario, report.seed);
            say!("not deterministic: {name}, seed {seed}, has the fingerprints {other} and {own}");
            self.differing += 1;
        }
    }
}

fn tell(report: &Report, sabotage: &[String]) {
    if let Some(timeline) = &report.timeline {
        say!("{}", timeline.trim_end());
    }
    say!("{}", report.line());
    if report.failed() {
        say!("  {}", report.reason.as_deref().unwrap_or("no reason"));
        say!("  again: {}", report.replay(sabotage));
    }
}

fn finish(arguments: &Arguments, outcome: Outcome) -> Result<Exit, Failure> {
    let count = |verdict: &str| outcome.reports.iter().filter(|report| report.verdict == verdict).count();
    let (ok, failed, skipped) = (count("ok"), count("failed"), count("skipped"));
    let twice = if arguments.twice { format!(", {} not deterministic", outcome.differing) } else { String::new() };
    say!("{} runs: {ok} ok, {failed} failed, {skipped} skipped{twice}", outcome.reports.len());
    if arguments.coverage {
        let mut coverage = Coverage::default();
        outcome.reports.iter().for_each(|report| coverage.add(&report.probes, &report.buggify));
        say!("{}", coverage.text().trim_end());
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&outcome.reports).expect("reports always serialize");
        write(path, &text)?;
    }
    let has = |class: &str| outcome.reports.iter().any(|report| report.class.as_deref() == Some(class));
    Ok(match outcome.differing {
        0 if failed == 0 => Exit::Success,
        0 if has("expectation") || has("safety") => Exit::ScenarioFailed,
        0 if has("panic") => Exit::Panicked,
        0 => Exit::NotLive,
        _ => Exit::NotDeterministic,
    })
}

fn seeds(arguments: &Arguments, scenario: &Scenario) -> RangeInclusive<u64> {
    match arguments.seeds {
        Some((first, last)) => first..=last,
        None => {
            let seed = arguments.seed.or(scenario.cluster.seed).unwrap_or(1);
            seed..=seed
        }
    }
}
