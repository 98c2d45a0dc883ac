//! Nobody sees what nobody wrote, nor anything twice; on no data node either. A row is as its writer sent it.

use super::{FinalState, Violation};
use crate::trial::history::{History, Read, Row};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "phantom";

/// Rows that were sent, by batch and row.
type Sent<'a> = BTreeMap<(i64, u32, u32), &'a Row>;

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    for (table, batches) in &history.batches {
        let written = batches.written.iter().map(|batch| (batch.writer, batch.number)).collect();
        for read in &batches.reads {
            unwritten(table, &written, read, "a concurrent read", &mut found);
        }
        if let Some(read) = state.reads.get(table) {
            unwritten(table, &written, read, "the final read", &mut found);
        }
        let sent = batches.written.iter().flat_map(|batch| &batch.content);
        let sent: Sent<'_> = sent.map(|row| ((row.writer, row.number, row.row), row)).collect();
        if let Some(rows) = state.rows.get(table) {
            strange("the final read", table, &sent, rows.clone(), &mut found);
        }
        for (node, chunk, replica) in state.replicas(table) {
            let whom = format!("{} in {}", node.name, chunk.table);
            strange(&whom, table, &sent, replica.tagged().unwrap_or_default(), &mut found);
        }
    }
    found
}

fn unwritten(table: &str, written: &BTreeSet<(u32, u32)>, read: &Read, who: &str, found: &mut Vec<Violation>) {
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    for seen in &read.seen {
        let (writer, number) = (seen.writer, seen.number);
        if !written.contains(&(writer, number)) {
            violation(format!(
                "{who} at {} us shows batch {writer}.{number} of {table}, which nobody wrote",
                read.invoked
            ));
        }
        if seen.rows > seen.distinct {
            violation(format!(
                "{who} at {} us shows {} rows of batch {writer}.{number} of {table}, of which {} are different",
                read.invoked, seen.rows, seen.distinct
            ));
        }
    }
}

fn strange(who: &str, table: &str, sent: &Sent<'_>, mut rows: Vec<Row>, found: &mut Vec<Violation>) {
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    // Those of nobody the story itself wrote, and perhaps repeated.
    rows.retain(|row| row.writer >= 0);
    rows.sort();
    let name = |row: &Row| format!("row {} of batch {}.{} of {table}", row.row, row.writer, row.number);
    for row in &rows {
        match sent.get(&(row.writer, row.number, row.row)) {
            Some(sent) if *sent == row => {}
            Some(sent) => violation(format!("{who} holds {} as {row:?}, which was sent as {sent:?}", name(row))),
            None => violation(format!("{who} holds {}, which nobody wrote", name(row))),
        }
    }
    for twice in rows.windows(2).filter(|pair| pair[0] == pair[1]) {
        violation(format!("{who} holds {} twice", name(&twice[0])));
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{batch, history, row, state};
    use super::*;
    use crate::sim::history::Ending;
    use crate::trial::history::Seen;

    fn written() -> History {
        history(vec![batch(0, Ending::Ok, 0, 10)])
    }

    #[test]
    fn what_was_written_passes() {
        assert!(check(&written(), &state(&[row(0, 0), row(0, 1)])).is_empty());
        let fresh = Row { writer: -1, ..row(5, 0) };
        assert!(check(&written(), &state(&[fresh.clone(), fresh])).is_empty(), "the story's own");
    }

    #[test]
    fn a_batch_of_nobody_and_a_row_twice_are_found_in_reads() {
        let seen = |number, rows| Seen { writer: 0, number, rows, distinct: 2, expected: 2 };
        let read = |seen| Read { invoked: 20, completed: 21, seen: vec![seen] };
        let with = |read| FinalState { reads: [("t".to_string(), read)].into(), ..FinalState::default() };
        assert_eq!(check(&written(), &with(read(seen(7, 2)))).len(), 1);
        assert_eq!(check(&written(), &with(read(seen(0, 3)))).len(), 1);
        assert!(check(&written(), &with(read(seen(0, 2)))).is_empty());
    }

    #[test]
    fn strange_changed_and_doubled_rows_are_found_on_data_nodes() {
        let mut state = state(&[row(0, 0), row(0, 1)]);
        state.rows.clear();
        let table = &mut state.nodes[1].tables[0].rows;
        table.push(table[0].clone());
        assert_eq!(check(&written(), &state).len(), 1);
        state.nodes[1].tables[0].rows[1][6] = "77".into();
        let found = check(&written(), &state);
        assert!(found.len() == 1 && found[0].evidence.contains("node1 in c0"), "{found:?}");
        state.nodes[1].tables[0].rows[1][3] = "9".into();
        assert!(check(&written(), &state)[0].evidence.contains("nobody wrote"));
    }
}
