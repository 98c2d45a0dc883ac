//! COPY FROM STDIN into a hypertable.
//!
//! The client's bytes come in calls, while writing rows is one long future that pulls them, in a task of its own: it may
//! hold the catalog lock for a moment, and must get on though the client pauses. The channel between the two is short:
//! nothing is buffered beyond it, one unfinished row and what one message of the client decodes to, and a client is slowed
//! down to the pace of the slowest data node.

use crate::error::{Error, Result};
use crate::host::Host;
use crate::limits;
use crate::sabotage;
use crate::session::copy::CopySource;
use crate::session::transaction::FailUnlessDone;
use crate::sql::types::BatchStream;
use crate::wire::CopySink;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::{BoxFuture, Either, select};
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::sync::oneshot;

/// Bytes to batches: decoding, defaults and checks of the session.
pub trait Decode: Send {
    fn push(&mut self, data: &Bytes) -> Result<Vec<RecordBatch>>;
    fn finish(&mut self) -> Result<Option<RecordBatch>>;
}

/// Decodes on one side, writes on the other.
pub struct HypertableSink {
    decoder: Box<dyn Decode>,
    batches: mpsc::Sender<Result<RecordBatch>>,
    /// Ends when all that came through the channel is stored. `None` when it has ended early, with the error given to the
    /// client. Dropping it gives the rows up.
    writing: Option<BoxFuture<'static, Result<u64>>>,
    /// Fails the transaction if the sink is dropped before its end.
    guard: Option<FailUnlessDone>,
}

impl Decode for CopySource {
    fn push(&mut self, data: &Bytes) -> Result<Vec<RecordBatch>> {
        CopySource::push(self, data)
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        CopySource::finish(self)
    }
}

impl HypertableSink {
    /// `write` stores a stream of batches and returns the number of rows.
    pub fn new(
        host: &Host,
        decoder: Box<dyn Decode>,
        write: impl FnOnce(BatchStream) -> BoxFuture<'static, Result<u64>>,
    ) -> HypertableSink {
        let (batches, received) = mpsc::channel(limits::WRITER_QUEUE_BATCHES_MAX);
        let (done, written) = oneshot::channel();
        let write = write(received.boxed());
        let task = host.spawn("copy", async move {
            let _ = done.send(write.await);
        });
        let task = task.abort_on_drop();
        let writing = async move {
            let written = written.await;
            drop(task);
            written.unwrap_or_else(|_| Err(ended()))
        };
        HypertableSink { decoder, batches, writing: Some(writing.boxed()), guard: None }
    }

    pub fn guarded(self, guard: FailUnlessDone) -> HypertableSink {
        HypertableSink { guard: Some(guard), ..self }
    }

    /// Hands a batch on as soon as the writer has room for it.
    async fn hand_on(&mut self, batch: RecordBatch) -> Result<()> {
        let Some(writing) = &mut self.writing else { return Err(ended()) };
        let written = match select(self.batches.send(Ok(batch)), &mut *writing).await {
            Either::Left((Ok(()), _)) => return Ok(()),
            // The writer has let go of the channel: it ends now.
            Either::Left((Err(_), writing)) => writing.await,
            Either::Right((written, _)) => written,
        };
        self.writing = None;
        // It ends before its rows do only when it has failed.
        Err(written.err().unwrap_or_else(ended))
    }
}

fn ended() -> Error {
    Error::internal("the rows of a COPY were not taken to the end")
}

#[async_trait]
impl CopySink for HypertableSink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        for batch in self.decoder.push(&data)? {
            self.hand_on(batch).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        if let Some(rest) = self.decoder.finish()?
            && !sabotage!("copy.last_batch")
        {
            self.hand_on(rest).await?;
        }
        self.batches.close_channel();
        let Some(writing) = self.writing.take() else { return Err(ended()) };
        let rows = writing.await?;
        if let Some(guard) = self.guard.take() {
            guard.done();
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::codes;
    use crate::wire::test_host::host;
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    /// Every byte is a row.
    struct Bytewise;

    impl Decode for Bytewise {
        fn push(&mut self, data: &Bytes) -> Result<Vec<RecordBatch>> {
            Ok(data.iter().map(|byte| batch(i32::from(*byte))).collect())
        }

        fn finish(&mut self) -> Result<Option<RecordBatch>> {
            Ok(Some(batch(0)))
        }
    }

    fn batch(value: i32) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("a", DataType::Int32, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from(vec![value]))]).unwrap()
    }

    fn sink(host: &Host, limit: u64) -> Box<HypertableSink> {
        Box::new(HypertableSink::new(host, Box::new(Bytewise), move |mut rows| {
            Box::pin(async move {
                let mut count = 0;
                while let Some(batch) = rows.next().await {
                    count += batch?.num_rows() as u64;
                    if count > limit {
                        return Err(Error::new(codes::DISK_FULL, "full"));
                    }
                }
                Ok(count)
            })
        }))
    }

    #[tokio::test]
    async fn all_rows_arrive_however_the_bytes_are_cut() {
        let mut sink = sink(&host(1), 1_000);
        for cut in [0, 1, 7, 100] {
            sink.write(Bytes::from(vec![1; cut])).await.unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 109);
    }

    #[tokio::test]
    async fn a_writer_that_fails_fails_the_copy_with_its_error() {
        let mut sink = sink(&host(1), 10);
        let error = sink.write(Bytes::from(vec![1; 100])).await.unwrap_err();
        assert_eq!(error.code(), codes::DISK_FULL);
        assert!(sink.write(Bytes::from_static(b"x")).await.is_err());
        assert!(sink.finish().await.is_err());
    }

    #[tokio::test]
    async fn the_writer_goes_on_while_the_client_pauses() {
        let (stored, stored_by_then) = oneshot::channel();
        let mut sink = HypertableSink::new(&host(1), Box::new(Bytewise), move |mut rows| {
            Box::pin(async move {
                let batch = rows.next().await.unwrap()?;
                let _ = stored.send(batch.num_rows());
                rows.next().await;
                Ok(1)
            })
        });
        sink.write(Bytes::from_static(b"x")).await.unwrap();
        // Nobody touches the sink meanwhile.
        assert_eq!(stored_by_then.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_writer_that_fails_at_the_end_fails_the_copy() {
        let mut sink = sink(&host(1), 0);
        let _ = sink.write(Bytes::from_static(b"x")).await;
        assert!(sink.finish().await.is_err());
    }
}
