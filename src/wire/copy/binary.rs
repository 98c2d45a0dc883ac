//! The binary format: signature, flags, rows of length-prefixed values, a trailer.

use super::{Target, bad_format};
use crate::error::Result;
use crate::limits::MESSAGE_BYTES_MAX;
use bytes::{Buf, BytesMut};

pub const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Signature, flags, length of the header's extension.
const HEADER_BYTES: usize = SIGNATURE.len() + 8;

#[derive(Default)]
pub struct BinaryRows {
    header_read: bool,
    /// The trailer has been seen.
    ended: bool,
    row: u64,
}

impl BinaryRows {
    pub fn push(&mut self, data: &[u8], partial: &mut BytesMut, target: &mut Target) -> Result<()> {
        if partial.is_empty() {
            let used = self.consume(data, target)?;
            partial.extend_from_slice(&data[used..]);
        } else {
            partial.extend_from_slice(data);
            let held = std::mem::take(partial);
            let used = self.consume(&held, target)?;
            *partial = held;
            partial.advance(used);
        }
        Ok(())
    }

    pub fn finish(&self, partial: &BytesMut, target: &Target) -> Result<()> {
        if self.ended && partial.is_empty() {
            return Ok(());
        }
        Err(target.row_error("unexpected EOF in COPY data", self.row + 1, None))
    }

    /// Reads all that is complete; returns how many bytes that was.
    fn consume(&mut self, data: &[u8], target: &mut Target) -> Result<usize> {
        let mut used = 0;
        if !self.header_read {
            match header_length(data, target)? {
                Some(length) => used = length,
                None => return Ok(0),
            }
            self.header_read = true;
        }
        while used < data.len() {
            if self.ended {
                return Err(target.row_error("received copy data after EOF marker", self.row + 1, None));
            }
            let rest = &data[used..];
            let Some(length) = self.row_length(rest, target)? else { break };
            if self.ended {
                used += length;
                continue;
            }
            self.row += 1;
            self.read_row(&rest[..length], target)?;
            used += length;
        }
        Ok(used)
    }

    /// Length of the row at the beginning of `data`, `None` while it is incomplete. Notes the trailer.
    fn row_length(&mut self, data: &[u8], target: &Target) -> Result<Option<usize>> {
        let Some((count, _)) = data.split_first_chunk::<2>() else { return Ok(None) };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            self.ended = true;
            return Ok(Some(2));
        }
        if usize::try_from(count) != Ok(target.columns()) {
            let message = format!("row field count is {count}, expected {}", target.columns());
            return Err(target.row_error(message, self.row + 1, None));
        }
        let mut at = 2;
        for column in 0..target.columns() {
            let Some(length) = data.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
            at += 4;
            match i32::from_be_bytes(*length) {
                -1 => {}
                length => match usize::try_from(length) {
                    Ok(length) if length <= MESSAGE_BYTES_MAX => at += length,
                    _ => {
                        let error = bad_format("invalid field size");
                        return Err(target.at_value(error, self.row + 1, column, None));
                    }
                },
            }
        }
        Ok((data.len() >= at).then_some(at))
    }

    /// `data` is one row, complete.
    fn read_row(&self, data: &[u8], target: &mut Target) -> Result<()> {
        let mut rest = &data[2..];
        for column in 0..target.columns() {
            let length = rest.get_i32();
            let value = match usize::try_from(length) {
                Ok(length) => {
                    let (value, after) = rest.split_at(length);
                    rest = after;
                    Some(value)
                }
                Err(_) => None,
            };
            if let Err(error) = target.builder.push_binary(column, value) {
                return Err(target.at_value(error, self.row, column, None));
            }
        }
        target.end_row()
    }
}

/// Length of the header, `None` while it is incomplete.
fn header_length(data: &[u8], target: &Target) -> Result<Option<usize>> {
    let signature = &data[..data.len().min(SIGNATURE.len())];
    if !SIGNATURE.starts_with(signature) {
        return Err(target.row_error("COPY file signature not recognized", 1, None));
    }
    let Some(mut fields) = data.get(SIGNATURE.len()..HEADER_BYTES) else { return Ok(None) };
    // Bit 16 announces OIDs, which no server has any more; the other high bits are critical by definition.
    if fields.get_u32() >> 16 != 0 {
        return Err(target.row_error("unrecognized critical flags in COPY file header", 1, None));
    }
    let extension = usize::try_from(fields.get_i32()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let Some(extension) = extension else {
        return Err(target.row_error("invalid COPY file header (wrong length)", 1, None));
    };
    let length = HEADER_BYTES + extension;
    Ok((data.len() >= length).then_some(length))
}
