//! Who has a lane: everything that events name as a node or a client.

use super::Picture;
use crate::sim::record::{Event, Name};
use std::collections::BTreeMap;

/// What a lane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A machine; clients may run on it as well, and may have its name.
    Node,
    /// Operations only.
    Client,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub name: Name,
    pub whose: Whose,
}

/// Clients first, then nodes; in both, what the picture puts first, then the order of their first event. Names that
/// differ in the number at their end alone stand together: writers 0, 1, 2, whichever spoke first.
pub(super) fn lanes(picture: &Picture) -> Vec<Lane> {
    let mut found: BTreeMap<Name, (usize, Whose)> = BTreeMap::new();
    let mut next = 0;
    for moment in &picture.moments {
        let (names, whose) = named(&moment.event);
        for name in names.into_iter().flatten() {
            let entry = found.entry(name.clone()).or_insert_with(|| {
                next += 1;
                (next, whose)
            });
            if whose == Whose::Node {
                entry.1 = Whose::Node;
            }
        }
    }
    let mut stems: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, (order, _)) in &found {
        let first = stems.entry(stem(name)).or_insert(*order);
        *first = (*first).min(*order);
    }
    let rank = |name: &Name| picture.lanes.iter().position(|first| **first == **name).unwrap_or(usize::MAX);
    let mut sorted: Vec<_> = found
        .iter()
        .map(|(name, (order, whose))| {
            let number = name[stem(name).len()..].parse().unwrap_or(0u64);
            let key = (*whose == Whose::Node, rank(name), stems[stem(name)], number, *order);
            (key, Lane { name: name.clone(), whose: *whose })
        })
        .collect();
    sorted.sort_by_key(|(key, _)| *key);
    sorted.into_iter().map(|(_, lane)| lane).collect()
}

fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

fn named(event: &Event) -> ([Option<&Name>; 2], Whose) {
    match event {
        Event::Started { node, .. }
        | Event::Exited { node }
        | Event::Crashed { node, .. }
        | Event::Paused { node }
        | Event::Resumed { node }
        | Event::Spawned { node, .. }
        | Event::Synced { node, .. }
        | Event::SyncLied { node, .. }
        | Event::SyncFailed { node, .. }
        | Event::Replaced { node, .. }
        | Event::Removed { node, .. }
        | Event::Torn { node, .. }
        | Event::Clock { node, .. }
        | Event::Disk { node, .. }
        | Event::Probe { node, .. }
        | Event::Buggified { node, .. }
        | Event::Panicked { node, .. } => ([Some(node), None], Whose::Node),
        Event::Connected { from, to, .. }
        | Event::Refused { from, to, .. }
        | Event::Delivered { from, to, .. }
        | Event::Closed { from, to, .. }
        | Event::Stalled { from, to, .. }
        | Event::Cut { from, to }
        | Event::Mended { from, to }
        | Event::Lossy { from, to, .. }
        | Event::Narrowed { from, to, .. }
        | Event::Tailed { from, to, .. }
        | Event::Slowed { from, to, .. } => ([Some(from), Some(to)], Whose::Node),
        Event::Invoked { client, .. } | Event::Completed { client, .. } => ([Some(client), None], Whose::Client),
        Event::Healed | Event::Struck { .. } | Event::Checked { .. } | Event::Violated { .. } | Event::Note { .. } => {
            ([None, None], Whose::Client)
        }
    }
}
