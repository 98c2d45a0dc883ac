//! Money is neither made nor lost: every snapshot of a bank sums up to nothing, for every auditor at any time, and statements
//! of one REPEATABLE READ transaction see the same entries.

use super::{FinalState, Violation};
use crate::trial::history::{Audit, History};
use std::collections::BTreeMap;

const NAME: &str = "bank";

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let concurrent = history
        .audits
        .iter()
        .flat_map(|(table, audits)| audits.iter().flat_map(move |audit| judge(&format!("an audit of {table}"), audit)));
    let last = state.audits.iter().flat_map(|(table, audit)| judge(&format!("the final audit of {table}"), audit));
    concurrent.chain(last).map(|evidence| Violation { checker: NAME, evidence }).collect()
}

fn judge(who: &str, audit: &Audit) -> Vec<String> {
    let mut wrong = Vec::new();
    let when = format!("from {} to {} us", audit.invoked, audit.completed);
    let mut entries = Vec::new();
    let mut accounts: Option<BTreeMap<&str, (i64, u64)>> = None;
    for statement in &audit.statements {
        let sum: i64 = statement.iter().map(|(_, sum, _)| sum).sum();
        entries.push(statement.iter().map(|(.., count)| count).sum::<u64>());
        if sum != 0 {
            wrong.push(format!("{who} {when} sums up to {sum}: {statement:?}"));
        }
        if statement.iter().any(|(account, ..)| account.is_empty()) {
            continue;
        }
        let seen: BTreeMap<&str, (i64, u64)> =
            statement.iter().map(|(account, sum, count)| (account.as_str(), (*sum, *count))).collect();
        match &accounts {
            None => accounts = Some(seen),
            Some(before) if *before == seen => {}
            Some(before) => wrong.push(format!("{who} {when} saw {before:?} and then {seen:?} in one transaction")),
        }
    }
    if entries.windows(2).any(|pair| pair[0] != pair[1]) {
        wrong.push(format!("{who} {when} saw {entries:?} entries in one transaction"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(statements: &[&[(&str, i64, u64)]]) -> usize {
        let entry = |(account, sum, count): &(&str, i64, u64)| (account.to_string(), *sum, *count);
        let statements = statements.iter().map(|statement| statement.iter().map(entry).collect()).collect();
        let audit = Audit { invoked: 1, completed: 2, statements };
        let history = History { audits: [("t".to_string(), vec![audit])].into(), ..History::default() };
        check(&history, &FinalState::default()).len()
    }

    #[test]
    fn balanced_books_pass() {
        let (total, accounts): (&[_], &[_]) = (&[("", 0, 4)], &[("a", -3, 2), ("b", 3, 2)]);
        assert_eq!(found(&[total, accounts, total, accounts]), 0);
        assert_eq!(found(&[&[("", 0, 0)]]), 0, "an empty bank");
    }

    #[test]
    fn half_a_transfer_is_found() {
        assert_eq!(found(&[&[("", -3, 3)]]), 1);
        assert_eq!(found(&[&[("a", -3, 2), ("b", 1, 1)]]), 1);
    }

    #[test]
    fn a_snapshot_that_moves_is_found() {
        assert_eq!(found(&[&[("", 0, 4)], &[("", 0, 6)]]), 1);
        assert_eq!(found(&[&[("a", -3, 1), ("b", 3, 1)], &[("a", -4, 1), ("b", 4, 1)]]), 1);
    }
}
