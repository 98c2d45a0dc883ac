//! Plays a scenario on a stage.

use super::clients::Clients;
use super::journal::Journal;
use super::session::{Connected, Maker, NO_ANSWER};
use super::stage::{Purpose, Stage, Subject, Vocabulary};
use super::{Action, How, Record, Scenario, Step};
use crate::sim::chance;
use crate::sim::checker::Violation;
use crate::sim::history::{Ending, Measures, Tallies};
use crate::sim::record::Event;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

type Runner = sqllogictest::Runner<Connected, Maker>;
type Background = tokio::sync::oneshot::Receiver<(Runner, Result<(), String>)>;

/// How long the cluster has to converge before the final checks must hold.
pub const CONVERGE_WITHIN: Duration = Duration::from_secs(60);

/// How long a workload may take in all: after the faults have ended every client must make progress.
pub const WORKLOAD_WITHIN: Duration = Duration::from_secs(1800);

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Failed { line: u32, failure: Failure },
    Skipped { why: String },
}

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A statement's answer was not the expected one.
    Expectation,
    /// A judge found that something happened that must never happen.
    Safety,
    /// Something did not happen within its time.
    Liveness,
    /// The code of a node, or of the story, panicked.
    Panic,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Expectation => "expectation",
            Class::Safety => "safety",
            Class::Liveness => "liveness",
            Class::Panic => "panic",
        })
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub class: Class,
    /// The judges that found something.
    pub checkers: Vec<String>,
    pub message: String,
}

impl Failure {
    pub fn new(class: Class, message: impl Into<String>) -> Failure {
        Failure { class, checkers: Vec::new(), message: message.into() }
    }

    fn found(violations: &[Violation]) -> Failure {
        let mut checkers: Vec<String> = violations.iter().map(|found| found.checker.to_string()).collect();
        checkers.sort();
        checkers.dedup();
        let class = if checkers == [LIVENESS] { Class::Liveness } else { Class::Safety };
        let lines: Vec<String> = violations.iter().take(10).map(Violation::to_string).collect();
        let message = format!("{} violations\n  {}", violations.len(), lines.join("\n  "));
        Failure { class, checkers, message }
    }
}

/// Most things that go wrong in a story are answers that it did not expect.
impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::new(Class::Expectation, message)
    }
}

/// The judge of what cannot even be looked at.
const LIVENESS: &str = "liveness";

/// A golden that the run produced: name and text.
pub type Golden = (String, String);

/// What a played scenario leaves behind.
#[derive(Clone, Debug)]
pub struct Played {
    pub verdict: Verdict,
    pub goldens: Vec<Golden>,
    /// Armed faults that never struck.
    pub waiting: Vec<String>,
    /// What the clients were told.
    pub tallies: Tallies,
    /// See `Subject::measures`.
    pub measures: Measures,
}

impl Played {
    /// A run that ended before its first step.
    pub fn without_steps(verdict: Verdict) -> Played {
        Played { verdict, goldens: vec![], waiting: vec![], tallies: Tallies::default(), measures: Measures::new() }
    }
}

/// Why a stage of this kind cannot play the scenario, if so.
pub fn refusal(scenario: &Scenario, stage: &dyn Stage) -> Option<String> {
    scenario.steps.iter().find_map(|step| match &step.action {
        Action::Nemesis(nemesis) => stage.can(nemesis).err(),
        _ => None,
    })
}

/// Plays all steps; stops at the first that does not hold.
pub async fn play(
    scenario: &Scenario,
    stage: &mut dyn Stage,
    vocabulary: &dyn Vocabulary,
    subject: &mut dyn Subject,
) -> Played {
    if let Some(why) = refusal(scenario, stage) {
        return Played::without_steps(Verdict::Skipped { why });
    }
    let client_seed = stage.draw(Purpose::Workload, 0..=u64::MAX);
    let mut player = Player {
        stage,
        client_seed,
        vocabulary,
        subject,
        runners: BTreeMap::new(),
        background: BTreeMap::new(),
        clients: Clients::default(),
        goldens: vec![],
    };
    let mut verdict = Verdict::Ok;
    for step in &scenario.steps {
        if matches!(&step.action, Action::Record { record, .. } if matches!(**record, sqllogictest::Record::Halt { .. }))
        {
            break;
        }
        if let Err(failure) = player.step(step).await {
            verdict = Verdict::Failed { line: step.line, failure };
            break;
        }
    }
    // What nobody awaited counts all the same.
    while let (Verdict::Ok, Some(name)) = (&verdict, player.background.keys().next().cloned()) {
        if let Err(message) = player.await_background(&name).await {
            let line = scenario.steps.last().map_or(0, |step| step.line);
            verdict = Verdict::Failed { line, failure: format!("in the background on {name}: {message}").into() };
        }
    }
    if let (Verdict::Ok, Err(error)) = (&verdict, player.stage.finish().await) {
        let line = scenario.steps.last().map_or(0, |step| step.line);
        verdict = Verdict::Failed { line, failure: format!("the nemesis failed: {error}").into() };
    }
    let (waiting, tallies) = (player.stage.waiting(), player.clients.tallies());
    let measures = player.subject.measures();
    Played { verdict, waiting, goldens: player.goldens, tallies, measures }
}

