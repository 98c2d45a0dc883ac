//! All chance of a run, from one seed.
//!
//! Each user of chance has a stream of its own, named after its purpose: `net/an>dn1`, `disk/dn2`, `faults` (what a
//! scenario's nemesis lines leave open), `workload` (what its clients do). So a run from which one fault was removed draws the same latencies and the same rows as before,
//! which is what makes shrinking possible: one shared stream would reshuffle everything behind the removal.

use super::fingerprint::Fingerprint;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::hash::Hasher;

/// A stream of random numbers; the same on every machine for the same seed and name.
pub type Stream = ChaCha8Rng;

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
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn streams_differ_by_seed_and_by_name_and_repeat() {
        let first = |seed, name| stream(seed, name).next_u64();
        assert_eq!(first(7, "net"), first(7, "net"));
        assert_ne!(first(7, "net"), first(8, "net"));
        assert_ne!(first(7, "net"), first(7, "disk"));
        assert_ne!(first(7, "net/an>dn1"), first(7, "net/an>dn2"));
    }
}
