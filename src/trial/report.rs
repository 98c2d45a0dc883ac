//! One run of one scenario in one world, and what it prints.

use super::stage::{loopback, postgres, simulated};
use super::subject::Hypertables;
use super::words::Words;
use crate::error::Result;
use crate::sim::history::Tallies;
use crate::sim::scenario::run::{Golden, Played, Verdict, play};
use crate::sim::scenario::{Scenario, WorldKind};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a run needs besides the scenario.
#[derive(Clone, Debug)]
pub struct Setting {
    pub world: WorldKind,
    pub seed: u64,
    /// The hypertile binary: what the processes of real worlds and the workers of simulations run.
    pub program: PathBuf,
    /// Planted bugs, by name: see [`Sabotage`].
    pub sabotage: Sabotage,
}

/// Planted bugs: a judge that does not find them is no judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// Commit decisions are written but not synced.
    pub decision_sync: bool,
}

impl Sabotage {
    /// Errors: an unknown name; says which there are.
    pub fn from_names(names: &[String]) -> std::result::Result<Sabotage, String> {
        let mut sabotage = Sabotage::default();
        for name in names {
            match name.as_str() {
                "decision.sync" => sabotage.decision_sync = true,
                // One line a planted bug, here and in `names`.
                _ => return Err(format!("unknown sabotage \"{name}\", expected: decision.sync")),
            }
        }
        Ok(sabotage)
    }
}

impl Sabotage {
    fn names(self) -> Vec<&'static str> {
        if self.decision_sync { vec!["decision.sync"] } else { vec![] }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub scenario: String,
    pub file: String,
    pub world: String,
    pub seed: u64,
    /// `ok`, `failed` or `skipped`.
    pub verdict: String,
    /// Where and why, if not ok.
    pub reason: Option<String>,
    /// Hash of everything that happened; only a simulation has one.
    pub fingerprint: Option<String>,
    pub simulated_seconds: Option<f64>,
    pub wall_seconds: f64,
    /// Faults that were armed for later, or at a probe which was not reached (often enough), and never struck.
    pub waiting: Vec<String>,
    /// What clients did, by the first word of the operation: what the judges had to look at.
    pub operations: Tallies,
    /// What the scenario's `snapshot` lines saw: name and text.
    pub goldens: Vec<Golden>,
}

impl Report {
    pub fn failed(&self) -> bool {
        self.verdict == "failed"
    }

    /// `ok      seed_document  sim  seed 7  fingerprint 0123456789abcdef  12.3 s simulated  0.41 s`
    pub fn line(&self) -> String {
        let mut line = format!("{:<8}{}  {}  seed {}", self.verdict, self.scenario, self.world, self.seed);
        if let Some(fingerprint) = &self.fingerprint {
            line.push_str(&format!("  fingerprint {fingerprint}"));
        }
        if let Some(seconds) = self.simulated_seconds {
            line.push_str(&format!("  {seconds:.1} s simulated"));
        }
        line.push_str(&format!("  {:.2} s", self.wall_seconds));
        if !self.waiting.is_empty() {
            line.push_str(&format!("  never struck: {}", self.waiting.join(", ")));
        }
        match (&self.reason, self.verdict.as_str()) {
            (Some(why), "skipped") => format!("skipped: {why}  {}  {}  seed {}", self.scenario, self.world, self.seed),
            _ => line,
        }
    }

    /// What to paste to see it again.
    pub fn replay(&self, sabotage: &[String]) -> String {
        let mut line = format!("hypertile run {} --seed {} --world {}", self.file, self.seed, self.world);
        for name in sabotage {
            line.push_str(&format!(" --sabotage {name}"));
        }
        line
    }
}

/// Facts of a simulated run.
#[derive(Clone, Copy, Debug)]
pub struct Simulated {
    pub fingerprint: u64,
    pub duration: Duration,
}

