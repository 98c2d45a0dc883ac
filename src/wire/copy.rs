//! COPY streams: text, csv and binary, both directions. PostgreSQL documentation, COPY, "File Formats".

use super::values::Format;
use crate::error::Result;
use crate::sql::copy_options::CopyOptions;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

/// CopyData bytes in, batches out. Holds at most one batch and one partial row.
pub struct CopyDecoder {
    _todo: (),
}

impl CopyDecoder {
    /// `schema`: the columns of the COPY, in its order. `table` is named in errors (`COPY t, line 3, column "x"`).
    pub fn new(schema: SchemaRef, options: CopyOptions, format: Format, table: &str) -> CopyDecoder {
        let _ = (schema, options, format, table);
        todo!()
    }

    /// Feeds bytes; returns full batches (of up to `limits::BATCH_ROWS_MAX` rows or `limits::COPY_BUFFER_BYTES_MAX`).
    pub fn push(&mut self, data: &Bytes) -> Result<Vec<RecordBatch>> {
        let _ = data;
        todo!()
    }

    /// The rest. Errors: `22P04` for an unfinished row or a missing binary trailer.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        todo!()
    }
}

/// Batches in, CopyData bytes out.
pub struct CopyEncoder {
    _todo: (),
}

impl CopyEncoder {
    /// `schema` in client form.
    pub fn new(schema: SchemaRef, options: CopyOptions, format: Format) -> CopyEncoder {
        let _ = (schema, options, format);
        todo!()
    }

    /// Header bytes (csv header line, binary signature); maybe empty.
    pub fn header(&mut self) -> Result<Bytes> {
        todo!()
    }

    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        let _ = batch;
        todo!()
    }

    /// Trailer bytes (binary end marker); maybe empty.
    pub fn trailer(&mut self) -> Bytes {
        todo!()
    }
}
