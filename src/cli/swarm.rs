//! `hypertile swarm`: many simulated runs, each drawn from a seed.

use super::output::{clear_progress, must_be_writable, progress, say, write};
use super::run::{cores, workers};
use super::{Exit, Failure, input, shrink};
use crate::sabotage::Sabotage;
use crate::sim::shrink::Limits;
use crate::trial::plan::Plan;
use crate::trial::report;
use crate::trial::shrink as shrinking;
use crate::trial::swarm::{self, FailedRun, NOT_DETERMINISTIC, Order, Summary};
use crate::trial::words;
use crate::trial::worker::Workers;
use crate::units::duration;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// What runs are drawn from; without it, the mix that this program was built with
    #[arg(long, value_name = "FILE")]
    mix: Option<PathBuf>,
    /// A range of seeds, FIRST..LAST; without it and without --time, 1..100
    #[arg(long, value_parser = input::seed_range, value_name = "FIRST..LAST")]
    seeds: Option<(u64, u64)>,
    /// No new runs after so long, as 10m
    #[arg(long, value_parser = duration, value_name = "TIME")]
    time: Option<Duration>,
    /// Runs at the same time; without it, one for each core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// No new runs after the first that fails
    #[arg(long)]
    until_failure: bool,
    /// Part K of N of the seeds, so that a sweep can be spread over machines
    #[arg(long, value_parser = shard, value_name = "K/N")]
    shard: Option<(u64, u64)>,
    /// Every run twice, the second time in another process, to see that it is the same
    #[arg(long)]
    twice: bool,
    /// Write the summary as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the summary as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Where to write the scenarios of failing seeds
    #[arg(long, default_value = "swarm-failures", value_name = "FOLDER")]
    failures: PathBuf,
    /// Do not look for shorter scenarios that fail in the same way
    #[arg(long)]
    no_shrink: bool,
    /// Plant a bug, to see that the checkers find it (may be repeated); `hypertile sabotage --list` names all
    #[arg(long, value_name = "NAME")]
    sabotage: Vec<String>,
    /// Print how often each named point of the code was reached
    #[arg(long)]
    coverage: bool,
    /// Run nothing: join the JSON summaries of the parts of a sweep
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with_all = ["mix", "seeds", "time", "shard"])]
    merge: Vec<PathBuf>,
    /// Run nothing: print the scenario of a seed
    #[arg(long, value_name = "SEED")]
    show: Option<u64>,
}

/// The user has asked for the end.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

#[expect(clippy::disallowed_methods, reason = "the real time that a sweep takes")]
pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let started = Instant::now();
    must_be_writable([&arguments.json, &arguments.junit].into_iter().flatten())?;
    if !arguments.merge.is_empty() {
        return finish(&arguments, &merged(&arguments.merge)?, Duration::ZERO);
    }
    Sabotage::from_names(&arguments.sabotage).map_err(Failure::usage)?;
    let mix = input::mix(arguments.mix.as_deref())?;
    if let Some(seed) = arguments.show {
        let plan = Plan::from_seed(seed, &mix).map_err(Failure::input)?;
        say!("{}", plan.text().trim_end());
        return Ok(Exit::Success);
    }
    let everything = if arguments.time.is_some() { (1, u64::MAX) } else { (1, 100) };
    let (first, last) = arguments.seeds.unwrap_or(everything);
    let (part, parts) = arguments.shard.unwrap_or((1, 1));
    let order = Order {
        mix: &mix,
        seeds: Box::new(swarm::shard(first..=last, part, parts)),
        jobs: arguments.jobs.unwrap_or_else(cores),
        until_failure: arguments.until_failure,
        time: arguments.time,
        twice: arguments.twice,
        sabotage: arguments.sabotage.clone(),
    };
    stop_at_interrupt();
    let shown = Progress::new(started);
    let told = |summary: &Summary, failure: Option<&FailedRun>| {
        if let Some(failure) = failure {
            clear_progress();
            tell(&arguments, failure);
        }
        shown.show(summary);
    };
    let workers = workers()?;
    let mut summary = swarm::run(order, &workers, &STOP, &told);
    clear_progress();
    if !arguments.no_shrink {
        shrink_failures(&arguments, &mut summary, &workers);
    }
    if STOP.load(Ordering::Relaxed) {
        say!("interrupted: this is what was learned so far");
    }
    finish(&arguments, &summary, started.elapsed())
}

/// Says what failed, and keeps its scenario.
#[expect(clippy::disallowed_methods, reason = "makes the folder that the user named")]
fn tell(arguments: &Arguments, failure: &FailedRun) {
    say!("failed  seed {}  {}\n  {}", failure.seed, failure.violation, failure.reason);
    let path = arguments.failures.join(format!("swarm_{}.slt", failure.seed));
    let made = std::fs::create_dir_all(&arguments.failures);
    let kept = made.map_err(|error| Failure::input(error.to_string())).and_then(|()| write(&path, &failure.scenario));
    let file = path.display().to_string();
    match kept {
        Ok(()) => say!("  again: {}", report::again(&file, failure.seed, &arguments.sabotage)),
        Err(Failure(why)) => say!("  its scenario could not be kept as {file}: {why}"),
    }
}

