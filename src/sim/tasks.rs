//! Tasks, clock and entropy as one process of a node sees them.

use super::chance::Stream;
use super::clock::NodeClock;
use super::disk::{SimDisk, Work};
use super::life::Life;
use super::net::Due;
use super::record::{Event, Name, Recorder};
use super::time::Agenda;
use crate::host::{Clock, Entropy, TaskHandle, Tasks};
use futures::future::BoxFuture;
use rand::{Rng, RngCore};
use std::any::Any;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Why a run ended before its story did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The node whose task panicked; `None` for the story itself.
    pub node: Option<String>,
    pub task: &'static str,
    pub message: String,
    /// Simulated time since the start of the run.
    pub at: Duration,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = self.node.as_deref().unwrap_or("the story");
        write!(f, "{who}, {}, after {}: {}", self.task, super::record::seconds(self.at), self.message)
    }
}

/// What a panic said.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_string())
}

/// Where the first panic of a run is kept.
pub type FailureSlot = Arc<Mutex<Option<Failure>>>;

/// The tasks of one process.
#[derive(Clone)]
pub struct TaskDoor {
    pub node: Name,
    pub life: Life,
    pub spawner: madsim::runtime::NodeHandle,
    pub agenda: Arc<Agenda<Due>>,
    pub recorder: Arc<Recorder>,
    pub disk: SimDisk,
    pub chance: Arc<Mutex<Stream>>,
    pub failure: FailureSlot,
}

/// How long blocking work waits for a thread.
const QUEUE_MAX: Duration = Duration::from_micros(50);

impl Tasks for TaskDoor {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        if self.life.is_over() {
            return TaskHandle::new(|| {});
        }
        self.recorder.record(Event::Spawned { node: self.node.clone(), task: name });
        let task = NodeTask { future: Some(future), name, door: self.clone() };
        let handle = self.spawner.spawn(task).abort_handle();
        TaskHandle::new(move || handle.abort())
    }

    /// Runs inline, in a task of its own: as on a thread pool it goes on when nobody waits for it any more. The
    /// simulated time that its writes and syncs take passes afterwards, so a crash may fall between a commit and
    /// its acknowledgement.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        if self.life.is_over() {
            return Box::pin(pending());
        }
        let (done, wait) = tokio::sync::oneshot::channel();
        let queued = lock(&self.chance).random_range(Duration::ZERO..QUEUE_MAX);
        let door = self.clone();
        let run = async move {
            door.sleep(queued).await;
            let before = door.disk.work();
            work();
            let after = door.disk.work();
            let spent =
                Work { syncs: after.syncs - before.syncs, written_bytes: after.written_bytes - before.written_bytes };
            if spent != Work::default() {
                door.sleep(door.disk.time_for(spent)).await;
            }
            let _ = done.send(());
        };
        self.spawn("blocking", Box::pin(run));
        Box::pin(async move {
            if wait.await.is_err() {
                // The process died, and this task with it in a moment.
                pending::<()>().await;
            }
        })
    }
}

impl TaskDoor {
    async fn sleep(&self, duration: Duration) {
        self.agenda.sleep(&self.life, duration).await;
    }

    fn note_panic(&self, task: &'static str, payload: &(dyn Any + Send)) {
        let message = panic_message(payload);
        self.recorder.record(Event::Panicked { node: self.node.clone(), task, message: message.clone() });
        let failure = Failure { node: Some(self.node.to_string()), task, message, at: self.agenda.now() };
        lock(&self.failure).get_or_insert(failure);
    }
}

/// A task of a node. Its panic is the run's failure, unless its process is already dead: code that runs on after a
/// crash finds every door failing and may well panic over it, which no real process would live to do.
struct NodeTask {
    future: Option<BoxFuture<'static, ()>>,
    name: &'static str,
    door: TaskDoor,
}

impl Future for NodeTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.door.life.is_over() {
            return Poll::Pending;
        }
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(_) if self.door.life.is_over() => Poll::Pending,
            Err(payload) => {
                self.door.note_panic(self.name, &*payload);
                resume_unwind(payload)
            }
        }
    }
}

impl Drop for NodeTask {
    fn drop(&mut self) {
        let future = self.future.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        if let Err(payload) = dropped
            && !self.door.life.is_over()
        {
            self.door.note_panic(self.name, &*payload);
        }
    }
}

/// The clocks of one node.
pub struct ClockDoor {
    pub life: Life,
    pub agenda: Arc<Agenda<Due>>,
    pub clock: Arc<Mutex<NodeClock>>,
    /// True time at the start of the run.
    pub utc_start_micros: i64,
}

impl Clock for ClockDoor {
    fn utc_micros(&self) -> i64 {
        lock(&self.clock).read(self.utc_start_micros + self.agenda.now().as_micros() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.agenda.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.agenda.sleep(&self.life, duration))
    }
}

/// The entropy of one process: a stream of the seed.
pub struct EntropyDoor(pub Mutex<Stream>);

impl Entropy for EntropyDoor {
    fn fill(&self, bytes: &mut [u8]) {
        lock(&self.0).fill_bytes(bytes);
    }
}

/// None of these locks guards anything that a panic could leave half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
