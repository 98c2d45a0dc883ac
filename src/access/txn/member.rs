//! One remote transaction: a connection on which a transaction is, or will be, open.

use crate::access::remote::{Lease, RemoteCopy, is_loss};
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::limits::DRAIN_TIMEOUT;
use crate::sql::statement::Isolation;
use crate::sql::types::BatchStream;
use crate::wire::client::Connection;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedMutexGuard;

/// A member that clones of the transaction share: one caller at a time.
pub(super) struct Slot {
    member: Arc<tokio::sync::Mutex<Member>>,
    /// A fragment's rows are coming in: they would wait for the statement that waits for the connection.
    streaming: Arc<AtomicBool>,
}

#[derive(Default)]
pub(super) struct Member {
    /// `None` until first use.
    lease: Option<Lease>,
    phase: Phase,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No transaction is open there.
    #[default]
    Idle,
    Open,
    /// A statement has failed there, or the connection has broken: only a rollback is left.
    Broken(Error),
}

pub(super) fn begin_statement(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED",
        Isolation::RepeatableRead => "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    }
}

/// REPEATABLE READ takes its snapshot with the first statement, not with BEGIN.
const OPEN_SNAPSHOT: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1";

impl Slot {
    pub fn new(member: Member) -> Arc<Slot> {
        Arc::new(Slot { member: Arc::new(tokio::sync::Mutex::new(member)), streaming: Arc::default() })
    }

    pub async fn lock(&self) -> OwnedMutexGuard<Member> {
        self.member.clone().lock_owned().await
    }

    /// `None` while somebody else uses it.
    pub fn try_lock(&self) -> Option<OwnedMutexGuard<Member>> {
        self.member.clone().try_lock_owned().ok()
    }

    pub fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Runs a query on a member locked before; its rows keep the lock. `keep`: the transaction goes on after the
    /// statement, so rows that nobody wants any more must be read to their end; else the connection may be closed.
    pub async fn stream(
        &self,
        host: &Host,
        mut member: OwnedMutexGuard<Member>,
        sql: &str,
        schema: SchemaRef,
        keep: bool,
    ) -> Result<BatchStream> {
        let rows = member.query(sql, schema).await?;
        self.streaming.store(true, Ordering::Relaxed);
        let reading = Some(Reading { rows, member });
        Ok(FragmentRows { host: host.clone(), reading, streaming: self.streaming.clone(), keep }.boxed())
    }
}

impl Member {
    pub fn new(lease: Lease) -> Member {
        Member { lease: Some(lease), phase: Phase::Idle }
    }

    pub fn is_connected(&self) -> bool {
        self.lease.is_some()
    }

