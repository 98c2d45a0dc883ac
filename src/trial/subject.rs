//! The database as the runner of scenarios sees it: clients that fill the history, judges that read it.

use super::checker;
use super::diversity;
use super::history::{History, Shared};
use super::observe;
use super::workload::{self, Operation};
use crate::sim::checker::Violation;
use crate::sim::history::Measures;
use crate::sim::scenario::stage::{Client, Stage, Subject};
use async_trait::async_trait;

/// One run's clients share its history.
#[derive(Default)]
pub struct Hypertables {
    history: Shared,
    measures: Measures,
}

impl Hypertables {
    fn history(&self) -> History {
        self.history.lock().expect("no client panics while it holds the lock").clone()
    }
}

#[async_trait]
impl Subject for Hypertables {
    fn client(&mut self, stage: &dyn Stage, name: &str) -> Box<dyn Client> {
        Box::new(workload::Performer::new(name, stage.host().clone(), stage.session(name), self.history.clone()))
    }

    fn again(&self, operation: &str, number: u32) -> Option<String> {
        operation.parse::<Operation>().ok()?.again(number).map(|again| again.to_string())
    }

    async fn judge(&mut self, stage: &dyn Stage, checkers: &[String]) -> Result<Vec<Violation>, String> {
        let history = self.history();
        let state = observe::final_state(stage, &history).await?;
        self.measures = diversity::measure(&history, &state);
        let asked = checker::ALL.iter().filter(|(name, _)| checkers.iter().any(|asked| asked == name));
        Ok(asked.flat_map(|(_, check)| check(&history, &state)).collect())
    }

    fn measures(&self) -> Measures {
        self.measures.clone()
    }

    async fn snapshot(&mut self, stage: &dyn Stage, what: &str) -> Result<String, String> {
        match what {
            "placement" => observe::placement(stage).await,
            "catalog" => observe::catalog(stage).await,
            _ => Err(format!("unknown snapshot \"{what}\", expected: placement or catalog")),
        }
    }
}
