//! The access node's catalog equals what data nodes hold: every chunk on each of its nodes, no orphan tables, replicas
//! with as many rows as each other.

use super::{FinalState, Violation};
use crate::trial::history::History;
use std::collections::BTreeMap;

const NAME: &str = "agreement";

pub fn check(_history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    for chunk in &state.chunks {
        let mut counts = BTreeMap::new();
        for node in &chunk.nodes {
            let held = state.nodes.iter().find(|n| n.name == *node);
            match held.and_then(|n| n.tables.iter().find(|(table, _)| *table == chunk.table)) {
                Some((_, rows)) => {
                    counts.insert(node.as_str(), *rows);
                }
                None => violation(format!("chunk {} is not on {node}, where the catalog has it", chunk.table)),
            }
        }
        if counts.values().collect::<std::collections::BTreeSet<_>>().len() > 1 {
            violation(format!("replicas of chunk {} differ in rows: {counts:?}", chunk.table));
        }
    }
    for node in &state.nodes {
        for (table, rows) in &node.tables {
            if !state.chunks.iter().any(|chunk| chunk.table == *table && chunk.nodes.contains(&node.name)) {
                violation(format!(
                    "{} holds table {table} ({rows} rows), which the catalog does not have there",
                    node.name
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{ChunkRow, NodeState};
    use super::*;

    fn state(tables: &[(&str, &[(&str, u64)])]) -> FinalState {
        let node = |(name, tables): &(&str, &[(&str, u64)])| NodeState {
            name: name.to_string(),
            prepared: vec![],
            tables: tables.iter().map(|(t, n)| (t.to_string(), *n)).collect(),
        };
        let chunks = vec![ChunkRow { table: "c1".into(), nodes: vec!["node0".into(), "node1".into()] }];
        FinalState { chunks, nodes: tables.iter().map(node).collect(), ..FinalState::default() }
    }

    #[test]
    fn equal_replicas_pass() {
        assert!(check(&History::default(), &state(&[("node0", &[("c1", 3)]), ("node1", &[("c1", 3)])])).is_empty());
    }

    #[test]
    fn missing_orphaned_and_unequal_chunks_are_found() {
        let found = check(&History::default(), &state(&[("node0", &[("c1", 3), ("c9", 1)]), ("node1", &[])]));
        assert_eq!(found.len(), 2, "{found:?}");
        let found = check(&History::default(), &state(&[("node0", &[("c1", 3)]), ("node1", &[("c1", 2)])]));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
