//! What scenario files may say about hypertables.

use super::checker;
use super::workload::{self, Operation};
use crate::sim::chance::Stream;
use crate::sim::scenario::problem::ParseError;
use crate::sim::scenario::stage::Vocabulary;
use crate::sim::scenario::{self, ClientBlock, Scenario, WorkloadSpec};
use crate::{buggify, probe};

/// The vocabulary of this database.
pub struct Words;

impl Vocabulary for Words {
    fn workload(&self, spec: &WorkloadSpec, chance: &mut Stream) -> Result<Vec<ClientBlock>, String> {
        workload::clients(spec, chance)
    }

    fn operation(&self, text: &str) -> Result<(), String> {
        text.parse::<Operation>().map(|_| ())
    }

    fn checkers(&self) -> Vec<&'static str> {
        checker::ALL.iter().map(|(name, _)| *name).collect()
    }

    fn snapshots(&self) -> Vec<&'static str> {
        vec!["placement", "catalog"]
    }

    fn probes(&self) -> &'static [&'static str] {
        &probe::ALL
    }

    fn points(&self) -> Vec<&'static str> {
        buggify::ALL.iter().map(|point| point.name).collect()
    }
}

/// Parses a scenario about hypertables; see [`scenario::parse`].
pub fn parse(file: &str, text: &str) -> Result<Scenario, ParseError> {
    scenario::parse(file, text, &Words)
}
