//! Simulated runs of scenarios, each in a fork of a warmed-up worker process; see `sim::workers` and `sim::fork`.
//!
//! The driver's side is [`Workers`]; the worker's side is [`serve`], behind the hidden subcommand `worker`.

use super::report::{Report, simulate_here};
use super::{warm_up, words};
use crate::sabotage::Sabotage;
use crate::sim::chance::Turn;
use crate::sim::fork::{Limits, in_child};
use crate::sim::scenario::run::{Class, Failure};
use crate::sim::tasks::panic_message;
use crate::sim::workers::{self, Pool};
use serde::{Deserialize, Serialize};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMITS: Limits = Limits {
    // A run that takes longer has lost itself in a loop without a pause: simulated time does not pass in it.
    real_time: Duration::from_secs(600),
    // More than ten times what runs of the default mix have at most; a run that is to be seen keeps its events, too.
    memory_bytes: 4 << 30,
};

/// One run to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Where the text came from, for messages.
    pub file: String,
    pub text: String,
    pub seed: u64,
    pub sabotage: Vec<String>,
    pub view: View,
    /// Where chance leaves the seed's way.
    #[serde(default)]
    pub turn: Option<Turn>,
}

impl Request {
    /// A run of which nothing but its report is to be seen.
    pub fn new(file: &str, text: &str, seed: u64, sabotage: &[String]) -> Request {
        let (file, text, sabotage) = (file.to_string(), text.to_string(), sabotage.to_vec());
        Request { file, text, seed, sabotage, view: View::default(), turn: None }
    }
}

/// What shall be seen of a run besides its verdict.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct View {
    /// Where to write the page for a browser.
    pub page: Option<PathBuf>,
    /// A timeline as text, in lines of so many characters.
    pub timeline: Option<usize>,
    /// Where to write every event, one a line.
    pub events: Option<PathBuf>,
    /// What happened within this simulated time, in few lines.
    #[serde(default)]
    pub surroundings: Option<(Duration, Duration)>,
}

impl View {
    /// Whether nothing is to be seen.
    pub fn is_empty(&self) -> bool {
        self.page.is_none() && self.timeline.is_none() && self.events.is_none() && self.surroundings.is_none()
    }
}

/// Worker processes, as many as are used at the same time. Clones share them.
#[derive(Clone, Debug)]
pub struct Workers(Pool);

impl Workers {
    /// `program` is the hypertile binary.
    pub fn new(program: &Path) -> Workers {
        Workers(Pool::new(program, &["worker"]))
    }

    /// Other processes of the same program.
    pub fn another(&self) -> Workers {
        Workers(self.0.another())
    }

    pub fn program(&self) -> &Path {
        self.0.program()
    }

    /// Has a worker make the run. Errors: it died, or could not be started.
    pub fn run(&self, request: &Request) -> Result<Report, String> {
        self.0.ask(request)
    }
}

/// Asks of each, at most `jobs` at the same time; the answers in order.
#[expect(clippy::disallowed_methods, reason = "threads that ask workers for simulations and wait")]
pub fn side_by_side<Question: Sync, Answer: Send>(
    questions: &[Question],
    jobs: usize,
    ask: impl Fn(&Question) -> Answer + Sync,
) -> Vec<Answer> {
    let (mut answers, ask) = (Vec::with_capacity(questions.len()), &ask);
    for some in questions.chunks(jobs.max(1)) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|question| scope.spawn(move || ask(question))).collect();
            let ends = threads.into_iter().map(|thread| thread.join().expect("what a run ends with is a value"));
            answers.extend(ends);
        });
    }
    answers
}

/// Makes the runs that standard input asks for.
pub fn serve() -> io::Result<()> {
    workers::serve(warm_up::warm_up, |request: Request| run(&request))
}

/// Makes the run in a forked child.
#[expect(clippy::disallowed_methods, reason = "how long a run took in the real world is for the reader")]
fn run(request: &Request) -> io::Result<Report> {
    let started = Instant::now();
    let ended = in_child(LIMITS, || {
        // A panic must not unwind into the loop of the parent, of which this process has a copy.
        let report = catch_unwind(AssertUnwindSafe(|| play(request)))
            .unwrap_or_else(|panic| died(request, format!("the run panicked: {}", panic_message(&*panic))));
        serde_json::to_vec(&report).expect("reports always serialize")
    })?;
    let report = ended.told.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    let mut report = report.unwrap_or_else(|why| died(request, format!("the process of the run: {why}")));
    report.peak_kilobytes = Some(ended.peak_kilobytes);
    report.wall_seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn play(request: &Request) -> Report {
    let scenario = words::parse(&request.file, &request.text);
    let sabotage = Sabotage::from_names(&request.sabotage);
    match (scenario, sabotage) {
        (Ok(scenario), Ok(sabotage)) => simulate_here(&scenario, request, sabotage),
        (Err(error), _) => died(request, error.to_string()),
        (_, Err(error)) => died(request, error),
    }
}

fn died(request: &Request, message: String) -> Report {
    Report::failed_early(&request.file, request.seed, Failure::new(Class::Panic, message))
}
