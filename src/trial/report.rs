//! One run of one scenario in one world, and what it prints.

use super::stage::{ACCESS_NODE, loopback, postgres, simulated};
use super::subject::Hypertables;
use super::tracks;
use super::why::Surroundings;
use super::words::Words;
use super::worker::{Request, View, Workers};
use crate::error::Result;
use crate::sabotage::Sabotage;
use crate::sim::WorldConfig;
use crate::sim::history::{Measures, Tallies};
use crate::sim::picture::{KEEP_EVENTS, Options, Picture, page, timeline};
use crate::sim::scenario::machines::Simulated;
use crate::sim::scenario::run::{Class, Failure, Golden, Played, Verdict, play};
use crate::sim::scenario::{self, Scenario, WorldKind};
use crate::sim::world::Fires;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What a run needs besides the scenario.
#[derive(Clone, Debug)]
pub struct Setting {
    pub world: WorldKind,
    pub seed: u64,
    /// Who simulates; they know the hypertile binary, which the processes of real worlds run too.
    pub workers: Workers,
    /// Planted bugs.
    pub sabotage: Sabotage,
    pub view: View,
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
    /// If it failed: `expectation`, `safety`, `liveness` or `panic`.
    pub class: Option<String>,
    /// The judges that found something.
    pub checkers: Vec<String>,
    /// Hash of everything that happened; only a simulation has one.
    pub fingerprint: Option<String>,
    pub simulated_seconds: Option<f64>,
    pub wall_seconds: f64,
    /// The most memory that the process of the simulation had, its program included.
    pub peak_kilobytes: Option<u64>,
    /// Things that happened, and those among them that were faults (simulation only).
    pub events: u64,
    pub faults: u64,
    /// How often probes were reached (simulation only).
    pub probes: BTreeMap<String, u64>,
    /// Points that may fire, how often they were reached, and how often they fired (simulation only).
    pub buggify: BTreeMap<String, Fires>,
    /// How often the run came to each planted bug.
    pub sabotage: BTreeMap<String, u64>,
    /// Faults that were armed for later, or at a probe which was not reached (often enough), and never struck.
    pub waiting: Vec<String>,
    /// What clients did, by the first word of the operation: what the judges had to look at.
    pub operations: Tallies,
    /// How much of the workload really met: see `trial::diversity`.
    #[serde(default)]
    pub diversity: Measures,
    /// What happened, as text, where that was asked for.
    pub timeline: Option<String>,
    /// What happened within a time, where that was asked for.
    #[serde(default)]
    pub surroundings: Option<Surroundings>,
    /// What the scenario's `snapshot` lines saw: name and text.
    pub goldens: Vec<Golden>,
}

impl Report {
    pub fn failed(&self) -> bool {
        self.verdict == "failed"
    }

    /// A run that ended before there was anything to tell.
    pub fn failed_early(file: &str, seed: u64, failure: Failure) -> Report {
        let played = Played::without_steps(Verdict::Failed { line: 0, failure });
        let name = scenario::name_of(file);
        report(&name, file, WorldKind::Sim, seed, wall(), played, None)
    }

    /// The fingerprint; 0 without one.
    pub fn fingerprint_number(&self) -> u64 {
        self.fingerprint.as_deref().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or_default()
    }

    /// What kind of failure it is, for those who look for the same one: the class and the judges that spoke, the
    /// SQLSTATE where none did, or the first line of a panic with its numbers masked. A table that a scenario made too
    /// short lacks is another failure than a node that does not answer.
    pub fn violation(&self) -> Option<String> {
        let class = self.class.as_deref()?;
        let reason = self.reason.as_deref().unwrap_or_default();
        Some(match class {
            "panic" => {
                let first = reason.lines().next().unwrap_or_default();
                format!("panic {}", first.chars().filter(|c| !c.is_ascii_digit()).collect::<String>())
            }
            class => {
                let code = sqlstate(reason).filter(|_| self.checkers.is_empty()).map(str::to_string);
                [&[class.to_string()], &self.checkers[..], code.as_slice()].concat().join(" ")
            }
        })
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
        format!("{} --world {}", again(&self.file, self.seed, sabotage), self.world)
    }
}

/// What to paste to see a simulated run again.
pub fn again(file: &str, seed: u64, sabotage: &[String]) -> String {
    let sabotage: String = sabotage.iter().map(|name| format!(" --sabotage {name}")).collect();
    format!("hypertile run {file} --seed {seed}{sabotage}")
}

/// Plays a scenario from start to end. `file` is where it came from.
pub fn run(scenario: &Scenario, file: &str, setting: &Setting) -> Report {
    let (start, world, seed) = (wall(), setting.world, setting.seed);
    if !scenario.cluster.worlds.contains(&world) {
        let played = skipped(format!("the scenario is not for {world}"));
        return report(&scenario.name, file, world, seed, start, played, None);
    }
    if world != WorldKind::Sim && !scenario.buggify.is_empty() {
        let played = skipped("`buggify` is for the simulation".to_string());
        return report(&scenario.name, file, world, seed, start, played, None);
    }
    match world {
        WorldKind::Sim => {
            let sabotage: Vec<String> = setting.sabotage.names().map(str::to_string).collect();
            let request = Request { view: setting.view.clone(), ..Request::new(file, &scenario.text, seed, &sabotage) };
            setting
                .workers
                .run(&request)
                .unwrap_or_else(|why| Report::failed_early(file, seed, Failure::new(Class::Panic, why)))
        }
        WorldKind::Loopback | WorldKind::Postgres => {
            let played = play_for_real(scenario, setting);
            report(&scenario.name, file, world, seed, start, played, None)
        }
    }
}

