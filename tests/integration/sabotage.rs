//! Who judges the judges: planted bugs, and code that does the unlikely.

use super::support::{Folder, hypertile, stderr, stdout};
use hypertile::trial::matrix::Row;
use hypertile::trial::report::Report;

/// Bugs that the first seeds bring out, of several parts of the code and found by several judges. The whole matrix takes minutes,
/// and only `hypertile sabotage` compares it with the golden: how soon a single try finds a bug is chance.
const FAST: &str = "aggregate.average,decision.sync,engine.keys.snapshot,replica.write,route.edge,writer.stash";

#[test]
fn planted_bugs_of_several_parts_are_found() {
    let folder = Folder::new();
    let (json, no_golden) = (folder.0.join("matrix.json"), folder.0.join("none.txt"));
    let [json_path, no_golden] = [&json, &no_golden].map(|path| path.to_str().unwrap());
    let base = ["sabotage", "--only", FAST, "--tries", "1", "--jobs", "2", "--seeds-max", "60"];
    let output = hypertile(&[&base[..], &["--json", json_path, "--golden", no_golden]].concat());
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let rows: Vec<Row> = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(rows.iter().map(|row| row.bug.as_str()).collect::<Vec<_>>(), FAST.split(',').collect::<Vec<_>>());
    assert!(rows.iter().all(|row| !row.is_open() && row.tries[0].reached > 0), "{text}");
}

#[test]
fn a_bug_that_is_found_no_more_differs_from_the_golden() {
    let folder = Folder::new();
    let golden = folder.0.join("golden.txt");
    std::fs::write(&golden, "commit.gate 1 leftovers\n").unwrap();
    let golden = golden.to_str().unwrap();
    let output = hypertile(&["sabotage", "--only", "commit.gate", "--tries", "1", "--golden", golden]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("commit.gate was found by leftovers, now by "), "{}", stdout(&output));
}

/// A run with every point active is well, is the same twice, and came to what it says.
#[test]
fn servers_that_do_the_unlikely_all_the_time_keep_their_promises() {
    let folder = Folder::new();
    let (story, json) = (folder.0.join("buggified.slt"), folder.0.join("reports.json"));
    let text = "cluster data=3\nbuggify all\n\nstatement ok\nCREATE TABLE batches (time timestamptz NOT NULL, device text NOT NULL, writer int, batch int, row int, rows int)\n\n\
                statement ok\nSELECT create_distributed_hypertable('batches', 'time', 'device')\n\n\
                nemesis crash node1 after 1s for 1s\nworkload batches writers=3 batches=12 readers=1\nawait workload\ncheck all\n";
    std::fs::write(&story, text).unwrap();
    let (story, json) = (story.to_str().unwrap(), json.to_str().unwrap());
    let output = hypertile(&["run", story, "--seeds", "1..3", "--twice", "--jobs", "2", "--coverage", "--json", json]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    let reports: Vec<Report> = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert!(reports.iter().all(|report| report.buggify["wire.short_read"].fired > 100), "{text}");
    let fired = |report: &Report| report.buggify.values().filter(|fires| fires.fired > 0).count();
    assert!(reports.iter().all(|report| fired(report) >= 10), "{text}");
    assert!(text.contains("points of buggify: ") && text.contains("txn.decided"), "{text}");
}

#[test]
fn unknown_points_are_refused_and_other_worlds_do_not_buggify() {
    let folder = Folder::new();
    let story = folder.0.join("story.slt");
    std::fs::write(&story, "buggify everything\n").unwrap();
    let output = hypertile(&["run", story.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let text = stderr(&output);
    assert!(
        text.contains("story.slt:1:9: unknown point \"everything\", expected one of: all, catalog.slow, "),
        "{text}"
    );
    std::fs::write(&story, "buggify pool.dropped\n\nstatement ok\nSELECT 1\n").unwrap();
    let output = hypertile(&["run", story.to_str().unwrap(), "--world", "loopback"]);
    assert!(stdout(&output).contains("skipped: `buggify` is for the simulation"), "{}", stdout(&output));
}
