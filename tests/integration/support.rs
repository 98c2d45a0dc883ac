//! What several tests need: the binary, the scenarios, a cluster that ends with its test.

use hypertile::sabotage::Sabotage;
use hypertile::sim::scenario::{Scenario, WorldKind};
use hypertile::trial::report::{Report, Setting, run};
use hypertile::trial::words::parse;
use hypertile::trial::worker::{View, Workers};
use std::io::{BufRead, BufReader, Read};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// One pool for all tests: its workers are warm.
fn workers() -> Workers {
    static WORKERS: OnceLock<Workers> = OnceLock::new();
    WORKERS.get_or_init(|| Workers::new(&program())).clone()
}

pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_hypertile"))
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the binary to its end.
pub fn hypertile(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).current_dir(root()).output().expect("the binary was just built")
}

/// Runs the binary, and presses Ctrl-C after a while.
pub fn interrupted(arguments: &[&str], after: Duration) -> Output {
    let mut command = Command::new(program());
    let piped = command.args(arguments).current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().expect("the binary was just built");
    std::thread::sleep(after);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All scenario files below `folder` of the project, with their paths from its root.
pub fn scenarios(folder: &str) -> Vec<(String, Scenario)> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            let scenario =
                parse(&name, &std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{error}"));
            (name, scenario)
        })
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

pub fn setting(world: WorldKind, seed: u64) -> Setting {
    Setting { world, seed, workers: workers(), sabotage: Sabotage::default(), view: View::default() }
}

/// Plays one scenario; its file name is made absolute so that goldens are found wherever the test runs.
pub fn play(file: &str, scenario: &Scenario, world: WorldKind, seed: u64) -> Report {
    let path = root().join(file).display().to_string();
    let mut report = run(scenario, &path, &setting(world, seed));
    hypertile::trial::golden::judge(&mut report, false);
    report
}

/// Plays all scenarios of a folder that `world` can play, some at a time: real processes mostly wait. Fails with the
/// first that does not hold; returns how many were really played.
pub fn play_for_real(folder: &str, world: WorldKind) -> usize {
    let waiting = Mutex::new(scenarios(folder));
    let next = || waiting.lock().expect("nobody panics under this lock").pop();
    let play_some = || {
        let mut played = 0;
        while let Some((file, scenario)) = next() {
            let report = play(&file, &scenario, world, 1);
            if report.verdict != "skipped" {
                assert_ok(&report);
                played += 1;
            }
        }
        played
    };
    std::thread::scope(|scope| {
        let players: Vec<_> = (0..PLAYERS).map(|_| scope.spawn(play_some)).collect();
        players.into_iter().map(|player| player.join().unwrap_or_else(|panic| resume_unwind(panic))).sum()
    })
}

const PLAYERS: usize = 3;

/// Fails with the reason and the line to paste.
pub fn assert_ok(report: &Report) {
    assert_eq!(
        report.verdict,
        "ok",
        "{}\n  {}\n  again: {}",
        report.line(),
        report.reason.as_deref().unwrap_or(""),
        report.replay(&[])
    );
}

/// A folder that is removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hypertile-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port of 127.0.0.1 with `after` free ones behind it.
pub fn free_ports(after: u16) -> u16 {
    loop {
        let probe = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let first = probe.local_addr().unwrap().port();
        let rest: Vec<_> = (1..=after)
            .map(|k| first.checked_add(k).map(|port| std::net::TcpListener::bind(("127.0.0.1", port))))
            .collect();
        if rest.iter().all(|listener| matches!(listener, Some(Ok(_)))) {
            return first;
        }
    }
}

/// `hypertile up`, killed with -9 when dropped.
pub struct Up {
    child: Child,
    pub port: u16,
    /// Held open: its last words must not fail.
    _output: BufReader<ChildStdout>,
}

impl Up {
    /// Starts it and waits until it has printed the psql line.
    pub fn start(folder: &Path, port: u16, more: &[&str]) -> Up {
        let mut child = Command::new(program())
            .arg("up")
            .arg("--dir")
            .arg(folder)
            .arg("--port")
            .arg(port.to_string())
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for line in output.by_ref().lines() {
            let line = line.unwrap();
            seen.push_str(&line);
            seen.push('\n');
            if line.trim_start().starts_with("psql ") {
                return Up { child, port, _output: output };
            }
        }
        let output = child.wait_with_output().unwrap();
        panic!("up ended early: {seen}{}", stderr(&output));
    }

    /// Tells it to end (SIGTERM) and waits until it has.
    pub fn terminate(mut self) -> ExitStatus {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill is a program");
        assert!(told.success());
        self.child.wait().unwrap()
    }

    /// Runs SQL through stock psql; the output is unaligned, without headers, errors included.
    pub fn psql(&self, sql: &str) -> String {
        let output = self.psql_command().args(["-AtX", "-c", sql]).output().expect("psql is installed");
        stdout(&output) + &stderr(&output)
    }

    pub fn psql_command(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "tsdb"]);
        command.env("PGCONNECT_TIMEOUT", "10").env_remove("PGOPTIONS");
        command
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // SIGKILL: whatever a test leaves behind must survive it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
