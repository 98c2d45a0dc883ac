//! A worked example for those who build another distributed system and want to test it in the simulator: a small log
//! service ([`service`]), what the simulator must know of it ([`trial`]), its judges ([`checker`]), and a story
//! (`power_cuts.slt`). `docs/simulate_your_own.md` walks through it.
//!
//! ```text
//! cargo run --example replicated_log                          # 50 seeds of the story
//! cargo run --example replicated_log -- --seeds 1..50 --bug   # a planted bug: the judges find it
//! cargo run --example replicated_log -- --seed 1 --bug --timeline   # what happened in one of them
//! cargo run --example replicated_log -- --seed 1 --bug --shrink     # a shorter story that fails in the same way
//! ```

mod checker;
mod service;
mod trial;

use clap::Parser;
use hypertile::sim::picture::{KEEP_EVENTS, Options, Picture, timeline};
use hypertile::sim::scenario::machines::Simulated;
use hypertile::sim::scenario::run::{Played, Verdict};
use hypertile::sim::scenario::{self, Scenario};
use hypertile::sim::shrink::{self, Limits};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const STORY: (&str, &str) = ("examples/replicated_log/power_cuts.slt", include_str!("power_cuts.slt"));

#[derive(Parser)]
struct Arguments {
    /// Another story than power_cuts.slt
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// FIRST..LAST
    #[arg(long, default_value = "1..50", value_parser = seeds)]
    seeds: (u64, u64),
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Answer before the sync
    #[arg(long)]
    bug: bool,
    /// Print what happened (one seed)
    #[arg(long, requires = "seed")]
    timeline: bool,
    /// Look for a shorter story that fails in the same way, and print it (one seed)
    #[arg(long, requires = "seed")]
    shrink: bool,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").ok_or("expected FIRST..LAST, as 1..50")?;
    let number = |text: &str| text.parse().map_err(|_| format!("bad seed \"{text}\", expected a number"));
    Ok((number(first)?, number(last)?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scenario = match read(&arguments) {
        Ok(scenario) => scenario,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let (first, last) = arguments.seed.map_or(arguments.seeds, |seed| (seed, seed));
    let mut failed = 0;
    for seed in first..=last {
        let keep = if arguments.timeline { KEEP_EVENTS } else { 100 };
        let (played, facts) = trial::run(&scenario, seed, arguments.bug, keep);
        if arguments.timeline {
            say(&picture(&scenario, seed, &played, &facts));
        }
        failed += u32::from(played.verdict != Verdict::Ok);
        say(&told(&arguments, seed, &played, &facts));
        if arguments.shrink && played.verdict != Verdict::Ok {
            say(&shrunk(&scenario, seed, arguments.bug));
        }
    }
    say(&format!("{} runs, {failed} failed", last + 1 - first));
    ExitCode::from(u8::from(failed > 0))
}

#[expect(clippy::disallowed_methods, reason = "reads the file that the user named; no node's code is here")]
fn read(arguments: &Arguments) -> Result<Scenario, String> {
    let (file, text) = match &arguments.scenario {
        None => (STORY.0.to_string(), STORY.1.to_string()),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            (path.display().to_string(), text.map_err(|error| format!("cannot read {}: {error}", path.display()))?)
        }
    };
    scenario::parse(&file, &text, &trial::Words).map_err(|error| error.to_string())
}

/// The verdict of one run; of one that failed also why, and what to paste to see it again.
fn told(arguments: &Arguments, seed: u64, played: &Played, facts: &Simulated) -> String {
    let verdict = if played.verdict == Verdict::Ok { "ok" } else { "failed" };
    let (simulated, fingerprint) = (facts.duration.as_secs_f64(), facts.fingerprint);
    let mut text = format!("{verdict:<8}seed {seed}  fingerprint {fingerprint:016x}  {simulated:.1} s simulated");
    text.push_str(&format!("  {} faults", facts.faults));
    for (verb, tally) in &played.tallies {
        text.push_str(&format!("  {verb}: {tally}"));
    }
    if let Verdict::Failed { line, failure } = &played.verdict {
        let file = arguments.scenario.as_ref().map_or(STORY.0.to_string(), |path| path.display().to_string());
        let scenario = arguments.scenario.as_ref().map_or(String::new(), |_| format!(" --scenario {file}"));
        let bug = if arguments.bug { " --bug" } else { "" };
        text.push_str(&format!("\n  {file}:{line}: {}", failure.message));
        text.push_str(&format!(
            "\n  again: cargo run --example replicated_log --{scenario} --seed {seed}{bug} --timeline"
        ));
    }
    text
}

/// A short story that fails as this one does, and what to paste once it has been saved.
fn shrunk(scenario: &Scenario, seed: u64, bug: bool) -> String {
    match shrink::shrink(scenario, seed, &trial::Words, &trial::Runs { bug }, Limits::default()) {
        Ok(shrunk) => format!(
            "\n# Shows: {}. Shrunk from {} lines to {} in {} tries. Again:\n\
             #   cargo run --example replicated_log -- --scenario short.slt --seed {}{}\n{}",
            shrunk.violation,
            shrunk.lines_before,
            shrunk.lines_after,
            shrunk.tries,
            shrunk.seed,
            if bug { " --bug" } else { "" },
            shrunk.text
        ),
        Err(refusal) => refusal.to_string(),
    }
}

/// Whoever reads may stop reading (`| head`): the exit code tells all the same.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn picture(scenario: &Scenario, seed: u64, played: &Played, facts: &Simulated) -> String {
    let picture = Picture {
        title: scenario.name.clone(),
        seed,
        fingerprint: facts.fingerprint,
        verdict: if played.verdict == Verdict::Ok { "ok" } else { "failed" }.to_string(),
        simulated: facts.duration,
        events: facts.events,
        moments: facts.moments.clone(),
        lanes: vec!["client".to_string(), service::PRIMARY.to_string()],
        ..Picture::default()
    };
    timeline(&picture, &Options { width: 160, ..Options::default() })
}