struct Player<'a> {
    stage: &'a mut dyn Stage,
    vocabulary: &'a dyn Vocabulary,
    subject: &'a mut dyn Subject,
    /// What clients draw hangs on this and their name: without one of them the others do what they did.
    client_seed: u64,
    /// One runner a connection, so that one may run while others wait.
    runners: BTreeMap<String, Runner>,
    background: BTreeMap<String, Background>,
    clients: Clients,
    goldens: Vec<Golden>,
}

impl Player<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match &step.action {
            Action::Record { record, how } => self.record(record, how).await,
            Action::Await(name) if name == "workload" => self.await_clients().await,
            Action::Await(connection) => Ok(self.await_background(connection).await?),
            Action::Nemesis(nemesis) => {
                let nemesis = nemesis.fixed(&mut |range| self.stage.draw(Purpose::Faults, range));
                self.event(Event::Note { text: format!("nemesis {nemesis}") });
                Ok(self.stage.strike(&nemesis).await?)
            }
            Action::Advance(duration) => {
                self.stage.advance(*duration).await;
                Ok(())
            }
            Action::Workload(spec) => {
                let seed = self.stage.draw(Purpose::Workload, 0..=u64::MAX);
                for block in self.vocabulary.workload(spec, &mut chance::stream(seed, &spec.name))? {
                    self.start(&block)?;
                }
                Ok(())
            }
            Action::Client(block) => Ok(self.start(block)?),
            Action::Check(names) => self.check(names).await,
            Action::Snapshot(what) => {
                let text = self.subject.snapshot(self.stage, what).await?;
                self.goldens.push((what.clone(), text));
                Ok(())
            }
        }
    }

    fn start(&mut self, block: &super::ClientBlock) -> Result<(), String> {
        self.clients.start(self.stage, self.subject, block, self.client_seed)
    }

    fn event(&self, event: Event) {
        if let Some(recorder) = self.stage.recorder() {
            recorder.record(event);
        }
    }

    async fn record(&mut self, record: &Record, how: &How) -> Result<(), Failure> {
        if let sqllogictest::Record::Sleep { duration, .. } = record {
            self.stage.advance(*duration).await;
            return Ok(());
        }
        let name = connection_of(record);
        if self.background.contains_key(&name) {
            return Err(format!("connection {name} still runs in the background: `await {name}` first").into());
        }
        let mut runner = self.runner(&name);
        let mut journal = Journal::new(self.stage.recorder(), &name);
        journal.invoked(text_of(record));
        let result = match how {
            How::Background | How::MaybeInBackground => {
                self.in_background(name, runner, record.clone(), *how == How::MaybeInBackground, journal);
                return Ok(());
            }
            How::Now => run_record(&mut runner, record).await.map_err(Failure::from),
            How::Maybe => any_answer(run_record(&mut runner, record).await).map_err(Failure::from),
            How::Eventually(limit) => self.eventually(&mut runner, record, *limit).await,
        };
        self.runners.insert(name, runner);
        journal.completed(ending_of(result.as_ref().err().map(|failure| failure.message.as_str())), String::new());
        result
    }

    fn runner(&mut self, name: &str) -> Runner {
        self.runners.remove(name).unwrap_or_else(|| sqllogictest::Runner::new(Maker::new(self.stage.session(name))))
    }

    fn in_background(&mut self, name: String, mut runner: Runner, record: Record, maybe: bool, journal: Journal) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.stage.host().spawn("scenario background", async move {
            let result = run_record(&mut runner, &record).await;
            journal.completed(ending_of(result.as_ref().err().map(String::as_str)), String::new());
            let result = if maybe { any_answer(result) } else { result };
            let _ = sender.send((runner, result));
        });
        self.background.insert(name, receiver);
    }

    async fn await_background(&mut self, name: &str) -> Result<(), String> {
        let receiver =
            self.background.remove(name).ok_or(format!("nothing runs in the background on connection {name}"))?;
        let (runner, result) = receiver.await.map_err(|_| format!("the background task of {name} died"))?;
        self.runners.insert(name.to_string(), runner);
        result
    }

    async fn eventually(&mut self, runner: &mut Runner, record: &Record, limit: Duration) -> Result<(), Failure> {
        let host = self.stage.host().clone();
        let deadline = host.monotonic() + limit;
        let mut pause = Duration::from_millis(100);
        loop {
            match run_record(runner, record).await {
                Ok(()) => return Ok(()),
                Err(message) if host.monotonic() >= deadline => {
                    return Err(Failure::new(Class::Liveness, format!("not within {limit:?}: {message}")));
                }
                Err(_) => host.sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn await_clients(&mut self) -> Result<(), Failure> {
        if !self.clients.are_under_way() {
            return Err("no workload is under way".to_string().into());
        }
        self.finish_clients().await
    }

    async fn finish_clients(&mut self) -> Result<(), Failure> {
        let finished = self.clients.finish(self.stage.host(), WORKLOAD_WITHIN).await;
        finished.map_err(|message| Failure::new(Class::Liveness, message))
    }

    /// Runs checkers until they pass or the time to converge is over. Safety violations that cannot heal (a lost row)
    /// stay, of course; what only needs a moment (a prepared transaction) goes away.
    async fn check(&mut self, names: &[String]) -> Result<(), Failure> {
        self.finish_clients().await?;
        self.clients.once_more(self.stage, self.subject).await;
        let insisted = self.clients.insist(self.stage, self.subject).await;
        insisted.map_err(|message| Failure::new(Class::Liveness, message))?;
        let all: Vec<String> = self.vocabulary.checkers().into_iter().map(str::to_string).collect();
        let names = if names.iter().any(|name| name == ALL) { &all } else { names };
        let host = self.stage.host().clone();
        let deadline = host.monotonic() + CONVERGE_WITHIN;
        let mut pause = Duration::from_secs(1);
        loop {
            let found = self.subject.judge(self.stage, names).await.unwrap_or_else(|why| {
                vec![Violation { checker: LIVENESS, evidence: format!("the system cannot be looked at: {why}") }]
            });
            if found.is_empty() {
                self.event(Event::Checked { checker: names.join(" ") });
                return Ok(());
            }
            if host.monotonic() >= deadline {
                for violation in &found {
                    let (checker, evidence) = (violation.checker.to_string(), violation.evidence.clone());
                    self.event(Event::Violated { checker, evidence });
                }
                return Err(Failure::found(&found));
            }
            host.sleep(pause.min(deadline - host.monotonic())).await;
            // What has not converged for a while will hardly do so in the next second, and looking is costly.
            pause = (pause * 2).min(CHECK_PAUSE_MAX);
        }
    }
}

/// Between two looks of a `check`.
const CHECK_PAUSE_MAX: Duration = Duration::from_secs(10);

/// `check all`: every checker there is.
pub const ALL: &str = "all";

async fn run_record(runner: &mut Runner, record: &Record) -> Result<(), String> {
    runner.run_async(record.clone()).await.map(|_| ()).map_err(|error| error.to_string().trim().to_string())
}

/// `statement maybe`: an error is an answer, silence is not.
fn any_answer(result: Result<(), String>) -> Result<(), String> {
    result.or_else(|message| if message.contains(NO_ANSWER) { Err(message) } else { Ok(()) })
}

/// A record's SQL.
fn text_of(record: &Record) -> &str {
    use sqllogictest::Record as R;
    match record {
        R::Statement { sql, .. } | R::Query { sql, .. } | R::Let { sql, .. } => sql,
        _ => "",
    }
}

/// For the event log: an expected error counts as well, for the story goes on as it should.
fn ending_of(problem: Option<&str>) -> Ending {
    match problem {
        None => Ending::Ok,
        Some(message) if message.contains(NO_ANSWER) => Ending::Unknown,
        Some(_) => Ending::Failed,
    }
}

fn connection_of(record: &Record) -> String {
    use sqllogictest::Record as R;
    match record {
        R::Statement { connection, .. } | R::Query { connection, .. } | R::Let { connection, .. } => match connection {
            sqllogictest::Connection::Default => "default".to_string(),
            sqllogictest::Connection::Named(name) => name.clone(),
        },
        _ => "default".to_string(),
    }
}
