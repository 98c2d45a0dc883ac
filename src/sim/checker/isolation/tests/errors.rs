//! Made-up histories: what is no cycle, what unknown transactions may do, which cycle is shown.

use super::super::Level::{
    ReadCommitted, Serializable, SnapshotIsolation, StrictSerializable, StrongSnapshotIsolation,
};
use super::super::check;
use super::{forbidden_at, history, kinds, only};

#[test]
fn a_value_of_nobody_is_found() {
    assert_eq!(only("T1: r1[7]", ReadCommitted).to_string(), "garbage-read: T1 read 7 in key 1, which nobody appended");
}

#[test]
fn a_value_that_is_there_twice_is_found() {
    let text = "T1: a1.1\nT2: a1.2\nT3: r1[1 2 1]";
    assert_eq!(only(text, ReadCommitted).to_string(), "duplicate-elements: T3 read 1 twice in key 1: [1 2 1]");
}

#[test]
fn lists_that_part_are_found() {
    let text = "T1: a1.1\nT2: a1.2\nT3: r1[1 2]\nT4: r1[2]";
    assert_eq!(
        only(text, ReadCommitted).to_string(),
        "incompatible-order: T3 read key 1 as [1 2], T4 as [2]: they part at element 0"
    );
    let long: Vec<String> = (0..20).map(|value| format!("T{value}: a1.{value}")).collect();
    let (all, hole) = ("0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", "0 1 2 3 4 5 6 7 8 10 11");
    let text = format!("{}\nA: r1[{all}]\nB: r1[{hole}]", long.join("\n"));
    assert_eq!(
        only(&text, ReadCommitted).to_string(),
        "incompatible-order: A read key 1 as [… 6 7 8 9 10 11 …], B as [… 6 7 8 10 11]: they part at element 9"
    );
}

#[test]
fn a_failed_append_that_somebody_builds_on_is_found() {
    let text = "T1 failed: a1.1\nT2: a1.2\nT3: r1[1 2]";
    assert_eq!(kinds(text, ReadCommitted), ["G1a", "dirty-update"]);
}

#[test]
fn a_transaction_must_agree_with_itself() {
    for text in ["T1: a1.1 r1[]", "T1: r1[1] a1.1", "T1: r1[] a1.1 r1[]", "T1: a1.1 a1.2 r1[1]"] {
        assert_eq!(kinds(text, ReadCommitted)[0], "internal", "{text}");
    }
    assert_eq!(kinds("T1: a1.1 a1.2\nT2: r1[2 1]", ReadCommitted)[0], "internal");
    for text in ["T1: a1.1 r1[1] a1.2 r1[1 2]", "T0: a1.7\nT1: r1[7] a1.1 r1[7 1] r1[7 1]", "T1: r1? r1[] a1.3 r1?"] {
        assert_eq!(forbidden_at(text), [], "{text}");
    }
}

#[test]
fn who_reads_twice_may_see_more_only_at_read_committed() {
    let text = "T1: r1[] r1[1]\nT2: a1.1";
    assert_eq!(kinds(text, ReadCommitted), Vec::<String>::new());
    assert_eq!(kinds(text, SnapshotIsolation), ["unrepeatable-read", "G-single"]);
}

#[test]
fn an_unknown_transaction_counts_if_it_was_seen() {
    let seen = "T1 unknown: a1.1 a2.1\nT2: r1[1] r2[]\nT3: r1[1] r2[1]";
    assert_eq!(kinds(seen, SnapshotIsolation), ["G-single"]);
    let chain = "T1 unknown: a1.1\nT2 unknown: r1[1] a2.2\nT3: r2[2] r1[]\nT4: r1[1]";
    assert_eq!(kinds(chain, SnapshotIsolation), ["G-single"], "T2 was seen by T3, and T2 saw T1");
    let unseen = "T1 unknown: a1.1 a2.1\nT2: r1[] r2[]\nT3 unknown: r1[1] r2[]";
    assert_eq!(forbidden_at(unseen), []);
}

#[test]
fn an_unknown_transaction_may_come_about_late() {
    let text = "T1 unknown @1 0..10: a1.1\nT2 @1 20..30: r1[]\nT3 @2 40..50: r1[1]";
    assert_eq!(forbidden_at(text), []);
    let early = "T0 @2 0..10: r1[1]\nT1 unknown @1 20..30: a1.1";
    assert_eq!(kinds(early, StrictSerializable), ["G1c-realtime"], "but not before it began");
}

#[test]
fn an_acknowledged_append_that_later_reads_miss_is_found() {
    let text = "T1 @1 0..10: a1.1\nT2 @2 20..30: r1[]\nT3 @3 40..50: r1[]";
    assert_eq!(kinds(text, StrongSnapshotIsolation), ["G-single-realtime"]);
    assert!(only(text, StrictSerializable).to_string().contains("T2 read key 1 as [], without the 1 of T1"));
}

#[test]
fn what_a_transaction_itself_appends_next_is_no_cycle() {
    assert_eq!(forbidden_at("T1: r1[] a1.1\nT2: r1[]\nT3: a2.2 r2[2] a2.3"), []);
    assert_eq!(forbidden_at("T1: r1[] a1.1\nT2: r1[1] a1.2 a1.3\nT3: r1[1 2 3]"), []);
}

#[test]
fn the_shortest_cycle_is_shown_and_one_for_each_knot() {
    let long = "A: a1.1 r2[1]\nB: a2.1 r3[1]\nC: a3.1 r1[1]";
    let short = "D: a4.1 r5[1]\nE: a5.1 r4[1]";
    let bridge = "F: a6.1 r1[1 2]\nG: a1.2 r6[1]";
    let found = check(&history(&format!("{long}\n{short}\n{bridge}")), Serializable);
    let knots: Vec<Vec<String>> = found.into_iter().map(|anomaly| anomaly.transactions).collect();
    assert_eq!(knots, [vec!["A", "C", "B"], vec!["D", "E"], vec!["F", "G"]]);
    let both = "A: a1.1 r2[1]\nB: a2.1 r3[1]\nC: a3.1 r1[1] r4[1]\nD: a4.1 r3[1]";
    assert_eq!(only(both, Serializable).transactions, ["C", "D"]);
}

#[test]
fn a_cycle_over_several_spans_of_time_is_one_of_transactions() {
    let text = "A @1 0..10: a1.1\nB @2 20..30: a3.9\nC @3 40..50: r1[]\nD @4 60..70: r1[1]";
    assert_eq!(only(text, StrictSerializable).transactions, ["A", "C"]);
}

/// A program error of whoever makes histories: nothing can be said.
#[test]
#[should_panic(expected = "T2 appended 1 to key 1, which had been appended before")]
fn a_value_appended_twice_is_refused() {
    check(&history("T1: a1.1\nT2: a1.1"), ReadCommitted);
}
