//! The command line: one file a subcommand.

/// Runs the command line; returns the exit code.
pub fn main() -> i32 {
    2
}
