//! Bad usage and bad input: one clear line, exit code 2.

use super::support::{Folder, free_ports, hypertile, stderr, stdout};

fn refused(arguments: &[&str], expected: &str) {
    let output = hypertile(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
}

#[test]
fn unknown_words_are_refused() {
    refused(&["fly"], "unrecognized subcommand 'fly'");
    refused(&["run"], "required");
    refused(&["run", "scenarios", "--world", "moon"], "expected sim, loopback or postgres");
    refused(&["run", "scenarios", "--seeds", "9..1"], "expected FIRST..LAST");
    refused(&["run", "scenarios", "--sabotage", "everything"], "unknown sabotage \"everything\"");
    refused(&["run", "scenarios", "--world", "loopback", "--twice"], "need --world sim");
    refused(&["run", "scenarios", "--seeds", "1..2", "--why"], "--report, --timeline, --events and --why need");
    refused(&["shrink"], "required");
    refused(&["shrink", "scenarios", "--sabotage", "everything"], "unknown sabotage \"everything\"");
    refused(&["generate", "memory"], "possible values: cpu");
    refused(&["generate", "cpu", "--interval", "often"], "expected for example");
    refused(&["up", "--data-node", "nowhere"], "expected postgres://");
    refused(&["up", "--data-node", "postgres://a@b", "--data-nodes", "2"], "cannot be used with");
    refused(&["up", "--port", "0"], "0 is not in 1..");
}

#[test]
fn scenario_files_that_cannot_be_read_name_file_and_line() {
    refused(&["run", "scenarios/nowhere.slt"], "there is no scenarios/nowhere.slt");
    let folder = Folder::new();
    let file = folder.0.join("bad.slt");
    std::fs::write(&file, "statement ok\nSELECT 1\n\nnemesis explode an\n").unwrap();
    refused(&["run", file.to_str().unwrap()], "bad.slt:4:9: expected: nemesis crash NODE");
    std::fs::write(&file, "nemesis crash an at txn.preparedd\n").unwrap();
    refused(&["run", file.to_str().unwrap()], "bad.slt:1:21: unknown probe \"txn.preparedd\", expected one of: ");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(&["serve", "--dir", folder.0.join("a").to_str().unwrap(), "--port", &port], "cannot listen on 127.0.0.1:");
}

#[test]
fn a_folder_that_cannot_be_used_is_one_clear_line() {
    let folder = Folder::new();
    let port = free_ports(0).to_string();
    let file = folder.0.join("file");
    std::fs::write(&file, "").unwrap();
    refused(&["serve", "--dir", file.join("data").to_str().unwrap(), "--port", &port], "cannot use the data folder");
    let other = folder.0.join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("FORMAT"), "hypertile 999\n").unwrap();
    refused(&["serve", "--dir", other.to_str().unwrap(), "--port", &port], "of another version");
    let stranger = folder.0.join("stranger");
    std::fs::create_dir(&stranger).unwrap();
    std::fs::write(stranger.join("holiday.jpg"), "").unwrap();
    refused(&["serve", "--dir", stranger.to_str().unwrap(), "--port", &port], "was not made by hypertile");
    refused(&["up", "--dir", stranger.to_str().unwrap(), "--port", &port], "was not made by `hypertile up`");
    let five = folder.0.join("five");
    std::fs::create_dir(&five).unwrap();
    std::fs::write(five.join("CLUSTER"), "--data-nodes 5\n").unwrap();
    refused(&["up", "--dir", five.to_str().unwrap(), "--port", &port], "other data nodes (--data-nodes 5)");
    let emptied = folder.0.join("emptied");
    std::fs::create_dir(&emptied).unwrap();
    std::fs::write(emptied.join("FORMAT"), hypertile::node::FORMAT).unwrap();
    std::fs::write(emptied.join("databases.json"), r#"{"next": 2, "folders": {"postgres": 1}}"#).unwrap();
    std::fs::create_dir(emptied.join("database-1")).unwrap();
    std::fs::write(emptied.join("database-1/engine.redb"), "").unwrap();
    refused(&["serve", "--dir", emptied.to_str().unwrap(), "--port", &port], "engine.redb is missing or empty");
}

#[test]
fn the_generated_data_set_starts_as_the_reference_does() {
    let output = hypertile(&["generate", "cpu", "--hosts", "2", "--hours", "1", "--interval", "30m", "--seed", "123"]);
    assert!(output.status.success());
    assert_eq!(stdout(&output).lines().count(), 4);
    assert!(stdout(&output).starts_with("2023-01-01 00:00:00+00,host_0,"));
}
