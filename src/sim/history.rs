//! How operations end, and how many of them did so.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How an operation ended, as its client saw it. Only checkers may interpret `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    Ok,
    Failed,
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Ok => "ok",
            Ending::Failed => "failed",
            Ending::Unknown => "unknown",
        })
    }
}

/// Operations of one kind by their endings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub ok: u64,
    pub failed: u64,
    pub unknown: u64,
}

impl Tally {
    pub fn count(&mut self, ending: Ending) {
        match ending {
            Ending::Ok => self.ok += 1,
            Ending::Failed => self.failed += 1,
            Ending::Unknown => self.unknown += 1,
        }
    }

    pub fn add(&mut self, other: &Tally) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.unknown += other.unknown;
    }

    pub fn total(&self) -> u64 {
        self.ok + self.failed + self.unknown
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ok, {} failed, {} unknown", self.ok, self.failed, self.unknown)
    }
}

/// Numbers of a run by name.
pub type Measures = BTreeMap<String, u64>;

/// By the first word of the operation: `insert`, `read`, ….
pub type Tallies = BTreeMap<String, Tally>;
