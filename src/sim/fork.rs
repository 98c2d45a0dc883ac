//! Work in a forked child: it starts from this process's memory, and what it leaks, breaks or uses up goes with it.
//!
//! Libraries keep things that live as long as their process (a client library numbers its prepared statements, hash maps
//! draw keys once), and a run must not depend on what ran before it. So a process that never simulates anything itself
//! forks for every run: each finds the same memory, however many came before. A fork costs far less than a new process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

/// What a child may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub real_time: Duration,
    /// Of data: heap and stacks, touched or not. A child that asks for more is aborted by its allocator.
    pub memory_bytes: u64,
}

/// What became of a child.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What its work returned, or how it died and the first and last of what it wrote to standard error.
    pub told: Result<Vec<u8>, String>,
    /// The most memory that it had, its program included.
    pub peak_kilobytes: u64,
}

/// Does `work` in a child of this process and waits for what it returns. Errors: the system refuses a process or a pipe.
///
/// This process must have one thread only, or the child may wait for ever for a lock that another thread held. `work`
/// must not panic.
pub fn in_child(limits: Limits, work: impl FnOnce() -> Vec<u8>) -> io::Result<Ended> {
    let (mut results, sender) = pipe()?;
    let mut errors = scratch_file()?;
    // SAFETY: this process has one thread, so the child inherits no lock that somebody holds, and may go on as if it had
    // been started so.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(results);
            redirect_errors(&errors);
            bound_memory(limits.memory_bytes);
            child_main(work, sender)
        }
        child => {
            drop(sender);
            let text = read_within(&mut results, limits.real_time, child)?;
            let (status, peak_kilobytes) = wait(child)?;
            let well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            let told = if well { Ok(text) } else { Err(describe(status, limits, &ends_of(&mut errors))) };
            Ok(Ended { told, peak_kilobytes })
        }
    }
}

/// Leaves without destructors: they are the parent's.
fn child_main(work: impl FnOnce() -> Vec<u8>, mut sender: File) -> ! {
    let told = sender.write_all(&work()).is_ok() && sender.flush().is_ok();
    drop(sender);
    // SAFETY: ends this process.
    unsafe { libc::_exit(if told { 0 } else { 1 }) }
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
    // SAFETY: both are open descriptors. If it fails, errors go where the parent's go.
    unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) };
}

/// A run that eats all memory must fail alone, not have the system kill whatever it likes.
fn bound_memory(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: a valid rlimit. If it is refused (a lower limit holds already), that one bounds the run.
    unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
}

fn ends_of(errors: &mut File) -> String {
    let mut text = Vec::new();
    let _ = errors.seek(SeekFrom::Start(0)).and_then(|_| errors.take(1 << 20).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    // The message stands first, a backtrace may follow.
    let (first, last) = (lines.len().min(5), lines.len().saturating_sub(5).max(5).min(lines.len()));
    [&lines[..first], &lines[last..]].concat().join("\n  ")
}

/// Reads to the end; kills the child if that takes too long.
fn read_within(results: &mut File, limit: Duration, child: libc::pid_t) -> io::Result<Vec<u8>> {
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

fn describe(status: i32, limits: Limits, errors: &str) -> String {
    let how = match status {
        status if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL => {
            format!("killed, perhaps because there was no verdict within {:?} of real time", limits.real_time)
        }
        status if libc::WIFSIGNALED(status) => format!("ended by signal {}", libc::WTERMSIG(status)),
        status => format!("ended with exit code {}", libc::WEXITSTATUS(status)),
    };
    if errors.is_empty() { how } else { format!("{how}\n  {errors}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    // These tests break the rule of one thread. Their work takes no lock but the allocator's, which the C library keeps in
    // order over a fork. The memory of the process that tests run in is anybody's guess.
    const LIMITS: Limits = Limits { real_time: Duration::from_secs(60), memory_bytes: libc::RLIM_INFINITY };

    #[test]
    fn what_the_work_returns_comes_back_and_what_it_changes_does_not() {
        let mut number = 1;
        let ended = in_child(LIMITS, || {
            number += 1;
            vec![number]
        });
        assert_eq!(ended.unwrap().told, Ok(vec![2]));
        assert_eq!(number, 1);
    }

    #[test]
    fn a_child_that_wants_too_much_memory_dies_alone_and_says_so() {
        let ended = in_child(Limits { memory_bytes: 1 << 30, ..LIMITS }, || vec![1; 3 << 30]).unwrap();
        let why = ended.told.unwrap_err();
        assert!(why.contains("signal 6") && why.contains("memory allocation of 3221225472 bytes failed"), "{why}");
        assert!(ended.peak_kilobytes < 1 << 20, "{ended:?}", ended = ended.peak_kilobytes);
    }

    #[test]
    fn a_child_that_dwells_is_killed() {
        let limits = Limits { real_time: Duration::from_millis(50), ..LIMITS };
        let ended = in_child(limits, || {
            loop {
                std::hint::spin_loop();
            }
        });
        assert!(ended.unwrap().told.unwrap_err().contains("no verdict within 50ms"));
    }
}
