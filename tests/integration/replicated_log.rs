//! The worked example: the simulator tests a service that is no hypertable, and finds the bug that is planted in it.

#[path = "../../examples/replicated_log/checker.rs"]
mod checker;
#[path = "../../examples/replicated_log/service.rs"]
mod service;
#[path = "../../examples/replicated_log/trial.rs"]
mod trial;

use hypertile::sim::scenario::run::{Class, Played, Verdict};
use hypertile::sim::scenario::{Scenario, parse};
use hypertile::sim::shrink::{Limits, Refusal, shrink};
use std::thread;

fn power_cuts() -> Scenario {
    let text = include_str!("../../examples/replicated_log/power_cuts.slt");
    parse("power_cuts.slt", text, &trial::Words).unwrap_or_else(|error| panic!("{error}"))
}

fn play(seed: u64, bug: bool) -> (Played, u64) {
    let (played, facts) = trial::run(&power_cuts(), seed, bug, 100);
    (played, facts.fingerprint)
}

#[test]
fn the_log_keeps_its_promises_through_power_cuts() {
    for seed in 1..=15 {
        let (played, _) = play(seed, false);
        assert_eq!(played.verdict, Verdict::Ok, "seed {seed}");
        assert!(played.tallies["append"].ok > 10, "seed {seed}: {:?}", played.tallies);
    }
}

#[test]
fn an_answer_before_the_sync_is_found_within_a_few_seeds() {
    let found = (1..=10).filter(|&seed| match play(seed, true).0.verdict {
        Verdict::Failed { failure, .. } => failure.class == Class::Safety,
        _ => false,
    });
    assert!(found.count() >= 3);
}

#[test]
fn a_failing_story_of_another_service_shrinks_to_a_few_lines_that_fail_in_the_same_way() {
    let shorter = |seed, bug| shrink(&power_cuts(), seed, &trial::Words, &trial::Runs { bug }, Limits::default());
    let fails = |seed: &u64| matches!(play(*seed, true).0.verdict, Verdict::Failed { .. });
    let seed = (1..=10).find(fails).unwrap();
    let shrunk = shorter(seed, true).unwrap();
    assert!(shrunk.lines_after * 3 < shrunk.lines_before, "{shrunk:#?}");
    let short = parse("short.slt", &shrunk.text, &trial::Words).unwrap();
    let again = |bug| trial::run(&short, shrunk.seed, bug, 0).0.verdict;
    assert!(matches!(again(true), Verdict::Failed { failure, .. } if failure.class == Class::Safety), "{shrunk:#?}");
    assert_eq!(again(false), Verdict::Ok, "it is the bug that fails: {shrunk:#?}");
    assert_eq!(shorter(seed, false), Err(Refusal::Holds));
}

/// In one process, on several threads at once, and in the opposite order.
#[test]
fn a_seed_of_another_service_is_a_run_too() {
    let seeds = [3, 4, 5, 6];
    let alone = seeds.map(|seed| play(seed, false).1);
    let threads = seeds.map(|seed| thread::spawn(move || play(seed, false).1));
    assert_eq!(threads.map(|thread| thread.join().unwrap()), alone);
    let mut backwards: Vec<u64> = seeds.iter().rev().map(|&seed| play(seed, false).1).collect();
    backwards.reverse();
    assert_eq!(backwards, alone);
    assert!(alone[0] != alone[1] && alone[1] != alone[2] && alone[2] != alone[3], "{alone:?}");
}

#[test]
fn what_it_does_not_know_it_says_with_what_it_does() {
    let wrong = |text: &str| parse("x.slt", text, &trial::Words).unwrap_err().to_string();
    assert!(wrong("workload inserts\n").contains("expected: appends"));
    assert!(wrong("client c0\nappend\n").contains("append WORD | read NODE"));
    assert!(wrong("check all serializability\n").contains("durability, agreement"));
    assert!(wrong("nemesis crash primary at txn.decided\n").contains("log.synced"));
}
