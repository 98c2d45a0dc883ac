//! What was acknowledged stays; what was refused never appears; nobody sees what nobody wrote.

use super::{FinalState, Violation};
use crate::sim::history::Ending;
use crate::trial::history::{Batch, History, Read};
use std::collections::BTreeMap;

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
    for key in seen.keys().filter(|key| !batches.contains_key(key)) {
        violation(format!(
            "{who} at {} us shows batch {}.{} of {table}, which nobody wrote",
            read.invoked, key.0, key.1
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::history::{Batches, Seen};

    fn history(ending: Ending) -> History {
        let batch = Batch { writer: 0, number: 0, rows: 2, ending, invoked: 10, completed: 20 };
        History {
            batches: [("t".to_string(), Batches { written: vec![batch], reads: vec![] })].into(),
            ..History::default()
        }
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
    fn a_phantom_is_found() {
        assert_eq!(check(&history(Ending::Ok), &state(30, &[0, 7])).len(), 1);
    }
}
