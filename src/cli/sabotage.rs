//! `hypertile sabotage`: plants every bug there is, and says which judges find it, and how soon.

use super::run::{say, workers, write};
use super::swarm::{STOP, read_mix, stop_at_interrupt};
use super::{Exit, Failure};
use crate::sabotage::{ALL, Bug};
use crate::trial::matrix::{self, Order, Row, Try, kept};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only these bugs, separated by commas; without it, all
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// A try gives up after so many seeds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_000), value_name = "N")]
    seeds_max: u64,
    /// So many tries a bug, each from another seed on
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100), value_name = "N")]
    tries: u64,
    /// Tries at the same time; without it, one for each core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    jobs: Option<u16>,
    /// What all runs are drawn from; without it, each bug's own mix
    #[arg(long, value_name = "FILE")]
    mix: Option<PathBuf>,
    /// Also write the matrix as JSON, with the seed of every find
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The golden that the matrix is compared with, unless there is a --mix
    #[arg(long, default_value = kept::FILE, value_name = "FILE")]
    golden: PathBuf,
    /// Take this matrix as the one to expect; with --only, just its rows
    #[arg(long, conflicts_with = "mix")]
    accept: bool,
    /// Run nothing: name all bugs
    #[arg(long)]
    list: bool,
}

pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let bugs = matrix::bugs(&arguments.only).map_err(Failure::usage)?;
    if arguments.list {
        bugs.iter().for_each(|bug| say!("{:<26}{}\n{:<26}{}", bug.name, bug.what, "", bug.places.join(", ")));
        return Ok(Exit::Success);
    }
    let mix = arguments.mix.as_deref().map(|path| read_mix(Some(path))).transpose()?;
    let golden = if mix.is_none() { read(&arguments.golden)? } else { None };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u16);
    let order = Order {
        bugs,
        mix,
        tries: arguments.tries,
        seeds_max: arguments.seeds_max,
        jobs: arguments.jobs.unwrap_or(cores),
    };
    stop_at_interrupt();
    let rows = matrix::run(&order, &workers()?, &STOP, &tell);
    if STOP.load(Ordering::Relaxed) {
        say!("interrupted: this is what was learned so far");
    }
    finish(&arguments, golden.as_deref(), &rows)
}

/// One try as it ends.
fn tell(bug: &Bug, outcome: &Try) {
    let seeds = outcome.runs;
    match &outcome.find {
        Some(find) => {
            say!("{:<26}found by {} after {seeds} seeds, seed {}", bug.name, find.finders.join(", "), find.seed);
        }
        None => say!("{:<26}not found in {seeds} seeds, its code was reached in {}", bug.name, outcome.reached),
    }
}

fn finish(arguments: &Arguments, golden: Option<&str>, rows: &[Row]) -> Result<Exit, Failure> {
    say!("\n{}", matrix::text(rows).trim_end());
    let name = arguments.golden.display();
    let in_golden = |why: String| Failure::input(format!("{name}: {why}"));
    let keep = |path: &Path, text: &str| {
        write(path, text).map_err(|error| Failure::input(format!("cannot write {}: {error}", path.display())))
    };
    if let Some(path) = &arguments.json {
        keep(path, &serde_json::to_string_pretty(rows).expect("rows always serialize"))?;
    }
    if arguments.accept {
        let before = golden.filter(|_| !arguments.only.is_empty()).unwrap_or_default();
        keep(&arguments.golden, &kept::accepted(before, rows).map_err(in_golden)?)?;
    }
    let golden = golden.filter(|_| !arguments.accept);
    let worse = golden.map_or(Ok(vec![]), |golden| kept::differences(golden, rows)).map_err(in_golden)?;
    worse.iter().for_each(|difference| say!("differs from the golden {name}: {difference}"));
    let open: Vec<&str> = rows.iter().filter(|row| row.is_open()).map(|row| row.bug.as_str()).collect();
    say!("{} of {} bugs tried, {} OPEN: {}", rows.len(), ALL.len(), open.len(), open.join(", "));
    Ok(if open.is_empty() && worse.is_empty() { Exit::Success } else { Exit::ScenarioFailed })
}

/// `None` if there is no such file: the program may run anywhere.
#[expect(clippy::disallowed_methods, reason = "reads the file that the user named")]
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::input(format!("cannot read {}: {error}", path.display()))),
    }
}
