//! The command line: one file a subcommand.
//!
//! Reading order: this file, `serve`, `up` (several of them in one process), `generate`; then those of the simulator:
//! `input` and `output`, `run`, `why` (of a run), `swarm`, `shrink`, `sabotage`. Knows everybody; nobody knows it.
//!
//! Exit codes: 0 all went well; 1 a scenario failed; 2 bad usage or bad input (an unknown subcommand, a scenario
//! that cannot be read or has nothing to shrink, a port in use, a folder that cannot be written or is of another version); 3 a run was not
//! deterministic; 4 something did not happen within its time; 5 a node panicked. Of several, `run` and `swarm` tell the first
//! of 3, 1, 5, 4.

pub mod generate;
#[cfg(madsim)]
mod input;
#[cfg(madsim)]
mod output;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod sabotage;
pub mod serve;
#[cfg(madsim)]
pub mod shrink;
#[cfg(madsim)]
pub mod swarm;
pub mod up;
#[cfg(madsim)]
mod why;

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
    /// Simulate many clusters, each with load and faults drawn from a seed
    #[cfg(madsim)]
    Swarm(swarm::Arguments),
    /// Make a failing scenario as short as it can be
    #[cfg(madsim)]
    Shrink(shrink::Arguments),
    /// Plant bugs, and say which judges find each of them, and how soon
    #[cfg(madsim)]
    Sabotage(sabotage::Arguments),
    /// Simulate what standard input asks for, each run in a fork of this process (what `run` starts)
    #[cfg(madsim)]
    #[command(hide = true)]
    Worker,
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
    NotLive,
    Panicked,
}

impl Exit {
    fn code(self) -> i32 {
        match self {
            Exit::Success => 0,
            Exit::ScenarioFailed => 1,
            Exit::NotDeterministic => 3,
            Exit::NotLive => 4,
            Exit::Panicked => 5,
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
        Command::Swarm(arguments) => swarm::run(arguments),
        #[cfg(madsim)]
        Command::Shrink(arguments) => shrink::run(arguments),
        #[cfg(madsim)]
        Command::Sabotage(arguments) => sabotage::run(arguments),
        #[cfg(madsim)]
        Command::Worker => match crate::trial::worker::serve() {
            Ok(()) => Ok(Exit::Success),
            Err(error) => Err(Failure::input(format!("worker: {error}"))),
        },
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