/// Of each violation the first seed is shrunk, once all seeds have been run: others with the same one have most likely the
/// same cause.
fn shrink_failures(arguments: &Arguments, summary: &mut Summary, workers: &Workers) {
    let mut violations = BTreeSet::new();
    for failure in &mut summary.failures {
        let told = violations.len() >= SHRUNK_MAX || STOP.load(Ordering::Relaxed);
        if told || failure.class == NOT_DETERMINISTIC || !violations.insert(failure.violation.clone()) {
            continue;
        }
        let order = shrinking::Order {
            workers,
            jobs: arguments.jobs.unwrap_or_else(cores),
            sabotage: &arguments.sabotage,
            limits: SHRINK_LIMITS,
            time: SHRINK_TIME,
            stopped: &|| STOP.load(Ordering::Relaxed),
            told: &shrink::show,
        };
        let Ok(scenario) = words::parse("swarm", &failure.scenario) else { continue };
        let Ok(shrunk) = shrinking::shrink(&scenario, failure.seed, &order) else { continue };
        clear_progress();
        let path = arguments.failures.join(format!("swarm_{}_shrunk.slt", failure.seed));
        say!("shrunk  seed {}  {}  {}", failure.seed, failure.violation, shrink::line(&shrunk));
        match shrink::keep(&shrunk, &path, &arguments.sabotage) {
            Ok(()) => say!("  again: {}", shrink::again(&shrunk, &path, &arguments.sabotage)),
            Err(Failure(message)) => say!("  {message}"),
        }
        failure.shrunk = Some(shrunk.text);
    }
}

/// So many violations are shrunk after a sweep, each for so long.
const SHRUNK_MAX: usize = 5;
const SHRINK_LIMITS: Limits = Limits { tries: 300, other_seeds: 2 };
const SHRINK_TIME: Duration = Duration::from_secs(120);

fn finish(arguments: &Arguments, summary: &Summary, elapsed: Duration) -> Result<Exit, Failure> {
    say!("{}", summary.text(elapsed).trim_end());
    if arguments.coverage {
        say!("{}", summary.coverage().text().trim_end());
    }
    let keep = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(path) => write(path, &text()),
        None => Ok(()),
    };
    keep(&arguments.json, &|| serde_json::to_string_pretty(summary).expect("summaries always serialize"))?;
    keep(&arguments.junit, &|| summary.junit())?;
    Ok(exit(summary))
}

/// The worst of what happened.
fn exit(summary: &Summary) -> Exit {
    let has = |class: &str| summary.failed.contains_key(class);
    match () {
        () if has(NOT_DETERMINISTIC) => Exit::NotDeterministic,
        () if has("safety") || has("expectation") => Exit::ScenarioFailed,
        () if has("panic") => Exit::Panicked,
        () if has("liveness") => Exit::NotLive,
        () => Exit::Success,
    }
}

fn merged(paths: &[PathBuf]) -> Result<Summary, Failure> {
    let mut sum = Summary::default();
    for path in paths {
        sum.add(serde_json::from_str(&input::read(path)?).map_err(|error| input::unreadable(path, &error))?);
    }
    Ok(sum)
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let form = || format!("bad shard \"{text}\", expected K/N with K from 1 to N, as 2/5");
    let (part, parts) = text.split_once('/').ok_or_else(form)?;
    let (part, parts): (u64, u64) = (part.parse().map_err(|_| form())?, parts.parse().map_err(|_| form())?);
    if (1..=parts).contains(&part) { Ok((part, parts)) } else { Err(form()) }
}

/// Ctrl-C lets the runs under way come to their end; a second one ends at once.
pub(super) fn stop_at_interrupt() {
    extern "C" fn interrupted(_: libc::c_int) {
        if STOP.swap(true, Ordering::Relaxed) {
            // SAFETY: may be called in a signal handler, unlike `exit`.
            unsafe { libc::_exit(130) };
        }
    }
    let handler = interrupted as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing that a signal handler must not do.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
}

/// On a terminal the line of progress is written often, elsewhere now and then.
struct Progress {
    started: Instant,
    last: Mutex<Instant>,
    every: Duration,
}

#[expect(clippy::disallowed_methods, reason = "the real time that a sweep takes")]
impl Progress {
    fn new(started: Instant) -> Progress {
        let every = if std::io::stderr().is_terminal() { Duration::from_millis(200) } else { Duration::from_secs(30) };
        Progress { started, last: Mutex::new(started), every }
    }

    fn show(&self, summary: &Summary) {
        let mut last = self.last.lock().expect("nobody panics under this lock");
        if last.elapsed() >= self.every {
            *last = Instant::now();
            progress(&summary.line(self.started.elapsed()));
        }
    }
}
