//! Transactions over lists see of each other what their isolation level promises: docs/architecture.md, "What a reader gets".
//!
//! Two histories are made of what clients did, and both judged by [`crate::sim::checker::isolation`]:
//!
//! - *Instants*: everything that must have seen one instant, or come about at one. That is a transaction under REPEATABLE READ
//!   as a whole. Of one under READ COMMITTED each statement that reads is a transaction of its own, and its appends, which
//!   become visible together, are one. Of a transaction that did not commit what it read is left: a snapshot is one whatever
//!   comes later. The level is strong snapshot isolation: what a client was told is stored is seen by every later statement.
//! - *Blocks*: all transactions as a whole, at READ COMMITTED.
//!
//! A statement that reads after its own transaction has written counts only among the blocks, if that is under READ COMMITTED: it
//! sees the node it has written to as of a moment after the others.

use super::{FinalState, Violation};
use crate::sim::checker::isolation::{Anomaly, Level, MicroOperation, Transaction, check as judge};
use crate::sim::history::Ending;
use crate::trial::history::{History, ListStep, ListTransaction, Lists};
use std::collections::BTreeSet;

const NAME: &str = "isolation";

/// Added to a client's number: what it appends is as if another client did, at its side.
const APPENDS: u64 = 1 << 32;

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = vec![];
    for (table, lists) in &history.lists {
        let last = state.lists.get(table).map(|last| complete(last, lists));
        let all: Vec<&ListTransaction> = lists.transactions.iter().chain(&last).collect();
        let instants: Vec<Transaction> = all.iter().flat_map(|transaction| instants(transaction)).collect();
        let blocks: Vec<Transaction> = all.iter().map(|transaction| whole(transaction)).collect();
        let mut anomalies = judge(&instants, Level::StrongSnapshotIsolation);
        let more = judge(&blocks, Level::ReadCommitted);
        // Most show in both: here only what is new.
        anomalies.extend(more.into_iter().filter(|anomaly| !is_among(&anomalies, anomaly)).collect::<Vec<_>>());
        let violation = |anomaly: Anomaly| Violation { checker: NAME, evidence: format!("{table}: {anomaly}") };
        found.extend(anomalies.into_iter().map(violation));
    }
    found
}

fn is_among(anomalies: &[Anomaly], anomaly: &Anomaly) -> bool {
    anomalies.iter().any(|known| known.kind == anomaly.kind)
}

/// The final read says of lists without rows that they are empty.
fn complete(last: &ListTransaction, lists: &Lists) -> ListTransaction {
    let mut keys = BTreeSet::new();
    for step in lists.transactions.iter().flat_map(|transaction| &transaction.steps) {
        match step {
            ListStep::Append { key, .. } => keys.extend([*key]),
            ListStep::Read { lists, .. } => keys.extend(lists.keys()),
        }
    }
    let mut last = last.clone();
    for step in &mut last.steps {
        if let ListStep::Read { lists, .. } = step {
            keys.iter().for_each(|key| {
                lists.entry(*key).or_default();
            });
        }
    }
    last
}

/// The transaction as it was.
fn whole(transaction: &ListTransaction) -> Transaction {
    part(transaction, transaction.name.clone(), &transaction.steps)
}

fn part<'a>(transaction: &ListTransaction, name: String, steps: impl IntoIterator<Item = &'a ListStep>) -> Transaction {
    let ListTransaction { process, invoked, completed, ending, .. } = *transaction;
    let operations = steps.into_iter().flat_map(operations).collect();
    Transaction { name, process, invoked, completed, ending, operations }
}

fn operations(step: &ListStep) -> Vec<MicroOperation> {
    match step {
        ListStep::Append { key, value } => vec![MicroOperation::Append { key: *key, value: *value }],
        ListStep::Read { lists, .. } => {
            let read =
                |(key, values): (&u64, &Vec<u64>)| MicroOperation::Read { key: *key, values: Some(values.clone()) };
            lists.iter().map(read).collect()
        }
    }
}

/// What of the transaction saw one instant each, or came about at one.
fn instants(transaction: &ListTransaction) -> Vec<Transaction> {
    let reads = transaction.steps.iter().take_while(|step| matches!(step, ListStep::Read { .. }));
    if !transaction.repeatable {
        let appends = transaction.steps.iter().filter(|step| matches!(step, ListStep::Append { .. }));
        let mut appends = part(transaction, transaction.name.clone(), appends);
        // They come about after the statements, though the transaction began before them.
        appends.process += APPENDS;
        let statements: Vec<Transaction> = (1..)
            .zip(reads)
            .map(|(number, read): (u32, _)| {
                let name = format!("{} (statement {number})", transaction.name);
                answered(transaction, name, std::slice::from_ref(read))
            })
            .collect();
        return statements.into_iter().chain((!appends.operations.is_empty()).then_some(appends)).collect();
    }
    let whole = whole(transaction);
    if transaction.ending == Ending::Ok {
        return vec![whole];
    }
    let reads: Vec<ListStep> = reads.cloned().collect();
    let name = format!("{} (its reads)", transaction.name);
    [whole].into_iter().chain((!reads.is_empty()).then(|| answered(transaction, name, &reads))).collect()
}

