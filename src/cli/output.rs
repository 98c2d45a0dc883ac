//! What subcommands print, and the files that they write where the user said.

use super::Failure;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Prints a line. Whoever reads may stop reading (`| head`): the runs go on, and the exit code tells.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

pub(super) use say;

#[expect(clippy::disallowed_methods, reason = "writes the file that the user named")]
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::input(format!("cannot write {}: {error}", path.display())))
}

/// Errors: no file can be written there. Asked before the work whose outcome it is to hold.
pub fn must_be_writable<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    for path in paths {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.is_dir() {
            return Err(Failure::input(format!("cannot write {}: it is a folder", path.display())));
        }
        if !folder.is_dir() {
            return Err(Failure::input(format!("cannot write {}: there is no such folder", path.display())));
        }
    }
    Ok(())
}

/// Characters in a line: those of the terminal, if there is one.
pub fn terminal_width() -> usize {
    // SAFETY: winsize is plain numbers, for which zeroes are values.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: fills `size`, or fails without touching it.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) } == 0;
    if known && size.ws_col > 0 { size.ws_col.into() } else { 160 }
}

/// Says how far the work is: a line that is written over again and again on a terminal, and one of many elsewhere.
pub fn progress(line: &str) {
    let (start, end) = if std::io::stderr().is_terminal() { (CLEAR, "") } else { ("", "\n") };
    let _ = write!(std::io::stderr(), "{start}{line}{end}");
    let _ = std::io::stderr().flush();
}

/// Takes the last such line off the terminal.
pub fn clear_progress() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "{CLEAR}");
    }
}

/// To the start of the line, and nothing more on it.
const CLEAR: &str = "\r\x1b[2K";
