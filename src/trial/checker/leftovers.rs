//! After the liveness phase nothing is left over: no prepared transaction, no decision that waits for somebody, no session
//! that stands still in a transaction.
//!
//! Sessions are seen on stock PostgreSQL only: the embedded server does not show its sessions and locks. That a lock was
//! left behind there shows in what waits for it: the fresh writes that end a run of the swarm, and its dropped tables.

use super::{FinalState, Violation};
use crate::trial::history::History;

const NAME: &str = "leftovers";

pub fn check(_history: &History, state: &FinalState) -> Vec<Violation> {
    let prepared = state.nodes.iter().flat_map(|node| {
        node.prepared.iter().map(move |gid| format!("{} still holds the prepared transaction {gid}", node.name))
    });
    let decisions = state.decisions.iter().map(|gid| format!("the access node still keeps the decision of {gid}"));
    let idle = state.nodes.iter().filter(|node| node.idle_in_transaction > 0);
    let idle = idle.map(|node| format!("{} has {} sessions idle in transaction", node.name, node.idle_in_transaction));
    prepared.chain(decisions).chain(idle).map(|evidence| Violation { checker: NAME, evidence }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::NodeState;
    use super::*;

    #[test]
    fn prepared_transactions_decisions_and_idle_sessions_are_found() {
        let node = NodeState {
            name: "node0".into(),
            prepared: vec!["g1".into()],
            idle_in_transaction: 1,
            ..NodeState::default()
        };
        let state = FinalState { nodes: vec![node], decisions: vec!["g2".into()], ..FinalState::default() };
        assert_eq!(check(&History::default(), &state).len(), 3);
        assert!(check(&History::default(), &FinalState::default()).is_empty());
    }
}
