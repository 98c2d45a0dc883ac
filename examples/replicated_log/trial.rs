//! The log on trial: what the simulator's language, its clients and its judges must know of it.
//!
//! Four traits of `hypertile::sim::scenario` are to be implemented: [`Session`] (one connection), [`Vocabulary`] (the words
//! that scenario files may use), [`Client`] (performs operations and remembers what it was told), [`Subject`] (makes
//! clients, and has the judges look at it all in the end). The stage comes with the simulator: [`Machines`].

use super::checker::{self, Happened};
use super::service::{PORT, PRIMARY, PROBES, ask, serve};
use async_trait::async_trait;
use hypertile::host::{Host, Stream};
use hypertile::sim::chance;
use hypertile::sim::checker::Violation;
use hypertile::sim::history::Ending;
use hypertile::sim::scenario::machines::{Machines, Simulated, play_in_world};
use hypertile::sim::scenario::run::{Played, Verdict};
use hypertile::sim::scenario::session::{NO_ANSWER, Output, Refusal, Session};
use hypertile::sim::scenario::stage::{Client, Done, Stage, Subject, Vocabulary};
use hypertile::sim::scenario::{ClientBlock, Scenario, Timed, WorkloadSpec, parse};
use hypertile::sim::shrink::Oracle;
use hypertile::sim::{World, WorldConfig};
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::BufReader;

/// Plays a scenario. The same scenario, seed and program give the same run, event by event.
pub fn run(scenario: &Scenario, seed: u64, bug: bool, keep_events: usize) -> (Played, Simulated) {
    let config = WorldConfig { keep_events, ..WorldConfig::default() };
    play_in_world(scenario, seed, config, &Words, LogOnTrial::default(), move |world, scenario| async move {
        Ok(start(world, scenario.cluster.data, bug))
    })
}

/// Whom the shrinker asks what a shorter scenario shows. It takes a shorter one only if that says the same.
pub struct Runs {
    pub bug: bool,
}

impl Oracle for Runs {
    fn at_once(&self) -> usize {
        1
    }

    fn violations(&self, runs: &[(String, u64)]) -> Vec<Option<String>> {
        let violation = |(text, seed): &(String, u64)| {
            let scenario = parse("shrinking", text, &Words).ok()?;
            match run(&scenario, *seed, self.bug, 0).0.verdict {
                Verdict::Failed { failure, .. } => Some(format!("{} {}", failure.class, failure.checkers.join(" "))),
                _ => None,
            }
        };
        runs.iter().map(violation).collect()
    }
}

/// A primary and so many backups, called `node0`, `node1`, …: each a machine with a disk and a clock of its own.
fn start(world: World, backups: u16, bug: bool) -> Machines {
    let backups: Vec<String> = (0..backups).map(|number| format!("node{number}")).collect();
    for name in [PRIMARY.to_string()].iter().chain(&backups) {
        let backups = backups.clone();
        // The closure is the machine's program: it runs again, with a new host, after every crash.
        world.start(name, move |host| serve(host, backups.clone(), bug));
    }
    let names = backups.clone();
    Machines::new(world, backups, move |host, name| {
        let node = if names.iter().any(|node| node == name) { name } else { PRIMARY };
        Box::new(Connection { host: host.clone(), node: node.to_string(), stream: None })
    })
}

/// A client's connection to one node.
struct Connection {
    host: Host,
    node: String,
    stream: Option<BufReader<Stream>>,
}

/// Clients give up what takes longer: the simulated network never tells of a machine without power.
const PATIENCE: Duration = Duration::from_secs(2);

/// While a node is down, its clients do not use up all that they have to say.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

impl Connection {
    async fn execute(&mut self, text: &str) -> Result<Output, Refusal> {
        let refusal = |message: String, ending| Refusal { code: None, message, ending };
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                match self.host.net().connect(&self.node, PORT).await {
                    Ok(stream) => BufReader::new(stream),
                    Err(error) => {
                        self.host.sleep(RECONNECT_PAUSE).await;
                        // Not even asked: it cannot have happened. Only this and a refusal are `Failed`.
                        return Err(refusal(error.to_string(), Ending::Failed));
                    }
                }
            }
        };
        let answer = ask(&mut stream, text).await.map_err(|error| refusal(error.to_string(), Ending::Unknown))?;
        // Put back only now: what was given up half-way is not used again.
        self.stream = Some(stream);
        match answer.strip_prefix("ok") {
            Some(words) => Ok(rows(words)),
            None => Err(refusal(answer, Ending::Failed)),
        }
    }
}

/// A row for each word.
fn rows(words: &str) -> Output {
    let rows = words.split_whitespace().map(|word| vec![word.to_string()]).collect();
    Output::Rows { types: vec![sqllogictest::DefaultColumnType::Text], rows }
}

#[async_trait]
impl Session for Connection {
    async fn run(&mut self, text: &str) -> Result<Output, Refusal> {
        let host = self.host.clone();
        let given_up = Refusal { code: None, message: NO_ANSWER.to_string(), ending: Ending::Unknown };
        host.timeout(PATIENCE, self.execute(text)).await.unwrap_or(Err(given_up))
    }

    fn hang_up(&mut self) {
        self.stream = None;
    }
}

/// What scenario files may say about logs.
pub struct Words;

const FORMS: &str = "append WORD | read NODE";

