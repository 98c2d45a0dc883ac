//! Options of a `workload` line.

use crate::sim::chance::Stream;
use crate::sim::scenario::WorkloadSpec;
use rand::Rng;
use std::time::Duration;

/// An option's name, its largest value, and where to put it.
pub type Number<'a> = (&'static str, u32, &'a mut u32);

/// Longest pause between two operations of a client, if the line does not say.
const PAUSE_MS: u64 = 50;

/// Reads `table` and numbers; returns the value of `pause_ms`. Errors name the option and what was expected.
pub fn read<const N: usize>(
    spec: &WorkloadSpec,
    table: &mut String,
    mut numbers: [Number<'_>; N],
) -> Result<u64, String> {
    let mut pause_ms = PAUSE_MS;
    for (key, value) in &spec.options {
        if key == "table" {
            table.clone_from(value);
            continue;
        }
        let Some((name, max, place)) = numbers.iter_mut().find(|(name, ..)| name == key) else {
            let known: Vec<&str> = numbers.iter().map(|(name, ..)| *name).collect();
            return Err(format!("unknown option \"{key}\", expected: table, {}", known.join(", ")));
        };
        let number = value.parse::<u32>().ok().filter(|number| number <= max);
        let number = number.ok_or_else(|| format!("bad value in \"{key}={value}\", expected at most {max}"))?;
        **place = number;
        if *name == "pause_ms" {
            pause_ms = u64::from(number);
        }
    }
    Ok(pause_ms)
}

/// A pause of up to so many milliseconds, drawn.
pub fn pause(max_ms: u64, chance: &mut Stream) -> (Duration, Duration) {
    let pause = Duration::from_millis(chance.random_range(0..=max_ms));
    (pause, pause)
}
