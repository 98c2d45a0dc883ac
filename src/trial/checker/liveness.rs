//! After the last fault has ended every client makes progress within a bound.
//!
//! Judged of each client that goes on trying for longer than the bound: one of its operations must have come off within
//! it, counted from its first try after the fault. The runner has every client that has not come through since try again
//! for that long, on its own connection (`Clients::once_more`), because most have ended their work before the faults end.
//! What a world does not tell (when faults end) cannot be judged in it.

use super::{FinalState, Violation};
use crate::trial::history::{History, Turn};
use std::collections::BTreeMap;

const NAME: &str = "liveness";

/// Microseconds after the last fault: a restart, the heartbeats (`NODE_DOWN_AFTER`), keepalive of a peer that went without a
/// word (25 s), a wait for the resolver (`RESOLUTION_WAIT_MAX`), and a client's own timeout.
pub const PROGRESS_WITHIN: u64 = 60_000_000;

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let Some(calm_since) = state.calm_since else { return vec![] };
    let mut clients: BTreeMap<&str, Vec<&Turn>> = BTreeMap::new();
    for turn in history.turns.iter().filter(|turn| turn.invoked >= calm_since) {
        clients.entry(&turn.client).or_default().push(turn);
    }
    let stuck = clients.into_iter().filter(|(_, turns)| {
        let deadline = turns.iter().map(|turn| turn.invoked).min().unwrap_or_default() + PROGRESS_WITHIN;
        let progress = turns.iter().any(|turn| turn.ok && turn.completed <= deadline);
        let late = turns.iter().any(|turn| !turn.ok && turn.completed > deadline);
        late && !progress
    });
    stuck
        .map(|(client, turns)| Violation {
            checker: NAME,
            evidence: format!(
                "of {} operations of {client} after the last fault, at {calm_since} us, none came off within {} s",
                turns.len(),
                PROGRESS_WITHIN / 1_000_000
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(calm_since: Option<u64>, turns: &[(u64, bool)]) -> usize {
        let turn = |(second, ok): &(u64, bool)| Turn {
            client: "c".into(),
            invoked: second * 1_000_000,
            completed: (second + 1) * 1_000_000,
            ok: *ok,
        };
        let history = History { turns: turns.iter().map(turn).collect(), ..History::default() };
        check(&history, &FinalState { calm_since, ..FinalState::default() }).len()
    }

    #[test]
    fn a_client_that_tries_in_vain_is_found() {
        assert_eq!(found(Some(5_000_000), &[(1, true), (6, false), (40, false), (70, false)]), 1);
    }

    #[test]
    fn a_client_that_begins_late_has_the_same_time_as_all_others() {
        assert_eq!(found(Some(5_000_000), &[(100, false), (130, true), (180, false)]), 0);
        assert_eq!(found(Some(5_000_000), &[(100, false), (130, false), (160, false), (161, true)]), 1);
    }

    #[test]
    fn a_client_that_comes_through_passes_and_so_does_one_that_stopped() {
        assert_eq!(found(Some(5_000_000), &[(6, false), (40, true), (70, false)]), 0);
        assert_eq!(found(Some(5_000_000), &[(6, false), (7, false)]), 0);
        assert_eq!(found(None, &[(6, false), (70, false)]), 0);
    }
}
