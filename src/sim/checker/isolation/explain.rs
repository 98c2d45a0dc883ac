//! Cycles in words.

use super::Anomaly;
use super::cycles::classify;
use super::faults::list;
use super::graph::{Edge, Graph, Reason};
use super::level::Kind;
use super::versions::Versions;

/// One sentence for each edge.
pub fn cycle(graph: &Graph, versions: &Versions, cycle: &[usize]) -> Anomaly {
    let (class, scope) = classify(graph, cycle);
    let edges = between_transactions(graph, cycle);
    let transactions = edges.iter().map(|edge| versions.name(edge.from).to_string()).collect();
    let evidence = edges.iter().map(|edge| sentence(versions, edge)).collect();
    Anomaly { kind: Kind::Cycle(class, scope), transactions, evidence }
}

/// What leads through moments of time becomes one edge.
fn between_transactions(graph: &Graph, cycle: &[usize]) -> Vec<Edge> {
    let mut edges: Vec<Edge> = vec![];
    for index in cycle {
        let edge = graph.edges[*index];
        match edges.last_mut() {
            Some(last) if edge.reason == Reason::Onward => last.to = edge.to,
            _ => edges.push(edge),
        }
    }
    edges
}

fn sentence(versions: &Versions, edge: &Edge) -> String {
    let (from, to) = (versions.name(edge.from), versions.name(edge.to));
    let (kind, why) = match edge.reason {
        Reason::Ww { key, before, after } => {
            ("ww", format!("{from} appended {before} to key {key}, {to} appended {after} behind it"))
        }
        Reason::Wr { key, value } => ("wr", format!("{to} read {value} in key {key}, which {from} had appended")),
        Reason::Rw { key, length, next, read } => {
            let version = list(&versions.keys[&key].longest[..length]);
            let then = if read { format!("{to} appended {next} next") } else { format!("without the {next} of {to}") };
            ("rw", format!("{from} read key {key} as {version}, {then}"))
        }
        Reason::Process => ("process", format!("{from} was acknowledged before its process began {to}")),
        Reason::Realtime | Reason::Onward => {
            let (completed, invoked) = (versions.history[edge.from].completed, versions.history[edge.to].invoked);
            ("realtime", format!("{from} was acknowledged at {completed}, {to} began at {invoked}"))
        }
    };
    format!("{from} -{kind}-> {to}: {why}")
}
