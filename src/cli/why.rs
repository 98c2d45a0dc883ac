//! `hypertile run --why`: when a failure became inevitable.

use super::Failure;
use super::output::{clear_progress, progress, say, write};
use crate::sim::scenario::Scenario;
use crate::sim::why::Effort;
use crate::trial::report::Report;
use crate::trial::why::ask;
use crate::trial::worker::Workers;
use std::io::IsTerminal;
use std::path::Path;

/// Who asks, and how much.
pub struct Asker<'a> {
    pub sabotage: &'a [String],
    pub workers: &'a Workers,
    /// Runs at the same time.
    pub jobs: u16,
    /// From each moment.
    pub continuations: u32,
}

impl Asker<'_> {
    /// Prints the curve and what happened where it steps; draws it beside the `page` of the run. Says so if nothing failed.
    pub fn tell(&self, scenario: &Scenario, report: &Report, page: Option<&Path>) -> Result<(), Failure> {
        if !report.failed() {
            say!("  why: the run does not fail, there is nothing to ask");
            return Ok(());
        }
        let effort = Effort { continuations: self.continuations, ..Effort::default() };
        let told = |moment: usize| {
            // Elsewhere it would be many lines about nothing.
            if std::io::stderr().is_terminal() {
                progress(&format!("continuing from moment {moment} of {}", effort.moments + effort.halvings));
            }
        };
        let why =
            ask(scenario, report, self.sabotage, self.workers, self.jobs, effort, &told).map_err(Failure::input)?;
        clear_progress();
        if why.control != report.fingerprint {
            let other = why.control.unwrap_or_default();
            return Err(Failure::input(format!(
                "the run cannot be continued: played again it has fingerprint {other}"
            )));
        }
        say!("{}", why.text().trim_end());
        if let Some(page) = page {
            let path = page.with_extension("why.svg");
            let svg = why.curve.svg(&format!("{} seed {}", report.scenario, report.seed));
            write(&path, &svg)?;
            say!("  the curve: {}", path.display());
        }
        Ok(())
    }
}
