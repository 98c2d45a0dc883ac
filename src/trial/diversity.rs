//! How much of a workload really met: a swarm whose clients take turns in one chunk proves little.
//!
//! [`measure`] counts for one run; the counts of many add up, and [`text`] makes shares and means of them.

use super::checker::FinalState;
use super::history::{History, Turn};
use crate::sim::history::{Ending, Measures};
use std::collections::{BTreeMap, BTreeSet};

/// Counts of one run:
///
/// | name | what is counted |
/// |---|---|
/// | `runs` | this run |
/// | `commits`, `switches` | acknowledged batches; those whose predecessor in time was another session's |
/// | `operations`, `overlapping` | operations of clients; those that overlapped one of another client in time |
/// | `placed`, `spanning_chunks`, `spanning_nodes` | batches that are there in the end; those in several chunks; those that no node holds all of |
/// | `chunks`, `nodes` | chunks and data nodes that hold rows of batches |
pub fn measure(history: &History, state: &FinalState) -> Measures {
    let mut measures = Measures::from([("runs".to_string(), 1)]);
    let mut add = |name: &str, number: usize| *measures.entry(name.to_string()).or_default() += number as u64;
    let (commits, switches) = commits(history);
    add("commits", commits);
    add("switches", switches);
    add("operations", history.turns.len());
    add("overlapping", overlapping(history));
    let (mut chunks, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    for table in history.batches.keys() {
        // Chunk by chunk where the rows of a batch are, and on which nodes each chunk is.
        let mut places: BTreeMap<(i64, u32), BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for (node, chunk, replica) in state.replicas(table) {
            for row in replica.tagged().unwrap_or_default().iter().filter(|row| row.writer >= 0) {
                let batch = places.entry((row.writer, row.number)).or_default();
                batch.entry(&chunk.table).or_default().insert(&node.name);
                chunks.insert(chunk.table.as_str());
                nodes.insert(node.name.as_str());
            }
        }
        add("placed", places.len());
        add("spanning_chunks", places.values().filter(|chunks| chunks.len() > 1).count());
        let together = |chunks: &BTreeMap<&str, BTreeSet<&str>>| {
            let all = chunks.values().cloned().reduce(|one, two| one.intersection(&two).copied().collect());
            all.is_some_and(|nodes| !nodes.is_empty())
        };
        add("spanning_nodes", places.values().filter(|chunks| !together(chunks)).count());
    }
    add("chunks", chunks.len());
    add("nodes", nodes.len());
    measures
}

/// Acknowledged batches, and how often the next one in time is another session's.
fn commits(history: &History) -> (usize, usize) {
    let of = |(table, batches): (&String, &super::history::Batches)| {
        let acknowledged = batches.written.iter().filter(|batch| batch.ending == Ending::Ok);
        acknowledged.map(|batch| (batch.completed, table.clone(), batch.writer)).collect::<Vec<_>>()
    };
    let mut commits: Vec<_> = history.batches.iter().flat_map(of).collect();
    commits.sort();
    let switches = commits.windows(2).filter(|pair| (&pair[0].1, pair[0].2) != (&pair[1].1, pair[1].2)).count();
    (commits.len(), switches)
}

fn overlapping(history: &History) -> usize {
    // One after the other of each client, so that both ends are in order.
    let mut times: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for turn in &history.turns {
        times.entry(&turn.client).or_default().push((turn.invoked, turn.completed));
    }
    let meets = |turn: &Turn| {
        times.iter().filter(|(client, _)| **client != turn.client).any(|(_, times)| {
            let next = times.partition_point(|(_, completed)| *completed <= turn.invoked);
            times.get(next).is_some_and(|(invoked, _)| *invoked < turn.completed)
        })
    };
    history.turns.iter().filter(|turn| meets(turn)).count()
}

/// `71% of commits follow another session's, …`
pub fn text(sums: &Measures) -> String {
    let of = |name: &str| sums.get(name).copied().unwrap_or(0);
    let share = |part: &str, whole: &str| format!("{}%", (100 * of(part)).checked_div(of(whole)).unwrap_or(0));
    let mean = |name: &str| format!("{:.1}", of(name) as f64 / of("runs").max(1) as f64);
    format!(
        "{} of commits follow another session's, {} of operations overlap another client's, {} of transactions span \
         chunks and {} nodes; rows in {} chunks on {} nodes a run",
        share("switches", "commits"),
        share("overlapping", "operations"),
        share("spanning_chunks", "placed"),
        share("spanning_nodes", "placed"),
        mean("chunks"),
        mean("nodes")
    )
}

#[cfg(test)]
mod tests {
    use super::super::checker::made_up::{batch, history, row, state};
    use super::*;
    use crate::trial::history::Batch;

    #[test]
    fn switches_overlaps_and_spans_are_counted() {
        let other = Batch { writer: 1, ..batch(1, Ending::Ok, 20, 30) };
        let mut history = history(vec![batch(0, Ending::Ok, 0, 10), other, batch(2, Ending::Failed, 30, 40)]);
        let turn = |client: &str, invoked, completed| Turn { client: client.into(), invoked, completed, ok: true };
        history.turns = vec![turn("a", 0, 10), turn("b", 5, 15), turn("b", 20, 30), turn("a", 30, 40)];
        let mut state = state(&[row(0, 0), row(0, 1), row(1, 0)]);
        let measured = |state: &FinalState| measure(&history, state);
        let all = measured(&state);
        let of = |name: &str| all[name];
        assert_eq!((of("commits"), of("switches")), (2, 1));
        assert_eq!((of("operations"), of("overlapping")), (4, 2));
        assert_eq!((of("placed"), of("spanning_chunks"), of("spanning_nodes")), (2, 1, 0));
        assert_eq!((of("chunks"), of("nodes")), (2, 2));
        state.chunks[0].nodes.truncate(1);
        state.chunks[1].nodes.remove(0);
        assert_eq!(measured(&state)["spanning_nodes"], 1);
        assert!(text(&all).starts_with("50% of commits follow another session's, 50% of operations"), "{}", text(&all));
    }
}
