//! Values between Arrow and PostgreSQL's text and binary formats.
//!
//! What comes out is byte for byte what PostgreSQL 15 prints with `DateStyle = ISO`, `IntervalStyle = postgres` and
//! `extra_float_digits = 1`; what goes in is read as leniently as PostgreSQL reads it. PostgreSQL documentation,
//! chapter 8 (text forms); the binary forms are those of the types' `_send` and `_recv` functions.
//!
//! Reading order: this file, [`cells`] (Arrow out), [`builder`] (Arrow in), then one file a family of types:
//! `number`, `datetime` (printing, calendar), `datetime_input`, `interval`, `array`, `scalar`.

mod array;
pub mod builder;
pub mod cells;
mod datetime;
mod datetime_input;
mod interval;
mod number;
mod scalar;
#[cfg(test)]
mod tests;

pub use builder::BatchBuilder;
pub(crate) use scalar::utf8;

use crate::error::{Error, Result, codes};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use bytes::BytesMut;
use cells::Cells;

/// Session settings that change how values read and print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// IANA name or fixed offset; how timestamptz prints and how a zone-less timestamptz reads.
    pub time_zone: chrono_tz::Tz,
}

impl Default for Format {
    fn default() -> Format {
        Format { time_zone: chrono_tz::UTC }
    }
}

/// Appends the text form of one value; returns `false` (nothing appended) for NULL.
/// `column` is in client form (`sql::types::client_schema`). Whole batches go faster through [`Cells`].
pub fn write_text(column: &ArrayRef, field: &Field, row: usize, format: &Format, out: &mut BytesMut) -> Result<bool> {
    Cells::new(column, field)?.write_text(row, format, out)
}

/// Appends the binary form of one value, without its length; returns `false` for NULL.
pub fn write_binary(column: &ArrayRef, field: &Field, row: usize, out: &mut BytesMut) -> Result<bool> {
    Cells::new(column, field)?.write_binary(row, out)
}

/// Reads one text value as a one-row array: literals, defaults, parameters.
pub fn parse_text(field: &Field, text: Option<&str>, format: &Format) -> Result<ArrayRef> {
    let mut column = builder::ColumnBuilder::new(field);
    column.push_text(text, format)?;
    column.finish()
}

/// Reads one binary value as a one-row array: parameters.
pub fn parse_binary(field: &Field, bytes: Option<&[u8]>) -> Result<ArrayRef> {
    let mut column = builder::ColumnBuilder::new(field);
    column.push_binary(bytes)?;
    column.finish()
}

/// What PostgreSQL's `isspace` skips around numbers and dates.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn invalid_text(type_name: &str, text: &str) -> Error {
    Error::new(codes::INVALID_TEXT, format!("invalid input syntax for type {type_name}: \"{text}\""))
}

fn invalid_binary(type_name: &str) -> Error {
    Error::new(codes::INVALID_BINARY, format!("incorrect binary data format for type {type_name}"))
}

/// A fixed-width binary value. Errors: `22P03` for any other width.
fn fixed<const N: usize>(bytes: &[u8], type_name: &str) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| invalid_binary(type_name))
}
