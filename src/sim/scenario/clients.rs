//! Clients of a scenario: blocks of operations that run beside the story.

use super::journal::Journal;
use super::stage::{Client, Stage, Subject};
use super::{ClientBlock, Timed};
use crate::host::Host;
use crate::sim::chance::{self, Stream};
use crate::sim::history::{Ending, Tallies};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Until something of each kind has come off, it is tried again for so long: faults may have outlasted all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two such tries.
const PATIENT_PAUSE: Duration = Duration::from_millis(500);

/// So long a client tries again on its own connection: longer than anybody's bound on progress after a fault.
const TRIES_AGAIN_FOR: Duration = Duration::from_secs(62);

/// All clients of a run.
#[derive(Default)]
pub struct Clients {
    tallies: Arc<Mutex<Tallies>>,
    /// Tells who is through.
    through: Option<watch::Sender<BTreeSet<String>>>,
    started: BTreeSet<String>,
    /// One operation of each kind, the first one.
    kinds: Vec<String>,
    /// Those that are through, with the connections that the faults have left them.
    resting: Arc<Mutex<BTreeMap<String, Resting>>>,
    /// Operations that were performed once more. Counted over all: two operations of one identity would be judged as one.
    again: u32,
}

/// A client that has done what it had to do.
struct Resting {
    client: Box<dyn Client>,
    journal: Journal,
    last: String,
    /// When the last operation that came off was begun.
    came_off: Option<Duration>,
}

impl Clients {
    /// Starts a client; `seed` fixes what it draws. Errors: there is one of this name.
    pub fn start(
        &mut self,
        stage: &dyn Stage,
        subject: &mut dyn Subject,
        block: &ClientBlock,
        seed: u64,
    ) -> Result<(), String> {
        if !self.started.insert(block.name.clone()) {
            return Err(format!("there is a client {} already", block.name));
        }
        for operation in &block.operations {
            if !self.kinds.iter().any(|kind| verb(kind) == verb(&operation.text)) {
                self.kinds.push(operation.text.clone());
            }
        }
        let through = self.through.get_or_insert_with(|| watch::channel(BTreeSet::new()).0).clone();
        let running = Running {
            host: stage.host().clone(),
            client: subject.client(stage, &block.name),
            chance: chance::stream(seed, &block.name),
            tallies: self.tallies.clone(),
            journal: Journal::new(stage.recorder(), &block.name),
            came_off: None,
        };
        let (block, receiver, resting) = (block.clone(), through.subscribe(), self.resting.clone());
        stage.host().spawn("scenario client", async move {
            if let Some(rests) = running.run(&block, receiver).await {
                resting.lock().expect("nobody panics with the lock").insert(block.name.clone(), rests);
            }
            through.send_modify(|names| {
                names.insert(block.name.clone());
            });
        });
        Ok(())
    }

    /// Whether any have been started that nobody has waited for.
    pub fn are_under_way(&self) -> bool {
        self.through.is_some()
    }

    /// Waits until all are through. Errors: they are not within `limit`; names them.
    pub async fn finish(&mut self, host: &Host, limit: Duration) -> Result<(), String> {
        let Some(through) = self.through.take() else { return Ok(()) };
        let mut receiver = through.subscribe();
        let all = receiver.wait_for(|names| self.started.is_subset(names));
        let in_time = host.timeout(limit, all).await.is_ok();
        if in_time {
            return Ok(());
        }
        let late: Vec<String> = self.started.difference(&through.borrow()).cloned().collect();
        Err(format!("these clients are not through within {limit:?}: {}", late.join(", ")))
    }

