//! The running hash that says whether two runs were the same run.
//!
//! A plain multiply-rotate hash over eight bytes at a time (the shape of FxHash, with the finisher of SplitMix64):
//! no cryptography, no per-process key, the same on every machine. All integers count as little-endian 64-bit
//! words, so `#[derive(Hash)]` on an event gives the same value wherever it runs.

use std::hash::Hasher;

/// Odd, with its bits well mixed: the golden ratio as a 64-bit fraction.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Debug)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Fingerprint {
        Fingerprint(MULTIPLIER)
    }
}

impl Fingerprint {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        // Arrays, not slices: in builds without optimisation every message and every page goes through this loop.
        let (words, rest) = bytes.as_chunks::<8>();
        let mut state = self.0;
        for word in words {
            state = (state.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
        }
        self.0 = state;
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.word(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.word(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.word(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn write_i64(&mut self, value: i64) {
        self.word(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.word(value as i64 as u64);
    }

    fn finish(&self) -> u64 {
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

/// The hash of some bytes alone.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hash = Fingerprint::default();
    hash.write(bytes);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_length_and_padding_count() {
        assert_ne!(digest(b"ab"), digest(b"ba"));
        assert_ne!(digest(b""), digest(b"\0"));
        assert_ne!(digest(b"12345678"), digest(b"12345678\0"));
        // Recorded: a change of the algorithm changes every fingerprint that was ever printed.
        assert_eq!(digest(b"hypertile"), 15_575_495_775_644_127_465);
    }
}
