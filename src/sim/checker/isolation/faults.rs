//! What is wrong with single reads, without any cycle.

use super::history::{Key, MicroOperation, Value};
use super::level::Kind;
use super::versions::{Versions, Write, appends};
use super::{Anomaly, Ending};
use std::collections::{BTreeMap, BTreeSet};

impl Versions<'_> {
    /// Everything that is wrong without any cycle, at any level.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        let mut found = self.wrong_values();
        found.extend(self.incompatible_orders());
        found.extend((0..self.history.len()).filter(|at| self.committed[*at]).flat_map(|at| self.internal(at)));
        found.extend(self.misordered());
        found.extend(self.intermediate_reads());
        found.extend(self.dirty_updates());
        found.extend(self.lost_updates());
        found
    }

    fn anomaly(&self, kind: Kind, transactions: &[usize], evidence: String) -> Anomaly {
        let transactions = transactions.iter().map(|at| self.name(*at).to_string()).collect();
        Anomaly { kind, transactions, evidence: vec![evidence] }
    }

    /// Values of nobody, of failed transactions, and those that a list has twice; each once.
    fn wrong_values(&self) -> Vec<Anomaly> {
        let longest = self.keys.iter().map(|(key, lists)| (lists.reader, *key, lists.longest));
        let mut found: BTreeMap<(Kind, Key, Value), Anomaly> = BTreeMap::new();
        for (reader, key, values) in longest.chain(self.stray_reads()) {
            let mut seen = BTreeSet::new();
            for value in values {
                let name = self.name(reader);
                let (kind, others, text) = match self.writes.get(&(key, *value)).map(|write| write.transaction) {
                    _ if !seen.insert(*value) => (
                        Kind::DuplicateElements,
                        None,
                        format!("{name} read {value} twice in key {key}: {}", list(values)),
                    ),
                    None => {
                        (Kind::GarbageRead, None, format!("{name} read {value} in key {key}, which nobody appended"))
                    }
                    Some(at) if self.history[at].ending == Ending::Failed => {
                        let by = self.name(at);
                        (
                            Kind::AbortedRead,
                            Some(at),
                            format!("{name} read {value} in key {key}, which {by} had appended, and {by} failed"),
                        )
                    }
                    Some(_) => continue,
                };
                let transactions: Vec<usize> = [reader].into_iter().chain(others).collect();
                found.entry((kind, key, *value)).or_insert_with(|| self.anomaly(kind, &transactions, text));
            }
        }
        found.into_values().collect()
    }

    /// One for each key.
    fn incompatible_orders(&self) -> Vec<Anomaly> {
        let mut found: BTreeMap<Key, Anomaly> = BTreeMap::new();
        for (reader, key, values) in self.stray_reads() {
            found.entry(key).or_insert_with(|| {
                let lists = &self.keys[&key];
                let common = values.iter().zip(lists.longest).take_while(|(one, other)| one == other).count();
                let text = format!(
                    "{} read key {key} as {}, {} as {}: they part at element {common}",
                    self.name(lists.reader),
                    excerpt(lists.longest, common),
                    self.name(reader),
                    excerpt(values, common)
                );
                self.anomaly(Kind::IncompatibleOrder, &[lists.reader, reader], text)
            });
        }
        found.into_values().collect()
    }

    /// A transaction with itself: it sees what it did and, where it did nothing, what it saw.
    fn internal(&self, at: usize) -> Vec<Anomaly> {
        let mut found = vec![];
        let mut known: BTreeMap<Key, Known> = BTreeMap::new();
        let mut to_come: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        appends(&self.history[at]).for_each(|(key, value)| to_come.entry(key).or_default().push(value));
        for operation in &self.history[at].operations {
            match operation {
                MicroOperation::Append { key, value } => {
                    known.entry(*key).or_default().own.push(*value);
                    to_come.entry(*key).or_default().retain(|later| later != value);
                }
                MicroOperation::Read { key, values: Some(values) } => {
                    let known = known.entry(*key).or_default();
                    let early = to_come.get(key).into_iter().flatten().find(|value| values.contains(value));
                    if let Some(problem) = known.problem(values, early.copied()) {
                        let (kind, what) = problem;
                        let text = format!("{} read key {key} as {}, {what}", self.name(at), list(values));
                        found.push(self.anomaly(kind, &[at], text));
                    }
                    *known = Known { base: Some(values), own: vec![] };
                }
                MicroOperation::Read { values: None, .. } => {}
            }
        }
        found
    }

    /// A transaction's appends to a key come in the order in which it made them. What of others comes in between is a cycle.
    fn misordered(&self) -> Vec<Anomaly> {
        let mut found = vec![];
        for (key, lists) in &self.keys {
            let writes = lists.longest.iter().filter_map(|value| Some((*value, *self.writes.get(&(*key, *value))?)));
            let mut last: Option<(Value, Write)> = None;
            for (value, write) in writes {
                let before = last.replace((value, write)).filter(|(_, last)| last.transaction == write.transaction);
                if let Some((before, _)) = before.filter(|(_, last)| last.number > write.number) {
                    let (reader, by) = (self.name(lists.reader), self.name(write.transaction));
                    let text = format!(
                        "{reader} read {before} before {value} in key {key}, which {by} appended the other way round"
                    );
                    found.push(self.anomaly(Kind::Internal, &[write.transaction, lists.reader], text));
                }
            }
        }
        found
    }

    /// One for each value that should not have been the last one of a list.
    fn intermediate_reads(&self) -> Vec<Anomaly> {
        let mut found: BTreeMap<(Key, Value), Anomaly> = BTreeMap::new();
        for (reader, key, values) in self.reads() {
            let foreign = values.iter().rev().find_map(|value| {
                let write = self.writes.get(&(key, *value))?;
                (write.transaction != reader).then_some((*value, *write))
            });
            if let Some((value, write)) = foreign.filter(|(_, write)| !write.last) {
                let (name, by) = (self.name(reader), self.name(write.transaction));
                let text =
                    format!("{name} read key {key} as {}, but {by} appended more behind its {value}", list(values));
                found
                    .entry((key, value))
                    .or_insert_with(|| self.anomaly(Kind::IntermediateRead, &[reader, write.transaction], text));
            }
        }
        found.into_values().collect()
    }

    /// One for each value of a failed transaction that somebody appended to.
    fn dirty_updates(&self) -> Vec<Anomaly> {
        let mut found = vec![];
        for (key, lists) in &self.keys {
            for (index, value) in lists.longest.iter().enumerate() {
                let Some(write) = self.writes.get(&(*key, *value)) else { continue };
                if self.history[write.transaction].ending != Ending::Failed {
                    continue;
                }
                if let Some(next) = lists.writers[index + 1..].iter().flatten().next() {
                    let (failed, updater) = (self.name(write.transaction), self.name(*next));
                    let text =
                        format!("{updater} appended to key {key} behind {value} of {failed}, and {failed} failed");
                    found.push(self.anomaly(Kind::DirtyUpdate, &[*next, write.transaction], text));
                }
            }
        }
        found
    }

    /// One for each version that several read in order to change it.
    fn lost_updates(&self) -> Vec<Anomaly> {
        let mut updaters: BTreeMap<(Key, usize), Vec<usize>> = BTreeMap::new();
        for (at, transaction) in self.history.iter().enumerate().filter(|(at, _)| self.committed[*at]) {
            let mut read: BTreeMap<Key, Option<usize>> = BTreeMap::new();
            for operation in &transaction.operations {
                match operation {
                    MicroOperation::Read { key, values: Some(values) } if self.is_version(*key, values) => {
                        read.entry(*key).or_insert(Some(values.len()));
                    }
                    MicroOperation::Read { .. } => {}
                    MicroOperation::Append { key, .. } => {
                        if let Some(length) = read.insert(*key, None).flatten() {
                            updaters.entry((*key, length)).or_default().push(at);
                        }
                    }
                }
            }
        }
        let lost = updaters.into_iter().filter(|(_, transactions)| transactions.len() > 1);
        lost.map(|((key, length), transactions)| {
            let names: Vec<&str> = transactions.iter().map(|at| self.name(*at)).collect();
            let version = list(&self.keys[&key].longest[..length]);
            let text = format!("{} all read key {key} as {version} and then appended to it", names.join(", "));
            self.anomaly(Kind::LostUpdate, &transactions, text)
        })
        .collect()
    }
}