    /// Tries each kind of operation again of which nothing came off. Errors: nothing comes off even then.
    pub async fn insist(&mut self, stage: &dyn Stage, subject: &mut dyn Subject) -> Result<(), String> {
        let deadline = stage.host().monotonic() + PATIENCE;
        for operation in self.kinds.clone() {
            let mut last = String::new();
            while self.tally(&operation).ok == 0 {
                let Some(again) = subject.again(&operation, self.again) else { break };
                if stage.host().monotonic() >= deadline {
                    let (verb, tally) = (verb(&operation), self.tally(&operation));
                    return Err(format!(
                        "no `{verb}` of the workload succeeded ({tally}): there is nothing to judge. The last: {last}"
                    ));
                }
                stage.host().sleep(PATIENT_PAUSE).await;
                let mut journal = Journal::new(stage.recorder(), "encore");
                journal.invoked(&again);
                let done = subject.client(stage, "encore").perform(&again).await;
                last.clone_from(&done.text);
                journal.completed(done.ending, done.text);
                count(&self.tallies, &again, done.ending);
                self.again += 1;
            }
        }
        Ok(())
    }

    /// Has each client that has done nothing since the last fault try its last operation once more, until it comes off or
    /// it has tried for long enough: whether a client comes out of its trouble shows on its own connection only. What
    /// follows from one that does not is for judges to say. All clients are sent home.
    pub async fn once_more(&mut self, stage: &dyn Stage, subject: &mut dyn Subject) {
        let resting = std::mem::take(&mut *self.resting.lock().expect("nobody panics with the lock"));
        let Some(calm_since) = stage.calm_since() else { return };
        let stuck = |resting: &Resting| resting.came_off.is_none_or(|came_off| came_off < calm_since);
        for mut resting in resting.into_values().filter(stuck) {
            let host = stage.host();
            let deadline = host.monotonic() + TRIES_AGAIN_FOR;
            while let Some(again) = subject.again(&resting.last, self.again) {
                self.again += 1;
                resting.journal.invoked(&again);
                let done = resting.client.perform(&again).await;
                count(&self.tallies, &again, done.ending);
                let enough = done.ending == Ending::Ok || host.monotonic() >= deadline;
                resting.journal.completed(done.ending, done.text);
                if enough {
                    break;
                }
                host.sleep(PATIENT_PAUSE).await;
            }
        }
    }

    pub fn tallies(&self) -> Tallies {
        self.tallies.lock().expect("nobody panics while counting").clone()
    }

    fn tally(&self, operation: &str) -> crate::sim::history::Tally {
        self.tallies().get(verb(operation)).copied().unwrap_or_default()
    }
}

/// The kind of an operation: its first word.
fn verb(operation: &str) -> &str {
    operation.split_whitespace().next().unwrap_or_default()
}

fn count(tallies: &Mutex<Tallies>, operation: &str, ending: Ending) {
    let mut tallies = tallies.lock().expect("nobody panics while counting");
    tallies.entry(verb(operation).to_string()).or_default().count(ending);
}

struct Running {
    host: Host,
    client: Box<dyn Client>,
    chance: Stream,
    tallies: Arc<Mutex<Tallies>>,
    journal: Journal,
    came_off: Option<Duration>,
}

impl Running {
    /// `None` for a client that has nothing to do.
    async fn run(mut self, block: &ClientBlock, through: watch::Receiver<BTreeSet<String>>) -> Option<Resting> {
        let last = block.operations.last()?.text.clone();
        loop {
            for operation in &block.operations {
                self.perform(operation).await;
            }
            // Those that go on while others do have at least one turn.
            let waits_for = |name: &String| !through.borrow().contains(name);
            if !block.accompanies.iter().any(waits_for) {
                return Some(Resting { client: self.client, journal: self.journal, last, came_off: self.came_off });
            }
        }
    }

