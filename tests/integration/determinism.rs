//! One seed, one run. Every simulation is a process of its own here; runs that share one are compared in
//! `src/sim/world/tests.rs`.

use super::support::{assert_ok, hypertile, play, scenarios, stdout};
use hypertile::sim::scenario::WorldKind;

#[test]
fn every_scenario_gives_the_same_fingerprint_twice() {
    let output = hypertile(&["run", "scenarios", "--seed", "7", "--twice", "--jobs", "2"]);
    let text = stdout(&output);
    assert!(output.status.success() && text.contains(" 0 not deterministic"), "{text}");
}

#[test]
fn a_scenario_has_its_fingerprint_alone_and_as_one_of_several() {
    let (alone, after_others) = ("scenarios/commit/partition_during_commits.slt", "scenarios/story/transactions.slt");
    let first = hypertile(&["run", alone, "--seed", "11"]);
    let second = hypertile(&["run", after_others, alone, "--seed", "11"]);
    let fingerprint = |text: &str| {
        let line = text.lines().find(|line| line.contains("partition_during_commits")).map(str::to_string);
        let line = line.unwrap_or_else(|| panic!("{text}"));
        line.split("fingerprint ").nth(1).map(|rest| rest[..16].to_string()).unwrap_or_else(|| panic!("{line}"))
    };
    assert_eq!(fingerprint(&stdout(&first)), fingerprint(&stdout(&second)));
}

#[test]
fn worker_processes_started_side_by_side_agree() {
    let (file, scenario) =
        scenarios("scenarios/story").into_iter().find(|(file, _)| file.contains("transactions")).unwrap();
    let play_one = &|seed| play(&file, &scenario, WorldKind::Sim, seed);
    let alone = play_one(21);
    assert_ok(&alone);
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = [21, 22, 21].map(|seed| scope.spawn(move || play_one(seed))).into_iter().collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together[0].fingerprint, alone.fingerprint);
    assert_eq!(together[2].fingerprint, alone.fingerprint);
    assert_ne!(together[1].fingerprint, alone.fingerprint, "another seed is another run");
}
