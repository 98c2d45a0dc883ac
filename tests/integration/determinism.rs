//! One seed, one run. Every simulation is a process of its own here; runs that share one are compared in
//! `src/sim/world/tests.rs` and in `replicated_log`, sweeps that are drawn from seeds in `swarm`.

use super::support::{Folder, assert_ok, hypertile, play, scenarios, stdout};
use hypertile::sim::scenario::WorldKind;

/// The second time in other processes, from the last scenario to the first.
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

#[test]
fn seeds_have_their_fingerprints_in_any_order() {
    let (file, scenario) =
        scenarios("scenarios/commit").into_iter().find(|(file, _)| file.contains("partition_during")).unwrap();
    let play_one = |seed: u64| play(&file, &scenario, WorldKind::Sim, seed).fingerprint.unwrap();
    let forwards: Vec<String> = (31..=34).map(play_one).collect();
    let mut backwards: Vec<String> = (31..=34).rev().map(play_one).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    let output = hypertile(&["run", &file, "--seeds", "31..34", "--jobs", "2"]);
    let text = stdout(&output);
    assert!(forwards.iter().all(|fingerprint| text.contains(fingerprint)), "{forwards:?}\n{text}");
}

/// The recipe of `docs/determinism.md`: two event logs of one run are one text, and of two runs are not.
#[test]
fn event_logs_can_be_compared_line_by_line() {
    let folder = Folder::new();
    let events = |name: &str, seed: &str| {
        let path = folder.0.join(name);
        let file = path.to_str().unwrap();
        assert!(
            hypertile(&["run", "scenarios/story/transactions.slt", "--seed", seed, "--events", file]).status.success()
        );
        std::fs::read_to_string(&path).unwrap()
    };
    let (first, again, other) = (events("first", "21"), events("again", "21"), events("other", "22"));
    assert!(first.lines().count() > 500 && first.contains(" bytes sent at "), "{}", first.lines().count());
    assert!(first == again, "the same run");
    assert!(first != other, "another run");
}