/// What a transaction must find in a key when it reads it.
#[derive(Default)]
struct Known<'a> {
    /// What it read last.
    base: Option<&'a [Value]>,
    /// What it appended since.
    own: Vec<Value>,
}

impl Known<'_> {
    /// What is wrong with a read, in words. `early` is a value in it that the transaction appends only later.
    fn problem(&self, values: &[Value], early: Option<Value>) -> Option<(Kind, String)> {
        if let Some(value) = early {
            return Some((Kind::Internal, format!("where it appended {value} only later")));
        }
        if let Some(value) = self.own.iter().find(|value| !values.contains(value)) {
            return Some((Kind::Internal, format!("where it had appended {value}")));
        }
        let rest = values.strip_suffix(&self.own[..]);
        match self.base {
            Some(base) if rest != Some(base) => {
                let appended =
                    if self.own.is_empty() { String::new() } else { format!(" and appended {}", list(&self.own)) };
                Some((Kind::UnrepeatableRead, format!("after it had read {}{appended}", list(base))))
            }
            None if rest.is_none() => {
                Some((Kind::UnrepeatableRead, format!("where others appended behind its own {}", list(&self.own))))
            }
            _ => None,
        }
    }
}

/// So many elements of a list are shown.
const SHOWN_MAX: usize = 6;

/// The end of a list.
pub fn list(values: &[Value]) -> String {
    excerpt(values, values.len())
}

/// A few elements of a list around a place in it.
fn excerpt(values: &[Value], place: usize) -> String {
    let start = if values.len() <= SHOWN_MAX {
        0
    } else {
        place.saturating_sub(SHOWN_MAX / 2).min(values.len() - SHOWN_MAX / 2)
    };
    let start = if place == values.len() && values.len() > SHOWN_MAX { values.len() - SHOWN_MAX } else { start };
    let end = values.len().min(start + SHOWN_MAX);
    let mut words: Vec<String> = values[start..end].iter().map(Value::to_string).collect();
    if start > 0 {
        words.insert(0, "…".to_string());
    }
    if end < values.len() {
        words.push("…".to_string());
    }
    format!("[{}]", words.join(" "))
}
