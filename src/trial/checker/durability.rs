//! What was acknowledged stays, on every replica of its chunk; what was refused never appears.

use super::homes::home;
use super::{FinalState, Violation};
use crate::sim::history::Ending;
use crate::trial::history::{Batch, History, Read};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "durability";

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    for (table, batches) in &history.batches {
        let written: BTreeMap<(u32, u32), &Batch> = batches.written.iter().map(|b| ((b.writer, b.number), b)).collect();
        for read in &batches.reads {
            judge(table, &written, read, "a concurrent read", &mut found);
        }
        if let Some(read) = state.reads.get(table) {
            judge(table, &written, read, "the final read", &mut found);
        }
        replicas(table, &batches.written, state, &mut found);
    }
    found
}

/// A read must hold every batch acknowledged before it began and no batch refused; others may go either way.
fn judge(table: &str, batches: &BTreeMap<(u32, u32), &Batch>, read: &Read, who: &str, found: &mut Vec<Violation>) {
    let seen: BTreeMap<(u32, u32), u32> = read.seen.iter().map(|s| ((s.writer, s.number), s.rows)).collect();
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    for (key, batch) in batches {
        let rows = seen.get(key).copied().unwrap_or(0);
        let (writer, number) = key;
        match batch.ending {
            Ending::Ok if batch.completed <= read.invoked && rows == 0 => violation(format!(
                "{who} at {} us misses batch {writer}.{number} of {table}, acknowledged at {} us",
                read.invoked, batch.completed
            )),
            Ending::Failed if rows > 0 => {
                violation(format!(
                    "{who} at {} us shows batch {writer}.{number} of {table}, which was refused",
                    read.invoked
                ));
            }
            _ => {}
        }
    }
}

/// Every acknowledged row is on each data node that holds its chunk, and no refused one on any.
fn replicas(table: &str, batches: &[Batch], state: &FinalState, found: &mut Vec<Violation>) {
    let Some(hypertable) = state.hypertables.iter().find(|hypertable| hypertable.name == table) else { return };
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    let mut held = BTreeMap::new();
    for (node, chunk, replica) in state.replicas(table) {
        let Some(rows) = replica.tagged() else { continue };
        let rows: BTreeSet<(i64, u32, u32)> = rows.iter().map(|row| (row.writer, row.number, row.row)).collect();
        held.insert((node.name.as_str(), chunk.table.as_str()), rows);
    }
    for batch in batches {
        let (writer, number) = (batch.writer, batch.number);
        for row in &batch.content {
            let key = (row.writer, row.number, row.row);
            let name = format!("row {} of batch {writer}.{number} of {table}", row.row);
            match batch.ending {
                Ending::Ok => {
                    let Some(chunk) = home(state, hypertable, row) else {
                        violation(format!("{name} was acknowledged at {} us and has no chunk", batch.completed));
                        continue;
                    };
                    for node in &chunk.nodes {
                        if held.get(&(node.as_str(), chunk.table.as_str())).is_some_and(|rows| !rows.contains(&key)) {
                            violation(format!(
                                "{name}, acknowledged at {} us, is not in {} on {node}",
                                batch.completed, chunk.table
                            ));
                        }
                    }
                }
                Ending::Failed => {
                    for ((node, chunk), _) in held.iter().filter(|(_, rows)| rows.contains(&key)) {
                        violation(format!("{name}, which was refused, is in {chunk} on {node}"));
                    }
                }
                Ending::Unknown => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{self, batch, row};
    use super::*;
    use crate::trial::history::Seen;

    fn history(ending: Ending) -> History {
        made_up::history(vec![batch(0, ending, 10, 20)])
    }

    fn state(invoked: u64, numbers: &[u32]) -> FinalState {
        let seen = numbers.iter().map(|n| Seen { writer: 0, number: *n, rows: 2, distinct: 2, expected: 2 }).collect();
        FinalState {
            reads: [("t".to_string(), Read { invoked, completed: invoked + 1, seen })].into(),
            ..FinalState::default()
        }
    }

    #[test]
    fn a_lost_acknowledged_batch_is_found() {
        assert_eq!(check(&history(Ending::Ok), &state(20, &[])).len(), 1);
        assert!(check(&history(Ending::Ok), &state(15, &[])).is_empty(), "not yet acknowledged when the read began");
    }

    #[test]
    fn a_refused_batch_that_shows_up_is_found() {
        assert_eq!(check(&history(Ending::Failed), &state(30, &[0])).len(), 1);
    }

    #[test]
    fn an_unknown_batch_may_go_either_way() {
        assert!(check(&history(Ending::Unknown), &state(30, &[0])).is_empty());
        assert!(check(&history(Ending::Unknown), &state(30, &[])).is_empty());
    }

    #[test]
    fn a_row_that_one_replica_lost_is_found() {
        let mut state = made_up::state(&[row(0, 0), row(0, 1)]);
        assert!(check(&history(Ending::Ok), &state).is_empty());
        state.nodes[1].tables[1].rows.clear();
        let found = check(&history(Ending::Ok), &state);
        assert!(found.len() == 1 && found[0].evidence.contains("is not in c1 on node1"), "{found:?}");
        assert_eq!(check(&history(Ending::Failed), &state).len(), 3, "of a refused one nothing may be there");
        state.chunks.remove(1);
        assert!(check(&history(Ending::Ok), &state)[0].evidence.contains("has no chunk"));
    }
}
