//! Which data nodes hold a new chunk.
//!
//! With a closed dimension, every hash range has a home: partition *i* of a hypertable belongs to nodes
//! *i*, *i+1* … (as many as there are replicas), counted round. So one location's rows of all times lie on one node and
//! an aggregate by location can be computed there. With time alone, chunks go round the nodes one after the other.
//!
//! A home that is down or blocked is replaced by the next open node: a new chunk costs alignment rather than
//! availability. (TimescaleDB refuses the row instead.)

use super::slice::{Slice, closed_starts};
use crate::ids::HypertableId;
use serde::{Deserialize, Serialize};

/// The home of one hash range; it ends where the next partition starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// First hash value; `i64::MIN` for the first partition.
    pub range_start: i64,
    pub nodes: Vec<String>,
}

/// Deals `count` equal hash ranges over `nodes` in the given order, `replicas` of them to each (all, if there are fewer).
/// Without nodes every range is homeless.
pub fn deal_partitions(count: u16, nodes: &[String], replicas: u16) -> Vec<Partition> {
    let deal = |(nth, range_start)| Partition { range_start, nodes: round_robin(nodes, nth, replicas) };
    closed_starts(count).into_iter().enumerate().map(deal).collect()
}

/// Index of the partition that holds a coordinate.
pub fn partition_index(partitions: &[Partition], coordinate: i64) -> usize {
    partitions.partition_point(|partition| partition.range_start <= coordinate).saturating_sub(1)
}

/// Nodes for a chunk whose slice of the first closed dimension starts at `coordinate`: those of its partition that are
/// in `open`, then others from `open` until there are `replicas`. Fewer, even none, if `open` has no more.
pub fn place_in_partition(partitions: &[Partition], coordinate: i64, open: &[String], replicas: u16) -> Vec<String> {
    let nth = partition_index(partitions, coordinate);
    let homes = partitions.get(nth).map_or(&[][..], |partition| &partition.nodes);
    let mut chosen: Vec<String> = homes.iter().filter(|home| open.contains(home)).cloned().collect();
    for node in round_robin(open, nth, u16::MAX) {
        if !chosen.contains(&node) {
            chosen.push(node);
        }
    }
    chosen.truncate(usize::from(replicas));
    chosen
}

/// Nodes for a chunk of a hypertable without closed dimension. `existing` gives the slice and the preferred node of
/// the hypertable's chunks.
///
/// The node after that of the preceding chunk in time, or before that of the following one; the first chunk starts at
/// the hypertable's number, so that many small hypertables spread. For chunks made in order of time this is
/// TimescaleDB's "ordinal of the time slice"; but its ordinal stands still, and all new chunks go to one node, once
/// retention drops as many slices as are made.
pub fn place_in_time<'a>(
    slice: &Slice,
    existing: impl Iterator<Item = (Slice, &'a str)> + Clone,
    hypertable: HypertableId,
    open: &[String],
    replicas: u16,
) -> Vec<String> {
    let position = |node: &str| open.iter().position(|candidate| candidate == node);
    let earlier = existing.clone().filter(|(other, _)| other.start < slice.start);
    let preceding = earlier.clone().max_by_key(|(other, _)| other.start).and_then(|(_, node)| position(node));
    let later = existing.filter(|(other, _)| other.start > slice.start);
    let following = later.min_by_key(|(other, _)| other.start).and_then(|(_, node)| position(node));
    let start = match (preceding, following) {
        (Some(index), _) => index + 1,
        (None, Some(index)) => index + open.len() - 1,
        (None, None) => earlier.count() + hypertable.0 as usize,
    };
    round_robin(open, start, replicas)
}

