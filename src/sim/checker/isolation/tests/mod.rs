//! Histories as text, and what the checker says of them.
//!
//! A line is `T1: a1.5 r2[1 2] r3?`: transaction T1 appended 5 to key 1, read key 2 as [1 2], and got no answer when it
//! read key 3. `T1 failed:` and `T1 unknown:` say how it ended; `T1 @4 10..20:` that process 4 did it from 10 to 20. Else every
//! transaction is of a process of its own, and all are concurrent.

mod errors;
mod literature;
mod random;

use super::{Anomaly, Ending, Level, MicroOperation, Transaction, check};

pub const LEVELS: [Level; 5] = [
    Level::ReadCommitted,
    Level::SnapshotIsolation,
    Level::StrongSnapshotIsolation,
    Level::Serializable,
    Level::StrictSerializable,
];

fn history(text: &str) -> Vec<Transaction> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.enumerate().map(|(at, line)| transaction(line, at as u64)).collect()
}

fn transaction(line: &str, number: u64) -> Transaction {
    let (head, operations) = line.split_once(':').unwrap();
    let words: Vec<&str> = head.split(' ').collect();
    let (mut process, mut ending, mut invoked, mut completed) = (1000 + number, Ending::Ok, 0, 1000);
    for word in &words[1..] {
        match *word {
            "failed" => ending = Ending::Failed,
            "unknown" => ending = Ending::Unknown,
            word => match (word.strip_prefix('@'), word.split_once("..")) {
                (Some(number), _) => process = number.parse().unwrap(),
                (None, Some((from, to))) => (invoked, completed) = (from.parse().unwrap(), to.parse().unwrap()),
                (None, None) => panic!("{line}: {word}"),
            },
        }
    }
    // Lists have spaces in them.
    let operations = operations.replace(" r", "\nr").replace(" a", "\na");
    let operations = operations.lines().map(str::trim).filter(|text| !text.is_empty()).map(operation).collect();
    Transaction { name: words[0].to_string(), process, invoked, completed, ending, operations }
}

fn operation(text: &str) -> MicroOperation {
    let numbers = |text: &str| text.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<u64>>();
    if let Some((key, value)) = text.strip_prefix('a').and_then(|rest| rest.split_once('.')) {
        return MicroOperation::Append { key: key.parse().unwrap(), value: value.parse().unwrap() };
    }
    let rest = text.strip_prefix('r').unwrap();
    match rest.split_once('[') {
        Some((key, values)) => {
            MicroOperation::Read { key: key.parse().unwrap(), values: Some(numbers(values.trim_end_matches(']'))) }
        }
        None => MicroOperation::Read { key: rest.trim_end_matches('?').parse().unwrap(), values: None },
    }
}

/// The names of what is wrong.
fn kinds(text: &str, level: Level) -> Vec<String> {
    check(&history(text), level).iter().map(|anomaly| anomaly.kind.to_string()).collect()
}

/// Of a history with one anomaly: that one.
fn only(text: &str, level: Level) -> Anomaly {
    let mut found = check(&history(text), level);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The levels that forbid what the history shows, in the order of [`LEVELS`].
fn forbidden_at(text: &str) -> Vec<Level> {
    LEVELS.into_iter().filter(|level| !kinds(text, *level).is_empty()).collect()
}
