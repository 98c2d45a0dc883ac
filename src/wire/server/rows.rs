//! A result on its way to the client.

use super::Failure;
use super::link::Link;
use super::reply;
use crate::error::{Error, Result, SqlState};
use crate::sql::types::BatchStream;
use crate::wire::values::Format;
use crate::wire::values::cells::{Cells, put_length_prefixed};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use std::collections::VecDeque;

/// What all suspended portals of a session may hold in memory while another statement runs.
pub const PORTAL_BUFFER_BYTES_MAX: usize = 32 << 20;

/// Rows of one execution that have not been sent yet.
pub struct OpenRows {
    pub schema: SchemaRef,
    tag: &'static str,
    stream: Option<BatchStream>,
    /// Batches taken off the stream before their time.
    parked: VecDeque<RecordBatch>,
    /// The batch being sent and its first unsent row.
    current: Option<(RecordBatch, usize)>,
}

/// How far [`OpenRows::send`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub rows: u64,
    /// The row limit was reached; there may be more.
    pub suspended: bool,
}

impl OpenRows {
    pub fn new(schema: SchemaRef, stream: BatchStream, tag: &'static str) -> OpenRows {
        OpenRows { schema, tag, stream: Some(stream), parked: VecDeque::new(), current: None }
    }

    /// The tag of CommandComplete.
    pub fn tag(&self, rows: u64) -> String {
        format!("{} {rows}", self.tag)
    }

    /// Sends rows, at most `rows_max` if given. `binary` says each column's format; missing ones are text.
    pub async fn send(
        &mut self,
        link: &mut Link,
        binary: &[bool],
        format: &Format,
        rows_max: Option<u64>,
    ) -> Result<Sent, Failure> {
        let mut rows = 0;
        loop {
            if rows_max.is_some_and(|max| rows >= max) {
                return Ok(Sent { rows, suspended: true });
            }
            let Some((batch, first)) = self.next(link).await? else { return Ok(Sent { rows, suspended: false }) };
            let left = rows_max.map_or(u64::MAX, |max| max - rows);
            let end = batch.num_rows().min(first.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
            send_rows(link, &batch, first..end, binary, format).await?;
            rows += u64::try_from(end - first).expect("a count of rows");
            if end < batch.num_rows() {
                self.current = Some((batch, end));
            }
        }
    }

    /// The next batch with rows, and the first unsent one of them.
    async fn next(&mut self, link: &mut Link) -> Result<Option<(RecordBatch, usize)>, Failure> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        if let Some(batch) = self.parked.pop_front() {
            return Ok(Some((batch, 0)));
        }
        while let Some(stream) = &mut self.stream {
            match link.run(stream.next()).await? {
                Some(Ok(batch)) if batch.num_rows() > 0 => {
                    self.check(&batch)?;
                    return Ok(Some((batch, 0)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.stream = None;
                    return Err(error.into());
                }
                None => self.stream = None,
            }
        }
        Ok(None)
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() == self.schema.fields().len() {
            return Ok(());
        }
        Err(Error::internal(format!(
            "a batch of {} columns came for a result of {}",
            batch.num_columns(),
            self.schema.fields().len()
        )))
    }

    /// Takes the rest off the stream into memory, for the session must not run anything beside it. `held` counts
    /// bytes against `PORTAL_BUFFER_BYTES_MAX`. Errors: `54000` beyond it, or what the rows' own execution raises.
    pub async fn park(&mut self, link: &mut Link, held: &mut usize) -> Result<(), Failure> {
        *held += self.parked.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        while let Some(stream) = &mut self.stream {
            match link.run(stream.next()).await? {
                Some(Ok(batch)) => {
                    self.check(&batch)?;
                    *held += batch.get_array_memory_size();
                    if batch.num_rows() > 0 {
                        self.parked.push_back(batch);
                    }
                    if *held > PORTAL_BUFFER_BYTES_MAX {
                        return Err(too_many_rows_kept().into());
                    }
                }
                Some(Err(error)) => return Err(error.into()),
                None => self.stream = None,
            }
        }
        Ok(())
    }
}

fn too_many_rows_kept() -> Error {
    Error::new(SqlState::new("54000"), "a portal has more unread rows than are kept while another statement runs")
        .with_detail(format!("The limit is {PORTAL_BUFFER_BYTES_MAX} bytes for all portals of a session."))
        .with_hint("Read all rows of the portal first, or run the other statement on a second connection.")
}

/// Sends some rows of a batch, awaiting the network as the output buffer fills.
async fn send_rows(
    link: &mut Link,
    batch: &RecordBatch,
    rows: std::ops::Range<usize>,
    binary: &[bool],
    format: &Format,
) -> Result<(), Failure> {
    let schema = batch.schema();
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| Cells::new(column, field))
        .collect::<Result<Vec<_>>>()?;
    for row in rows {
        let before = link.output.len();
        if let Err(error) = put_row(&columns, row, binary, format, &mut link.output) {
            // Half a message must not go out.
            link.output.truncate(before);
            return Err(error.into());
        }
        link.flush_if_full().await?;
    }
    Ok(())
}

fn put_row(columns: &[Cells<'_>], row: usize, binary: &[bool], format: &Format, out: &mut BytesMut) -> Result<()> {
    let start = reply::begin(b'D', out);
    out.put_u16(u16::try_from(columns.len()).map_err(|_| Error::unsupported("results of more than 65535 columns"))?);
    for (index, column) in columns.iter().enumerate() {
        put_length_prefixed(out, |out| {
            if binary.get(index).copied().unwrap_or(false) {
                column.write_binary(row, out)
            } else {
                column.write_text(row, format, out)
            }
        })?;
    }
    reply::end(start, out);
    Ok(())
}
