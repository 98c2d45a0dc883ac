//! Tracks: what probes say about a subject, followed over time.
//!
//! A probe's detail names subjects and the places each is about (see [`details`](crate::sim::record::details)). A track
//! picks probes and says what state a subject is in from then on: as a whole, if the detail names no place, or at that
//! place. Every system brings its own.

/// How a state looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Working,
    /// Bound to what others decide.
    Waiting,
    Good,
    /// Undone in good order.
    Undone,
    Doubt,
}

impl Tone {
    pub(super) fn name(self) -> &'static str {
        match self {
            Tone::Working => "working",
            Tone::Waiting => "waiting",
            Tone::Good => "good",
            Tone::Undone => "undone",
            Tone::Doubt => "doubt",
        }
    }
}

/// How long a state lasts that no other follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// To the end of the run: it is really so until somebody changes it.
    On,
    /// As long as anything is heard of the subject.
    WhileHeard,
    /// It is the end.
    No,
}

impl Lasts {
    pub(super) fn name(self) -> &'static str {
        match self {
            Lasts::On => "on",
            Lasts::WhileHeard => "heard",
            Lasts::No => "no",
        }
    }
}

/// The state that a probe begins.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub probe: &'static str,
    pub label: &'static str,
    pub tone: Tone,
    pub lasts: Lasts,
}

impl Step {
    pub const fn new(probe: &'static str, label: &'static str, tone: Tone, lasts: Lasts) -> Step {
        Step { probe, label, tone, lasts }
    }
}

/// A section of the picture: subjects, and the states that they go through.
#[derive(Clone, Debug)]
pub struct Track {
    pub title: &'static str,
    /// Draw each place in its node's colour instead of its state's: what matters is where, not how far.
    pub by_place: bool,
    pub steps: Vec<Step>,
}
