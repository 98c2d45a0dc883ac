//! What judges have in common, and those that know nothing of any system.
//!
//! A judge is pure over what clients saw and what is there in the end, and returns violations that carry their
//! evidence. The judges of hypertables are in `trial::checker`. [`isolation`] knows transactions over lists, whatever system
//! runs them.

pub mod isolation;

use std::fmt;

/// A broken promise and the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub checker: &'static str,
    pub evidence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.evidence)
    }
}
