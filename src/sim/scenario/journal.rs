//! What a client's operations leave in the event log.

use crate::sim::history::Ending;
use crate::sim::record::{Event, Name, Recorder};
use std::sync::Arc;

/// The log of one client; of none in a world without event log.
pub struct Journal {
    recorder: Option<Arc<Recorder>>,
    client: Name,
    operation: u64,
}

impl Journal {
    pub fn new(recorder: Option<Arc<Recorder>>, client: &str) -> Journal {
        Journal { recorder, client: Name::from(client), operation: 0 }
    }

    pub fn invoked(&mut self, text: &str) {
        self.operation += 1;
        let (client, operation) = (self.client.clone(), self.operation);
        self.record(Event::Invoked { client, operation, text: text.to_string() });
    }

    pub fn completed(&self, outcome: Ending, text: String) {
        let (client, operation) = (self.client.clone(), self.operation);
        self.record(Event::Completed { client, operation, outcome, text });
    }

    fn record(&self, event: Event) {
        if let Some(recorder) = &self.recorder {
            recorder.record(event);
        }
    }
}
