//! One COPY stream per data node, all at the same time.
//!
//! Each data node has a task that owns the transaction's connection there. It keeps one COPY open and sends it whatever
//! comes for that chunk; pieces for other chunks are kept back, up to a bound, so that it changes chunks as seldom as
//! possible: a change costs three round trips. Batches of a table with many hash slices contain rows for several
//! chunks of one node each time.

use crate::access::cluster::Cluster;
use crate::access::remote::RemoteCopy;
use crate::access::txn::{Transaction, Writer};
use crate::catalog::Chunk;
use crate::error::{Error, Result, codes};
use crate::host::{AbortOnDrop, Host};
use crate::ids::{ChunkId, RelationName, quote_identifier};
use crate::limits::{WRITE_STALL_MAX, WRITER_QUEUE_BATCHES_MAX, WRITER_STASH_ROWS_MAX};
use crate::sabotage;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::future::{Either, select};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows for one chunk.
struct Piece {
    chunk: ChunkId,
    table: RelationName,
    rows: RecordBatch,
}

/// All data nodes that one statement writes to. Dropping it before [`Writers::finish`] aborts the streams. While a
/// stream runs, nobody else can use the transaction's connection to its node.
pub(super) struct Writers<'a> {
    cluster: &'a Arc<Cluster>,
    transaction: &'a Transaction,
    schema: SchemaRef,
    queues: BTreeMap<String, Queue>,
    /// One result per ended task, in the order in which they end.
    results: mpsc::UnboundedReceiver<Result<()>>,
    report: mpsc::UnboundedSender<Result<()>>,
}

struct Queue {
    pieces: mpsc::Sender<Piece>,
    task: AbortOnDrop,
}

impl<'a> Writers<'a> {
    pub fn new(cluster: &'a Arc<Cluster>, transaction: &'a Transaction, schema: SchemaRef) -> Writers<'a> {
        let (report, results) = mpsc::unbounded_channel();
        Writers { cluster, transaction, schema, queues: BTreeMap::new(), results, report }
    }

    /// Hands rows to every replica of their chunk; awaits while one is too far behind. Errors: the first of any node.
    pub async fn send(&mut self, chunk: &Chunk, rows: &RecordBatch) -> Result<()> {
        let skipped = usize::from(chunk.nodes.len() > 1 && sabotage!("replica.write"));
        for node in &chunk.nodes[..chunk.nodes.len() - skipped] {
            let piece = Piece { chunk: chunk.id, table: chunk.table.clone(), rows: rows.clone() };
            if !self.queues.contains_key(node) {
                let queue = self.start(node);
                self.queues.insert(node.clone(), queue);
            }
            let queue = self.queues[node].pieces.clone();
            // No task ends well before its queue does, so a result that comes now is an error.
            match select(pin!(self.results.recv()), pin!(queue.send(piece))).await {
                Either::Left((ended, _)) => return Err(first_error(ended)),
                Either::Right((Ok(()), _)) => {}
                Either::Right((Err(_), ended)) => return Err(first_error(ended.await)),
            }
        }
        Ok(())
    }

    fn start(&self, node: &str) -> Queue {
        let (pieces, received) = mpsc::channel(WRITER_QUEUE_BATCHES_MAX);
        let stream = NodeStream {
            host: self.cluster.host.clone(),
            transaction: self.transaction.clone(),
            node: node.into(),
            schema: self.schema.clone(),
            open: None,
            stash: Stash::default(),
        };
        let report = self.report.clone();
        let task = self.cluster.host.spawn("writer", async move {
            let _ = report.send(stream.run(received).await);
        });
        Queue { pieces, task: task.abort_on_drop() }
    }

    /// Waits until all nodes have stored what they were sent; rows sent later open new streams.
    pub async fn finish(&mut self) -> Result<()> {
        let tasks: Vec<AbortOnDrop> = std::mem::take(&mut self.queues).into_values().map(|queue| queue.task).collect();
        for _ in &tasks {
            self.results.recv().await.unwrap_or_else(|| Err(first_error(None)))?;
        }
        Ok(())
    }
}

fn first_error(ended: Option<Result<()>>) -> Error {
    match ended {
        Some(Err(error)) => error,
        _ => Error::internal("a data node's writer ended before its rows did"),
    }
}

/// One data node's stream.
struct NodeStream {
    host: Host,
    transaction: Transaction,
    node: String,
    schema: SchemaRef,
    open: Option<OpenCopy>,
    stash: Stash,
}

struct OpenCopy {
    chunk: ChunkId,
    copy: RemoteCopy,
    rows: u64,
}

impl NodeStream {
    async fn run(mut self, mut pieces: mpsc::Receiver<Piece>) -> Result<()> {
        let mut writer = self.transaction.join(&self.node).await?;
        let written = self.write_all(&mut writer, &mut pieces).await;
        if let Err(error) = &written {
            writer.fail(error.clone());
        }
        written
    }

    async fn write_all(&mut self, writer: &mut Writer, pieces: &mut mpsc::Receiver<Piece>) -> Result<()> {
        while let Some(piece) = pieces.recv().await {
            self.take(writer, piece).await?;
        }
        while let Some((table, pieces)) = self.stash.take_largest() {
            self.write_chunk(writer, table, pieces).await?;
            if sabotage!("writer.stash") {
                break;
            }
        }
        self.close(writer).await
    }

