//! Making and dropping tables is whole: a hypertable has its table on the access node, and a table that somebody made or
//! dropped stands as the acknowledgements say.

use super::{FinalState, Violation};
use crate::sim::history::Ending;
use crate::trial::history::{History, Standing};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "tables";

pub fn check(history: &History, state: &FinalState) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut violation = |evidence: String| found.push(Violation { checker: NAME, evidence });
    for hypertable in state.hypertables.iter().filter(|hypertable| !state.tables.contains(&hypertable.name)) {
        violation(format!("hypertable {} has no table on the access node", hypertable.name));
    }
    for (table, may) in outcomes(history) {
        let stands = standing(state, table);
        if !may.contains(&stands) {
            violation(format!("table {table} is {stands:?}, and should be one of {may:?}"));
        }
    }
    found
}

fn standing(state: &FinalState, table: &str) -> Standing {
    match () {
        () if state.hypertables.iter().any(|hypertable| hypertable.name == table) => Standing::Hypertable,
        () if state.tables.iter().any(|name| name == table) => Standing::Local,
        () => Standing::Absent,
    }
}

/// What may have become of each table. A statement without an answer may still take effect after later ones, so what it
/// would lead to stays possible.
fn outcomes(history: &History) -> BTreeMap<&str, BTreeSet<Standing>> {
    let mut now: BTreeMap<&str, Standing> = BTreeMap::new();
    let mut late: BTreeMap<&str, BTreeSet<Standing>> = BTreeMap::new();
    for change in &history.tables {
        let stands = now.entry(&change.table).or_insert(Standing::Absent);
        let late = late.entry(&change.table).or_default();
        match change.ending {
            Ending::Ok => *stands = change.to,
            Ending::Failed => {}
            Ending::Unknown => {
                late.insert(change.to);
            }
        }
    }
    for (table, stands) in now {
        late.entry(table).or_default().insert(stands);
    }
    late
}

#[cfg(test)]
mod tests {
    use super::super::made_up::state;
    use super::*;
    use crate::trial::history::TableChange;

    fn history(changes: &[(Standing, Ending)]) -> History {
        let change = |(to, ending): &(Standing, Ending)| TableChange { table: "t".into(), to: *to, ending: *ending };
        History { tables: changes.iter().map(change).collect(), ..History::default() }
    }

    #[test]
    fn a_table_that_was_made_is_there_and_one_that_was_dropped_is_not() {
        let made = (Standing::Hypertable, Ending::Ok);
        assert!(check(&history(&[made]), &state(&[])).is_empty());
        assert_eq!(check(&history(&[made]), &FinalState::default()).len(), 1);
        assert_eq!(check(&history(&[made, (Standing::Absent, Ending::Ok)]), &state(&[])).len(), 1);
        assert_eq!(check(&history(&[(Standing::Hypertable, Ending::Failed)]), &state(&[])).len(), 1);
    }

    #[test]
    fn what_had_no_answer_may_go_either_way_and_late() {
        let changes = history(&[(Standing::Hypertable, Ending::Unknown), (Standing::Absent, Ending::Ok)]);
        assert!(check(&changes, &state(&[])).is_empty() && check(&changes, &FinalState::default()).is_empty());
        let local = FinalState { tables: vec!["t".into()], ..FinalState::default() };
        assert_eq!(check(&changes, &local).len(), 1, "half of it must not be there");
    }

    #[test]
    fn a_hypertable_without_a_table_is_found() {
        let mut state = state(&[]);
        state.tables.clear();
        assert_eq!(check(&History::default(), &state).len(), 1);
    }
}
