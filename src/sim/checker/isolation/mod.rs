//! Isolation: histories of list-append transactions in, named anomalies with their evidence out.
//!
//! The method is Elle's (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations",
//! VLDB 2020), the names are Adya's ("Weak Consistency", 1999). Transactions append values to lists and read whole
//! lists. No value is appended twice to a key, so a read tells not only what is there but in which order it came:
//! the longest list that was read of a key is its version order, and shorter ones must be its beginnings. From the version
//! orders follow dependencies between transactions:
//!
//! | edge | T -> U because |
//! |---|---|
//! | `ww` | U appended right behind what T had appended |
//! | `wr` | U read what T had appended |
//! | `rw` | T read a list to which U appended next |
//! | `process` | T was told that it had committed before U of the same process began |
//! | `realtime` | the same, of any process |
//!
//! A cycle of dependencies says that the transactions did not happen one after the other, and the kinds of its edges
//! say how badly so ([`Cycle`]). What a [`Level`] forbids is for [`Level::proscribes`] to say.
//!
//! Promises: every anomaly is one, whatever became of the transactions whose end is unknown (no false alarm). Whoever
//! finds none has not proved that there is none: what no transaction read leaves no trace. The same history gives the
//! same anomalies in the same order. Time and memory grow with the size of the history times its logarithm. The one search
//! that does not is for the *shortest* cycle in a component of many transactions; it has a budget
//! (`cycles::SEARCH_STEPS_MAX`), behind which a longer cycle may be shown, and one of more `rw` edges than need be.
//!
//! It knows no system, no SQL and no clock; only [`Ending`] is not its own.
//!
//! Reading order: [`history`], [`level`], `versions` (version orders), `faults` (what is wrong with single
//! reads), `graph`, `components`, `cycles`, `explain`.

mod components;
mod cycles;
mod explain;
mod faults;
mod graph;
pub mod history;
pub mod level;
mod versions;

#[cfg(test)]
mod tests;

pub use crate::sim::history::Ending;
pub use history::{Key, MicroOperation, Transaction, Value};
pub use level::{Cycle, Kind, Level, Scope};

use std::fmt;

/// Something that the level forbids, and the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    pub kind: Kind,
    /// Names of the transactions that take part; of a cycle in its order.
    pub transactions: Vec<String>,
    /// One sentence for each fact; of a cycle for each of its edges.
    pub evidence: Vec<String>,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.evidence.join("; "))
    }
}

/// All that is wrong with the history at this level; of cycles one for each knot of transactions.
///
/// Panics: a value was appended twice to a key. Such a history says nothing.
pub fn check(history: &[Transaction], level: Level) -> Vec<Anomaly> {
    let versions = versions::Versions::infer(history);
    let mut found = versions.anomalies();
    found.retain(|anomaly| level.proscribes(anomaly.kind));
    let graph = graph::Graph::build(&versions, level.scope());
    found.extend(cycles::find(&graph, level).iter().map(|cycle| explain::cycle(&graph, &versions, cycle)));
    found
}
