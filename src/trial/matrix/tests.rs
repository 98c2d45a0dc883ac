//! Rows, and what a reader sees of them.

use super::*;

pub(super) fn row(bug: &str, finds: &[Option<(u64, &[&str])>]) -> Row {
    let one = |(number, find): (u64, &Option<(u64, &[&str])>)| Try {
        first_seed: number * SEEDS_APART + 1,
        runs: find.map_or(30, |(runs, _)| runs),
        reached: 7,
        find: find.map(|(runs, finders)| Find {
            seed: number * SEEDS_APART + runs,
            finders: finders.iter().map(ToString::to_string).collect(),
            reason: String::new(),
        }),
    };
    Row { bug: bug.to_string(), mix: "m".to_string(), tries: (0..).zip(finds).map(one).collect() }
}

#[test]
fn the_median_counts_what_found_nothing_as_longest() {
    let found: &[&str] = &["durability"];
    assert_eq!(row("x", &[Some((9, found)), Some((1, found)), Some((2, found))]).median_seeds(), Some(2));
    assert_eq!(row("x", &[None, Some((1, found)), Some((2, found))]).median_seeds(), Some(2));
    assert_eq!(row("x", &[None, None, Some((2, found))]).median_seeds(), None);
    assert!(!row("x", &[None, None, Some((2, found))]).is_open() && row("x", &[None]).is_open());
}

#[test]
fn the_matrix_has_a_column_for_every_judge_and_names_what_is_open() {
    let text = text(&[
        row("commit.gate", &[Some((3, &["atomicity"])), Some((5, &["atomicity", "panic"])), None]),
        row("route.edge", &[None, None, None]),
    ]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("atomicity  durability") && lines[0].ends_with("  panic"), "{text}");
    assert!(lines[1].starts_with("commit.gate") && lines[1].ends_with("      1"), "{text}");
    assert!(lines[2].ends_with("OPEN: no judge finds it, its code was reached in 21 of 90 runs"), "{text}");
}

#[test]
fn every_bug_has_a_mix_that_can_be_drawn() {
    for bug in &sabotage::ALL {
        let mix = exercise::mix_of(bug);
        crate::trial::plan::Plan::from_seed(1, &mix).unwrap_or_else(|why| panic!("{}: {why}", bug.name));
    }
}

#[test]
fn unknown_bugs_are_refused() {
    assert_eq!(bugs(&["route.edge".to_string()]).unwrap()[0].name, "route.edge");
    assert_eq!(bugs(&[]).unwrap().len(), sabotage::ALL.len());
    assert!(bugs(&["route.ede".to_string()]).unwrap_err().contains("expected one of: "));
}
