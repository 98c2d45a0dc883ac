//! What is wrong with one direction of a link, and who did it: for simulated links and for real proxies alike.
//!
//! Each fault is remembered under its own number, so that one that ends takes away only what it brought: two partitions
//! may cut the same link, and it is whole when both are over.

use std::collections::BTreeMap;
use std::time::Duration;

/// Names the fault that a trouble belongs to. Later faults have higher numbers.
pub type TroubleId = u64;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// Nothing gets through.
    Cut,
    /// Everything takes so much longer. The latest one counts.
    Slow(Duration),
    /// The chance that a segment must be sent twice, 0 to 1. The latest one counts.
    Lossy(f64),
    /// No more bytes a second get through. The lowest one counts.
    Narrow(u64),
    /// The chance, 0 to 1, that a segment takes up to so much longer. The latest one counts.
    Tail { chance: f64, by: Duration },
}

/// All that is wrong with one direction of a link; empty when it is whole.
#[derive(Clone, Debug, Default)]
pub struct Troubles(BTreeMap<TroubleId, Trouble>);

impl Troubles {
    /// A fault has one trouble a direction; a second one replaces it.
    pub fn add(&mut self, id: TroubleId, trouble: Trouble) {
        self.0.insert(id, trouble);
    }

    /// Whether there was something of this fault.
    pub fn remove(&mut self, id: TroubleId) -> bool {
        self.0.remove(&id).is_some()
    }

    pub fn heal(&mut self) {
        self.0.clear();
    }

    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_cut(&self) -> bool {
        self.0.values().any(|trouble| matches!(trouble, Trouble::Cut))
    }

    pub fn slow_by(&self) -> Duration {
        let latest = self.0.values().rev().find_map(|trouble| match trouble {
            Trouble::Slow(by) => Some(*by),
            _ => None,
        });
        latest.unwrap_or(Duration::ZERO)
    }

    /// 0 to 1.
    pub fn loss(&self) -> f64 {
        let latest = self.0.values().rev().find_map(|trouble| match trouble {
            Trouble::Lossy(chance) => Some(*chance),
            _ => None,
        });
        latest.unwrap_or(0.0)
    }

    /// `None` if nobody has narrowed it.
    pub fn bytes_per_second(&self) -> Option<u64> {
        let narrow = self.0.values().filter_map(|trouble| match trouble {
            Trouble::Narrow(bytes_per_second) => Some((*bytes_per_second).max(1)),
            _ => None,
        });
        narrow.min()
    }

    /// The chance of a long tail, 0 to 1, and how long it may be at most.
    pub fn tail(&self) -> Option<(f64, Duration)> {
        self.0.values().rev().find_map(|trouble| match trouble {
            Trouble::Tail { chance, by } => Some((*chance, *by)),
            _ => None,
        })
    }
}

/// How long so many bytes keep a wire of this width busy.
pub fn time_on_the_wire(bytes: usize, bytes_per_second: u64) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / bytes_per_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_ends_takes_only_its_own_away() {
        let mut troubles = Troubles::default();
        troubles.add(1, Trouble::Cut);
        troubles.add(2, Trouble::Cut);
        assert!(troubles.remove(1) && troubles.is_cut());
        assert!(!troubles.remove(1), "once only");
        assert!(troubles.remove(2) && !troubles.is_cut());
    }

    #[test]
    fn the_latest_delay_counts_and_the_one_before_comes_back() {
        let mut troubles = Troubles::default();
        troubles.add(1, Trouble::Slow(Duration::from_millis(50)));
        troubles.add(2, Trouble::Slow(Duration::from_millis(10)));
        troubles.add(3, Trouble::Lossy(0.5));
        assert_eq!((troubles.slow_by(), troubles.loss()), (Duration::from_millis(10), 0.5));
        troubles.remove(2);
        assert_eq!(troubles.slow_by(), Duration::from_millis(50));
        troubles.heal();
        assert_eq!((troubles.slow_by(), troubles.loss()), (Duration::ZERO, 0.0));
    }

    #[test]
    fn the_narrowest_place_counts() {
        let mut troubles = Troubles::default();
        assert_eq!((troubles.bytes_per_second(), troubles.tail()), (None, None));
        troubles.add(1, Trouble::Narrow(1_000));
        troubles.add(2, Trouble::Narrow(5_000));
        troubles.add(3, Trouble::Tail { chance: 0.1, by: Duration::from_secs(1) });
        assert_eq!(troubles.bytes_per_second(), Some(1_000));
        assert_eq!(troubles.tail(), Some((0.1, Duration::from_secs(1))));
        troubles.remove(1);
        assert_eq!(troubles.bytes_per_second(), Some(5_000));
        assert_eq!(time_on_the_wire(2_500, 5_000), Duration::from_millis(500));
    }
}
