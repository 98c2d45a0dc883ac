//! Rows to their chunks: routing, chunk creation, one COPY stream per data node, all nodes in parallel.

use super::cluster::Cluster;
use super::txn::Transaction;
use crate::error::Result;
use crate::ids::HypertableId;
use crate::sql::types::BatchStream;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Stores all `rows` (batches of `schema`, the hypertable's columns in order, constraints checked) in the
/// hypertable's chunks, on every replica; creates missing chunks. Returns the number of rows. INSERT and COPY share it.
///
/// `table`: the hypertable's own definition, from which chunk tables are made.
pub async fn write_rows(
    cluster: &Arc<Cluster>,
    transaction: &Transaction,
    hypertable: HypertableId,
    table: &crate::engine::table::Table,
    schema: SchemaRef,
    rows: BatchStream,
) -> Result<u64> {
    let _ = (cluster, transaction, hypertable, table, schema, rows);
    todo!()
}
