//! Rows to their chunks: routing, chunk creation, one COPY stream per data node, all nodes in parallel.
//!
//! ```text
//!  batches -> route -> (missing chunks are created) -> queue -> writer of dn1 -> COPY chunk FROM STDIN
//!                                                   -> queue -> writer of dn2 -> …
//! ```
//!
//! Promises: every replica of a chunk gets its rows; memory is bounded in rows (per data node two
//! pieces and the stash of `WRITER_STASH_ROWS_MAX` rows, so with very wide rows it is the width that counts), and a slow
//! data node slows the source down; the first error stops all. Must not know: where the rows come from.
//!
//! Reading order: this file, [`writers`] (the streams), [`create`] (missing chunks), [`chunk_ddl`] (their tables).

mod chunk_ddl;
mod create;
mod writers;

use super::cluster::Cluster;
use super::txn::Transaction;
use crate::buggify;
use crate::catalog::State;
use crate::chunk::route::{Router, RowGroup, Target};
use crate::engine::table::Table;
use crate::error::{Error, Result};
use crate::ids::HypertableId;
use crate::sql::types::BatchStream;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use std::sync::Arc;
use writers::Writers;

/// Stores all `rows` (batches of `schema`, the hypertable's columns in order, constraints checked) in the
/// hypertable's chunks, on every replica; creates missing chunks. Returns the number of rows. INSERT and COPY share it.
///
/// `table`: the hypertable's own definition, from which chunk tables are made.
///
/// Errors: those of `rows`; `TS170` when no data node can take a new chunk; `08001`, `08006` for a data node that is
/// needed and lost; the data node's own with its name in front, as `23505`. The transaction can then only be rolled back.
pub async fn write_rows(
    cluster: &Arc<Cluster>,
    transaction: &Transaction,
    hypertable: HypertableId,
    table: &Table,
    schema: SchemaRef,
    mut rows: BatchStream,
) -> Result<u64> {
    let mut routing = Routing::new(cluster, transaction, hypertable, table)?;
    let mut writers = Writers::new(cluster, transaction, schema);
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        count += batch.num_rows() as u64;
        for group in routing.route(&batch, &mut writers).await? {
            let Target::Chunk(id) = group.target else { return Err(Error::internal("a chunk was not created")) };
            let chunk =
                routing.state.chunks.get(&id).ok_or_else(|| Error::internal("a chunk is not in the catalog"))?;
            let rows = group.select(&batch)?;
            let portion = if buggify!(cluster.host, "copy.single_rows") { 1 } else { rows.num_rows().max(1) };
            for start in (0..rows.num_rows()).step_by(portion) {
                writers.send(chunk, &rows.slice(start, portion)).await?;
            }
        }
    }
    writers.finish().await?;
    Ok(count)
}

/// The chunks of one hypertable, as of a state of the catalog.
struct Routing<'a> {
    cluster: &'a Arc<Cluster>,
    transaction: &'a Transaction,
    hypertable: HypertableId,
    table: &'a Table,
    state: Arc<State>,
    router: Router,
}

impl<'a> Routing<'a> {
    fn new(
        cluster: &'a Arc<Cluster>,
        transaction: &'a Transaction,
        hypertable: HypertableId,
        table: &'a Table,
    ) -> Result<Routing<'a>> {
        let state = transaction.state();
        let router = router(&state, hypertable)?;
        Ok(Routing { cluster, transaction, hypertable, table, state, router })
    }

    /// Groups a batch's rows by chunk; creates those that are missing.
    async fn route(&mut self, batch: &RecordBatch, writers: &mut Writers<'_>) -> Result<Vec<RowGroup>> {
        // Chunks come and go while a long COPY runs.
        self.refresh()?;
        loop {
            let groups = self.router.route(batch)?;
            let missing = groups.iter().filter_map(|group| match &group.target {
                Target::Missing { point, .. } => Some(point.clone()),
                Target::Chunk(_) => None,
            });
            let missing: Vec<Vec<i64>> = missing.collect();
            if missing.is_empty() {
                return Ok(groups);
            }
            if self.transaction.holds_catalog() {
                // The chunks are made in this very transaction, on connections that the writers do not share.
                writers.finish().await?;
            }
            // Every round makes the chunk of at least one row, so this ends; one round is the rule. It takes more when
            // another session has just made a chunk that cuts into ours.
            create::missing_chunks(self.cluster, self.transaction, self.hypertable, self.table, &missing).await?;
            self.refresh()?;
        }
    }

    fn refresh(&mut self) -> Result<()> {
        let state = self.transaction.state();
        if !Arc::ptr_eq(&state, &self.state) {
            self.router = router(&state, self.hypertable)?;
            self.state = state;
        }
        Ok(())
    }
}

fn router(state: &State, hypertable: HypertableId) -> Result<Router> {
    let found = state.hypertables.get(&hypertable);
    let dimensions = &found.ok_or_else(|| Error::internal("the hypertable is not in the catalog"))?.dimensions;
    Ok(Router::new(dimensions, state.chunks_of(hypertable).map(|chunk| (chunk.id, &chunk.cube))))
}
