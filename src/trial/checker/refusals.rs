//! What must be refused is refused: a mistake in a block with its own SQLSTATE, and all of the block after it.

use super::{FinalState, Violation};
use crate::trial::history::History;

const NAME: &str = "refusals";

pub fn check(history: &History, _state: &FinalState) -> Vec<Violation> {
    history.surprises.iter().map(|evidence| Violation { checker: NAME, evidence: evidence.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_where_an_error_is_due_is_found() {
        let history = History { surprises: vec!["\"SELECT 1\" succeeded".into()], ..History::default() };
        assert_eq!(check(&history, &FinalState::default()).len(), 1);
        assert!(check(&History::default(), &FinalState::default()).is_empty());
    }
}
