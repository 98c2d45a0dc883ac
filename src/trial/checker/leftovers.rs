//! After the liveness phase nothing is left over: no prepared transaction, no decision that waits for somebody.

use super::{FinalState, Violation};
use crate::trial::history::History;

const NAME: &str = "leftovers";

pub fn check(_history: &History, state: &FinalState) -> Vec<Violation> {
    let prepared = state.nodes.iter().flat_map(|node| {
        node.prepared.iter().map(move |gid| format!("{} still holds the prepared transaction {gid}", node.name))
    });
    let decisions = state.decisions.iter().map(|gid| format!("the access node still keeps the decision of {gid}"));
    prepared.chain(decisions).map(|evidence| Violation { checker: NAME, evidence }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::NodeState;
    use super::*;

    #[test]
    fn prepared_transactions_and_decisions_are_found() {
        let node = NodeState { name: "node0".into(), prepared: vec!["g1".into()], tables: vec![] };
        let state = FinalState { nodes: vec![node], decisions: vec!["g2".into()], ..FinalState::default() };
        assert_eq!(check(&History::default(), &state).len(), 2);
        assert!(check(&History::default(), &FinalState::default()).is_empty());
    }
}
