//! A transaction's rows are all there or none, on all nodes, also to concurrent readers.

use super::{FinalState, Violation};
use crate::trial::history::{History, Read};

const NAME: &str = "atomicity";

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let concurrent = history.batches.iter().flat_map(|(table, batches)| {
        batches.reads.iter().flat_map(move |read| broken(table, read, "a concurrent read"))
    });
    let last = state.reads.iter().flat_map(|(table, read)| broken(table, read, "the final read"));
    concurrent.chain(last).collect()
}

fn broken<'a>(table: &'a str, read: &'a Read, who: &'a str) -> impl Iterator<Item = Violation> + 'a {
    read.seen.iter().filter(|seen| seen.distinct != seen.expected).map(move |seen| Violation {
        checker: NAME,
        evidence: format!(
            "{who} (from {} to {} us) saw {} rows ({} different) of batch {}.{} of {table}, which has {}",
            read.invoked, read.completed, seen.rows, seen.distinct, seen.writer, seen.number, seen.expected
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::history::Seen;

    fn read(rows: u32, distinct: u32) -> FinalState {
        let seen = vec![Seen { writer: 1, number: 2, rows, distinct, expected: 4 }];
        FinalState {
            reads: [("t".to_string(), Read { invoked: 0, completed: 9, seen })].into(),
            ..FinalState::default()
        }
    }

    #[test]
    fn half_a_batch_is_found() {
        let found = check(&History::default(), &read(2, 2));
        assert_eq!(found.len(), 1);
        assert!(found[0].evidence.contains("2 rows (2 different) of batch 1.2 of t, which has 4"));
        assert_eq!(check(&History::default(), &read(4, 3)).len(), 1, "one twice and one not");
    }

    #[test]
    fn a_whole_batch_passes() {
        assert!(check(&History::default(), &read(4, 4)).is_empty());
    }
}
