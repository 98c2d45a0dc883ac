//! Plays a scenario on a stage.

use super::database::{Maker, NO_ANSWER};
use super::{Action, Fault, How, Record, Scenario, Step, When};
use crate::error::Error;
use crate::sim::checker::{self, Violation};
use crate::sim::history::{Counts, History};
use crate::sim::observe;
use crate::sim::stage::{ACCESS_NODE, Purpose, Stage};
use crate::sim::workload::{self, Batches};
use std::collections::BTreeMap;
use std::time::Duration;

type Runner = sqllogictest::Runner<super::database::Database, Maker>;
type Background = tokio::sync::oneshot::Receiver<(Runner, Result<(), String>)>;

/// How long the cluster has to converge before the final checks must hold.
pub const CONVERGE_WITHIN: Duration = Duration::from_secs(60);

/// How long a workload may take in all: after the faults have ended every client must make progress.
pub const WORKLOAD_WITHIN: Duration = Duration::from_secs(1800);

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Failed { line: u32, message: String },
    Skipped { why: String },
}

/// A golden that the run produced: name and text.
pub type Golden = (String, String);

/// What a played scenario leaves behind.
#[derive(Clone, Debug)]
pub struct Played {
    pub verdict: Verdict,
    pub goldens: Vec<Golden>,
    /// Armed faults that never struck.
    pub waiting: Vec<String>,
    /// What the clients of workloads were told.
    pub workload: Counts,
}

