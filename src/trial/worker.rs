//! Processes that simulate: one seed, one fork of a warmed-up worker.
//!
//! Libraries keep things that live as long as their process (the client library numbers its prepared statements, hash
//! maps draw keys once), and a run must not depend on what ran before it. So a worker process warms up once, runs
//! nothing itself, and forks for every run: each starts from the same memory, however many came before, and what it
//! leaks goes with it. A fork costs far less than a new process of this size, too.
//!
//! The driver's side is [`Workers`], a pool; the worker's side is [`serve`], behind the hidden subcommand `worker`. They
//! speak JSON, one line a message.

#![expect(
    clippy::disallowed_methods,
    reason = "starts, forks and waits for the processes that simulations run in; no node's code is here"
)]

use super::report::{Report, simulate_here};
use super::words;
use crate::sabotage::Sabotage;
use crate::sim::scenario::run::{Class, Failure};
use crate::sim::tasks::panic_message;
use crate::sim::warm_up;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A run that takes longer in real time has lost itself in a loop without a pause: simulated time does not pass in it.
const REAL_TIME_MAX: Duration = Duration::from_secs(600);

/// One run to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Where the text came from, for messages.
    pub file: String,
    pub text: String,
    pub seed: u64,
    pub sabotage: Vec<String>,
    pub view: View,
}

/// What shall be seen of a run besides its verdict.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct View {
    /// Where to write the page for a browser.
    pub page: Option<PathBuf>,
    /// A timeline as text, in lines of so many characters.
    pub timeline: Option<usize>,
}

impl View {
    /// Whether nothing is to be seen.
    pub fn is_empty(&self) -> bool {
        self.page.is_none() && self.timeline.is_none()
    }
}

/// Worker processes, as many as are used at the same time. Clones share them.
#[derive(Clone, Debug)]
pub struct Workers {
    program: PathBuf,
    idle: Arc<Mutex<Vec<Worker>>>,
}

impl Workers {
    /// `program` is the hypertile binary.
    pub fn new(program: &Path) -> Workers {
        Workers { program: program.to_path_buf(), idle: Arc::default() }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Has a worker make the run. Errors: it died, or could not be started.
    pub fn run(&self, request: &Request) -> Result<Report, String> {
        let idle = self.idle.lock().expect("nobody panics under this lock").pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => Worker::start(&self.program).map_err(|error| format!("cannot start a worker: {error}"))?,
        };
        let report = worker.run(request)?;
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
    fn start(program: &Path) -> io::Result<Worker> {
        let mut child = Command::new(program).arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().expect("piped");
        let reports = BufReader::new(child.stdout.take().expect("piped"));
        Ok(Worker { child, requests, reports })
    }

    fn run(&mut self, request: &Request) -> Result<Report, String> {
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

/// Reads requests from standard input and writes reports to standard output, until there are no more requests.
pub fn serve() -> io::Result<()> {
    // SAFETY: changes how this process takes a signal. Ctrl-C is the driver's business: it wants the reports of the
    // runs that are under way.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    warm_up::warm_up();
    for line in io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let report = in_child(&request)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&report).expect("reports always serialize"))?;
        out.flush()?;
    }
    Ok(())
}

/// Makes the run in a forked child.
fn in_child(request: &Request) -> io::Result<Report> {
    let started = Instant::now();
    let (mut results, sender) = pipe()?;
    let mut errors = scratch_file()?;
    // SAFETY: this process has one thread (the warm-up's has ended), so the child inherits no lock that somebody
    // holds, and may go on as if it had been started so.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(results);
            redirect_errors(&errors);
            child_main(request, sender)
        }
        child => {
            drop(sender);
            let text = read_within(&mut results, REAL_TIME_MAX, child)?;
            let (status, peak_kilobytes) = wait(child)?;
            let mut report = serde_json::from_slice(&text).unwrap_or_else(|_| {
                let tail = tail_of(&mut errors);
                let why = if text.is_empty() { describe(status) } else { "an unreadable report".to_string() };
                died(request, format!("the process of the run: {why}\n  {tail}"))
            });
            report.peak_kilobytes = Some(peak_kilobytes);
            report.wall_seconds = started.elapsed().as_secs_f64();
            Ok(report)
        }
    }
}

/// What the forked child does. Leaves without destructors: they are the parent's.
fn child_main(request: &Request, mut sender: File) -> ! {
    // A panic must not unwind into the loop of the parent, of which this process has a copy.
    let report = catch_unwind(AssertUnwindSafe(|| play(request)))
        .unwrap_or_else(|panic| died(request, format!("the run panicked: {}", panic_message(&*panic))));
    let told = serde_json::to_writer(&mut sender, &report).is_ok() && sender.flush().is_ok();
    drop(sender);
    // SAFETY: ends this process.
    unsafe { libc::_exit(if told { 0 } else { 1 }) }
}

fn play(request: &Request) -> Report {
    let scenario = words::parse(&request.file, &request.text);
    let sabotage = Sabotage::from_names(&request.sabotage);
    match (scenario, sabotage) {
        (Ok(scenario), Ok(sabotage)) => simulate_here(&scenario, &request.file, request.seed, sabotage, &request.view),
        (Err(error), _) => died(request, error.to_string()),
        (_, Err(error)) => died(request, error),
    }
}

fn died(request: &Request, message: String) -> Report {
    Report::failed_early(&request.file, request.seed, Failure::new(Class::Panic, message))
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors that pipe2 writes.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are new and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

/// A file in memory for what a run writes to standard error.
fn scratch_file() -> io::Result<File> {
    // SAFETY: the name is a constant C string; the descriptor is new and nobody else's.
    let descriptor = unsafe { libc::memfd_create(c"errors".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

fn redirect_errors(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: both are open descriptors. If it fails, errors go where the worker's go.
    unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) };
}

fn tail_of(errors: &mut File) -> String {
    let mut text = Vec::new();
    let _ = errors.seek(SeekFrom::Start(0)).and_then(|_| errors.take(1 << 20).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
}

/// Reads to the end; kills the child if that takes too long.
fn read_within(results: &mut File, limit: Duration, child: libc::pid_t) -> io::Result<Vec<u8>> {
    use std::os::fd::AsRawFd;
    let mut poll = libc::pollfd { fd: results.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd. The child writes its report in one go, at its end.
    let ready = unsafe { libc::poll(&raw mut poll, 1, limit.as_millis() as i32) };
    if ready == 0 {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    let mut text = Vec::new();
    results.read_to_end(&mut text)?;
    Ok(text)
}

/// The child's exit status, and the most memory that it had in kilobytes.
fn wait(child: libc::pid_t) -> io::Result<(i32, u64)> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which zeroes are values; wait4 fills both.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::wait4(child, &raw mut status, 0, &raw mut usage) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((status, usage.ru_maxrss as u64))
}

fn describe(status: i32) -> String {
    match status {
        status if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL => {
            format!("killed, perhaps because there was no verdict within {REAL_TIME_MAX:?} of real time")
        }
        status if libc::WIFSIGNALED(status) => format!("ended by signal {}", libc::WTERMSIG(status)),
        status => format!("ended with exit code {}", libc::WEXITSTATUS(status)),
    }
}
