//! Batches into COPY bytes.

use super::binary::SIGNATURE;
use crate::error::{Error, Result};
use crate::sql::copy_options::{CopyFormat, CopyOptions};
use crate::wire::CopyChunk;
use crate::wire::values::Format;
use crate::wire::values::cells::{Cells, put_length_prefixed};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, Bytes, BytesMut};

/// Batches in, CopyData bytes out.
pub struct CopyEncoder {
    schema: SchemaRef,
    options: CopyOptions,
    format: Format,
    /// By byte value: a text field must escape it, a csv field with it must be quoted.
    special: [bool; 256],
    scratch: BytesMut,
}

impl CopyEncoder {
    /// `schema` in client form.
    pub fn new(schema: SchemaRef, options: CopyOptions, format: Format) -> CopyEncoder {
        let mut special = [false; 256];
        let bytes: &[u8] = match options.format {
            CopyFormat::Csv => &[options.delimiter, options.quote, b'\n', b'\r'],
            CopyFormat::Text | CopyFormat::Binary => &[options.delimiter, b'\\', 8, 9, 10, 11, 12, 13],
        };
        for byte in bytes {
            special[usize::from(*byte)] = true;
        }
        CopyEncoder { schema, options, format, special, scratch: BytesMut::new() }
    }

    /// Header bytes (csv header line, binary signature); maybe empty.
    pub fn header(&mut self) -> Result<Bytes> {
        let mut out = BytesMut::new();
        if self.options.format == CopyFormat::Binary {
            out.put_slice(SIGNATURE);
            out.put_bytes(0, 8);
        } else if self.options.header {
            for (index, field) in self.schema.fields().iter().enumerate() {
                if index > 0 {
                    out.put_u8(self.options.delimiter);
                }
                let start = out.len();
                out.put_slice(field.name().as_bytes());
                put_field(&self.options, &self.special, &mut self.scratch, start, false, &mut out);
            }
            out.put_u8(b'\n');
        }
        Ok(out.freeze())
    }

    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        let mut out = BytesMut::with_capacity(batch.num_rows() * batch.num_columns() * 8);
        self.encode_with(batch, &mut out, |_| {})?;
        Ok(out.freeze())
    }

    /// The same, cut into one chunk a row: what a client gets that expects, as PostgreSQL sends it, one row in one
    /// CopyData message. The chunks share one allocation.
    pub fn encode_rows(&mut self, batch: &RecordBatch) -> Result<Vec<CopyChunk>> {
        let mut out = BytesMut::with_capacity(batch.num_rows() * batch.num_columns() * 8);
        let mut ends = Vec::with_capacity(batch.num_rows());
        self.encode_with(batch, &mut out, |end| ends.push(end))?;
        let mut rest = out.freeze();
        let mut start = 0;
        let cut = |end: usize| {
            let bytes = rest.split_to(end - start);
            start = end;
            CopyChunk { bytes, rows: 1 }
        };
        Ok(ends.into_iter().map(cut).collect())
    }

    /// Trailer bytes (binary end marker); maybe empty.
    pub fn trailer(&mut self) -> Bytes {
        match self.options.format {
            CopyFormat::Binary => Bytes::from_static(&[0xff, 0xff]),
            CopyFormat::Text | CopyFormat::Csv => Bytes::new(),
        }
    }

    fn encode_with(&mut self, batch: &RecordBatch, out: &mut BytesMut, mut row_end: impl FnMut(usize)) -> Result<()> {
        if batch.num_columns() != self.schema.fields().len() {
            return Err(Error::internal("a batch of another schema came to COPY TO"));
        }
        let columns = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| Cells::new(column, field))
            .collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            match self.options.format {
                CopyFormat::Binary => put_binary_row(&columns, row, out)?,
                CopyFormat::Text | CopyFormat::Csv => self.put_row(&columns, row, out)?,
            }
            row_end(out.len());
        }
        Ok(())
    }

    fn put_row(&mut self, columns: &[Cells<'_>], row: usize, out: &mut BytesMut) -> Result<()> {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.put_u8(self.options.delimiter);
            }
            let start = out.len();
            if column.write_text(row, &self.format, out)? {
                put_field(&self.options, &self.special, &mut self.scratch, start, columns.len() == 1, out);
            } else {
                out.put_slice(self.options.null.as_bytes());
            }
        }
        out.put_u8(b'\n');
        Ok(())
    }
}

fn put_binary_row(columns: &[Cells<'_>], row: usize, out: &mut BytesMut) -> Result<()> {
    let count = i16::try_from(columns.len()).map_err(|_| Error::unsupported("COPY of more than 32767 columns"))?;
    out.put_i16(count);
    for column in columns {
        put_length_prefixed(out, |out| column.write_binary(row, out))?;
    }
    Ok(())
}

/// `out[start..]` is a value as it prints; makes it a field. Most need nothing and are left where they lie.
fn put_field(
    options: &CopyOptions,
    special: &[bool; 256],
    scratch: &mut BytesMut,
    start: usize,
    alone: bool,
    out: &mut BytesMut,
) {
    let value = &out[start..];
    let has_special = value.iter().any(|byte| special[usize::from(*byte)]);
    let csv = options.format == CopyFormat::Csv;
    // What would read as NULL, or as the end of the data, is quoted.
    let misread = csv && (value == options.null.as_bytes() || (alone && (value == b"\\." || value.is_empty())));
    if !has_special && !misread {
        return;
    }
    scratch.clear();
    scratch.put_slice(value);
    out.truncate(start);
    if csv {
        out.put_u8(options.quote);
        for byte in scratch.iter() {
            if *byte == options.quote || *byte == options.escape {
                out.put_u8(options.escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(options.quote);
    } else {
        for byte in scratch.iter() {
            let escaped = match byte {
                8 => b'b',
                9 => b't',
                10 => b'n',
                11 => b'v',
                12 => b'f',
                13 => b'r',
                other if special[usize::from(*other)] => *other,
                other => {
                    out.put_u8(*other);
                    continue;
                }
            };
            out.put_slice(&[b'\\', escaped]);
        }
    }
}