    async fn perform(&mut self, operation: &Timed) {
        let (low, high) = operation.pause;
        let pause = self.chance.random_range(low.as_micros() as u64..=high.as_micros() as u64);
        self.host.sleep(Duration::from_micros(pause)).await;
        let invoked = self.host.monotonic();
        self.journal.invoked(&operation.text);
        let done = self.client.perform(&operation.text).await;
        if done.ending == Ending::Ok {
            self.came_off = Some(invoked);
        }
        self.journal.completed(done.ending, done.text);
        count(&self.tallies, &operation.text, done.ending);
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Session;
    use super::super::stage::{Done, Purpose};
    use super::super::{Nemesis, WorldKind};
    use super::*;
    use crate::sim::checker::Violation;
    use crate::sim::world::{World, WorldConfig, run_simulation};
    use async_trait::async_trait;
    use std::ops::RangeInclusive;

    struct Bare(Host);

    #[async_trait]
    impl Stage for Bare {
        fn kind(&self) -> WorldKind {
            WorldKind::Sim
        }

        fn host(&self) -> &Host {
            &self.0
        }

        fn nodes(&self) -> Vec<String> {
            vec![]
        }

        fn session(&self, name: &str) -> Box<dyn Session> {
            unreachable!("nobody speaks to {name}")
        }

        fn can(&self, _nemesis: &Nemesis) -> Result<(), String> {
            Ok(())
        }

        async fn strike(&mut self, _nemesis: &Nemesis) -> Result<(), String> {
            Ok(())
        }

        fn draw(&mut self, _purpose: Purpose, range: RangeInclusive<u64>) -> u64 {
            *range.start()
        }

        fn calm_since(&self) -> Option<Duration> {
            Some(Duration::ZERO)
        }
    }

    /// Refuses everything for a while, and remembers what it was asked.
    #[derive(Clone, Default)]
    struct Reluctant(Arc<Mutex<Vec<String>>>);

    #[async_trait]
    impl Client for Reluctant {
        async fn perform(&mut self, operation: &str) -> Done {
            let mut asked = self.0.lock().unwrap();
            asked.push(operation.to_string());
            let ending = if asked.len().is_multiple_of(3) { Ending::Ok } else { Ending::Failed };
            Done { ending, text: String::new() }
        }
    }

    #[async_trait]
    impl Subject for Reluctant {
        fn client(&mut self, _stage: &dyn Stage, _name: &str) -> Box<dyn Client> {
            Box::new(self.clone())
        }

        fn again(&self, operation: &str, number: u32) -> Option<String> {
            Some(format!("{operation} {number}"))
        }

        async fn judge(&mut self, _stage: &dyn Stage, _checkers: &[String]) -> Result<Vec<Violation>, String> {
            Ok(vec![])
        }

        async fn snapshot(&mut self, _stage: &dyn Stage, _what: &str) -> Result<String, String> {
            Ok(String::new())
        }
    }

    #[test]
    fn operations_that_are_tried_again_never_share_an_identity() {
        let asked = run_simulation(1, WorldConfig::default(), |world: World| async move {
            let stage = Bare(world.node("client"));
            let mut subject = Reluctant::default();
            let mut clients = Clients { kinds: vec!["insert".into(), "copy".into()], ..Clients::default() };
            clients.insist(&stage, &mut subject).await.unwrap();
            subject.0.lock().unwrap().clone()
        });
        assert_eq!(asked, ["insert 0", "insert 1", "insert 2", "copy 3", "copy 4", "copy 5"]);
    }

    /// What is asked for, when a client with these operations is through and has been called back twice.
    fn asked(operations: &[&str]) -> Vec<String> {
        let operation = |text: &&str| Timed { pause: (Duration::ZERO, Duration::ZERO), text: text.to_string() };
        let operations = operations.iter().map(operation).collect();
        let block = ClientBlock { name: "c".to_string(), accompanies: vec![], operations };
        run_simulation(1, WorldConfig::default(), |world: World| async move {
            let stage = Bare(world.node("client"));
            let (mut subject, mut clients) = (Reluctant::default(), Clients::default());
            clients.start(&stage, &mut subject, &block, 1).unwrap();
            clients.finish(&stage.0, PATIENCE).await.unwrap();
            clients.once_more(&stage, &mut subject).await;
            clients.once_more(&stage, &mut subject).await;
            subject.0.lock().unwrap().clone()
        })
    }

    #[test]
    fn a_client_without_success_since_the_last_fault_is_called_back_once() {
        assert_eq!(asked(&["insert"]), ["insert", "insert 0", "insert 1"]);
        assert_eq!(asked(&["insert", "copy"]), ["insert", "copy", "copy 0"]);
        assert_eq!(asked(&["insert", "copy", "read"]), ["insert", "copy", "read"], "the third comes off");
    }
}
