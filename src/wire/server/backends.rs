//! Who is connected: process ids, secret keys, and the flags by which a connection is interrupted from outside.

use futures::task::AtomicWaker;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Context;
use tokio::sync::watch;

/// Backends of one server: process ids, secret keys, cancel flags.
pub struct Backends {
    state: Mutex<State>,
    /// How many there are, for those who wait until none is left.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    last_process_id: i32,
    closing: bool,
    backends: BTreeMap<i32, Backend>,
}

struct Backend {
    secret_key: i32,
    info: BackendInfo,
    signal: Arc<Signal>,
}

/// One connected client, as `pg_stat_activity` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendInfo {
    pub process_id: i32,
    pub user: String,
    pub database: String,
    pub peer: SocketAddr,
}

impl Default for Backends {
    fn default() -> Backends {
        Backends { state: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Backends {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// In the order of process ids.
    pub fn list(&self) -> Vec<BackendInfo> {
        self.lock().backends.values().map(|backend| backend.info.clone()).collect()
    }

    /// Interrupts the statement that backend runs, if it runs one (`57014`). False: there is no such backend.
    pub fn cancel(&self, process_id: i32) -> bool {
        self.raise(process_id, None, CANCEL)
    }

    /// A client's cancel request: only with the right key is anything done.
    pub fn cancel_with_key(&self, process_id: i32, secret_key: i32) -> bool {
        self.raise(process_id, Some(secret_key), CANCEL)
    }

    /// Ends that backend's connection (`57P01`), rolling back what it has open. False: there is no such backend.
    pub fn terminate(&self, process_id: i32) -> bool {
        self.raise(process_id, None, TERMINATE)
    }

    fn raise(&self, process_id: i32, secret_key: Option<i32>, bits: u8) -> bool {
        let signal = match self.lock().backends.get(&process_id) {
            Some(backend) if secret_key.is_none_or(|key| key == backend.secret_key) => backend.signal.clone(),
            _ => return false,
        };
        // Woken outside the lock: a waker may run code of its own.
        signal.raise(bits);
        true
    }

    /// Begins to shut down: new clients are turned away (`57P03`), those connected are terminated (`57P01`).
    pub fn shut_down(&self) {
        let signals: Vec<Arc<Signal>> = {
            let mut state = self.lock();
            state.closing = true;
            state.backends.values().map(|backend| backend.signal.clone()).collect()
        };
        for signal in signals {
            signal.raise(TERMINATE);
        }
    }

    /// Waits until no backend is left.
    pub async fn drained(&self) {
        let mut count = self.count.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// `None` while shutting down. The returned registration takes the backend off the list when dropped.
    pub(super) fn register(
        self: &Arc<Self>,
        secret_key: i32,
        user: &str,
        database: &str,
        peer: SocketAddr,
    ) -> Option<Registration> {
        let mut state = self.lock();
        if state.closing {
            return None;
        }
        let process_id = state.free_process_id();
        let signal = Arc::new(Signal::default());
        let info = BackendInfo { process_id, user: user.to_string(), database: database.to_string(), peer };
        state.backends.insert(process_id, Backend { secret_key, info, signal: signal.clone() });
        self.count.send_replace(state.backends.len());
        Some(Registration { backends: self.clone(), process_id, secret_key, signal })
    }
}

impl State {
    /// Counts up from 1, round and round, past those in use.
    fn free_process_id(&mut self) -> i32 {
        loop {
            self.last_process_id = self.last_process_id.checked_add(1).unwrap_or(1);
            if !self.backends.contains_key(&self.last_process_id) {
                return self.last_process_id;
            }
        }
    }
}

/// A backend's place in the list.
pub(super) struct Registration {
    backends: Arc<Backends>,
    pub process_id: i32,
    pub secret_key: i32,
    pub signal: Arc<Signal>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.backends.lock();
        state.backends.remove(&self.process_id);
        self.backends.count.send_replace(state.backends.len());
    }
}

const CANCEL: u8 = 1;
const TERMINATE: u8 = 2;

/// What someone outside wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    Cancel,
    Terminate,
}

/// Flags that others raise and one connection watches.
#[derive(Default)]
pub(super) struct Signal {
    bits: AtomicU8,
    waker: AtomicWaker,
}

impl Signal {
    fn raise(&self, bits: u8) {
        self.bits.fetch_or(bits, Ordering::AcqRel);
        self.waker.wake();
    }

    /// A cancel request means the statement that runs when it comes, never the next one.
    pub fn forget_cancel(&self) {
        self.bits.fetch_and(!CANCEL, Ordering::AcqRel);
    }

    /// Wakes the caller when something is raised later.
    pub fn poll(&self, context: &Context<'_>) -> Option<Interrupt> {
        // Registered before the look, so that nothing raised in between is missed.
        self.waker.register(context.waker());
        match self.bits.load(Ordering::Acquire) {
            bits if bits & TERMINATE != 0 => Some(Interrupt::Terminate),
            bits if bits & CANCEL != 0 => Some(Interrupt::Cancel),
            _ => None,
        }
    }
}
