//! Options of a `workload` line, and the clients that most workloads make of them.

use crate::sim::chance::Stream;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use rand::Rng;
use std::ops::RangeInclusive;
use std::time::Duration;

/// An option's name, the values that it may have, and where to put it.
pub type Number<'a> = (&'static str, RangeInclusive<u32>, &'a mut u32);

/// Longest pause between two operations of a client, if the line does not say.
pub const PAUSE_MS: u32 = 50;

/// What `pause_ms` may be.
pub const PAUSES_MS: RangeInclusive<u32> = 0..=60_000;

/// Reads `table` and numbers. Errors name the option and what was expected.
pub fn read<const N: usize>(
    spec: &WorkloadSpec,
    table: &mut String,
    mut numbers: [Number<'_>; N],
) -> Result<(), String> {
    for (key, value) in &spec.options {
        if key == "table" {
            table.clone_from(value);
            continue;
        }
        let Some((_, allowed, place)) = numbers.iter_mut().find(|(name, ..)| name == key) else {
            let known: Vec<&str> = numbers.iter().map(|(name, ..)| *name).collect();
            return Err(format!("unknown option \"{key}\", expected: table, {}", known.join(", ")));
        };
        **place = number(key, value, allowed)?;
    }
    Ok(())
}

/// The value of one option. Errors name it and what was expected.
pub fn number(key: &str, value: &str, allowed: &RangeInclusive<u32>) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| allowed.contains(number));
    let form = || format!("bad value in \"{key}={value}\", expected {} to {}", allowed.start(), allowed.end());
    number.ok_or_else(form)
}

/// A pause of up to so many milliseconds, drawn.
pub fn pause(max_ms: u32, chance: &mut Stream) -> (Duration, Duration) {
    let pause = Duration::from_millis(chance.random_range(0..=u64::from(max_ms)));
    (pause, pause)
}

/// So many clients with operations of their own, `TABLE-KIND0`, `TABLE-KIND1`, ….
pub fn clients(table: &str, kind: &str, count: u32, mut operations: impl FnMut(u32) -> Vec<Timed>) -> Vec<ClientBlock> {
    let client = |number| ClientBlock {
        name: format!("{table}-{kind}{number}"),
        accompanies: vec![],
        operations: operations(number),
    };
    (0..count).map(client).collect()
}

/// So many that do theirs over and over, as long as one of those `at_work` is not through.
pub fn watchers(
    table: &str,
    kind: &str,
    count: u32,
    at_work: &[ClientBlock],
    operations: impl FnMut(u32) -> Vec<Timed>,
) -> Vec<ClientBlock> {
    let accompanies: Vec<String> = at_work.iter().map(|client| client.name.clone()).collect();
    let mut watchers = clients(table, kind, count, operations);
    watchers.iter_mut().for_each(|watcher| watcher.accompanies.clone_from(&accompanies));
    watchers
}

/// A pause of watchers: up to `factor` times that of those whom they watch, drawn anew each time.
pub fn watchers_pause(max_ms: u32, factor: u32) -> (Duration, Duration) {
    (Duration::ZERO, Duration::from_millis(max_ms.into()) * factor)
}
