//! Points that fire: which are active in this run, and their dice.
//!
//! Every point has a stream of its own on every node, so that a run with one point less is the same at all others, until
//! what does not happen any more makes a difference.

use super::{Event, Name, World, lock};
use crate::buggify;
use crate::sim::chance::{self, Stream};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often code came to a point, and how often that fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fires {
    pub reached: u64,
    pub fired: u64,
}

impl Fires {
    pub fn add(&mut self, more: &Fires) {
        self.reached += more.reached;
        self.fired += more.fired;
    }
}

#[derive(Default)]
pub(super) struct Points {
    counts: BTreeMap<&'static str, Fires>,
    streams: BTreeMap<(Name, &'static str), Stream>,
}

impl World {
    /// How often all nodes together came to each point.
    pub fn fires(&self) -> BTreeMap<&'static str, Fires> {
        lock(&self.0.points).counts.clone()
    }

    /// Installed for the run's thread; see [`buggify::set_hook`].
    pub(super) fn watch_points(&self) {
        let world = self.downgrade();
        buggify::set_hook(Some(Box::new(move |node, point, percent| {
            world.upgrade().is_some_and(|world| world.reach(node, point, percent))
        })));
    }

    /// Asks neither whether the node is up nor anything else that takes a lock of the world: the code that stands here may
    /// be a destructor that a crash runs.
    fn reach(&self, node: &str, point: &'static str, percent: u32) -> bool {
        let mut points = lock(&self.0.points);
        let Points { counts, streams } = &mut *points;
        let count = counts.entry(point).or_default();
        count.reached += 1;
        if !self.0.config.buggify.contains(point) {
            return false;
        }
        let node = Name::from(node);
        let stream = streams.entry((node.clone(), point));
        let stream = stream.or_insert_with(|| chance::stream(self.0.seed, &format!("buggify/{point}/{node}")));
        let fires = stream.random_range(0..100) < percent;
        count.fired += u64::from(fires);
        drop(points);
        if fires {
            self.0.recorder.record(Event::Buggified { node, point });
        }
        fires
    }
}
