//! Times: pauses, delays and durations, made shorter together and rounder one by one.

use super::passes::Context;
use super::story::{Part, Story};
use crate::sim::scenario::{ClientBlock, Fault, When};
use std::time::Duration;

type Range = (Duration, Duration);

/// What a time of the story is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Before an operation.
    Pause,
    /// Until a fault strikes.
    Delay,
    /// How long a fault lasts.
    Lasts,
    /// How far a clock jumps.
    Jump,
    /// An `advance` line.
    Advance,
}

/// First all times together, which keeps what comes before what; then each by itself.
pub fn simpler_times(story: &Story, _: &Context) -> Vec<Story> {
    let moves = |kind| matches!(kind, Kind::Pause | Kind::Delay | Kind::Advance);
    let mut candidates = vec![all(story, &|kind, time| if moves(kind) { Duration::ZERO } else { time })];
    for divisor in [10, 2] {
        candidates.push(all(story, &|kind, time| if moves(kind) { millis(time / divisor) } else { time }));
    }
    candidates.extend(earlier(story));
    for unit in UNITS {
        candidates.push(all(story, &|_, time| rounded(time, unit)));
    }
    candidates.push(all(story, &|kind, time| if kind == Kind::Pause { Duration::ZERO } else { time }));
    for at in 0..count(story) {
        let one = |change: &dyn Fn(Kind, Duration) -> Duration| {
            let mut number = 0;
            all_ranges(story, &mut |kind, (low, high)| {
                number += 1;
                if number - 1 == at { (change(kind, high), change(kind, high)) } else { (low, high) }
            })
        };
        candidates.push(one(&|kind, time| if moves(kind) { Duration::ZERO } else { time }));
        candidates.extend(UNITS.map(|unit| one(&|_, time| rounded(time, unit))));
        candidates.push(one(&|_, time| millis(time / 2)));
    }
    candidates
}

const UNITS: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(1), Duration::from_millis(100), Duration::from_millis(10)];

fn millis(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis() as u64)
}

/// The nearest multiple of the unit; of what is not zero, none that is.
fn rounded(time: Duration, unit: Duration) -> Duration {
    if time.is_zero() {
        return time;
    }
    let units = (time.as_micros() + unit.as_micros() / 2) / unit.as_micros();
    unit * units.max(1) as u32
}

/// Everything begins so much earlier that something begins at once.
fn earlier(story: &Story) -> Option<Story> {
    // Clients that go on while others do have no moments of their own.
    let first = |block: &ClientBlock| block.operations.first().filter(|_| block.accompanies.is_empty()).cloned();
    let first_pauses = story.clients().filter_map(first).map(|operation| operation.pause.0);
    let delays = story.parts.iter().filter_map(|part| match part {
        Part::Fault(nemesis) => match nemesis.when {
            When::After(low, _) => Some(low),
            _ => None,
        },
        _ => None,
    });
    let by = first_pauses.chain(delays).min().filter(|by| !by.is_zero())?;
    let less = |(low, high): Range| (low - by, high - by);
    let mut story = story.clone();
    for part in &mut story.parts {
        match part {
            Part::Client(block) if block.accompanies.is_empty() => {
                block.operations.iter_mut().take(1).for_each(|operation| operation.pause = less(operation.pause));
            }
            Part::Fault(nemesis) => {
                if let When::After(low, high) = &mut nemesis.when {
                    (*low, *high) = less((*low, *high));
                }
            }
            _ => {}
        }
    }
    Some(story)
}

fn count(story: &Story) -> usize {
    let mut count = 0;
    all_ranges(story, &mut |_, range| {
        count += 1;
        range
    });
    count
}

/// Every time changed; ranges become points.
fn all(story: &Story, change: &dyn Fn(Kind, Duration) -> Duration) -> Story {
    all_ranges(story, &mut |kind, (_, high)| (change(kind, high), change(kind, high)))
}

fn all_ranges(story: &Story, change: &mut dyn FnMut(Kind, Range) -> Range) -> Story {
    let mut story = story.clone();
    for part in &mut story.parts {
        match part {
            Part::Client(block) => {
                block.operations.iter_mut().for_each(|one| one.pause = change(Kind::Pause, one.pause));
            }
            Part::Fault(nemesis) => {
                if let When::After(low, high) = nemesis.when {
                    let (low, high) = change(Kind::Delay, (low, high));
                    nemesis.when = When::After(low, high);
                }
                nemesis.lasts = nemesis.lasts.map(|lasts| change(Kind::Lasts, lasts));
                if let Fault::Clock(_, micros) = &mut nemesis.fault {
                    let size = Duration::from_micros(micros.unsigned_abs());
                    *micros = micros.signum() * change(Kind::Jump, (size, size)).1.as_micros() as i64;
                }
            }
            Part::Advance(duration) => *duration = change(Kind::Advance, (*duration, *duration)).1,
            _ => {}
        }
    }
    story
}