/// `count` different nodes, the first at index `start` counted round.
fn round_robin(nodes: &[String], start: usize, count: u16) -> Vec<String> {
    let count = usize::from(count).min(nodes.len());
    (0..count).map(|nth| nodes[(start + nth) % nodes.len()].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(String::from).collect()
    }

    fn dealt(count: u16, nodes: &str, replicas: u16) -> Vec<String> {
        deal_partitions(count, &names(nodes), replicas).iter().map(|partition| partition.nodes.join(" ")).collect()
    }

    #[test]
    fn partitions_are_dealt_in_order_with_the_next_nodes_as_replicas() {
        assert_eq!(dealt(3, "dn1 dn2 dn3", 1), ["dn1", "dn2", "dn3"]);
        assert_eq!(dealt(4, "dn2 dn3 dn4", 1), ["dn2", "dn3", "dn4", "dn2"]);
        assert_eq!(dealt(3, "dn1 dn2 dn3", 2), ["dn1 dn2", "dn2 dn3", "dn3 dn1"]);
        assert_eq!(dealt(2, "dn1", 3), ["dn1", "dn1"]);
        assert_eq!(dealt(2, "", 1), ["", ""]);
    }

    #[test]
    fn a_chunk_goes_to_the_home_of_its_slice_start() {
        let open = names("dn1 dn2 dn3");
        let partitions = deal_partitions(3, &open, 1);
        let place = |at| place_in_partition(&partitions, at, &open, 1);
        assert_eq!(place(i64::MIN), ["dn1"]);
        assert_eq!(place(715827881), ["dn1"]);
        assert_eq!(place(715827882), ["dn2"]);
        assert_eq!(place(i64::MAX), ["dn3"]);
    }

    #[test]
    fn a_home_that_is_down_is_replaced_by_the_next_open_node() {
        let partitions = deal_partitions(3, &names("dn1 dn2 dn3"), 2);
        assert_eq!(place_in_partition(&partitions, 0, &names("dn2 dn3"), 2), ["dn2", "dn3"]);
        assert_eq!(place_in_partition(&partitions, i64::MAX, &names("dn2 dn3"), 2), ["dn3", "dn2"]);
        assert_eq!(place_in_partition(&partitions, 0, &names("dn3"), 2), ["dn3"]);
        assert!(place_in_partition(&partitions, 0, &[], 2).is_empty());
    }

    fn in_time(start: i64, existing: &[(i64, &str)], open: &str, hypertable: u32) -> String {
        let slice = |start| Slice { start, end: start + 10 };
        let existing = existing.iter().map(|(start, node)| (slice(*start), *node));
        place_in_time(&slice(start), existing, HypertableId(hypertable), &names(open), 1).join(" ")
    }

    #[test]
    fn chunks_in_order_of_time_go_round_the_nodes_from_the_hypertables_number() {
        // Hypertable 9 on three nodes, seen on TimescaleDB: dn1, dn2, dn3, dn1.
        assert_eq!(in_time(0, &[], "dn1 dn2 dn3", 9), "dn1");
        assert_eq!(in_time(10, &[(0, "dn1")], "dn1 dn2 dn3", 9), "dn2");
        assert_eq!(in_time(20, &[(0, "dn1"), (10, "dn2")], "dn1 dn2 dn3", 9), "dn3");
        assert_eq!(in_time(30, &[(20, "dn3"), (10, "dn2")], "dn1 dn2 dn3", 9), "dn1");
    }

    #[test]
    fn backfill_goes_round_the_other_way() {
        assert_eq!(in_time(-10, &[(0, "dn1")], "dn1 dn2 dn3", 9), "dn3");
        assert_eq!(in_time(-20, &[(0, "dn1"), (-10, "dn3")], "dn1 dn2 dn3", 9), "dn2");
    }

    #[test]
    fn a_neighbour_on_a_blocked_node_does_not_stop_the_round() {
        assert_eq!(in_time(10, &[(0, "dn1")], "dn2 dn3", 1), "dn2");
        assert_eq!(in_time(10, &[(0, "dn1")], "", 1), "");
    }

    proptest! {
        #[test]
        fn every_partition_gets_distinct_nodes_and_no_node_more_than_its_share(
            count in 1u16..40, nodes in 1usize..12, replicas in 1u16..5,
        ) {
            let all: Vec<String> = (0..nodes).map(|nth| format!("dn{nth}")).collect();
            let partitions = deal_partitions(count, &all, replicas);
            let mut load = std::collections::BTreeMap::new();
            for partition in &partitions {
                let distinct: std::collections::BTreeSet<_> = partition.nodes.iter().collect();
                prop_assert_eq!(distinct.len(), usize::from(replicas).min(nodes));
                for node in &partition.nodes {
                    *load.entry(node).or_insert(0usize) += 1;
                }
            }
            let share = (usize::from(count) * usize::from(replicas).min(nodes)).div_ceil(nodes);
            // Ranges and replicas both go round, so the rests can fall on the same node.
            prop_assert!(load.values().all(|held| *held <= share + usize::from(replicas)));
        }
    }
}
