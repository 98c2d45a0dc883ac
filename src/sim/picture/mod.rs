//! Seeing a run: its event log as one page for a browser, or as text for a terminal.
//!
//! [`page`] makes one HTML file that needs nothing else: no network, no folder beside it. It shows a lane for each node
//! and each client, messages between them, faults, what probes say about transactions and placement, and what the
//! checkers found. [`timeline()`] writes the same log as lines, one column a lane.
//!
//! Knows the event log ([`super::record`]) and nothing else: no hypertables, no SQL. What a probe's detail speaks of is
//! followed along [`Track`]s, which say what the steps are called.
//!
//! Promises: the same picture gives the same bytes. Whatever a statement, a node or a checker is called, it stays text:
//! it cannot end the page's script or write into its markup. The page of 50,000 events is a few megabytes and stays
//! fluent, because it draws what can be told apart at the zoom it is seen at.
//!
//! Reading order: this file, [`track`], `lanes` (who has one, in which order), `data` (moments as compact JSON),
//! `page.html` (what the browser runs), `timeline`.

mod data;
mod lanes;
#[cfg(test)]
mod tests;
mod timeline;
pub mod track;

pub use timeline::{Options, timeline};
pub use track::Track;

use super::record::Moment;
use std::time::Duration;

/// What to set [`WorldConfig::keep_events`](super::WorldConfig) to for a run that is to be seen: some 100 MB. Of a longer
/// run the beginning is cut off, and the picture says so.
pub const KEEP_EVENTS: usize = 1_000_000;

/// A run, as it is to be shown.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub title: String,
    pub seed: u64,
    pub fingerprint: u64,
    /// `ok`, `failed`, `skipped`: anything but `ok` is shown as a failure.
    pub verdict: String,
    /// Where and why, if not ok; may have several lines.
    pub reason: Option<String>,
    /// The line to paste to see the run again.
    pub replay: Option<String>,
    /// Simulated time that passed in all.
    pub simulated: Duration,
    /// How many events there were in all, those not kept included.
    pub events: u64,
    /// Those that were kept: the last ones, in the order in which they happened.
    pub moments: Vec<Moment>,
    /// Names in the order their lanes shall have, clients always above nodes; others follow as they appear. May name what
    /// is not there.
    pub lanes: Vec<String>,
    pub tracks: Vec<Track>,
}

impl Picture {
    /// How many events happened before the first one that was kept.
    fn cut(&self) -> u64 {
        self.events.saturating_sub(self.moments.len() as u64)
    }

    /// When the last thing happened.
    fn end(&self) -> Duration {
        self.moments.last().map_or(self.simulated, |last| last.at.max(self.simulated))
    }
}

const TEMPLATE: &str = include_str!("page.html");

/// Stands in the template where the data goes.
const DATA_MARK: &str = "@@DATA@@";

/// The run as one self-contained HTML page.
pub fn page(picture: &Picture) -> String {
    let (before, after) = TEMPLATE.split_once(DATA_MARK).expect("the template has a place for the data");
    let data = data::json(picture);
    // Only `<` could end the script element that the data lies in; within JSON it stands in strings alone.
    [before, &data.replace('<', "\\u003c"), after].concat()
}