impl Vocabulary for Words {
    fn workload(&self, spec: &WorkloadSpec, chance: &mut chance::Stream) -> Result<Vec<ClientBlock>, String> {
        let mut options = BTreeMap::from([("writers", 2), ("appends", 20), ("readers", 1)]);
        for (key, value) in &spec.options {
            let known = options.get_mut(key.as_str());
            let option = known.ok_or(format!("unknown option \"{key}\", expected: writers, appends, readers"))?;
            *option = value.parse().map_err(|_| format!("bad value in \"{key}={value}\", expected a number"))?;
        }
        if spec.name != "appends" {
            return Err(format!("unknown workload \"{}\", expected: appends", spec.name));
        }
        Ok(clients(options["writers"], options["appends"], options["readers"], chance))
    }

    fn operation(&self, text: &str) -> Result<(), String> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["append", _] | ["read", _] => Ok(()),
            _ => Err(format!("expected: {FORMS}")),
        }
    }

    fn checkers(&self) -> Vec<&'static str> {
        checker::ALL.iter().map(|(name, _)| *name).collect()
    }

    fn snapshots(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn probes(&self) -> &'static [&'static str] {
        PROBES
    }
}

/// Every draw is made here, before anything runs: the same writers write the same words whatever befalls them.
fn clients(writers: u32, appends: u32, readers: u32, chance: &mut chance::Stream) -> Vec<ClientBlock> {
    let names: Vec<String> = (0..writers).map(|writer| format!("writer{writer}")).collect();
    let mut append = |writer: u32, number: u32| {
        let pause = Duration::from_millis(chance.random_range(0..100));
        Timed { pause: (pause, pause), text: format!("append w{writer}.{number}") }
    };
    let mut clients: Vec<ClientBlock> = (0..)
        .zip(&names)
        .map(|(writer, name)| {
            let operations = (0..appends).map(|number| append(writer, number)).collect();
            ClientBlock { name: name.clone(), accompanies: vec![], operations }
        })
        .collect();
    let pause = (Duration::ZERO, Duration::from_millis(200));
    let read = |node: &str| Timed { pause, text: format!("read {node}") };
    clients.extend((0..readers).map(|reader| ClientBlock {
        name: format!("reader{reader}"),
        accompanies: names.clone(),
        operations: vec![read(PRIMARY), read("node0")],
    }));
    clients
}

/// One run's clients share what they remember.
#[derive(Default)]
pub struct LogOnTrial {
    history: Arc<Mutex<Vec<Happened>>>,
}

#[async_trait]
impl Subject for LogOnTrial {
    fn client(&mut self, stage: &dyn Stage, _name: &str) -> Box<dyn Client> {
        let nodes = [PRIMARY.to_string()].into_iter().chain(stage.nodes());
        let sessions = nodes.map(|node| (node.clone(), stage.session(&node))).collect();
        Box::new(Performer { host: stage.host().clone(), sessions, history: self.history.clone() })
    }

    fn again(&self, operation: &str, number: u32) -> Option<String> {
        let append = operation.starts_with("append ");
        Some(if append { format!("append again{number}") } else { operation.to_string() })
    }

    async fn judge(&mut self, stage: &dyn Stage, checkers: &[String]) -> Result<Vec<Violation>, String> {
        let mut logs = BTreeMap::new();
        for node in [PRIMARY.to_string()].into_iter().chain(stage.nodes()) {
            let output = stage.session(&node).run("read").await.map_err(|why| format!("{node}: {why}"))?;
            logs.insert(node, words(output));
        }
        let history = self.history.lock().expect("no client panics while it remembers");
        let asked = checker::ALL.iter().filter(|(name, _)| checkers.iter().any(|asked| asked == name));
        Ok(asked.flat_map(|(_, check)| check(&history, &logs)).collect())
    }

    async fn snapshot(&mut self, _stage: &dyn Stage, what: &str) -> Result<String, String> {
        Err(format!("there is no snapshot {what}"))
    }
}

struct Performer {
    host: Host,
    sessions: BTreeMap<String, Box<dyn Session>>,
    history: Arc<Mutex<Vec<Happened>>>,
}

#[async_trait]
impl Client for Performer {
    async fn perform(&mut self, operation: &str) -> Done {
        let (verb, argument) = operation.split_once(' ').unwrap_or((operation, ""));
        let (node, text) = if verb == "append" { (PRIMARY, operation) } else { (argument, verb) };
        let Some(session) = self.sessions.get_mut(node) else {
            return Done { ending: Ending::Failed, text: format!("there is no node {node}") };
        };
        let invoked = self.host.monotonic();
        let told = session.run(text).await;
        let completed = self.host.monotonic();
        let (ending, text) = match &told {
            Ok(_) => (Ending::Ok, String::new()),
            Err(refusal) => (refusal.ending, refusal.message.clone()),
        };
        let words = told.map(words).unwrap_or_default();
        let happened = match verb {
            "append" => {
                let number = words.first().and_then(|number| number.parse().ok());
                Some(Happened::Append { word: argument.to_string(), ending, number, completed })
            }
            _ if ending == Ending::Ok => Some(Happened::Read { node: node.to_string(), words, invoked }),
            _ => None,
        };
        self.history.lock().expect("no client panics while it remembers").extend(happened);
        Done { ending, text }
    }
}

fn words(output: Output) -> Vec<String> {
    match output {
        Output::Rows { rows, .. } => rows.into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}
