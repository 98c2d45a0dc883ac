//! Probes: counted by node, and moments at which armed faults strike.

use super::{Event, Fault, Name, World, lock};
use crate::probe;
use std::collections::BTreeMap;

/// An armed fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StrikeId(u64);

#[derive(Default)]
pub struct Probes {
    hits: BTreeMap<(Name, &'static str), u64>,
    armed: BTreeMap<StrikeId, Strike>,
    next: u64,
}

struct Strike {
    probe: String,
    /// Only this node's hits count.
    node: Option<String>,
    hits_left: u64,
    fault: Fault,
}

impl Probes {
    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// Counts, and takes out what is due.
    fn hit(&mut self, node: &Name, probe: &'static str) -> Vec<Strike> {
        *self.hits.entry((node.clone(), probe)).or_default() += 1;
        let mut due = Vec::new();
        for (id, strike) in &mut self.armed {
            if strike.probe == probe && strike.node.as_deref().is_none_or(|only| only == &**node) {
                strike.hits_left -= 1;
                if strike.hits_left == 0 {
                    due.push(*id);
                }
            }
        }
        due.into_iter().filter_map(|id| self.armed.remove(&id)).collect()
    }
}

impl World {
    /// Arms `fault` to strike when any node reaches the probe for the `nth` time from now on (1 is the next time).
    /// It strikes once, inside the node's task, before the probe returns.
    pub fn strike_at(&self, probe: impl Into<String>, nth: u64, fault: Fault) -> StrikeId {
        self.arm(None, probe.into(), nth, fault)
    }

    /// As [`World::strike_at`], counting only the hits of one node.
    pub fn strike_at_node(&self, node: &str, probe: impl Into<String>, nth: u64, fault: Fault) -> StrikeId {
        self.arm(Some(node.to_string()), probe.into(), nth, fault)
    }

    pub fn has_struck(&self, strike: StrikeId) -> bool {
        !lock(&self.0.probes).armed.contains_key(&strike)
    }

    /// How often each node reached each probe.
    pub fn probe_hits(&self) -> BTreeMap<(String, &'static str), u64> {
        let probes = lock(&self.0.probes);
        probes.hits.iter().map(|((node, probe), hits)| ((node.to_string(), *probe), *hits)).collect()
    }

    fn arm(&self, node: Option<String>, probe: String, nth: u64, fault: Fault) -> StrikeId {
        let mut probes = lock(&self.0.probes);
        probes.next += 1;
        let id = StrikeId(probes.next);
        probes.armed.insert(id, Strike { probe, node, hits_left: nth.max(1), fault });
        id
    }

    /// Installed for the run's thread; see [`probe::set_hook`].
    pub(super) fn watch_probes(&self) {
        let world = self.downgrade();
        probe::set_hook(Some(Box::new(move |node, name, detail| {
            if let Some(world) = world.upgrade() {
                world.hit(node, name, detail);
            }
        })));
    }

    fn hit(&self, node: &str, probe: &'static str, detail: String) {
        // Code that runs on after its node was crashed counts for nothing.
        if !self.is_up(node) {
            return;
        }
        let name = Name::from(node);
        self.0.recorder.record(Event::Probe { node: name.clone(), probe, detail });
        // Struck outside the lock: a fault may be one that arms others, or crashes the node that stands here.
        let due = lock(&self.0.probes).hit(&name, probe);
        for strike in due {
            let fault = strike.fault.to_string();
            self.0.recorder.record(Event::Struck { probe: strike.probe, fault });
            self.inflict_by(node, &strike.fault);
        }
    }
}