    async fn take(&mut self, writer: &mut Writer, piece: Piece) -> Result<()> {
        match &mut self.open {
            Some(open) if open.chunk == piece.chunk => {
                open.rows += piece.rows.num_rows() as u64;
                bounded(&self.host, &self.node, open.copy.send(&piece.rows)).await
            }
            None => self.write_chunk(writer, piece.table, vec![(piece.chunk, piece.rows)]).await,
            Some(_) => {
                self.stash.put(piece);
                if self.stash.rows <= WRITER_STASH_ROWS_MAX {
                    return Ok(());
                }
                match self.stash.take_largest() {
                    Some((table, pieces)) => self.write_chunk(writer, table, pieces).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Leaves the chunk's COPY open.
    async fn write_chunk(
        &mut self,
        writer: &mut Writer,
        table: RelationName,
        pieces: Vec<(ChunkId, RecordBatch)>,
    ) -> Result<()> {
        self.close(writer).await?;
        let Some((chunk, _)) = pieces.first() else { return Ok(()) };
        // The chunk may have been made a moment ago and not be visible on this node yet.
        self.transaction.settled(&self.node).await?;
        let copy = writer.copy_in(&copy_statement(&table, &self.schema), self.schema.clone()).await?;
        let open = self.open.insert(OpenCopy { chunk: *chunk, copy, rows: 0 });
        for (_, rows) in &pieces {
            open.rows += rows.num_rows() as u64;
            bounded(&self.host, &self.node, open.copy.send(rows)).await?;
        }
        Ok(())
    }

    async fn close(&mut self, writer: &mut Writer) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let stored = bounded(&self.host, &self.node, open.copy.finish()).await?;
        writer.copied();
        match stored == open.rows {
            true => Ok(()),
            false => Err(Error::internal(format!("{stored} of {} rows were stored", open.rows)).on_node(&self.node)),
        }
    }
}

/// A data node that takes nothing for long holds up the statement, and all who wait for this transaction.
async fn bounded<T>(host: &Host, node: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    host.timeout(WRITE_STALL_MAX, step).await.unwrap_or_else(|_| {
        let message = format!("data node \"{node}\" has taken no rows for {} s", WRITE_STALL_MAX.as_secs());
        Err(Error::new(codes::LOCK_NOT_AVAILABLE, message)
            .with_hint("Its rows may wait for another transaction that has not ended. Repeat the transaction."))
    })
}

fn copy_statement(table: &RelationName, schema: &SchemaRef) -> String {
    let columns: Vec<String> = schema.fields().iter().map(|field| quote_identifier(field.name())).collect();
    format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.quoted(), columns.join(", "))
}

/// Pieces kept back, by chunk.
#[derive(Default)]
struct Stash {
    chunks: BTreeMap<ChunkId, (RelationName, Vec<(ChunkId, RecordBatch)>)>,
    rows: usize,
}

impl Stash {
    fn put(&mut self, piece: Piece) {
        self.rows += piece.rows.num_rows();
        let (_, pieces) = self.chunks.entry(piece.chunk).or_insert_with(|| (piece.table, Vec::new()));
        pieces.push((piece.chunk, piece.rows));
    }

    /// The chunk with the most rows (of equals, the oldest): one change of chunk then frees the most memory.
    fn take_largest(&mut self) -> Option<(RelationName, Vec<(ChunkId, RecordBatch)>)> {
        let rows_of = |pieces: &[(ChunkId, RecordBatch)]| pieces.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>();
        let largest = self.chunks.iter().rev().max_by_key(|(_, (_, pieces))| rows_of(pieces)).map(|(id, _)| *id)?;
        let taken = self.chunks.remove(&largest)?;
        self.rows -= rows_of(&taken.1);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("time", DataType::Int32, false),
            Field::new("say \"x\"", DataType::Int32, true),
        ]))
    }

    fn piece(chunk: u32, rows: usize) -> Piece {
        let column = Arc::new(Int32Array::from(vec![1; rows]));
        let rows = RecordBatch::try_new(schema(), vec![column.clone(), column]).unwrap();
        Piece { chunk: ChunkId(chunk), table: RelationName::new("s", format!("t{chunk}")), rows }
    }

    #[test]
    fn copy_names_its_columns() {
        assert_eq!(
            copy_statement(&RelationName::new("_timescaledb_internal", "_dist_hyper_1_1_chunk"), &schema()),
            "COPY \"_timescaledb_internal\".\"_dist_hyper_1_1_chunk\" (\"time\", \"say \"\"x\"\"\") \
             FROM STDIN (FORMAT binary)"
        );
    }

    #[test]
    fn the_largest_chunk_leaves_the_stash_first() {
        let mut stash = Stash::default();
        for (chunk, rows) in [(1, 2), (2, 3), (1, 2), (3, 4)] {
            stash.put(piece(chunk, rows));
        }
        let mut taken = Vec::new();
        while let Some((table, pieces)) = stash.take_largest() {
            taken.push((table.name, pieces.len(), stash.rows));
        }
        assert_eq!(taken, [("t1".into(), 2, 7), ("t3".into(), 1, 3), ("t2".into(), 1, 0)]);
    }
}
