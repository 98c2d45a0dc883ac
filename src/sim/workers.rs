//! Worker processes: a pool of them on the driver's side ([`Pool`]), the loop of one on its own ([`serve`]).
//!
//! A worker warms up once, runs nothing itself, and forks for every run (`sim::fork`). Driver and worker speak JSON, one
//! line a message; what requests and reports are is their system's business.

#![expect(clippy::disallowed_methods, reason = "starts the processes that simulations run in; no node's code is here")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

/// Worker processes, as many as are used at the same time. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    program: PathBuf,
    arguments: Vec<String>,
    idle: Arc<Mutex<Vec<Worker>>>,
}

impl Pool {
    /// `program`, called with `arguments`, must come to [`serve`].
    pub fn new(program: &Path, arguments: &[&str]) -> Pool {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Pool { program: program.to_path_buf(), arguments, idle: Arc::default() }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Other processes of the same program.
    pub fn another(&self) -> Pool {
        Pool { idle: Arc::default(), ..self.clone() }
    }

    /// Has a worker answer. Errors: it died, or could not be started.
    pub fn ask<Report: DeserializeOwned>(&self, request: &impl Serialize) -> Result<Report, String> {
        let idle = self.idle.lock().expect("nobody panics under this lock").pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => Worker::start(self).map_err(|error| format!("cannot start a worker: {error}"))?,
        };
        let report = worker.ask(request)?;
        self.idle.lock().expect("nobody panics under this lock").push(worker);
        Ok(report)
    }
}

#[derive(Debug)]
struct Worker {
    child: Child,
    requests: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Worker {
    fn start(pool: &Pool) -> io::Result<Worker> {
        let mut command = Command::new(&pool.program);
        let mut child = command.args(&pool.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().expect("piped");
        let reports = BufReader::new(child.stdout.take().expect("piped"));
        Ok(Worker { child, requests, reports })
    }

    fn ask<Report: DeserializeOwned>(&mut self, request: &impl Serialize) -> Result<Report, String> {
        let line = serde_json::to_string(request).expect("requests always serialize");
        let died = |error: &dyn std::fmt::Display| format!("the worker process died: {error}");
        writeln!(self.requests, "{line}").and_then(|()| self.requests.flush()).map_err(|error| died(&error))?;
        let mut answer = String::new();
        self.reports.read_line(&mut answer).map_err(|error| died(&error))?;
        serde_json::from_str(&answer).map_err(|error| died(&error))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Warms up, then reads requests from standard input and writes reports to standard output, until there are no more
/// requests.
pub fn serve<Request: DeserializeOwned, Report: Serialize>(
    warm_up: impl FnOnce(),
    mut answer: impl FnMut(Request) -> io::Result<Report>,
) -> io::Result<()> {
    // SAFETY: changes how this process takes a signal. Ctrl-C is the driver's business: it wants the reports of the
    // runs that are under way.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    warm_up();
    for line in io::stdin().lock().lines() {
        let report = answer(serde_json::from_str(&line?)?)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&report).expect("reports always serialize"))?;
        out.flush()?;
    }
    Ok(())
}