/// Reads that were answered: nothing that comes later takes that back.
fn answered(transaction: &ListTransaction, name: String, reads: &[ListStep]) -> Transaction {
    let mut answered = part(transaction, name, reads);
    let spans = reads.iter().filter_map(|step| match step {
        ListStep::Read { invoked, completed, .. } => Some((*invoked, *completed)),
        ListStep::Append { .. } => None,
    });
    answered.ending = Ending::Ok;
    for (place, (invoked, completed)) in spans.enumerate() {
        if place == 0 {
            answered.invoked = invoked;
        }
        answered.completed = completed;
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transaction of a client of its own, from `span.0` to `span.1`; a statement takes a microsecond.
    fn transaction(name: &str, level: &str, ending: Ending, span: (u64, u64), steps: Vec<ListStep>) -> ListTransaction {
        let process = name.bytes().map(u64::from).sum();
        let (invoked, completed) = span;
        ListTransaction { name: name.into(), process, repeatable: level == "rr", invoked, completed, ending, steps }
    }

    fn read(at: u64, lists: &[(u64, &[u64])]) -> ListStep {
        let lists = lists.iter().map(|(key, values)| (*key, values.to_vec())).collect();
        ListStep::Read { invoked: at, completed: at + 1, lists }
    }

    fn append(key: u64, value: u64) -> ListStep {
        ListStep::Append { key, value }
    }

    /// What is wrong with these and a final read of what `last` says.
    fn found(transactions: Vec<ListTransaction>, last: &[(u64, &[u64])]) -> Vec<String> {
        let history =
            History { lists: [("t".to_string(), Lists { transactions, values: 99 })].into(), ..History::default() };
        let last = transaction("the final read", "rc", Ending::Ok, (1000, 1001), vec![read(1000, last)]);
        let state = FinalState { lists: [("t".to_string(), last)].into(), ..FinalState::default() };
        check(&history, &state).into_iter().map(|violation| violation.evidence).collect()
    }

    #[test]
    fn a_statement_that_sees_half_of_a_transaction_is_found_at_any_level() {
        for level in ["rc", "rr"] {
            let writer = transaction("a", level, Ending::Ok, (0, 50), vec![append(1, 1), append(2, 2)]);
            let reader = transaction("b", level, Ending::Ok, (10, 20), vec![read(15, &[(1, &[1]), (2, &[])])]);
            let found = found(vec![writer, reader], &[(1, &[1]), (2, &[2])]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("t: G-single: a -wr-> b"), "{found:?}");
        }
    }

    #[test]
    fn two_statements_may_see_different_instants_only_at_read_committed() {
        let run = |level| {
            let writer = transaction("a", level, Ending::Ok, (0, 30), vec![append(1, 1), append(2, 2)]);
            let statements = vec![read(11, &[(1, &[])]), read(40, &[(2, &[2])])];
            let reader = transaction("b", level, Ending::Ok, (10, 50), statements);
            found(vec![writer, reader], &[(1, &[1]), (2, &[2])])
        };
        assert_eq!(run("rc"), Vec::<String>::new());
        assert_eq!(run("rr").len(), 1);
    }

    #[test]
    fn a_lost_append_is_found_if_it_had_been_acknowledged() {
        let run = |ending| found(vec![transaction("a", "rc", ending, (0, 10), vec![append(1, 1)])], &[]);
        assert!(run(Ending::Ok)[0].contains("the final read (statement 1) read key 1 as [], without the 1 of a"));
        assert_eq!(run(Ending::Unknown), Vec::<String>::new());
        assert_eq!(run(Ending::Failed), Vec::<String>::new());
    }

    #[test]
    fn a_refused_append_that_shows_up_is_found() {
        let writer = transaction("a", "rr", Ending::Failed, (0, 10), vec![append(1, 1)]);
        let found = found(vec![writer], &[(1, &[1])]);
        assert!(found.iter().any(|evidence| evidence.contains("G1a: ")), "{found:?}");
    }

    #[test]
    fn reads_of_a_transaction_that_fails_later_count() {
        for (level, ending) in [("rc", Ending::Failed), ("rr", Ending::Failed), ("rr", Ending::Unknown)] {
            let writer = transaction("a", "rc", Ending::Ok, (0, 10), vec![append(1, 1)]);
            let steps = vec![read(21, &[(1, &[])]), append(2, 2)];
            let reader = transaction("b", level, ending, (20, 30), steps);
            let found = found(vec![writer, reader], &[(1, &[1])]);
            assert!(found.len() == 1 && found[0].contains("G-single-realtime"), "{level} {ending}: {found:?}");
        }
    }

    #[test]
    fn appends_come_about_after_the_statements_before_them() {
        let steps = vec![read(11, &[(1, &[])]), append(1, 1)];
        let writer = transaction("a", "rc", Ending::Ok, (10, 20), steps);
        let other = transaction("b", "rc", Ending::Ok, (30, 40), vec![read(31, &[(1, &[1])]), append(1, 2)]);
        assert_eq!(found(vec![writer, other], &[(1, &[1, 2])]), Vec::<String>::new());
    }

    #[test]
    fn own_appends_must_be_seen() {
        let writer = transaction("a", "rc", Ending::Ok, (10, 20), vec![append(1, 1), read(11, &[(1, &[])])]);
        let found = found(vec![writer], &[(1, &[1])]);
        assert!(found.iter().any(|evidence| evidence.contains("internal: a read key 1 as []")), "{found:?}");
    }
}
