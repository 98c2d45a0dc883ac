//! Simulated time, and the one agenda of everything that is due at some moment of it.
//!
//! madsim moves its clock from timer to timer. Its own `sleep` is not used directly: it rounds up to a
//! millisecond (longer than a network hop), and every poll of one leaves another timer behind, which a long
//! deadline around a busy future turns into thousands. Instead one [`Agenda`] holds sleepers and messages under
//! way, ordered by due time, and one task (the *pump*, run by the world) sleeps until the first of them.

use super::life::Life;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The simulated clock that all nodes' clocks hang on.
#[derive(Clone)]
pub struct SimTime(Option<madsim::time::TimeHandle>);

impl SimTime {
    /// That of the simulation this thread is in.
    pub fn current() -> SimTime {
        SimTime(Some(madsim::time::TimeHandle::current()))
    }

    /// Time that never moves, for parts that are tested outside a simulation.
    pub fn still() -> SimTime {
        SimTime(None)
    }

    /// Since the start of the run.
    pub fn now(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |handle| handle.elapsed())
    }

    /// Wakes `waker` at `due`. Cannot be taken back.
    fn wake_at(&self, due: Duration, waker: &Waker) {
        let Some(handle) = &self.0 else { return };
        let wait = due.saturating_sub(self.now()).min(FAR);
        let mut sleep = handle.sleep(Duration::ZERO);
        // `reset` takes the deadline as it is, where `sleep` would round it up to a millisecond.
        Pin::new(&mut sleep).reset(handle.now_instant() + wait);
        if Pin::new(&mut sleep).poll(&mut Context::from_waker(waker)).is_ready() {
            waker.wake_by_ref();
        }
    }
}

/// Later than any run ends. Keeps `sleep(Duration::MAX)` from overflowing madsim's clock.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Things of type `T` and sleepers, by due time and then by order of arrival.
pub struct Agenda<T> {
    pub time: SimTime,
    state: Mutex<State<T>>,
}

struct State<T> {
    due: BTreeMap<Key, Item<T>>,
    sequence: u64,
    /// The pump and the time at which it will be woken.
    pump: Option<Waker>,
    armed: Option<Duration>,
}

type Key = (Duration, u64);

pub enum Item<T> {
    Wake(Waker),
    Thing(T),
}

impl<T> Agenda<T> {
    pub fn new(time: SimTime) -> Arc<Agenda<T>> {
        let state = State { due: BTreeMap::new(), sequence: 0, pump: None, armed: None };
        Arc::new(Agenda { time, state: Mutex::new(state) })
    }

    pub fn now(&self) -> Duration {
        self.time.now()
    }

    /// Hands `thing` to the pump at `due`.
    pub fn schedule(&self, due: Duration, thing: T) {
        self.insert(due, Item::Thing(thing));
    }

    /// Completes after `duration`; never for a life that is over.
    pub fn sleep(self: &Arc<Self>, life: &Life, duration: Duration) -> Nap<T> {
        // Even `sleep(0)` takes a moment: a loop around it would otherwise stop the simulated clock.
        let due = self.now().saturating_add(duration.max(Duration::from_micros(1)));
        Nap { agenda: self.clone(), life: life.clone(), due, entry: None }
    }

    /// Pending until the first thing is due, then all that are.
    pub fn poll_due(&self, context: &mut Context<'_>) -> Poll<Vec<Item<T>>> {
        let now = self.now();
        let mut state = self.lock();
        state.pump = Some(context.waker().clone());
        state.armed = state.armed.filter(|armed| *armed > now);
        let mut ready = Vec::new();
        while let Some(entry) = state.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            ready.push(entry.remove());
        }
        if ready.is_empty() {
            self.arm(&mut state);
            return Poll::Pending;
        }
        Poll::Ready(ready)
    }

    /// Forgets everything; wakers hold tasks alive, and tasks the world.
    pub fn clear(&self) {
        let due = std::mem::take(&mut self.lock().due);
        drop(due);
    }

    fn insert(&self, due: Duration, item: Item<T>) -> Key {
        let mut state = self.lock();
        let key = (due, state.sequence);
        state.sequence += 1;
        state.due.insert(key, item);
        self.arm(&mut state);
        key
    }

    fn arm(&self, state: &mut State<T>) {
        let (Some(pump), Some((&(due, _), _))) = (&state.pump, state.due.first_key_value()) else { return };
        if state.armed.is_none_or(|armed| due < armed) {
            self.time.wake_at(due, pump);
            state.armed = Some(due);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sleeper. One entry in the agenda however often it is polled, and none after it was dropped.
pub struct Nap<T> {
    agenda: Arc<Agenda<T>>,
    life: Life,
    due: Duration,
    entry: Option<(Key, Waker)>,
}

impl<T> Future for Nap<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.life.is_over() {
            return Poll::Pending;
        }
        if self.agenda.now() >= self.due {
            return Poll::Ready(());
        }
        if self.entry.as_ref().is_none_or(|(_, waker)| !waker.will_wake(context.waker())) {
            self.cancel();
            let key = self.agenda.insert(self.due, Item::Wake(context.waker().clone()));
            self.entry = Some((key, context.waker().clone()));
        }
        Poll::Pending
    }
}

impl<T> Nap<T> {
    fn cancel(&mut self) {
        if let Some((key, _)) = self.entry.take() {
            // Dropped after the lock is released: a waker's destructor may be anybody's code.
            let item = self.agenda.lock().due.remove(&key);
            drop(item);
        }
    }
}

impl<T> Drop for Nap<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}
