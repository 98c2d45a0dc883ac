//! `hypertile sabotage`: plants every bug there is, and says which judges find it, and how soon.

use super::output::{must_be_writable, say, write};
use super::run::{cores, workers};
use super::swarm::{STOP, stop_at_interrupt};
use super::{Exit, Failure, input};
use crate::sabotage::{ALL, Bug};
use crate::trial::matrix::{self, Order, Row, Try, kept};
use std::path::PathBuf;
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
    must_be_writable(&arguments.json)?;
    let mix = arguments.mix.as_deref().map(|path| input::mix(Some(path))).transpose()?;
    // The program may run anywhere: there need not be such a file.
    let golden = if mix.is_none() { input::read_if_there(&arguments.golden)? } else { None };
    let order = Order {
        bugs,
        mix,
        tries: arguments.tries,
        seeds_max: arguments.seeds_max,
        jobs: arguments.jobs.unwrap_or_else(cores),
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
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(rows).expect("rows always serialize"))?;
    }
    if arguments.accept {
        let before = golden.filter(|_| !arguments.only.is_empty()).unwrap_or_default();
        write(&arguments.golden, &kept::accepted(before, rows).map_err(in_golden)?)?;
    }
    let golden = golden.filter(|_| !arguments.accept);
    let worse = golden.map_or(Ok(vec![]), |golden| kept::differences(golden, rows)).map_err(in_golden)?;
    worse.iter().for_each(|difference| say!("differs from the golden {name}: {difference}"));
    let open: Vec<&str> = rows.iter().filter(|row| row.is_open()).map(|row| row.bug.as_str()).collect();
    say!("{} of {} bugs tried, {} OPEN: {}", rows.len(), ALL.len(), open.len(), open.join(", "));
    Ok(if open.is_empty() && worse.is_empty() { Exit::Success } else { Exit::ScenarioFailed })
}
