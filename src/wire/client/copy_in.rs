//! Rows to a server as binary COPY.

use super::calls::Call;
use crate::error::Result;
use crate::sql::copy_options::{CopyFormat, CopyOptions};
use crate::wire::COPY_DATA_BYTES_MAX;
use crate::wire::copy::CopyEncoder;
use crate::wire::values::Format;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::SinkExt;
use std::pin::Pin;
use tokio_postgres::CopyInSink;

/// A COPY FROM STDIN under way. Dropping it aborts the copy (and with it the remote transaction).
pub struct CopyIn {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    encoder: CopyEncoder,
    header_sent: bool,
    call: Call,
}

impl CopyIn {
    pub(super) fn new(sink: CopyInSink<Bytes>, schema: SchemaRef, call: Call) -> CopyIn {
        let encoder = CopyEncoder::new(schema, CopyOptions::new(CopyFormat::Binary), Format::default());
        CopyIn { sink: Box::pin(sink), encoder, header_sent: false, call }
    }

    /// Awaits while the server is slower than we are. An error of the server is told by `finish`, but `08006` here.
    pub async fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = self.encoder.encode(batch)?;
        self.send_header().await?;
        self.send_bytes(rows).await
    }

    /// Rows the server stored.
    pub async fn finish(mut self) -> Result<u64> {
        self.send_header().await?;
        let trailer = self.encoder.trailer();
        self.send_bytes(trailer).await?;
        let finished = self.sink.as_mut().finish().await;
        self.call.end(finished)
    }

    async fn send_header(&mut self) -> Result<()> {
        if self.header_sent {
            return Ok(());
        }
        self.header_sent = true;
        let header = self.encoder.header()?;
        self.send_bytes(header).await
    }

    async fn send_bytes(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(COPY_DATA_BYTES_MAX));
            if let Err(error) = self.sink.send(piece).await {
                return Err(self.call.explain(&error));
            }
        }
        Ok(())
    }
}
