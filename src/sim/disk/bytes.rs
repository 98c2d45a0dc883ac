//! The bytes of one file: live, and since the last sync also how to get back to what the device surely has.

use super::super::chance::Stream;
use super::super::fingerprint::Fingerprint;
use super::{BLOCK_BYTES, SECTOR_BYTES};
use rand::Rng;
use std::hash::Hasher;
use std::ops::Range;

/// A file's live bytes and its unsynced changes in order.
///
/// Each change keeps the bytes it *replaced*, so a write costs one copy and a sync only forgets the list; no
/// image of the file is ever cloned. A power loss walks the list backwards, swapping old bytes against new ones.
/// After that walk the file is as it was synced and each change holds its *new* bytes; walking forwards, chance
/// says for every sector of every change whether the device had it.
#[derive(Debug, Default)]
pub struct FileBytes {
    live: Vec<u8>,
    unsynced: Vec<Change>,
    unsynced_bytes: usize,
    contents: Fingerprint,
    /// Of each block, whether it has been written: one that has not is a hole and takes no room.
    allocated: Vec<bool>,
    /// The handle that holds the lock on the whole file, and its process.
    pub locked_by: Option<(u64, super::super::life::Life)>,
}

#[derive(Debug)]
enum Change {
    /// `other` is what these bytes were before; after the walk backwards, what they became.
    Write { offset: usize, other: Vec<u8> },
    /// `other_len` is the length before; after the walk backwards, the length it became. `cut` is what lay
    /// beyond the end of a file that was shortened.
    Resize { other_len: usize, cut: Vec<u8> },
}

/// What one sync made durable.
#[derive(Debug)]
pub struct Synced {
    pub changes: usize,
    pub bytes: usize,
    pub digest: u64,
}

/// Chances for one power loss.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    /// That an unsynced sector had reached the device.
    pub kept: f64,
    /// That one which had reached it did so only in part.
    pub torn: f64,
}

impl Odds {
    /// Extremes are as likely as the middle: a device that wrote nothing, nearly nothing, nearly all or all of
    /// its queue gives other files than one that wrote a random half.
    pub fn draw(chance: &mut Stream) -> Odds {
        let kept = [0.0, 0.1, 0.5, 0.9, 1.0][chance.random_range(0..5)];
        Odds { kept, torn: 0.05 }
    }
}

/// Sectors by their fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub kept: u64,
    pub lost: u64,
    pub torn: u64,
}

impl Outcome {
    pub fn sectors(&self) -> u64 {
        self.kept + self.lost + self.torn
    }
}

/// Numbers of the blocks that a range lies in.
fn blocks(offset: usize, length: usize) -> Range<usize> {
    let first = offset / BLOCK_BYTES;
    if length == 0 { first..first } else { first..(offset + length).div_ceil(BLOCK_BYTES) }
}

impl FileBytes {
    pub fn len(&self) -> u64 {
        self.live.len() as u64
    }

    pub fn live(&self) -> &[u8] {
        &self.live
    }

    /// `None` if the range is not inside the file.
    pub fn read(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let offset = usize::try_from(offset).ok()?;
        self.live.get(offset..offset.checked_add(length)?)
    }

