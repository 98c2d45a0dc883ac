//! All chance of a run, from one seed.
//!
//! Each user of chance has a stream of its own, named after its purpose: `net/an>dn1`, `disk/dn2`, `faults` (what a
//! scenario's nemesis lines leave open), `workload` (what its clients do). So a run from which one fault was removed draws the same latencies and the same rows as before,
//! which is what makes shrinking possible: one shared stream would reshuffle everything behind the removal.
//!
//! A run may take another [`Turn`]: up to a moment it is exactly the seed's, and from there on every stream goes on
//! with other numbers, still one of its own by its name. `sim::why` asks so when a failure became inevitable. The turn
//! is the thread's, as a simulation is, so that no user of a stream has to know of it.

use super::fingerprint::Fingerprint;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::hash::Hasher;
use std::time::Duration;

/// A stream of random numbers; the same on every machine for the same seed and name.
#[derive(Clone, Debug)]
pub struct Stream {
    numbers: ChaCha8Rng,
    key: [u8; 32],
    /// The salt of the turn that the numbers are of.
    salt: u64,
}

/// Where a run leaves its seed's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Simulated time since the start of the run.
    pub at: Duration,
    /// Which other way; 0 is the seed's own.
    pub salt: u64,
}

thread_local! {
    /// The turn that the simulation of this thread has taken; 0 for none.
    static SALT: Cell<u64> = const { Cell::new(0) };
}

/// The stream called `name` of the run with this seed, from its beginning.
pub fn stream(seed: u64, name: &str) -> Stream {
    let mut key = [0; 32];
    for (index, word) in key.chunks_exact_mut(8).enumerate() {
        let mut mix = Fingerprint::default();
        mix.write_u64(seed);
        mix.write_usize(index);
        mix.write(name.as_bytes());
        word.copy_from_slice(&mix.finish().to_le_bytes());
    }
    Stream { numbers: ChaCha8Rng::from_seed(key), key, salt: 0 }
}

/// From now on all streams of this thread give the numbers of this salt; 0 are those of their seeds.
pub fn turn(salt: u64) {
    SALT.set(salt);
}

impl Stream {
    fn numbers(&mut self) -> &mut ChaCha8Rng {
        let salt = SALT.get();
        if self.salt != salt {
            self.salt = salt;
            self.numbers = ChaCha8Rng::from_seed(salted(self.key, salt));
        }
        &mut self.numbers
    }
}

fn salted(mut key: [u8; 32], salt: u64) -> [u8; 32] {
    for word in key.chunks_exact_mut(8).filter(|_| salt != 0) {
        let mut mix = Fingerprint::default();
        mix.write(word);
        mix.write_u64(salt);
        word.copy_from_slice(&mix.finish().to_le_bytes());
    }
    key
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        self.numbers().next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.numbers().next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.numbers().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_and_by_name_and_repeat() {
        let first = |seed, name| stream(seed, name).next_u64();
        assert_eq!(first(7, "net"), first(7, "net"));
        assert_ne!(first(7, "net"), first(8, "net"));
        assert_ne!(first(7, "net"), first(7, "disk"));
        assert_ne!(first(7, "net/an>dn1"), first(7, "net/an>dn2"));
    }

    #[test]
    fn a_turn_changes_what_is_still_to_come_of_every_stream() {
        let draw = |salt, name| {
            let mut stream = stream(7, name);
            let before = stream.next_u64();
            turn(salt);
            let after = stream.next_u64();
            turn(0);
            (before, after)
        };
        let (before, after) = draw(0, "net");
        assert_eq!(draw(0, "net"), (before, after));
        assert_eq!(draw(1, "net").0, before);
        assert_ne!(draw(1, "net").1, after);
        assert_ne!(draw(1, "net").1, draw(2, "net").1);
        assert_ne!(draw(1, "net").1, draw(1, "disk").1);
        assert_eq!(draw(1, "net"), draw(1, "net"));
    }
}
