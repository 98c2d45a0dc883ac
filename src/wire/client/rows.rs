//! Query results as batches.

use super::calls::Call;
use crate::error::{Error, Result, codes};
use crate::limits::{BATCH_ROWS_MAX, COPY_BUFFER_BYTES_MAX};
use crate::sql::types::{BatchStream, pg_type};
use crate::wire::values::{BatchBuilder, Format};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::{StreamExt, stream};
use postgres_types::{FromSql, Type};
use std::pin::Pin;
use tokio_postgres::{Row, RowStream, Statement};

/// A value as it came. Its format is binary: tokio-postgres asks for nothing else.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Errors: `42804` where a binary value would be read as something else than it is.
pub fn check_columns(statement: &Statement, schema: &Schema) -> Result<()> {
    let columns = statement.columns();
    if columns.len() != schema.fields().len() {
        let message = format!("the remote query returns {} columns, expected {}", columns.len(), schema.fields().len());
        return Err(Error::new(codes::DATATYPE_MISMATCH, message));
    }
    for (column, field) in columns.iter().zip(schema.fields()) {
        let expected = pg_type(field);
        if !same_binary_form(column.type_(), &expected) {
            let message =
                format!("remote column \"{}\" is of type {}, expected {expected}", column.name(), column.type_());
            return Err(Error::new(codes::DATATYPE_MISMATCH, message));
        }
    }
    Ok(())
}

fn same_binary_form(a: &Type, b: &Type) -> bool {
    const TEXTS: [Type; 5] = [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN];
    let element = |ty: &Type| match ty.kind() {
        postgres_types::Kind::Array(element) => Some(element.clone()),
        _ => None,
    };
    a == b
        || (TEXTS.contains(a) && TEXTS.contains(b))
        || matches!((element(a), element(b)), (Some(a), Some(b)) if same_binary_form(&a, &b))
}

struct Reading {
    rows: Pin<Box<RowStream>>,
    builder: BatchBuilder,
    call: Option<Call>,
}

/// Batches of up to `BATCH_ROWS_MAX` rows or `COPY_BUFFER_BYTES_MAX` bytes. While nobody asks for the next one, the
/// server is not read from either.
pub fn batches(rows: RowStream, schema: SchemaRef, call: Call) -> BatchStream {
    let builder = BatchBuilder::new(schema, Format::default());
    let reading = Reading { rows: Box::pin(rows), builder, call: Some(call) };
    stream::unfold(reading, |mut reading| async move {
        let batch = reading.next().await?;
        Some((batch, reading))
    })
    .boxed()
}

impl Reading {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        // Gone after the end and after an error.
        self.call.as_ref()?;
        loop {
            match self.rows.next().await {
                Some(Ok(row)) => {
                    if let Err(error) = self.push(&row) {
                        // The rest stays unread: dropping the call leaves the connection abandoned.
                        self.call = None;
                        return Some(Err(error));
                    }
                    if self.builder.rows() >= BATCH_ROWS_MAX || self.builder.bytes() >= COPY_BUFFER_BYTES_MAX {
                        return Some(self.builder.finish());
                    }
                }
                Some(Err(error)) => return self.call.take().map(|call| Err(call.fail(&error))),
                None => {
                    if let Some(call) = self.call.take() {
                        call.settle();
                    }
                    return (self.builder.rows() > 0).then(|| self.builder.finish());
                }
            }
        }
    }

    fn push(&mut self, row: &Row) -> Result<()> {
        for column in 0..row.len() {
            let value: Option<Raw<'_>> = row.try_get(column).map_err(|error| super::error_of(&error))?;
            self.builder.push_binary(column, value.map(|raw| raw.0))?;
        }
        self.builder.end_row();
        Ok(())
    }
}
