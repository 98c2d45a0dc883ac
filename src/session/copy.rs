//! COPY: rows from the client into a table, and rows of a table or query to the client.

use super::insert::{source_schema, target_columns};
use super::parameters::Bound;
use super::shape::Shaper;
use super::transaction::{Current, FailUnlessDone};
use super::{Extension, Session};
use crate::engine::table::Table;
use crate::error::{Error, Result, codes};
use crate::ids::quote_identifier;
use crate::sql::copy_options::{CopyFormat, CopyOptions};
use crate::sql::statement::{self, Copy, CopyDirection, CopyTarget, Kind};
use crate::sql::types::BatchStream;
use crate::wire::copy::{CopyDecoder, CopyEncoder};
use crate::wire::{CopyChunk, CopySink, Outcome};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::record_batch::RecordBatch;
use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use sqlparser::ast;
use std::sync::Arc;

/// Reads what a client copies in: bytes to batches of the table's schema, constraints checked, nothing stored.
pub struct CopySource {
    decoder: CopyDecoder,
    shaper: Shaper,
    /// Columns that the client sends.
    pub columns: usize,
    pub binary: bool,
}

impl CopySource {
    pub fn push(&mut self, data: &Bytes) -> Result<Vec<RecordBatch>> {
        self.decoder.push(data)?.iter().map(|batch| self.shaper.shape(batch)).collect()
    }

    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        self.decoder.finish()?.map(|batch| self.shaper.shape(&batch)).transpose()
    }
}

impl Session {
    /// `columns` empty: all of the table's.
    pub fn copy_source(&self, table: &Arc<Table>, columns: &[String], options: &CopyOptions) -> Result<CopySource> {
        let columns = target_columns(table, columns)?;
        let schema = source_schema(table, &columns)?;
        Ok(CopySource {
            decoder: CopyDecoder::new(schema, options.clone(), self.format(), &table.name.name),
            shaper: self.shaper(table, &columns)?,
            columns: columns.len(),
            binary: options.format == CopyFormat::Binary,
        })
    }

    pub(super) async fn copy(&mut self, copy: &Copy, extension: &dyn Extension) -> Result<Outcome> {
        match (copy.direction, &copy.target) {
            (CopyDirection::FromStdin, CopyTarget::Table { name, columns }) => {
                self.refuse_in_read_only("COPY FROM")?;
                self.begin_statement()?;
                let table = self.existing_table(name, extension)?;
                let source = self.copy_source(&table, columns, &copy.options)?;
                let (columns, binary) = (source.columns, source.binary);
                let current = self.current.clone();
                let guard = FailUnlessDone::new(&current);
                let sink = Box::new(TableSink { source, table, current, guard, rows: 0 });
                Ok(Outcome::CopyIn { sink, columns, binary })
            }
            (CopyDirection::FromStdin, CopyTarget::Query(_)) => {
                Err(Error::new(codes::SYNTAX_ERROR, "cannot copy from the client into a query"))
            }
            (CopyDirection::ToStdout, CopyTarget::Query(query)) => self.copy_out(query, &copy.options, extension).await,
            (CopyDirection::ToStdout, CopyTarget::Table { name, columns }) => {
                let query = select_columns(name, columns)?;
                self.copy_out(&query, &copy.options, extension).await
            }
        }
    }

    /// A query's rows as CopyData.
    pub async fn copy_out(
        &mut self,
        query: &ast::Query,
        options: &CopyOptions,
        extension: &dyn Extension,
    ) -> Result<Outcome> {
        let (schema, rows) = self.run_query(query, &Bound::NONE, extension).await?;
        let columns = schema.fields().len();
        let encoder = CopyEncoder::new(schema, options.clone(), self.format());
        Ok(Outcome::CopyOut { data: encoded(encoder, rows), columns, binary: options.format == CopyFormat::Binary })
    }
}

/// `COPY t (a, b) TO` is `COPY (SELECT a, b FROM t) TO`. `columns` empty: all.
pub fn select_columns(name: &ast::ObjectName, columns: &[String]) -> Result<ast::Query> {
    let list = match columns {
        [] => "*".to_string(),
        columns => columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>().join(", "),
    };
    match statement::parse(&format!("SELECT {list} FROM {name}"))?.remove(0).kind {
        Kind::Query(query) => Ok(*query),
        other => Err(Error::internal(format!("a SELECT was read as {other:?}"))),
    }
}

/// Header, one chunk a row, trailer.
fn encoded(mut encoder: CopyEncoder, rows: BatchStream) -> BoxStream<'static, Result<CopyChunk>> {
    let envelope = |bytes| CopyChunk { bytes, rows: 0 };
    let header = stream::once(ready(encoder.header().map(envelope)));
    let trailer = stream::once(ready(Ok(envelope(encoder.trailer()))));
    let body = rows.flat_map(move |batch| {
        let chunks = batch.and_then(|batch| encoder.encode_rows(&batch));
        stream::iter(match chunks {
            Ok(chunks) => chunks.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    });
    header.chain(body).chain(trailer).boxed()
}

/// Stores a COPY in the engine, batch by batch; the client waits while the engine does.
struct TableSink {
    source: CopySource,
    table: Arc<Table>,
    current: Arc<Current>,
    /// Dropping the sink before its end fails the transaction.
    guard: FailUnlessDone,
    rows: u64,
}

impl TableSink {
    async fn store(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows() as u64;
        self.current.lease()?.append(&self.table, batch).await?;
        self.rows += rows;
        Ok(())
    }
}

#[async_trait]
impl CopySink for TableSink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        for batch in self.source.push(&data)? {
            self.store(batch).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        if let Some(batch) = self.source.finish()? {
            self.store(batch).await?;
        }
        let TableSink { guard, rows, .. } = *self;
        guard.done();
        Ok(rows)
    }
}