impl Played {
    /// A run that ended before its first step.
    pub fn without_steps(verdict: Verdict) -> Played {
        Played { verdict, goldens: vec![], waiting: vec![], workload: Counts::default() }
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
pub async fn play(scenario: &Scenario, stage: &mut dyn Stage) -> Played {
    if let Some(why) = refusal(scenario, stage) {
        return Played::without_steps(Verdict::Skipped { why });
    }
    let mut player = Player {
        stage,
        runners: BTreeMap::new(),
        background: BTreeMap::new(),
        workload: None,
        history: History::default(),
        subject: None,
        goldens: vec![],
    };
    let mut verdict = Verdict::Ok;
    for step in &scenario.steps {
        if matches!(&step.action, Action::Record { record, .. } if matches!(**record, sqllogictest::Record::Halt { .. }))
        {
            break;
        }
        if let Err(message) = player.step(step).await {
            verdict = Verdict::Failed { line: step.line, message };
            break;
        }
    }
    // What nobody awaited counts all the same.
    while let (Verdict::Ok, Some(name)) = (&verdict, player.background.keys().next().cloned()) {
        if let Err(message) = player.await_background(&name).await {
            let line = scenario.steps.last().map_or(0, |step| step.line);
            verdict = Verdict::Failed { line, message: format!("in the background on {name}: {message}") };
        }
    }
    if let (Verdict::Ok, Err(error)) = (&verdict, player.stage.finish().await) {
        let line = scenario.steps.last().map_or(0, |step| step.line);
        verdict = Verdict::Failed { line, message: format!("the nemesis failed: {error}") };
    }
    let (waiting, workload) = (player.stage.waiting(), player.history.counts());
    Played { verdict, waiting, goldens: player.goldens, workload }
}

struct Player<'a> {
    stage: &'a mut dyn Stage,
    /// One runner a connection, so that one may run while others wait.
    runners: BTreeMap<String, Runner>,
    background: BTreeMap<String, Background>,
    workload: Option<workload::Running>,
    history: History,
    /// The last workload, whose table the judges look at.
    subject: Option<Batches>,
    goldens: Vec<Golden>,
}

impl Player<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.action {
            Action::Record { record, how } => self.record(record, how).await,
            Action::Await(name) if name == "workload" => self.await_workload().await,
            Action::Await(connection) => self.await_background(connection).await,
            Action::Nemesis(nemesis) => {
                let nemesis = self.fix(nemesis);
                self.stage.note(&format!("nemesis {} {:?}", nemesis.fault, nemesis.when));
                match (&nemesis.fault, &nemesis.when) {
                    (Fault::Heal, When::Now) => self.stage.heal().await.map_err(describe),
                    _ => self.stage.strike(&nemesis).await.map_err(describe),
                }
            }
            Action::Advance(duration) => {
                self.stage.advance(*duration).await;
                Ok(())
            }
            Action::Workload(spec) => {
                let options = Batches::from_spec(spec)?;
                let address = self.stage.address(ACCESS_NODE).expect("every stage has an access node");
                let seed = self.stage.draw(Purpose::Workload, 0..=u64::MAX);
                self.subject = Some(options.clone());
                self.workload = Some(workload::start(&self.stage.host().clone(), &address, options, seed));
                Ok(())
            }
            Action::Check(names) => self.check(names).await,
            Action::Snapshot(what) => {
                let text = match what.as_str() {
                    "placement" => observe::placement(self.stage).await,
                    "catalog" => observe::catalog(self.stage).await,
                    _ => return Err(format!("unknown snapshot \"{what}\", expected: placement or catalog")),
                };
                self.goldens.push((what.clone(), text.map_err(describe)?));
                Ok(())
            }
        }
    }

    /// Draws what a nemesis line leaves open, so that the seed fixes it.
    fn fix(&mut self, nemesis: &super::Nemesis) -> super::Nemesis {
        let mut fixed = nemesis.clone();
        fixed.lasts = nemesis.lasts.map(|range| self.draw_duration(range));
        match &mut fixed.when {
            When::Now => {}
            When::After(low, high) => (*low, *high) = self.draw_duration((*low, *high)),
            When::At { hits, .. } => {
                let hit = self.stage.draw(Purpose::Faults, u64::from(hits.0)..=u64::from(hits.1)) as u32;
                *hits = (hit, hit);
            }
        }
        fixed
    }

    /// One duration of the range, as a range of one.
    fn draw_duration(&mut self, (low, high): (Duration, Duration)) -> (Duration, Duration) {
        let millis = low.as_millis() as u64..=high.as_millis() as u64;
        let drawn = Duration::from_millis(self.stage.draw(Purpose::Faults, millis));
        (drawn, drawn)
    }

    async fn record(&mut self, record: &Record, how: &How) -> Result<(), String> {
        if let sqllogictest::Record::Sleep { duration, .. } = record {
            self.stage.advance(*duration).await;
            return Ok(());
        }
        let name = connection_of(record);
        if self.background.contains_key(&name) {
            return Err(format!("connection {name} still runs in the background: `await {name}` first"));
        }
        let mut runner = self.runner(&name);
        let result = match how {
            How::Background | How::MaybeInBackground => {
                self.in_background(name, runner, record.clone(), *how == How::MaybeInBackground);
                return Ok(());
            }
            How::Now => run_record(&mut runner, record).await,
            How::Maybe => any_answer(run_record(&mut runner, record).await),
            How::Eventually(limit) => self.eventually(&mut runner, record, *limit).await,
        };
        self.runners.insert(name, runner);
        result
    }

    fn runner(&mut self, name: &str) -> Runner {
        self.runners.remove(name).unwrap_or_else(|| {
            let address = self.stage.address(ACCESS_NODE).expect("every stage has an access node");
            // `connection node1` speaks to that node itself.
            let address = self.stage.address(name).unwrap_or(address);
            sqllogictest::Runner::new(Maker { host: self.stage.host().clone(), address })
        })
    }

    fn in_background(&mut self, name: String, mut runner: Runner, record: Record, maybe: bool) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.stage.host().spawn("scenario background", async move {
            let result = run_record(&mut runner, &record).await;
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

    async fn eventually(&mut self, runner: &mut Runner, record: &Record, limit: Duration) -> Result<(), String> {
        let host = self.stage.host().clone();
        let deadline = host.monotonic() + limit;
        let mut pause = Duration::from_millis(100);
        loop {
            match run_record(runner, record).await {
                Ok(()) => return Ok(()),
                Err(message) if host.monotonic() >= deadline => return Err(format!("not within {limit:?}: {message}")),
                Err(_) => host.sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn await_workload(&mut self) -> Result<(), String> {
        let running = self.workload.take().ok_or("no workload is under way")?;
        let history = running
            .finish(WORKLOAD_WITHIN)
            .await
            .ok_or(format!("liveness: the workload's clients are not through within {WORKLOAD_WITHIN:?}"))?;
        for batch in &history.batches {
            self.stage.note(&format!("{batch:?}"));
        }
        self.history.batches.extend(history.batches);
        self.history.reads.extend(history.reads);
        Ok(())
    }

    /// Judges find nothing wrong with a workload of which nothing came to pass; that must not be a green run.
    fn something_to_judge(&self) -> Result<(), String> {
        let Some(subject) = &self.subject else { return Ok(()) };
        let counts = self.history.counts();
        if counts.acknowledged == 0 {
            return Err(format!("no batch of the workload was acknowledged ({counts}): there is nothing to judge"));
        }
        if subject.readers > 0 && counts.reads == 0 {
            return Err(format!("no read of the workload succeeded ({counts}): there is nothing to judge"));
        }
        Ok(())
    }

    /// Runs checkers until they pass or the time to converge is over. Safety violations that cannot heal (a lost row)
    /// stay, of course; what only needs a moment (a prepared transaction) goes away.
    async fn check(&mut self, names: &[String]) -> Result<(), String> {
        if self.workload.is_some() {
            self.await_workload().await?;
        }
        let checkers = checkers(names)?;
        self.something_to_judge()?;
        let host = self.stage.host().clone();
        let deadline = host.monotonic() + CONVERGE_WITHIN;
        loop {
            let found =
                match observe::final_state(self.stage, self.subject.as_ref().map(|subject| subject.table.as_str()))
                    .await
                {
                    Ok(state) => checkers.iter().flat_map(|(_, check)| check(&self.history, &state)).collect(),
                    Err(error) => {
                        vec![Violation {
                            checker: "liveness",
                            evidence: format!("the cluster cannot be read: {error}"),
                        }]
                    }
                };
            if found.is_empty() {
                return Ok(());
            }
            if host.monotonic() >= deadline {
                let lines: Vec<String> = found.iter().take(10).map(Violation::to_string).collect();
                return Err(format!("{} violations\n  {}", found.len(), lines.join("\n  ")));
            }
            host.sleep(Duration::from_secs(1)).await;
        }
    }
}

fn checkers(names: &[String]) -> Result<Vec<(&'static str, checker::Checker)>, String> {
    let known = || checker::ALL.map(|(name, _)| name).join(", ");
    let mut found = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => return Ok(checker::ALL.to_vec()),
            name => {
                let entry = checker::ALL.iter().find(|(n, _)| *n == name);
                found.push(*entry.ok_or(format!("unknown checker \"{name}\", expected: all, {}", known()))?);
            }
        }
    }
    Ok(found)
}

async fn run_record(runner: &mut Runner, record: &Record) -> Result<(), String> {
    runner.run_async(record.clone()).await.map(|_| ()).map_err(|error| error.to_string().trim().to_string())
}

/// `statement maybe`: an error is an answer, silence is not.
fn any_answer(result: Result<(), String>) -> Result<(), String> {
    result.or_else(|message| if message.contains(NO_ANSWER) { Err(message) } else { Ok(()) })
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

fn describe(error: Error) -> String {
    error.to_string()
}
