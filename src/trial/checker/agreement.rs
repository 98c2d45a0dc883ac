//! The access node's catalog equals what data nodes hold: every chunk on each of its nodes, no orphan tables. Replicas of
//! a chunk are equal, row by row.

use super::{ChunkTable, FinalState, Violation};
use crate::trial::history::History;

const NAME: &str = "agreement";

pub fn check(_history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    for chunk in &state.chunks {
        let mut first: Option<(&str, &ChunkTable)> = None;
        for node in &chunk.nodes {
            let held = state.nodes.iter().find(|held| held.name == *node);
            match held.and_then(|held| held.tables.iter().find(|table| table.name == chunk.table)) {
                None => violation(format!("chunk {} is not on {node}, where the catalog has it", chunk.table)),
                Some(table) => match first {
                    None => first = Some((node, table)),
                    Some((other, same)) => {
                        if let Some(difference) = difference(other, same, node, table) {
                            violation(format!("replicas of chunk {} differ: {difference}", chunk.table));
                        }
                    }
                },
            }
        }
    }
    for node in &state.nodes {
        for table in &node.tables {
            if !state.chunks.iter().any(|chunk| chunk.table == table.name && chunk.nodes.contains(&node.name)) {
                violation(format!(
                    "{} holds table {} ({} rows), which the catalog does not have there",
                    node.name,
                    table.name,
                    table.rows.len()
                ));
            }
        }
    }
    found
}

/// The first thing that one replica has and the other has not.
fn difference(one: &str, first: &ChunkTable, two: &str, second: &ChunkTable) -> Option<String> {
    if first.columns != second.columns {
        return Some(format!("columns {:?} on {one}, {:?} on {two}", first.columns, second.columns));
    }
    if first.rows == second.rows {
        return None;
    }
    let counts = format!("{} rows on {one}, {} on {two}", first.rows.len(), second.rows.len());
    // Both are sorted, so the first place where they part is in one of them only.
    let at = first.rows.iter().zip(&second.rows).position(|(one, two)| one != two);
    let at = at.unwrap_or(first.rows.len().min(second.rows.len()));
    let row = |table: &ChunkTable| table.rows.get(at).map_or("nothing".to_string(), |row| format!("{row:?}"));
    Some(format!("{counts}; {} there is {} here", row(first), row(second)))
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{row, state};
    use super::*;

    #[test]
    fn equal_replicas_pass() {
        assert!(check(&History::default(), &state(&[row(0, 0), row(0, 1)])).is_empty());
    }

    #[test]
    fn missing_and_orphaned_chunks_are_found() {
        let mut missing = state(&[]);
        missing.nodes[1].tables.remove(0);
        assert_eq!(check(&History::default(), &missing).len(), 1);
        let mut orphaned = state(&[]);
        orphaned.chunks.remove(0);
        assert_eq!(check(&History::default(), &orphaned).len(), 2, "on both nodes");
    }

    #[test]
    fn replicas_of_equal_length_that_differ_are_found() {
        let mut state = state(&[row(0, 0)]);
        state.nodes[1].tables[0].rows[0][6] = "1".into();
        let found = check(&History::default(), &state);
        assert!(found.len() == 1 && found[0].evidence.contains("1 rows on node0, 1 on node1"), "{found:?}");
        state.nodes[1].tables[0].rows.clear();
        assert!(check(&History::default(), &state)[0].evidence.contains("there is nothing here"));
    }
}
