//! What is wrong with a disk for a while, and who did it: as [`Troubles`](crate::sim::net::Troubles) are for links.
//!
//! Each fault is remembered under its own number, so that one that ends takes away only what it brought.

use crate::sim::net::TroubleId;
use crate::sim::record::WELL;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DiskTrouble {
    /// Only so many bytes more can be put on it. Of several the smallest rest counts.
    Full { leaving_bytes: u64 },
    /// Each sync takes so much longer. The latest one counts.
    Slow(Duration),
    /// The chance that a write or a sync fails, 0 to 1. The latest one counts.
    Failing(f64),
}

impl fmt::Display for DiskTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskTrouble::Full { leaving_bytes } => write!(f, "takes {leaving_bytes} bytes more"),
            DiskTrouble::Slow(by) => write!(f, "syncs {by:?} slower"),
            DiskTrouble::Failing(chance) => write!(f, "fails {}%", chance * 100.0),
        }
    }
}

/// All that is wrong with a disk; empty when nothing is.
#[derive(Clone, Debug, Default)]
pub struct DiskTroubles(BTreeMap<TroubleId, (DiskTrouble, u64)>);

impl DiskTroubles {
    /// `used_bytes`: what the disk holds now.
    pub fn add(&mut self, id: TroubleId, trouble: DiskTrouble, used_bytes: u64) {
        self.0.insert(id, (trouble, used_bytes));
    }

    /// Whether there was something of this fault.
    pub fn remove(&mut self, id: TroubleId) -> bool {
        self.0.remove(&id).is_some()
    }

    pub fn is_well(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What the disk may hold in all; `None` if nobody has filled it.
    pub fn capacity_bytes(&self) -> Option<u64> {
        let capacities = self.0.values().filter_map(|(trouble, used_bytes)| match trouble {
            DiskTrouble::Full { leaving_bytes } => Some(used_bytes.saturating_add(*leaving_bytes)),
            _ => None,
        });
        capacities.min()
    }

    pub fn slow_by(&self) -> Duration {
        let latest = self.0.values().rev().find_map(|(trouble, _)| match trouble {
            DiskTrouble::Slow(by) => Some(*by),
            _ => None,
        });
        latest.unwrap_or(Duration::ZERO)
    }

    /// 0 to 1.
    pub fn fails(&self) -> f64 {
        let latest = self.0.values().rev().find_map(|(trouble, _)| match trouble {
            DiskTrouble::Failing(chance) => Some(*chance),
            _ => None,
        });
        latest.unwrap_or(0.0)
    }
}

/// In words, for the event log.
impl fmt::Display for DiskTroubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.values().map(|(trouble, _)| trouble.to_string()).collect::<Vec<_>>().join(", ");
        f.write_str(if self.is_well() { WELL } else { &words })
    }
}