    pub fn connect(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// A remote transaction is open, or was until something broke.
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Why nothing but a rollback is left, if so.
    pub fn broken(&self) -> Option<Error> {
        match &self.phase {
            Phase::Broken(error) => Some(error.clone()),
            _ if self.phase == Phase::Open && self.lease.as_ref().is_some_and(Lease::is_unsettled) => Some(given_up()),
            _ => None,
        }
    }

    /// Opens the transaction unless it is open. A connection from the pool may have died unnoticed: nothing was
    /// promised on it, so a new one takes its place once.
    pub async fn begin(&mut self, isolation: Isolation) -> Result<()> {
        self.open_with(begin_statement(isolation)).await
    }

    /// Opens a transaction and takes its snapshot.
    pub async fn open_snapshot(&mut self) -> Result<()> {
        self.open_with(OPEN_SNAPSHOT).await
    }

    async fn open_with(&mut self, sql: &str) -> Result<()> {
        if self.phase == Phase::Open {
            return Ok(());
        }
        self.opening();
        let mut answer = self.lease().run(sql).await;
        if matches!(&answer, Err(error) if is_loss(error)) && self.renew().await? {
            answer = self.lease().run(sql).await;
        }
        self.note(answer)
    }

    /// Opens a COPY; the BEGIN of a transaction that is not open yet travels with it.
    pub async fn copy_in(&mut self, isolation: Isolation, sql: &str, schema: SchemaRef) -> Result<RemoteCopy> {
        let before = (self.phase == Phase::Idle).then(|| begin_statement(isolation));
        self.opening();
        let mut answer = self.lease().copy_in(before, sql, schema.clone()).await;
        let fresh = before.is_some();
        if fresh && matches!(&answer, Err(error) if is_loss(error)) && self.renew().await? {
            answer = self.lease().copy_in(before, sql, schema).await;
        }
        self.note(answer)
    }

    /// A COPY opened by `copy_in` has ended well.
    pub fn copy_ended(&mut self) {
        self.lease().declare_clean();
    }

    pub fn fail(&mut self, error: Error) {
        self.phase = Phase::Broken(error);
    }

    /// Runs statements inside the transaction. An error breaks it.
    pub async fn run(&mut self, sql: &str) -> Result<()> {
        let answer = self.lease().run(sql).await;
        self.note(answer)
    }

    pub async fn texts(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let answer = self.lease().texts(sql).await;
        self.note(answer)
    }

    async fn query(&mut self, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        let answer = self.lease().query(sql, schema).await;
        self.note(answer)
    }

    /// Runs a statement that ends the transaction if it works.
    pub async fn end(&mut self, sql: &str) -> Result<()> {
        self.lease().run(sql).await?;
        self.ended();
        Ok(())
    }

    /// Runs a statement outside any transaction, as COMMIT PREPARED is.
    pub async fn run_outside(&mut self, sql: &str) -> Result<()> {
        self.lease().run(sql).await
    }

    /// The bare connection; whoever uses it answers for what becomes of it.
    pub fn connection(&self) -> &Connection {
        self.lease().connection()
    }

    pub fn node(&self) -> &str {
        self.lease().node()
    }

    fn opening(&mut self) {
        self.phase = Phase::Open;
        self.lease().begin_transaction();
    }

    fn ended(&mut self) {
        self.phase = Phase::Idle;
        self.lease().end_transaction();
    }

    async fn renew(&mut self) -> Result<bool> {
        let renewed = self.lease.as_mut().expect("only a connected member is used").renew().await;
        if renewed == Ok(true) {
            self.opening();
        }
        self.note(renewed)
    }

    fn note<T>(&mut self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer {
            self.phase = Phase::Broken(error.clone());
        }
        answer
    }

    fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("only a connected member is used")
    }
}

fn given_up() -> Error {
    Error::new(codes::IN_FAILED_TRANSACTION, "a statement of the transaction was given up before its end")
}

/// Rows of a fragment; the connection is in use until they end or are dropped.
struct FragmentRows {
    host: Host,
    /// `None` after the end.
    reading: Option<Reading>,
    streaming: Arc<AtomicBool>,
    keep: bool,
}

struct Reading {
    rows: BatchStream,
    member: OwnedMutexGuard<Member>,
}

impl Stream for FragmentRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let next = ready!(reading.rows.poll_next_unpin(context));
        match &next {
            Some(Ok(_)) => return Poll::Ready(next),
            Some(Err(error)) => reading.member.fail(error.clone()),
            None => reading.member.lease().declare_clean(),
        }
        // Others may use the connection even if this stream is kept.
        self.streaming.store(false, Ordering::Relaxed);
        self.reading = None;
        Poll::Ready(next)
    }
}

impl Drop for FragmentRows {
    fn drop(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        self.streaming.store(false, Ordering::Relaxed);
        if self.keep {
            // The client library reads on to the end of a query that nobody wants any more, and then goes on with the
            // next request: the transaction can be kept.
            reading.member.lease().declare_clean();
        } else {
            let host = self.host.clone();
            self.host.spawn("drain", async move {
                let _ = host.timeout(DRAIN_TIMEOUT, reading.drain()).await;
            });
        }
    }
}

impl Reading {
    /// Most of what a LIMIT leaves behind is little: reading it is cheaper than a new connection. If it is much, this is
    /// dropped half-way, and the connection with it.
    async fn drain(mut self) {
        while let Some(batch) = self.rows.next().await {
            if batch.is_err() {
                return;
            }
        }
        self.member.lease().declare_clean();
        if self.member.end("COMMIT").await.is_ok() {
            // Its snapshot is gone: no other fragment of the statement may use it.
            self.member.fail(given_up());
        }
    }
}
