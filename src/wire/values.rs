//! Values between Arrow and PostgreSQL's text and binary formats.

use crate::error::Result;
use arrow::array::{ArrayBuilder, ArrayRef};
use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::BytesMut;

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
/// `column` is in client form (`sql::types::client_schema`).
pub fn write_text(column: &ArrayRef, field: &Field, row: usize, format: &Format, out: &mut BytesMut) -> Result<bool> {
    let _ = (column, field, row, format, out);
    todo!()
}

/// Appends the binary form of one value, without its length; returns `false` for NULL.
pub fn write_binary(column: &ArrayRef, field: &Field, row: usize, out: &mut BytesMut) -> Result<bool> {
    let _ = (column, field, row, out);
    todo!()
}

/// Builds batches of `schema` from values in PostgreSQL's text or binary form, one value after the other.
/// Errors: `22P02`, `22007`, `22003`, `22P03`; the caller adds the row it stands in.
pub struct BatchBuilder {
    schema: SchemaRef,
    format: Format,
    columns: Vec<Box<dyn ArrayBuilder>>,
    rows: usize,
}

impl BatchBuilder {
    pub fn new(schema: SchemaRef, format: Format) -> BatchBuilder {
        let _ = (&schema, &format);
        todo!()
    }

    /// Rows begun and ended so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// `None` is NULL. Each column takes exactly one push a row, then `end_row`.
    pub fn push_text(&mut self, column: usize, text: Option<&str>) -> Result<()> {
        let _ = (column, text, &self.columns, &self.format);
        todo!()
    }

    pub fn push_binary(&mut self, column: usize, bytes: Option<&[u8]>) -> Result<()> {
        let _ = (column, bytes);
        todo!()
    }

    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    /// The batch so far; the builder starts anew.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let _ = &self.schema;
        todo!()
    }
}

/// Reads one text value as a one-row array: literals, defaults, parameters.
pub fn parse_text(field: &Field, text: Option<&str>, format: &Format) -> Result<ArrayRef> {
    let _ = (field, text, format);
    todo!()
}
