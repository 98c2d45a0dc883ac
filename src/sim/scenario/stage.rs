//! What the language asks of the world that a scenario is played in, and of the system that it is about.

use super::session::{Refusal, Session};
use super::{ClientBlock, ClusterSpec, Nemesis, WorkloadSpec, WorldKind};
use crate::host::Host;
use crate::sim::chance::Stream;
use crate::sim::checker::Violation;
use crate::sim::history::{Ending, Measures};
use crate::sim::record::Recorder;
use async_trait::async_trait;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// The scenario's own place, as its faults call it.
pub const CLIENT: &str = "client";

/// What a number is drawn for: a scenario without its faults has the workload that it had with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Faults,
    Workload,
}

/// The system's running nodes, and a nemesis that can hurt them.
#[async_trait]
pub trait Stage: Send + Sync {
    fn kind(&self) -> WorldKind;

    /// The client's own door to this world.
    fn host(&self) -> &Host;

    /// The names of all nodes but the one that clients speak to, in order.
    fn nodes(&self) -> Vec<String>;

    /// A new connection called `name`: a node's name speaks to that node, any other to the system as a client would.
    fn session(&self, name: &str) -> Box<dyn Session>;

    /// Whether this world can do such a thing at all; the reason if not.
    fn can(&self, nemesis: &Nemesis) -> Result<(), String>;

    /// Does it now, or arms it. Errors: an unknown node.
    async fn strike(&mut self, nemesis: &Nemesis) -> Result<(), String>;

    async fn advance(&mut self, duration: Duration) {
        self.host().sleep(duration).await;
    }

    /// A number in `range`, from the run's seed; each purpose has a stream of its own.
    fn draw(&mut self, purpose: Purpose, range: RangeInclusive<u64>) -> u64;

    /// Faults that were armed for later or at a probe and have not struck: a story that went on without its villain.
    fn waiting(&self) -> Vec<String> {
        Vec::new()
    }

    /// Looks back, when the story is over. Errors: something that the nemesis did in the background went wrong.
    async fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Since when, from the start of the run, no fault has been in force; `None` if one is, or if nobody knows. Wrong
    /// clocks do not count.
    fn calm_since(&self) -> Option<Duration> {
        None
    }

    /// The run's event log; only a simulation has one.
    fn recorder(&self) -> Option<Arc<Recorder>> {
        None
    }
}

/// The words of the system under test, which the language itself does not know.
pub trait Vocabulary: Sync {
    /// The clients that a `workload` line stands for. Errors name the option and what was expected.
    fn workload(&self, spec: &WorkloadSpec, chance: &mut Stream) -> Result<Vec<ClientBlock>, String>;

    /// Whether a line of a `client` block can be performed; the error says what was expected.
    fn operation(&self, text: &str) -> Result<(), String>;

    /// What `check` knows.
    fn checkers(&self) -> Vec<&'static str>;

    /// What `snapshot` knows.
    fn snapshots(&self) -> Vec<&'static str>;

    /// Named points in the system's code.
    fn probes(&self) -> &'static [&'static str];

    /// The nodes of such a cluster; none if they are not known before the run.
    fn nodes(&self, _cluster: &ClusterSpec) -> Vec<String> {
        Vec::new()
    }

    /// Operations that might show the same with less, the smallest first. Leaving out words of the line is tried
    /// anyway: only what is more than that need be said.
    fn simpler_operations(&self, _operation: &str) -> Vec<String> {
        vec![]
    }

    /// The same for a statement of the story: without its options, say.
    fn simpler_statements(&self, _statement: &str) -> Vec<String> {
        vec![]
    }

    /// What `buggify` knows: points in the system's code that may fire; see [`buggify`](crate::buggify).
    fn points(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// The system under test: its clients and its judges, and the history between them.
#[async_trait]
pub trait Subject: Send {
    /// A client that performs operations one after the other.
    fn client(&mut self, stage: &dyn Stage, name: &str) -> Box<dyn Client>;

    /// The operation once more under another identity (the `number`-th such), for a run in which none of its kind came
    /// off: there would be nothing to judge. `None` if that is no loss.
    fn again(&self, operation: &str, number: u32) -> Option<String>;

    /// Looks at the system and lets the named judges speak. Errors: it cannot be looked at.
    async fn judge(&mut self, stage: &dyn Stage, checkers: &[String]) -> Result<Vec<Violation>, String>;

    /// Numbers about the run, of which those of many runs can be added up: how much there was for judges to see.
    fn measures(&self) -> Measures {
        Measures::new()
    }

    /// Something to be kept as a golden, as text.
    async fn snapshot(&mut self, stage: &dyn Stage, what: &str) -> Result<String, String>;
}

/// One client of the system.
#[async_trait]
pub trait Client: Send {
    /// Performs one operation and remembers for the judges what came of it.
    async fn perform(&mut self, operation: &str) -> Done;
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub ending: Ending,
    /// For those who read the event log.
    pub text: String,
}

impl Done {
    /// It came off.
    pub fn ok(text: impl Into<String>) -> Done {
        Done { ending: Ending::Ok, text: text.into() }
    }
}

impl From<Refusal> for Done {
    fn from(refusal: Refusal) -> Done {
        Done { ending: refusal.ending, text: refusal.message }
    }
}