/// Plays a scenario from start to end. `file` is where it came from.
///
/// A simulation is played by a worker process of its own: libraries keep counters that live as long as their process
/// (the client library numbers its prepared statements), and a run must not depend on what ran before it.
pub fn run(scenario: &Scenario, file: &str, setting: &Setting) -> Report {
    let start = wall();
    if !scenario.cluster.worlds.contains(&setting.world) {
        let played = skipped(format!("the scenario is not for {}", setting.world));
        return report(scenario, file, setting, start, played, None);
    }
    match setting.world {
        WorldKind::Sim => {
            let mut report = in_worker(file, setting).unwrap_or_else(|why| {
                report(scenario, file, setting, start, failed(format!("the worker process died: {why}")), None)
            });
            report.wall_seconds = (wall() - start).as_secs_f64();
            report
        }
        WorldKind::Loopback | WorldKind::Postgres => {
            let played = play_for_real(scenario, setting);
            report(scenario, file, setting, start, played, None)
        }
    }
}

/// Simulates in this very process: what a worker does. The first simulation of a process is like any other's first.
pub fn simulate_here(scenario: &Scenario, file: &str, setting: &Setting) -> Report {
    let start = wall();
    let (played, facts) = simulated::run(scenario, setting.seed, setting.sabotage);
    report(scenario, file, setting, start, played, Some(facts))
}

/// Has `hypertile play` simulate the file, and reads its report.
#[expect(clippy::disallowed_methods, reason = "starts the process that the simulation runs in")]
fn in_worker(file: &str, setting: &Setting) -> std::result::Result<Report, String> {
    let mut command = Command::new(&setting.program);
    command.args(["play", file, "--seed", &setting.seed.to_string()]);
    for name in setting.sabotage.names() {
        command.args(["--sabotage", name]);
    }
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = errors.lines().rev().take(10).collect();
        format!("{}: {}", output.status, tail.into_iter().rev().collect::<Vec<_>>().join("\n  "))
    })
}

fn report(
    scenario: &Scenario,
    file: &str,
    setting: &Setting,
    start: std::time::Instant,
    played: Played,
    simulated: Option<Simulated>,
) -> Report {
    let (verdict, reason) = match played.verdict {
        Verdict::Ok => ("ok", None),
        Verdict::Failed { line, message } => ("failed", Some(format!("{file}:{line}: {message}"))),
        Verdict::Skipped { why } => ("skipped", Some(why)),
    };
    Report {
        scenario: scenario.name.clone(),
        file: file.to_string(),
        world: setting.world.to_string(),
        seed: setting.seed,
        verdict: verdict.to_string(),
        reason,
        fingerprint: simulated.map(|s| format!("{:016x}", s.fingerprint)),
        simulated_seconds: simulated.map(|s| s.duration.as_secs_f64()),
        wall_seconds: (wall() - start).as_secs_f64(),
        waiting: played.waiting,
        operations: played.tallies,
        goldens: played.goldens,
    }
}

fn play_for_real(scenario: &Scenario, setting: &Setting) -> Played {
    if setting.world == WorldKind::Loopback {
        return real(async {
            let mut stage = loopback::start(&setting.program, &scenario.cluster, setting.seed).await?;
            Ok(play(scenario, &mut stage, &Words, &mut Hypertables::default()).await)
        });
    }
    let Some(bin) = postgres::installed() else {
        return skipped("no PostgreSQL server is installed here".to_string());
    };
    real(async {
        let settings = ["max_prepared_transactions=64"];
        let mut stage = postgres::start(&setting.program, &bin, &scenario.cluster, setting.seed, &settings).await?;
        Ok(play(scenario, &mut stage, &Words, &mut Hypertables::default()).await)
    })
}

/// Runs a real world's scenario on a runtime of its own.
fn real(work: impl Future<Output = Result<Played>>) -> Played {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|error| failed(format!("the cluster did not start: {error}")))
}

fn failed(message: String) -> Played {
    Played::without_steps(Verdict::Failed { line: 0, message })
}

fn skipped(why: String) -> Played {
    Played::without_steps(Verdict::Skipped { why })
}

/// Wall time of the machine, for reports only.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a run took in the real world is for the reader, no node sees it"
)]
fn wall() -> std::time::Instant {
    std::time::Instant::now()
}
