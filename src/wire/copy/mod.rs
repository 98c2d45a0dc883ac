//! COPY streams: text, csv and binary, both directions. PostgreSQL documentation, COPY, "File Formats".
//!
//! A decoder turns pieces of any size into batches. Between two pieces it keeps no more than one batch and one unfinished
//! row; while it works it also holds the batches that the piece decodes to, so the caller bounds the piece. An encoder turns batches into bytes. Neither knows where the bytes come from or go to.
//!
//! Reading order: this file, `lines` (where a row of text ends), `fields` (text and csv rows into values), `binary`,
//! `encode`.

mod binary;
mod encode;
mod fields;
mod lines;
#[cfg(test)]
mod tests;

pub use encode::CopyEncoder;

use super::values::{BatchBuilder, Format};
use crate::error::{Error, Result, SqlState, codes};
use crate::limits::{BATCH_ROWS_MAX, COPY_BUFFER_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::sql::copy_options::{CopyFormat, CopyOptions};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use binary::BinaryRows;
use bytes::{Bytes, BytesMut};
use fields::LineRows;

/// CopyData bytes in, batches out. Between calls it holds at most one batch and one partial row. After an error it must be dropped.
pub struct CopyDecoder {
    rows: Rows,
    target: Target,
    /// The beginning of a row whose end has not come yet.
    partial: BytesMut,
}

enum Rows {
    Lines(LineRows),
    Binary(BinaryRows),
}

/// Where rows go, and what errors name.
struct Target {
    builder: BatchBuilder,
    table: String,
    ready: Vec<RecordBatch>,
}

impl CopyDecoder {
    /// `schema`: the columns of the COPY, in its order. `table` is named in errors (`COPY t, line 3, column "x"`).
    pub fn new(schema: SchemaRef, options: CopyOptions, format: Format, table: &str) -> CopyDecoder {
        let rows = match options.format {
            CopyFormat::Binary => Rows::Binary(BinaryRows::default()),
            CopyFormat::Text | CopyFormat::Csv => Rows::Lines(LineRows::new(options)),
        };
        let builder = BatchBuilder::new(schema, format);
        let target = Target { builder, table: table.to_string(), ready: Vec::new() };
        CopyDecoder { rows, target, partial: BytesMut::new() }
    }

    /// Feeds bytes; returns full batches (of up to `limits::BATCH_ROWS_MAX` rows or `limits::COPY_BUFFER_BYTES_MAX`).
    /// Errors: `22P04` for a malformed row, the value's own for a malformed value; DETAIL says where.
    pub fn push(&mut self, data: &Bytes) -> Result<Vec<RecordBatch>> {
        let CopyDecoder { rows, target, partial } = self;
        match rows {
            Rows::Lines(lines) => lines.push(data, partial, target)?,
            Rows::Binary(binary) => binary.push(data, partial, target)?,
        }
        if partial.len() > MESSAGE_BYTES_MAX {
            return Err(Error::new(
                SqlState::new("54000"),
                format!("a row of the COPY data is longer than {MESSAGE_BYTES_MAX} bytes"),
            )
            .with_detail(format!("COPY {}", target.table)));
        }
        Ok(std::mem::take(&mut target.ready))
    }

    /// The rest. Errors: `22P04` for an unfinished row or a missing binary trailer.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let CopyDecoder { rows, target, partial } = self;
        match rows {
            Rows::Lines(lines) => lines.finish(partial, target)?,
            Rows::Binary(binary) => binary.finish(partial, target)?,
        }
        // The row that had no end of line may have filled a batch: then nothing is left in the builder.
        match target.ready.pop() {
            Some(full) => Ok(Some(full)),
            None if target.builder.rows() == 0 => Ok(None),
            None => Ok(Some(target.builder.finish()?)),
        }
    }
}

impl Target {
    /// A row is complete.
    fn end_row(&mut self) -> Result<()> {
        self.builder.end_row();
        if self.builder.rows() >= BATCH_ROWS_MAX || self.builder.bytes() >= COPY_BUFFER_BYTES_MAX {
            let batch = self.builder.finish()?;
            self.ready.push(batch);
        }
        Ok(())
    }

    fn columns(&self) -> usize {
        self.builder.schema().fields().len()
    }

    fn column_name(&self, column: usize) -> &str {
        self.builder.schema().field(column).name()
    }

    /// An error about a whole row. `content` is shown where it helps.
    fn row_error(&self, message: impl Into<String>, line: u64, content: Option<&str>) -> Error {
        let content = content.map(|text| format!(": \"{}\"", shown(text))).unwrap_or_default();
        bad_format(message).with_detail(format!("COPY {}, line {line}{content}", self.table))
    }

    /// A value's own error, with the place it stands at. `value` `None`: binary.
    fn at_value(&self, error: Error, line: u64, column: usize, value: Option<&str>) -> Error {
        let value = value.map(|text| format!(": \"{}\"", shown(text))).unwrap_or_default();
        let place = format!("COPY {}, line {line}, column {}{value}", self.table, self.column_name(column));
        match error.detail().map(str::to_string) {
            Some(own) => error.with_detail(format!("{own}\n{place}")),
            None => error.with_detail(place),
        }
    }

    fn missing_column(&self, line: u64, column: usize, content: &str) -> Error {
        self.row_error(format!("missing data for column \"{}\"", self.column_name(column)), line, Some(content))
    }
}

fn bad_format(message: impl Into<String>) -> Error {
    Error::new(codes::BAD_COPY_FORMAT, message)
}

/// Input in an error message: its first hundred characters (PostgreSQL's MAX_COPY_DATA_DISPLAY).
fn shown(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 100;
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}
