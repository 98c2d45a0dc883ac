//! Coverage: which named points of the code the runs came to, and which they never did.

use crate::sim::world::Fires;
use crate::{buggify, probe};
use std::collections::BTreeMap;
use std::fmt::Write;

/// How often probes and points of buggify were reached, of one run or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub probes: BTreeMap<String, u64>,
    pub points: BTreeMap<String, Fires>,
}

impl Coverage {
    pub fn add(&mut self, probes: &BTreeMap<String, u64>, points: &BTreeMap<String, Fires>) {
        for (probe, hits) in probes {
            *self.probes.entry(probe.clone()).or_default() += hits;
        }
        for (point, fires) in points {
            self.points.entry(point.clone()).or_default().add(fires);
        }
    }

    pub fn probes_never_reached(&self) -> Vec<&'static str> {
        probe::ALL.into_iter().filter(|name| !self.probes.contains_key(*name)).collect()
    }

    pub fn points_never_reached(&self) -> Vec<&'static str> {
        let reached = |name: &&str| self.points.get(*name).is_some_and(|fires| fires.reached > 0);
        buggify::ALL.iter().map(|point| point.name).filter(|name| !reached(name)).collect()
    }

    /// Two lines at most: what was never reached.
    pub fn never_reached(&self) -> String {
        let mut text = String::new();
        for (what, names) in [("probes", self.probes_never_reached()), ("points", self.points_never_reached())] {
            if !names.is_empty() {
                let _ = writeln!(text, "  {what} never reached: {}", names.join(", "));
            }
        }
        text
    }

    /// All of it, a line each.
    pub fn text(&self) -> String {
        let mut text = format!("probes: {} of {} reached\n", self.probes.len(), probe::ALL.len());
        for name in probe::ALL {
            let _ = writeln!(text, "{:>12}  {name}", count(self.probes.get(name).copied().unwrap_or_default()));
        }
        let reached = buggify::ALL.len() - self.points_never_reached().len();
        let _ = writeln!(text, "points of buggify: {reached} of {} reached", buggify::ALL.len());
        for point in &buggify::ALL {
            let fires = self.points.get(point.name).copied().unwrap_or_default();
            let (reached, fired) = (count(fires.reached), count(fires.fired));
            let _ = writeln!(text, "{reached:>12}  {:<24} fired {fired:>10}  {}", point.name, point.what);
        }
        text
    }
}

fn count(number: u64) -> String {
    if number == 0 { "never".to_string() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_reached_is_named() {
        let mut coverage = Coverage::default();
        let fires = Fires { reached: 3, fired: 1 };
        coverage.add(&[("txn.decided".to_string(), 2)].into(), &[("pool.dropped".to_string(), fires)].into());
        coverage.add(&[("txn.decided".to_string(), 5)].into(), &[("pool.dropped".to_string(), fires)].into());
        assert!(!coverage.never_reached().contains("txn.decided"), "{}", coverage.never_reached());
        assert!(coverage.never_reached().contains("txn.preparing"));
        let text = coverage.text();
        assert!(text.starts_with(&format!("probes: 1 of {} reached\n", probe::ALL.len())), "{text}");
        assert!(
            text.contains("           7  txn.decided\n") && text.contains("       never  txn.preparing\n"),
            "{text}"
        );
        assert!(text.contains("           6  pool.dropped             fired          2  a connection"), "{text}");
    }
}
