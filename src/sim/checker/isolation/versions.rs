//! Who committed, and in which order the values of each key came.

use super::Ending;
use super::history::{Key, MicroOperation, Transaction, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What the reads of a history say about its writes.
pub struct Versions<'a> {
    pub history: &'a [Transaction],
    /// By transaction: acknowledged, or unknown and seen.
    pub committed: Vec<bool>,
    pub writes: BTreeMap<(Key, Value), Write>,
    /// Keys that somebody who committed has read.
    pub keys: BTreeMap<Key, Lists<'a>>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub transaction: usize,
    /// So many appends of the transaction to this key came before.
    pub number: usize,
    /// None came after.
    pub last: bool,
}

/// A key's version order.
#[derive(Default)]
pub struct Lists<'a> {
    /// The longest list read, by whom. Its beginnings are the versions.
    pub longest: &'a [Value],
    pub reader: usize,
    /// Of each value in it: the transaction that appended it, unless that is nobody or did not commit, or the value had
    /// been there before.
    pub writers: Vec<Option<usize>>,
    /// Committed appends that nobody who committed has read: they come later, in an unknown order. Only some if they are many.
    pub unread: Vec<(usize, Value)>,
}

/// So many appends that nobody has read are remembered of each key: all readers of the longest list come before each of
/// them, and that must not become a quadratic number of edges.
const UNREAD_MAX: usize = 8;

impl<'a> Versions<'a> {
    pub fn infer(history: &'a [Transaction]) -> Versions<'a> {
        let committed = history.iter().map(|transaction| transaction.ending == Ending::Ok).collect();
        let mut versions = Versions { history, committed, writes: writes(history), keys: BTreeMap::new() };
        let mut waiting: Vec<usize> = (0..history.len()).filter(|at| versions.committed[*at]).collect();
        // Whoever was seen by one that committed has committed too, and what it read counts as well.
        while !waiting.is_empty() {
            waiting.into_iter().for_each(|at| versions.take_in(at));
            waiting = versions.newly_seen();
        }
        versions.find_unread();
        versions
    }

    /// Lets the reads of a committed transaction count.
    fn take_in(&mut self, at: usize) {
        for (key, values) in reads(&self.history[at]) {
            let lists = self.keys.entry(key).or_insert(Lists { reader: at, ..Lists::default() });
            if values.len() > lists.longest.len() {
                // Another beginning than before: what was known of it is worth nothing.
                if !values.starts_with(lists.longest) {
                    lists.writers.clear();
                }
                (lists.longest, lists.reader) = (values, at);
            }
        }
    }

    /// Fills in the writers of what has been seen for the first time; returns those of unknown end among them.
    fn newly_seen(&mut self) -> Vec<usize> {
        let mut found = vec![];
        for (key, lists) in &mut self.keys {
            let known = lists.writers.len();
            if known == lists.longest.len() {
                continue;
            }
            let mut before: BTreeSet<Value> = lists.longest[..known].iter().copied().collect();
            for value in &lists.longest[known..] {
                let writer = self.writes.get(&(*key, *value)).map(|write| write.transaction);
                if let Some(at) =
                    writer.filter(|at| self.history[*at].ending == Ending::Unknown && !self.committed[*at])
                {
                    self.committed[at] = true;
                    found.push(at);
                }
                let happened = writer.filter(|at| self.history[*at].ending != Ending::Failed);
                lists.writers.push(happened.filter(|_| before.insert(*value)));
            }
        }
        found
    }

    fn find_unread(&mut self) {
        let orderly: BTreeSet<Key> = {
            let broken: BTreeSet<Key> = self.stray_reads().map(|(_, key, _)| key).collect();
            self.keys.keys().copied().filter(|key| !broken.contains(key)).collect()
        };
        let read: BTreeSet<(Key, Value)> =
            self.keys.iter().flat_map(|(key, lists)| lists.longest.iter().map(|value| (*key, *value))).collect();
        for (at, transaction) in self.history.iter().enumerate().filter(|(at, _)| self.committed[*at]) {
            for (key, value) in appends(transaction) {
                if let (true, false, Some(lists)) =
                    (orderly.contains(&key), read.contains(&(key, value)), self.keys.get_mut(&key))
                    && lists.unread.len() < UNREAD_MAX
                {
                    lists.unread.push((at, value));
                }
            }
        }
    }

    /// Reads of all who committed: transaction, key, list.
    pub fn reads(&self) -> impl Iterator<Item = (usize, Key, &'a [Value])> + '_ {
        let committed = self.history.iter().enumerate().filter(|(at, _)| self.committed[*at]);
        committed.flat_map(|(at, transaction)| reads(transaction).map(move |(key, values)| (at, key, values)))
    }

    /// Whether the list is one of the key's versions.
    pub fn is_version(&self, key: Key, values: &[Value]) -> bool {
        self.keys.get(&key).is_some_and(|lists| lists.longest.starts_with(values))
    }

    /// Reads that are no beginning of the longest one.
    pub fn stray_reads(&self) -> impl Iterator<Item = (usize, Key, &'a [Value])> + '_ {
        self.reads().filter(|(_, key, values)| !self.is_version(*key, values))
    }

    pub fn name(&self, at: usize) -> &'a str {
        &self.history[at].name
    }
}

fn writes(history: &[Transaction]) -> BTreeMap<(Key, Value), Write> {
    let mut writes: BTreeMap<(Key, Value), Write> = BTreeMap::new();
    for (transaction, written) in history.iter().enumerate() {
        let mut last: BTreeMap<Key, Value> = BTreeMap::new();
        for (key, value) in appends(written) {
            let mut number = 0;
            if let Some(before) = last.insert(key, value).and_then(|before| writes.get_mut(&(key, before))) {
                before.last = false;
                number = before.number + 1;
            }
            let again = writes.insert((key, value), Write { transaction, number, last: true });
            assert!(again.is_none(), "{} appended {value} to key {key}, which had been appended before", written.name);
        }
    }
    writes
}

pub fn appends(transaction: &Transaction) -> impl Iterator<Item = (Key, Value)> + '_ {
    transaction.operations.iter().filter_map(|operation| match operation {
        MicroOperation::Append { key, value } => Some((*key, *value)),
        MicroOperation::Read { .. } => None,
    })
}

fn reads(transaction: &Transaction) -> impl Iterator<Item = (Key, &[Value])> {
    transaction.operations.iter().filter_map(|operation| match operation {
        MicroOperation::Read { key, values: Some(values) } => Some((*key, &values[..])),
        _ => None,
    })
}