/// Simulates in this very process, which must not have simulated before: what the fork of a worker does. `scenario` is the
/// request's text, `sabotage` its names.
pub fn simulate_here(scenario: &Scenario, request: &Request, sabotage: Sabotage) -> Report {
    let Request { file, seed, view, turn, .. } = request;
    let (start, seed) = (wall(), *seed);
    let keep = if view.is_empty() { WorldConfig::default().keep_events } else { KEEP_EVENTS };
    let config = WorldConfig { keep_events: keep, turn: *turn, sabotage, ..WorldConfig::default() };
    let (played, facts) = simulated::run(scenario, seed, config);
    let mut report = report(&scenario.name, file, WorldKind::Sim, seed, start, played, Some(&facts));
    if !view.is_empty() {
        draw(&mut report, facts, request);
    }
    report
}

fn report(
    scenario: &str,
    file: &str,
    world: WorldKind,
    seed: u64,
    start: std::time::Instant,
    played: Played,
    simulated: Option<&Simulated>,
) -> Report {
    let (verdict, reason, failure) = match played.verdict {
        Verdict::Ok => ("ok", None, None),
        Verdict::Failed { line, failure } => {
            ("failed", Some(format!("{file}:{line}: {}", failure.message)), Some(failure))
        }
        Verdict::Skipped { why } => ("skipped", Some(why), None),
    };
    Report {
        scenario: scenario.to_string(),
        file: file.to_string(),
        world: world.to_string(),
        seed,
        verdict: verdict.to_string(),
        reason,
        class: failure.as_ref().map(|failure| failure.class.to_string()),
        checkers: failure.map(|failure| failure.checkers).unwrap_or_default(),
        fingerprint: simulated.map(|s| format!("{:016x}", s.fingerprint)),
        simulated_seconds: simulated.map(|s| s.duration.as_secs_f64()),
        wall_seconds: (wall() - start).as_secs_f64(),
        peak_kilobytes: None,
        events: simulated.map_or(0, |s| s.events),
        faults: simulated.map_or(0, |s| s.faults),
        probes: simulated.map(|s| s.probes.clone()).unwrap_or_default(),
        buggify: simulated.map(|s| s.buggify.clone()).unwrap_or_default(),
        sabotage: simulated.map(|s| s.sabotage.clone()).unwrap_or_default(),
        waiting: played.waiting,
        operations: played.tallies,
        diversity: played.measures,
        timeline: None,
        surroundings: None,
        goldens: played.goldens,
    }
}

/// The first SQLSTATE in the first line of a reason: `… failed: 42P01: …`.
fn sqlstate(reason: &str) -> Option<&str> {
    let code = |word: &&str| word.len() == 5 && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    let mut words = reason.lines().next().unwrap_or_default().split_whitespace();
    words.find_map(|word| word.strip_suffix(':').filter(code))
}

/// Draws the run as the request's `view` says. Errors: a file cannot be written.
fn draw(report: &mut Report, facts: Simulated, request: &Request) {
    let view = &request.view;
    if let Some(path) = &view.events {
        let text: String = facts.moments.iter().map(|moment| moment.compared() + "\n").collect();
        write(report, path, &text);
    }
    report.surroundings = view.surroundings.map(|(from, until)| Surroundings::of(&facts.moments, from, until));
    let picture = Picture {
        title: report.scenario.clone(),
        seed: report.seed,
        fingerprint: facts.fingerprint,
        verdict: report.verdict.clone(),
        reason: report.reason.clone(),
        replay: Some(report.replay(&request.sabotage)),
        simulated: facts.duration,
        events: facts.events,
        moments: facts.moments,
        lanes: vec!["client".to_string(), ACCESS_NODE.to_string()],
        tracks: vec![tracks::transactions(), tracks::placement()],
    };
    report.timeline = view.timeline.map(|width| timeline(&picture, &Options { width, ..Options::default() }));
    if let Some(path) = &view.page {
        write(report, path, &page(&picture));
    }
}

#[expect(clippy::disallowed_methods, reason = "writes the files that the user named")]
fn write(report: &mut Report, path: &Path, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        report.verdict = "failed".to_string();
        report.reason = Some(format!("cannot write {}: {error}", path.display()));
    }
}

fn play_for_real(scenario: &Scenario, setting: &Setting) -> Played {
    if setting.world == WorldKind::Loopback {
        return real(async {
            let mut stage = loopback::start(setting.workers.program(), &scenario.cluster, setting.seed).await?;
            Ok(play(scenario, &mut stage, &Words, &mut Hypertables::default()).await)
        });
    }
    let Some(bin) = postgres::installed() else {
        return skipped("no PostgreSQL server is installed here".to_string());
    };
    real(async {
        let settings = ["max_prepared_transactions=64"];
        let mut stage =
            postgres::start(setting.workers.program(), &bin, &scenario.cluster, setting.seed, &settings).await?;
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
    Played::without_steps(Verdict::Failed { line: 0, failure: Failure::new(Class::Liveness, message) })
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
