//! `hypertile shrink`: from a scenario that fails to a short one that fails in the same way.

use super::input::load_one;
use super::output::{clear_progress, must_be_writable, progress, say, write};
use super::run::{cores, workers};
use super::swarm::{STOP, stop_at_interrupt};
use super::{Exit, Failure};
use crate::sabotage::Sabotage;
use crate::sim::shrink::{Limits, Refusal, Shrunk};
use crate::trial::report;
use crate::trial::shrink::{self, Order};
use crate::units::duration;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The scenario that fails
    file: PathBuf,
    /// The seed with which it fails; without it, the scenario's own, or 1
    #[arg(long)]
    seed: Option<u64>,
    /// Runs at the same time; without it, one for each core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Runs in all, at most
    #[arg(long, default_value_t = Limits::default().tries)]
    tries: usize,
    /// Time in all, at most, as 10m
    #[arg(long, value_parser = duration, default_value = "10m", value_name = "TIME")]
    time: Duration,
    /// The planted bug with which it fails (may be repeated)
    #[arg(long, value_name = "NAME")]
    sabotage: Vec<String>,
    /// Where to write the short scenario; without it, beside FILE, as FILE_shrunk.slt
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[expect(clippy::disallowed_methods, reason = "the real time that shrinking takes")]
pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let started = Instant::now();
    Sabotage::from_names(&arguments.sabotage).map_err(Failure::usage)?;
    let (name, scenario) = load_one(&arguments.file)?;
    let seed = arguments.seed.or(scenario.cluster.seed).unwrap_or(1);
    let out = arguments.out.clone().unwrap_or_else(|| beside(&arguments.file));
    must_be_writable([&out])?;
    stop_at_interrupt();
    let workers = workers()?;
    let order = Order {
        workers: &workers,
        jobs: arguments.jobs.unwrap_or_else(cores),
        sabotage: &arguments.sabotage,
        limits: Limits { tries: arguments.tries, ..Limits::default() },
        time: arguments.time,
        stopped: &|| STOP.load(Ordering::Relaxed),
        told: &show,
    };
    let shrunk = match shrink::shrink(&scenario, seed, &order) {
        Ok(shrunk) => shrunk,
        Err(Refusal::Holds) => return Err(Failure::input(format!("{name} with seed {seed}: {}", Refusal::Holds))),
        Err(refusal) => return Err(Failure::input(refusal.to_string())),
    };
    clear_progress();
    keep(&shrunk, &out, &arguments.sabotage)?;
    say!("{}", shrunk.text.trim_end());
    say!("\n{}, {:.0} s{}", line(&shrunk), started.elapsed().as_secs_f64(), ending(&shrunk));
    say!("  shows: {}\n  again: {}", shrunk.violation, again(&shrunk, &out, &arguments.sabotage));
    Ok(Exit::Success)
}

/// Writes the short scenario.
pub fn keep(shrunk: &Shrunk, out: &Path, sabotage: &[String]) -> Result<(), Failure> {
    let text = shrink::file(shrunk, &out.display().to_string(), sabotage);
    write(out, &text)
}

/// The line to paste.
pub fn again(shrunk: &Shrunk, out: &Path, sabotage: &[String]) -> String {
    report::again(&out.display().to_string(), shrunk.seed, sabotage)
}

/// `183 lines -> 9 lines, 212 tries`
pub fn line(shrunk: &Shrunk) -> String {
    format!("{} lines -> {} lines, {} tries", shrunk.lines_before, shrunk.lines_after, shrunk.tries)
}

fn ending(shrunk: &Shrunk) -> &'static str {
    match shrunk.finished {
        true => "",
        false if STOP.load(Ordering::Relaxed) => " (interrupted: this is the best so far)",
        false => " (the tries or the time were over: more of them may find less)",
    }
}

/// `x.slt` becomes `x_shrunk.slt`.
fn beside(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}_shrunk.slt"))
}

pub fn show(shrunk: &Shrunk) {
    progress(&format!("shrinking: {}", line(shrunk)));
}
