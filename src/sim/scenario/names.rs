//! The names in a scenario that only the whole file can tell to be wrong: clients that wait for each other, nodes that
//! faults strike.

use super::problem::{ParseError, Problem};
use super::stage::{CLIENT, Vocabulary};
use super::{Action, ClientBlock, Scenario};
use crate::sim::chance;
use std::collections::BTreeSet;

/// Errors: a client or a node that the scenario does not have, or two clients of one name.
pub fn check(file: &str, scenario: &Scenario, vocabulary: &dyn Vocabulary) -> Result<(), ParseError> {
    let clients = clients(scenario, vocabulary);
    let mut nodes = vocabulary.nodes(&scenario.cluster);
    // A system that does not tell its nodes finds out itself when the fault strikes.
    if !nodes.is_empty() {
        nodes.push(CLIENT.to_string());
    }
    let mut begun = BTreeSet::new();
    for step in &scenario.steps {
        let line = scenario.text.lines().nth(step.line.saturating_sub(1) as usize).unwrap_or_default();
        let checked = match &step.action {
            Action::Client(block) => client(line, block, &clients, &mut begun),
            Action::Nemesis(nemesis) if !nodes.is_empty() => {
                match nemesis.fault.nodes().into_iter().find(|name| !nodes.iter().any(|node| node == name)) {
                    Some(name) => Err(Problem::at(
                        last(line, name),
                        format!("there is no node \"{name}\" in this scenario, expected one of: {}", nodes.join(", ")),
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        };
        checked.map_err(|problem| problem.in_line(file, step.line, line))?;
    }
    Ok(())
}

/// All that the file names, those that a `workload` line stands for, too.
fn clients(scenario: &Scenario, vocabulary: &dyn Vocabulary) -> BTreeSet<String> {
    let named = |action: &Action| match action {
        Action::Client(block) => vec![block.name.clone()],
        Action::Workload(spec) => {
            let blocks = vocabulary.workload(spec, &mut chance::stream(0, "")).unwrap_or_default();
            blocks.into_iter().map(|block| block.name).collect()
        }
        _ => vec![],
    };
    scenario.steps.iter().flat_map(|step| named(&step.action)).collect()
}

fn client(
    line: &str,
    block: &ClientBlock,
    clients: &BTreeSet<String>,
    begun: &mut BTreeSet<String>,
) -> Result<(), Problem> {
    if !begun.insert(block.name.clone()) {
        return Err(Problem::at(last(line, &block.name), format!("there is a client {} already", block.name)));
    }
    // Whoever waited for itself, or for nobody, would never end.
    let others: Vec<&str> = clients.iter().filter(|name| **name != block.name).map(String::as_str).collect();
    match block.accompanies.iter().find(|name| !others.contains(&name.as_str())) {
        Some(name) => Err(Problem::at(
            last(line, name),
            format!("there is no other client \"{name}\", expected one of: {}", others.join(", ")),
        )),
        None => Ok(()),
    }
}

/// Where the word stands in the line: behind the words of the language.
fn last<'a>(line: &'a str, word: &str) -> &'a str {
    line.split_whitespace().rfind(|other| *other == word).unwrap_or(line.trim_start())
}
