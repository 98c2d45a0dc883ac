//! `hypertile shrink` and `hypertile run --why`: what is left of a failure, and when it became inevitable.

use super::support::{Folder, hypertile, interrupted, stderr, stdout};
use hypertile::trial::words::parse;
use std::time::Duration;

const SABOTAGE: [&str; 2] = ["--sabotage", "decision.sync"];

/// Much load, and one crash that the planted bug cannot bear.
const STORY: &str = "\
cluster data=3 spare=1 seed=1 world=sim

statement ok
CREATE TABLE batches (time timestamptz NOT NULL, device text NOT NULL, writer int, batch int, row int, rows int)

statement ok
SELECT create_distributed_hypertable('batches', 'time', 'device', number_partitions => 3, replication_factor => 2)

workload batches writers=2 batches=6 readers=1 pause_ms=30
nemesis slow an | node2 by 20ms after 100ms for 1s
nemesis crash an at txn.decided hit 5 for 2s..3s
await workload
check all
";

fn story(folder: &Folder) -> String {
    let path = folder.0.join("story.slt");
    std::fs::write(&path, STORY).unwrap();
    path.to_str().unwrap().to_string()
}

fn again(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("again: hypertile "));
    line.unwrap_or_else(|| panic!("{text}")).split(' ').map(str::to_string).collect()
}

#[test]
fn a_failing_scenario_becomes_short_and_fails_in_the_same_way() {
    let folder = Folder::new();
    let file = story(&folder);
    let output = hypertile(&[&["shrink", &file, "--jobs", "2", "--tries", "150"], &SABOTAGE[..]].concat());
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let short = std::fs::read_to_string(folder.0.join("story_shrunk.slt")).unwrap();
    parse("story_shrunk.slt", &short).unwrap_or_else(|error| panic!("{error}"));
    assert!(hypertile::sim::shrink::lines(&short) <= 12, "{short}");
    assert!(!short.contains("slow") && !short.contains("spare") && short.contains("# Shows: safety "), "{short}");
    let arguments = again(&text);
    let output = hypertile(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
}

#[test]
fn a_scenario_that_holds_has_nothing_to_shrink() {
    let folder = Folder::new();
    let output = hypertile(&["shrink", &story(&folder)]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains("with seed 1: it does not fail with this seed"), "{}", stderr(&output));
    let output = hypertile(&["shrink", "scenarios/nowhere.slt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot read scenarios/nowhere.slt"), "{}", stderr(&output));
}

#[test]
fn an_interrupt_writes_the_best_so_far() {
    let folder = Folder::new();
    let file = story(&folder);
    let arguments = [&["shrink", &file, "--jobs", "1"], &SABOTAGE[..]].concat();
    let output = interrupted(&arguments, Duration::from_secs(4));
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let short = std::fs::read_to_string(folder.0.join("story_shrunk.slt")).unwrap();
    assert!(short.contains("# Shows: safety "), "{short}");
}

/// The same with a moment that is drawn: in some continuations the crash never comes, as there are not so many commits.
fn story_of_chance(folder: &Folder) -> String {
    let text = STORY.replace(" hit 5 ", " hit 1..30 ").replace("seed=1", "seed=4");
    let path = folder.0.join("chance.slt");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn why_finds_the_moment_from_which_a_failure_was_inevitable() {
    let folder = Folder::new();
    let (file, page) = (story_of_chance(&folder), folder.0.join("run.html"));
    let page = page.to_str().unwrap();
    let output = hypertile(&[&["run", &file, "--why=2", "--jobs", "2", "--report", page], &SABOTAGE[..]].concat());
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    assert!(text.contains("inevitable from ") && text.contains("<- from here on"), "{text}");
    // It was decided when the moment of the crash was drawn: that is among the events at the step.
    let (curve, events) = text.split_once("inevitable from ").unwrap();
    assert!(events.contains("nemesis crash an at txn.decided hit "), "{text}");
    assert!(!curve.lines().any(|line| line.starts_with("    0.000 s") && line.contains("2/2")), "{text}");
    let svg = std::fs::read_to_string(folder.0.join("run.why.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("inevitable from "), "{svg}");
}

#[test]
fn why_has_nothing_to_say_of_a_run_that_is_well() {
    let folder = Folder::new();
    let output = hypertile(&["run", &story(&folder), "--why"]);
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).contains("the run does not fail, there is nothing to ask"), "{}", stdout(&output));
}
