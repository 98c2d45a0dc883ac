//! The command line: one file a subcommand.
//!
//! Reading order: this file, `serve`, `up` (several of them in one process), `run`, `generate`. Knows everybody; nobody
//! knows it.
//!
//! Exit codes: 0 all went well; 1 a scenario failed; 2 bad usage or bad input (an unknown subcommand, a scenario
//! that cannot be read, a port in use, a folder that cannot be written or is of another version); 3 a run was not
//! deterministic.

pub mod generate;
#[cfg(madsim)]
pub mod run;
pub mod serve;
pub mod up;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(name = "hypertile", version, about = "A distributed hypertable database and the simulator it is proven in")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run scenario files: simulated, on real processes, or on PostgreSQL data nodes
    #[cfg(madsim)]
    Run(run::Arguments),
    /// Simulate one scenario in this process and print its report as JSON (what `run` starts)
    #[cfg(madsim)]
    #[command(hide = true)]
    Play(run::PlayArguments),
    /// Start a whole cluster on this machine and print how to connect
    Up(up::Arguments),
    /// Start one server
    Serve(serve::Arguments),
    /// Write a benchmark data set
    Generate(generate::Arguments),
}

/// How a subcommand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success,
    ScenarioFailed,
    NotDeterministic,
}

impl Exit {
    fn code(self) -> i32 {
        match self {
            Exit::Success => 0,
            Exit::ScenarioFailed => 1,
            Exit::NotDeterministic => 3,
        }
    }
}

/// Bad usage or input: one clear line, exit code 2.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure(message.into())
    }

    pub fn input(message: impl Into<String>) -> Failure {
        Failure(message.into())
    }
}

/// Runs the command line; returns the exit code.
pub fn main() -> i32 {
    let arguments = match CommandLine::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return error.exit_code();
        }
    };
    let result = match arguments.command {
        #[cfg(madsim)]
        Command::Run(arguments) => run::run(arguments),
        #[cfg(madsim)]
        Command::Play(arguments) => run::play(arguments),
        Command::Up(arguments) => up::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Generate(arguments) => generate::run(arguments),
    };
    match result {
        Ok(exit) => exit.code(),
        Err(Failure(message)) => {
            eprintln!("hypertile: {message}");
            2
        }
    }
}
