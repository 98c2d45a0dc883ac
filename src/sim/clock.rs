//! A clock per node, as wrong as the story wants it.
//!
//! | fault | what it does | what the system promises under it |
//! |---|---|---|
//! | offset | the clock is off by a constant from now on | durability, atomicity and isolation do not depend on clocks at all: no node compares them |
//! | step | the clock jumps, also backwards, and stays so | the same |
//! | drift | the clock runs fast or slow by parts per million | the same |
//! | correct | the clock shows true time again, at once and without drift | the same |
//!
//! The monotonic clock stays out of this: it is simulated time since the start of the run on every node, as
//! `CLOCK_MONOTONIC` is immune to steps. (Real ones drift too; durations are only used for deadlines, which
//! promise nothing exact.)

use crate::host::ClockLine;
use std::fmt;

/// A change to one node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClockFault {
    /// Jumps by this many microseconds from what it shows; negative goes backwards.
    Step(i64),
    /// From now on off by this many microseconds from true time; any drift goes on.
    Offset(i64),
    /// Gains this many microseconds per second of true time; negative loses.
    DriftPpm(i64),
    /// True time again, no drift.
    Correct,
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockFault::Step(micros) => write!(f, "steps by {micros} us"),
            ClockFault::Offset(micros) => write!(f, "is off by {micros} us"),
            ClockFault::DriftPpm(ppm) => write!(f, "drifts by {ppm} ppm"),
            ClockFault::Correct => write!(f, "is corrected"),
        }
    }
}

/// What a node's clock shows, as a function of true time. A new drift starts from what the clock shows now.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeClock(ClockLine);

impl NodeClock {
    /// Microseconds since 1970 that this clock shows at the true time `true_micros`.
    pub fn read(&self, true_micros: i64) -> i64 {
        self.0.read(true_micros)
    }

    pub fn line(&self) -> ClockLine {
        self.0
    }

    pub fn apply(&mut self, fault: ClockFault, true_micros: i64) {
        let (shown, drift) = (self.read(true_micros), self.0.drift_ppm);
        let (shown_then_micros, drift_ppm) = match fault {
            ClockFault::Step(micros) => (shown.saturating_add(micros), drift),
            ClockFault::Offset(micros) => (true_micros.saturating_add(micros), drift),
            ClockFault::DriftPpm(ppm) => (shown, ppm),
            ClockFault::Correct => (true_micros, 0),
        };
        self.0 = ClockLine { changed_at_micros: true_micros, shown_then_micros, drift_ppm };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_clock_that_nobody_touched_is_true() {
        assert_eq!(NodeClock::default().read(1_700_000_000 * SECOND), 1_700_000_000 * SECOND);
    }

    #[test]
    fn steps_add_up_and_may_go_backwards() {
        let mut clock = NodeClock::default();
        clock.apply(ClockFault::Step(-5 * SECOND), 100 * SECOND);
        assert_eq!(clock.read(100 * SECOND), 95 * SECOND);
        clock.apply(ClockFault::Step(2 * SECOND), 110 * SECOND);
        assert_eq!(clock.read(120 * SECOND), 117 * SECOND);
        clock.apply(ClockFault::Offset(SECOND), 120 * SECOND);
        assert_eq!(clock.read(121 * SECOND), 122 * SECOND);
    }

    #[test]
    fn drift_starts_from_what_is_shown_and_ends_with_the_correction() {
        let mut clock = NodeClock::default();
        clock.apply(ClockFault::Step(10 * SECOND), 0);
        clock.apply(ClockFault::DriftPpm(200), 0);
        assert_eq!(clock.read(1_000 * SECOND), 1_010 * SECOND + 200 * 1_000);
        clock.apply(ClockFault::DriftPpm(-200), 1_000 * SECOND);
        assert_eq!(clock.read(2_000 * SECOND), 2_010 * SECOND);
        clock.apply(ClockFault::Correct, 2_000 * SECOND);
        assert_eq!(clock.read(3_000 * SECOND), 3_000 * SECOND);
    }

    #[test]
    fn absurd_values_saturate() {
        let mut clock = NodeClock::default();
        clock.apply(ClockFault::Step(i64::MAX), i64::MAX);
        assert_eq!(clock.read(i64::MAX), i64::MAX);
        clock.apply(ClockFault::DriftPpm(i64::MIN), 0);
        assert_eq!(clock.read(i64::MAX), i64::MIN);
    }
}
