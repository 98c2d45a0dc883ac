//! Dependencies between transactions.

use super::Ending;
use super::history::{Key, Value};
use super::level::Scope;
use super::versions::Versions;
use std::collections::BTreeMap;

/// Nodes are the transactions of the history, by their place in it, and behind them moments of time.
pub struct Graph {
    pub transactions: usize,
    pub edges: Vec<Edge>,
    /// Of each node: edges that leave it, by kind and then by where they lead.
    pub outgoing: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: usize,
    pub reason: Reason,
    pub to: usize,
}

/// Why one comes before the other; what says more comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The other appended `after` behind `before`.
    Ww { key: Key, before: Value, after: Value },
    /// The other read the value.
    Wr { key: Key, value: Value },
    /// The list that was read is so long, and `next` is the other's. Nobody has read `next` if not `read`.
    Rw { key: Key, length: usize, next: Value, read: bool },
    /// The process began the other later.
    Process,
    /// Had been acknowledged when time came to this moment.
    Realtime,
    /// From a moment to a later one, or to what began after it.
    Onward,
}

impl Graph {
    pub fn build(versions: &Versions, scope: Scope) -> Graph {
        let transactions = versions.history.len();
        let mut edges = vec![];
        write_edges(versions, &mut edges);
        read_edges(versions, &mut edges);
        let mut nodes = transactions;
        if scope >= Scope::Process {
            process_edges(versions, &mut edges);
        }
        if scope >= Scope::Realtime {
            nodes += realtime_edges(versions, &mut edges);
        }
        edges.retain(|edge| edge.from != edge.to);
        edges.sort_unstable();
        // Of edges of one kind between the same two the first is as good as all.
        edges.dedup_by_key(|edge| (edge.from, edge.reason.kind(), edge.to));
        let mut outgoing = vec![vec![]; nodes];
        edges.iter().enumerate().for_each(|(index, edge)| outgoing[edge.from].push(index));
        Graph { transactions, edges, outgoing }
    }
}

impl Reason {
    /// Reasons of one kind are alike.
    fn kind(self) -> u8 {
        match self {
            Reason::Ww { .. } => 0,
            Reason::Wr { .. } => 1,
            Reason::Rw { .. } => 2,
            Reason::Process => 3,
            Reason::Realtime => 4,
            Reason::Onward => 5,
        }
    }

    pub fn is_rw(self) -> bool {
        matches!(self, Reason::Rw { .. })
    }
}

fn write_edges(versions: &Versions, edges: &mut Vec<Edge>) {
    for (key, lists) in &versions.keys {
        let written = lists.longest.iter().zip(&lists.writers).filter_map(|(value, writer)| Some((*value, (*writer)?)));
        let mut last = None;
        for (after, to) in written {
            if let Some((before, from)) = last.replace((after, to)) {
                edges.push(Edge { from, reason: Reason::Ww { key: *key, before, after }, to });
            }
        }
        if let Some((before, from)) = last {
            for (to, after) in &lists.unread {
                edges.push(Edge { from, reason: Reason::Ww { key: *key, before, after: *after }, to: *to });
            }
        }
    }
}

/// What a transaction read makes it depend on who wrote it, and who wrote next on it.
fn read_edges(versions: &Versions, edges: &mut Vec<Edge>) {
    for (reader, key, values) in versions.reads().filter(|(_, key, values)| versions.is_version(*key, values)) {
        let (lists, length) = (&versions.keys[&key], values.len());
        let last = (0..length).rev().find_map(|at| lists.writers[at].filter(|by| *by != reader).map(|by| (at, by)));
        if let Some((at, from)) = last {
            edges.push(Edge { from, reason: Reason::Wr { key, value: values[at] }, to: reader });
        }
        let rw = |next, to, read| Edge { from: reader, reason: Reason::Rw { key, length, next, read }, to };
        match (length..lists.longest.len()).find_map(|at| lists.writers[at].map(|by| (at, by))) {
            Some((at, to)) => edges.push(rw(lists.longest[at], to, true)),
            None => edges.extend(lists.unread.iter().map(|(to, next)| rw(*next, *to, false))),
        }
    }
}

/// From each transaction to the next of its process. One of unknown end may come about later than those that follow.
fn process_edges(versions: &Versions, edges: &mut Vec<Edge>) {
    let mut processes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, transaction) in versions.history.iter().enumerate().filter(|(at, _)| versions.committed[*at]) {
        processes.entry(transaction.process).or_default().push(at);
    }
    for mut all in processes.into_values() {
        all.sort_by_key(|at| versions.history[*at].invoked);
        let mut last = None;
        for to in all {
            edges.extend(last.map(|from| Edge { from, reason: Reason::Process, to }));
            if versions.history[to].ending == Ending::Ok {
                last = Some(to);
            }
        }
    }
}

/// A chain of moments at which transactions were acknowledged: each leads to its moment, and a moment to what began after it.
/// So there are as many edges as transactions, not as many as pairs of them. Returns the number of moments.
fn realtime_edges(versions: &Versions, edges: &mut Vec<Edge>) -> usize {
    let history = versions.history;
    let mut acknowledged: Vec<usize> = (0..history.len()).filter(|at| history[*at].ending == Ending::Ok).collect();
    acknowledged.sort_by_key(|at| history[*at].completed);
    let moment = |place: usize| history.len() + place;
    for (place, from) in acknowledged.iter().enumerate() {
        edges.push(Edge { from: *from, reason: Reason::Realtime, to: moment(place) });
        if place > 0 {
            edges.push(Edge { from: moment(place - 1), reason: Reason::Onward, to: moment(place) });
        }
    }
    for to in (0..history.len()).filter(|at| versions.committed[*at]) {
        let before = acknowledged.partition_point(|at| history[*at].completed < history[to].invoked);
        if before > 0 {
            edges.push(Edge { from: moment(before - 1), reason: Reason::Onward, to });
        }
    }
    acknowledged.len()
}
