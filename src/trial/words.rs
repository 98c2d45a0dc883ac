//! What scenario files may say about hypertables.

use super::workload::{self, Operation};
use super::{checker, stage};
use crate::sim::chance::Stream;
use crate::sim::scenario::problem::ParseError;
use crate::sim::scenario::stage::Vocabulary;
use crate::sim::scenario::{self, ClientBlock, ClusterSpec, Scenario, WorkloadSpec};
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

    fn nodes(&self, cluster: &ClusterSpec) -> Vec<String> {
        let data_nodes = stage::data_node_names(cluster);
        [vec![stage::ACCESS_NODE.to_string()], data_nodes].concat()
    }

    fn simpler_operations(&self, operation: &str) -> Vec<String> {
        let simpler = operation.parse::<Operation>().map(|operation| operation.simpler()).unwrap_or_default();
        simpler.iter().map(Operation::to_string).collect()
    }

    fn simpler_statements(&self, statement: &str) -> Vec<String> {
        without_named_arguments(statement)
    }

    fn points(&self) -> Vec<&'static str> {
        buggify::ALL.iter().map(|point| point.name).collect()
    }
}

/// `f('t', 'time', a => 1, b => 2)` without any of its named arguments, and without each of them: what a function does
/// when it is not told otherwise is what a reader knows.
fn without_named_arguments(statement: &str) -> Vec<String> {
    let Some((before, rest)) = statement.split_once(", ").filter(|_| statement.contains(" => ")) else { return vec![] };
    let Some((arguments, after)) = rest.rsplit_once(')') else { return vec![] };
    let arguments: Vec<&str> = arguments.split(", ").collect();
    let with = |kept: &dyn Fn(usize) -> bool| {
        let kept = arguments.iter().enumerate().filter(|(at, _)| kept(*at)).map(|(_, argument)| *argument);
        format!("{})", [&[before], &kept.collect::<Vec<_>>()[..]].concat().join(", ")) + after
    };
    let named = |at: usize| arguments[at].contains(" => ");
    let each = (0..arguments.len()).filter(|at| named(*at)).map(|at| with(&|other| other != at));
    [with(&|at| !named(at))].into_iter().chain(each).collect()
}

/// Parses a scenario about hypertables; see [`scenario::parse`].
pub fn parse(file: &str, text: &str) -> Result<Scenario, ParseError> {
    scenario::parse(file, text, &Words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypertable_is_simpler_without_its_options() {
        let text = "SELECT create_distributed_hypertable('t', 'time', 'device', number_partitions => 4, \
                    replication_factor => 2)";
        let simpler = Words.simpler_statements(text);
        assert_eq!(
            simpler,
            [
                "SELECT create_distributed_hypertable('t', 'time', 'device')",
                "SELECT create_distributed_hypertable('t', 'time', 'device', replication_factor => 2)",
                "SELECT create_distributed_hypertable('t', 'time', 'device', number_partitions => 4)",
            ]
        );
        assert!(Words.simpler_statements("INSERT INTO t VALUES (1, 2)").is_empty());
    }

    #[test]
    fn a_batch_is_simpler_as_one_insert() {
        assert_eq!(Words.simpler_operations("copy t 0.1 2023-01-05/7"), ["insert t 0.1 2023-01-05/7"]);
        assert!(Words.simpler_operations("insert t 0.1 2023-01-05/7").is_empty());
        assert!(Words.simpler_operations("burn t").is_empty());
    }
}
