//! Asks when a failure of this database became inevitable, by continuations in worker processes.

use super::report::Report;
use super::worker::{Request, View, Workers, side_by_side};
use crate::sim::chance::Turn;
use crate::sim::record::{Event, Moment};
use crate::sim::scenario::Scenario;
use crate::sim::why::{Curve, Effort, explore};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What happened around a moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Surroundings {
    /// When the last operation of a client ended, in seconds: what comes after is waiting and judging.
    pub busy_until: Option<f64>,
    pub lines: Vec<String>,
}

impl Surroundings {
    pub fn of(moments: &[Moment], from: Duration, until: Duration) -> Surroundings {
        let ends = |moment: &&Moment| matches!(moment.event, Event::Completed { .. } | Event::Panicked { .. });
        let busy_until = moments.iter().rev().find(ends).map(|moment| moment.at.as_secs_f64());
        let within = moments.iter().filter(|moment| from <= moment.at && moment.at <= until);
        Surroundings {
            busy_until,
            lines: within.filter(|moment| tells(&moment.event)).map(Moment::to_string).collect(),
        }
    }
}

/// Whether an event says what was going on, rather than how bytes travelled.
fn tells(event: &Event) -> bool {
    !matches!(
        event,
        Event::Delivered { .. }
            | Event::Connected { .. }
            | Event::Refused { .. }
            | Event::Closed { .. }
            | Event::Stalled { .. }
            | Event::Spawned { .. }
            | Event::Synced { .. }
            | Event::Replaced { .. }
            | Event::Removed { .. }
    )
}

/// What was found out.
#[derive(Clone, Debug)]
pub struct Why {
    pub curve: Curve,
    /// Of continuations that are none: the run itself, taken apart and put together again.
    pub control: Option<String>,
    /// What happened up to the moment from which on all continuations fail.
    pub before: Vec<String>,
    /// And right after it.
    pub after: Vec<String>,
}

/// So many events are told of, before the moment and after it.
const TOLD_BEFORE: usize = 12;
const TOLD_AFTER: usize = 4;

/// Events are looked for this far around the moment.
const AROUND: Duration = Duration::from_secs(5);

/// Continues the failing run of `report` from many moments. `told` hears of each.
pub fn ask(
    scenario: &Scenario,
    report: &Report,
    sabotage: &[String],
    workers: &Workers,
    jobs: u16,
    effort: Effort,
    told: &dyn Fn(usize),
) -> Result<Why, String> {
    let violation = report.violation().ok_or("the run does not fail: there is nothing to ask")?;
    let run = |turn: Option<Turn>, view: View| {
        workers.run(&Request { view, turn, ..Request::new(&report.file, &scenario.text, report.seed, sabotage) })
    };
    let looking = |from, until| View { surroundings: Some((from, until)), ..View::default() };
    let control = run(Some(Turn { at: Duration::ZERO, salt: 0 }), looking(Duration::ZERO, Duration::ZERO))?;
    let simulated = Duration::from_secs_f64(report.simulated_seconds.unwrap_or_default());
    let busy_until = control.surroundings.as_ref().and_then(|around| around.busy_until);
    let end = busy_until.map_or(simulated, |seconds| Duration::from_secs_f64(seconds).min(simulated));
    let mut moments = 0;
    let curve = explore(end, effort, &mut |turns| {
        moments += 1;
        told(moments);
        let fails = |turn: &Turn| {
            run(Some(*turn), View::default()).is_ok_and(|report| report.violation().as_ref() == Some(&violation))
        };
        side_by_side(turns, jobs.into(), fails)
    });
    let (before, from) = curve.step();
    let lines = |from, until| Ok::<_, String>(run(None, looking(from, until))?.surroundings.unwrap_or_default().lines);
    let earlier = lines(before.saturating_sub(AROUND), from)?;
    let after = lines(from + Duration::from_nanos(1), from + AROUND)?;
    Ok(Why {
        curve,
        control: control.fingerprint,
        before: earlier[earlier.len().saturating_sub(TOLD_BEFORE)..].to_vec(),
        after: after.into_iter().take(TOLD_AFTER).collect(),
    })
}

impl Why {
    /// The plot, the sentence, and what happened there.
    pub fn text(&self) -> String {
        let mut text = format!("{}{}\n", self.curve.text(), self.curve.sentence());
        let told = self.before.iter().map(|line| format!("  {line}\n"));
        text.extend(told);
        text.push_str("  ---- from here on nothing helps ----\n");
        text.extend(self.after.iter().map(|line| format!("  {line}\n")));
        text
    }
}
