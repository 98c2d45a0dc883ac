//! `hypertile swarm`: many runs from many seeds, and what it says about them.

use super::support::{Folder, hypertile, interrupted, stderr, stdout};
use hypertile::trial::swarm::Summary;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn summary(path: &std::path::Path) -> Summary {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Fixed seeds, each twice in two processes; and the parts of a sweep add up to the whole.
#[test]
fn a_sweep_is_well_the_same_twice_and_in_parts() {
    let folder = Folder::new();
    let file = |name: &str| folder.0.join(name).to_str().unwrap().to_string();
    let (whole, first, second, joined) = (file("whole"), file("first"), file("second"), file("joined"));
    let run = |arguments: &[&str]| {
        let failures = file("failures");
        let output = hypertile(&[&["swarm", "--failures", &failures], arguments].concat());
        assert!(output.status.success(), "{}", stdout(&output));
    };
    run(&["--seeds", "1..6", "--jobs", "2", "--twice", "--json", &whole]);
    run(&["--seeds", "1..6", "--jobs", "1", "--shard", "1/2", "--json", &first]);
    run(&["--seeds", "1..6", "--jobs", "2", "--shard", "2/2", "--json", &second]);
    run(&["--merge", &first, &second, "--json", &joined]);
    let (whole, joined) = (summary(whole.as_ref()), summary(joined.as_ref()));
    assert_eq!((whole.ok, whole.seeds.clone()), (6, vec![(1, 6)]));
    assert!(whole.operations["insert"].ok > 50 && whole.faults > 0, "{whole:?}");
    assert_eq!((joined.seeds, joined.ok, joined.events), (whole.seeds, whole.ok, whole.events));
    assert!(whole.fingerprints != 0 && joined.fingerprints == whole.fingerprints, "the same runs, event by event");
    let verbs = ["insert", "transfer", "append", "ask", "leave", "make", "add-node"];
    let came_off = verbs.iter().filter(|verb| whole.operations.get(**verb).is_some_and(|tally| tally.ok > 0));
    assert!(came_off.count() >= 5, "few of the workloads: {:?}", whole.operations);
    let measures = &whole.diversity;
    assert_eq!(measures["runs"], 6);
    for (part, all) in [
        ("switches", "commits"),
        ("overlapping", "operations"),
        ("spanning_chunks", "placed"),
        ("spanning_nodes", "spanning_chunks"),
        ("nodes", "chunks"),
    ] {
        assert!(0 < measures[part] && measures[part] <= measures[all], "{part} of {all}: {measures:?}");
    }
    assert_eq!((joined.operations, joined.probes), (whole.operations, whole.probes));
    assert_eq!(joined.diversity, whole.diversity);
}

/// Seeds that nobody has run before: a failure prints the line to paste.
#[test]
fn fresh_seeds_are_well() {
    let folder = Folder::new();
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64 % 1_000_000_000;
    let (seeds, failures) = (format!("{first}..{}", first + 5), folder.0.to_str().unwrap());
    let output = hypertile(&["swarm", "--seeds", &seeds, "--jobs", "2", "--failures", failures]);
    assert!(output.status.success(), "{}", stdout(&output));
}

#[test]
fn a_failing_seed_leaves_a_scenario_that_fails_again() {
    let folder = Folder::new();
    let mix = folder.0.join("bad.mix");
    let text = "cluster data=3\nduring 2s\nworkload batches writers=4 batches=30\n\
                fault crash-at-probe count=6 lasts=1s..3s\nfault crash count=2 lasts=1s..3s\n";
    std::fs::write(&mix, text).unwrap();
    let (mix, failures) = (mix.to_str().unwrap(), folder.0.to_str().unwrap());
    let sabotage = ["--sabotage", "decision.sync"];
    let base = ["swarm", "--mix", mix, "--seeds", "1..200", "--jobs", "2", "--until-failure", "--failures", failures];
    let output = hypertile(&[&base[..], &sabotage].concat());
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    // As the seed has it, and shrunk.
    let again: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("again: hypertile ")).collect();
    assert!(again.len() >= 2 && again.last().is_some_and(|line| line.contains("_shrunk.slt")), "{text}");
    for line in [again[0], again[again.len() - 1]] {
        let output = hypertile(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    }
}

#[test]
fn a_malformed_mix_names_file_line_column_and_the_allowed_words() {
    let folder = Folder::new();
    let mix = folder.0.join("bad.mix");
    std::fs::write(&mix, "workload batches\nfault flood count=1\n").unwrap();
    let output = hypertile(&["swarm", "--mix", mix.to_str().unwrap()]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("bad.mix:2:7: unknown fault \"flood\", expected one of: crash, "), "{text}");
    std::fs::write(&mix, "workload batches colour=1\n").unwrap();
    let output = hypertile(&["swarm", "--mix", mix.to_str().unwrap()]);
    let text = stderr(&output);
    assert!(text.contains("unknown option \"colour\", expected: table, writers"), "{text}");
}

#[test]
fn an_interrupt_ends_a_sweep_with_what_was_learned() {
    let folder = Folder::new();
    let arguments = ["swarm", "--seeds", "1..100000", "--jobs", "1", "--failures", folder.0.to_str().unwrap()];
    let output = interrupted(&arguments, Duration::from_millis(1_500));
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("interrupted: this is what was learned so far") && text.contains(" 0 failed"), "{text}");
}
