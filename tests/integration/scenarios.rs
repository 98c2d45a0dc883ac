//! Every scenario in every world it is for, with fixed and with fresh seeds.

use super::support::{Folder, assert_ok, hypertile, play, play_for_real, scenarios, stdout};
use hypertile::sim::scenario::WorldKind;
use hypertile::trial::report::Report;
use std::collections::BTreeSet;
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
fn every_scenario_that_can_be_played_there_holds_on_real_processes() {
    let played = play_for_real("scenarios", WorldKind::Loopback);
    assert!(played >= 31, "only {played} scenarios were really played");
}

/// A fault may miss its moment in one seed or the other. One that strikes in none has not been tested at all.
#[test]
fn acknowledged_batches_survive_in_several_seeds_and_every_nemesis_strikes() {
    let folder = Folder::new();
    let reports = folder.0.join("reports.json");
    let json = reports.to_str().unwrap();
    let output = hypertile(&["run", "scenarios/commit", "--seeds", "1..4", "--jobs", "2", "--json", json]);
    assert!(output.status.success(), "{}", stdout(&output));
    let reports: Vec<Report> = serde_json::from_str(&std::fs::read_to_string(&reports).unwrap()).unwrap();
    let played: BTreeSet<&str> = reports.iter().map(|report| report.scenario.as_str()).collect();
    let struck: BTreeSet<&str> =
        reports.iter().filter(|report| report.waiting.is_empty()).map(|report| report.scenario.as_str()).collect();
    assert_eq!(struck, played, "{}", stdout(&output));
    let came_off = |report: &Report, verb: &str| report.operations.get(verb).is_some_and(|tally| tally.ok > 0);
    let wrote_and_read = |report: &Report| {
        [("insert", "read"), ("txn", "look")]
            .into_iter()
            .any(|(write, read)| came_off(report, write) && came_off(report, read))
    };
    assert!(reports.iter().all(wrote_and_read));
}

#[test]
fn a_workload_that_comes_to_nothing_fails() {
    let folder = Folder::new();
    let file = folder.0.join("nothing.slt");
    std::fs::write(&file, "cluster data=1\n\nworkload batches batches=1 table=missing\ncheck all\n").unwrap();
    let output = hypertile(&["run", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{}", stdout(&output));
    assert!(stdout(&output).contains("of the workload succeeded (0 ok, "), "{}", stdout(&output));
}

#[test]
fn a_fault_whose_time_does_not_come_is_named() {
    let folder = Folder::new();
    let file = folder.0.join("late.slt");
    let story = "cluster data=1\n\nnemesis crash node0 after 1h\nnemesis crash node0 at txn.in_doubt\n\nstatement ok\nSELECT 1\n";
    std::fs::write(&file, story).unwrap();
    let output = hypertile(&["run", file.to_str().unwrap()]);
    let text = stdout(&output);
    assert!(text.contains("never struck: crash node0 after 1h, crash node0 at txn.in_doubt hit 1"), "{text}");
}

/// Test the tester, for lists: what had been acknowledged is lost, and later reads miss it.
#[test]
fn an_unsynced_decision_is_an_anomaly() {
    let scenario = "scenarios/commit/appends_under_faults.slt";
    let output = hypertile(&["run", scenario, "--seeds", "1..10", "--jobs", "2", "--sabotage", "decision.sync"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("isolation: lists: "), "{text}");
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
