//! What a picture of a run follows over time: distributed transactions, and chunks.

use crate::sim::picture::track::{Lasts, Step, Tone, Track};

/// Distributed transactions under two-phase commit.
pub fn transactions() -> Track {
    use Lasts::{No, On, WhileHeard};
    let step = Step::new;
    Track {
        title: "transactions",
        by_place: false,
        steps: vec![
            step("txn.one_phase", "committing in one phase", Tone::Working, WhileHeard),
            step("txn.one_phase_done", "answered", Tone::Good, No),
            step("txn.preparing", "preparing", Tone::Working, WhileHeard),
            step("txn.prepared", "prepared", Tone::Waiting, On),
            step("txn.before_decision", "about to decide", Tone::Waiting, WhileHeard),
            step("txn.decided", "decided", Tone::Good, WhileHeard),
            step("txn.in_doubt", "in doubt", Tone::Doubt, WhileHeard),
            step("txn.confirmed", "committed", Tone::Good, No),
            step("txn.unresolved", "left to the resolver", Tone::Doubt, On),
            step("txn.committed", "committed everywhere", Tone::Good, No),
            step("txn.rolled_back", "rolled back", Tone::Undone, No),
            step("resolver.commit", "committed by the resolver", Tone::Good, No),
            step("resolver.confirmed", "found committed by the resolver", Tone::Good, No),
            step("resolver.rollback", "rolled back by the resolver", Tone::Undone, No),
        ],
    }
}

/// Which node holds what.
pub fn placement() -> Track {
    Track {
        title: "placement",
        by_place: true,
        steps: vec![Step::new("chunk.created", "created", Tone::Good, Lasts::On)],
    }
}
