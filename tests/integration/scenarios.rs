//! Every scenario in every world it is for, with fixed and with fresh seeds.

use super::support::{assert_ok, hypertile, play, scenarios, stdout};
use hypertile::sim::scenario::WorldKind;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn every_scenario_holds_in_the_simulation() {
    for (file, scenario) in scenarios("scenarios") {
        for seed in [scenario.cluster.seed.unwrap_or(1), 2] {
            assert_ok(&play(&file, &scenario, WorldKind::Sim, seed));
        }
    }
}

/// A seed that nobody has run before: a failure prints the line to paste.
#[test]
fn every_scenario_holds_with_a_fresh_seed() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64 % 1_000_000_000;
    for (file, scenario) in scenarios("scenarios") {
        assert_ok(&play(&file, &scenario, WorldKind::Sim, seed));
    }
}

#[test]
fn stories_hold_on_real_processes() {
    let mut played = 0;
    for (file, scenario) in scenarios("scenarios/story") {
        let report = play(&file, &scenario, WorldKind::Loopback, 1);
        if report.verdict != "skipped" {
            assert_ok(&report);
            played += 1;
        }
    }
    assert!(played >= 3, "only {played} scenarios were really played");
}

#[test]
fn acknowledged_batches_survive_in_a_few_dozen_seeds() {
    let output = hypertile(&["run", "scenarios/commit", "--seeds", "1..4", "--jobs", "2"]);
    assert!(output.status.success(), "{}", stdout(&output));
}

/// Test the tester: without the sync of the decision some seed must lose or halve a batch.
#[test]
fn an_unsynced_decision_is_found() {
    let scenario = "scenarios/commit/access_node_dies_in_phase_two.slt";
    let output = hypertile(&["run", scenario, "--seeds", "1..10", "--jobs", "2", "--sabotage", "decision.sync"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("atomicity: ") || text.contains("durability: "), "{text}");
    assert!(text.contains("again: hypertile run scenarios/commit/"), "{text}");
}