    /// Room that the file takes on the disk.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.iter().filter(|block| **block).count() as u64 * BLOCK_BYTES as u64
    }

    /// Room that a write there would take.
    pub fn growth(&self, offset: u64, length: usize) -> u64 {
        let blocks = blocks(usize::try_from(offset).unwrap_or(usize::MAX), length);
        blocks.filter(|block| !self.allocated.get(*block).is_some_and(|there| *there)).count() as u64
            * BLOCK_BYTES as u64
    }

    /// Bytes in blocks that are no holes, at most up to the end of the file.
    pub fn written_bytes(&self) -> u64 {
        self.allocated_bytes().min(self.len())
    }

    /// Turns over one bit that is not in a hole; returns its byte. There must be one.
    pub fn rot(&mut self, chance: &mut Stream) -> usize {
        let blocks: Vec<usize> = (0..self.allocated.len()).filter(|block| self.allocated[*block]).collect();
        let block = blocks[chance.random_range(0..blocks.len())];
        let end = ((block + 1) * BLOCK_BYTES).min(self.live.len());
        let at = chance.random_range(block * BLOCK_BYTES..end);
        self.live[at] ^= 1 << chance.random_range(0..8);
        at
    }

    /// Grows the file where the range goes beyond its end.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).expect("a file in memory is smaller than the address space");
        let end = offset + bytes.len();
        if end > self.live.len() {
            self.resize(end as u64);
        }
        let touched = blocks(offset, bytes.len());
        if self.allocated.len() < touched.end {
            self.allocated.resize(touched.end, false);
        }
        self.allocated[touched].fill(true);
        let range = &mut self.live[offset..end];
        let other = range.to_vec();
        range.copy_from_slice(bytes);
        self.contents.write_usize(offset);
        self.contents.write(bytes);
        self.unsynced_bytes += bytes.len();
        self.unsynced.push(Change::Write { offset, other });
    }

    /// New bytes are zero.
    pub fn resize(&mut self, len: u64) {
        let len = usize::try_from(len).expect("a file in memory is smaller than the address space");
        let other_len = self.live.len();
        let cut = if len < other_len { self.live[len..].to_vec() } else { Vec::new() };
        self.live.resize(len, 0);
        self.allocated.truncate(len.div_ceil(BLOCK_BYTES));
        self.contents.write_usize(len);
        self.unsynced.push(Change::Resize { other_len, cut });
    }

    pub fn sync(&mut self) -> Synced {
        let digest = std::mem::take(&mut self.contents).finish();
        let synced = Synced { changes: self.unsynced.len(), bytes: self.unsynced_bytes, digest };
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        synced
    }

    /// What is left on the device becomes the file.
    pub fn lose_power(&mut self, chance: &mut Stream, odds: Odds) -> Outcome {
        let mut changes = std::mem::take(&mut self.unsynced);
        for change in changes.iter_mut().rev() {
            self.undo(change);
        }
        let mut outcome = Outcome::default();
        for change in &changes {
            match change {
                // Half of the time: a change of length is one record in the file system's journal.
                Change::Resize { other_len, .. } if chance.random_bool(0.5) => self.live.resize(*other_len, 0),
                Change::Resize { .. } => {}
                Change::Write { offset, other } => self.redo(*offset, other, chance, odds, &mut outcome),
            }
        }
        self.sync();
        self.allocated.resize(self.live.len().div_ceil(BLOCK_BYTES), false);
        self.locked_by = None;
        outcome
    }

    fn undo(&mut self, change: &mut Change) {
        match change {
            Change::Write { offset, other } => {
                let range = *offset..*offset + other.len();
                self.live[range].swap_with_slice(other);
            }
            Change::Resize { other_len, cut } => {
                let became = self.live.len();
                self.live.truncate(*other_len);
                self.live.append(cut);
                *other_len = became;
            }
        }
    }

    fn redo(&mut self, offset: usize, bytes: &[u8], chance: &mut Stream, odds: Odds, outcome: &mut Outcome) {
        let end = offset + bytes.len();
        let mut start = offset;
        while start < end {
            let sector_end = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
            let mut written_to = sector_end;
            if !chance.random_bool(odds.kept) {
                outcome.lost += 1;
                written_to = start;
            } else if chance.random_bool(odds.torn) {
                outcome.torn += 1;
                written_to = chance.random_range(start..=sector_end);
            } else {
                outcome.kept += 1;
            }
            if written_to > start {
                // The new length may be lost and yet a write beyond the old one kept: the file then ends there.
                if written_to > self.live.len() {
                    self.live.resize(written_to, 0);
                }
                self.live[start..written_to].copy_from_slice(&bytes[start - offset..written_to - offset]);
            }
            start = sector_end;
        }
    }
}
