//! What a connection has under way, and what it has learned on the side.

use super::errors::error_of;
use crate::error::{Error, Notice, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Notices kept for whoever asks; a server that sends more loses the oldest.
const NOTICES_MAX: usize = 100;

#[derive(Default)]
pub struct Calls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: usize,
    /// A call was dropped before its answer was read.
    abandoned: bool,
    notices: VecDeque<Notice>,
    /// Why the connection broke.
    fault: Option<Error>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.under_way == 0 && !state.abandoned
    }

    pub fn begin(self: &Arc<Self>) -> Call {
        self.lock().under_way += 1;
        Call { calls: self.clone(), settled: false }
    }

    pub fn add_notice(&self, notice: Notice) {
        let mut state = self.lock();
        if state.notices.len() == NOTICES_MAX {
            state.notices.pop_front();
        }
        state.notices.push_back(notice);
    }

    pub fn take_notices(&self) -> Vec<Notice> {
        self.lock().notices.drain(..).collect()
    }

    pub fn break_with(&self, error: Error) {
        self.lock().fault = Some(error);
    }
}

/// One call under way. Dropped unsettled, it leaves the connection abandoned.
pub struct Call {
    calls: Arc<Calls>,
    settled: bool,
}

impl Call {
    /// The answer has been read to its end.
    pub fn settle(mut self) {
        self.settled = true;
    }

    /// Ends with a value or an error of the client. An error of the server settles the call too; any other leaves
    /// the connection unusable.
    pub fn end<T>(self, result: Result<T, tokio_postgres::Error>) -> Result<T> {
        match result {
            Ok(value) => {
                self.settle();
                Ok(value)
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    pub fn fail(mut self, error: &tokio_postgres::Error) -> Error {
        self.settled = error.as_db_error().is_some();
        self.explain(error)
    }

    /// What the server said last tells more than that it has gone.
    pub fn explain(&self, error: &tokio_postgres::Error) -> Error {
        let fault = if error.is_closed() { self.calls.lock().fault.clone() } else { None };
        fault.unwrap_or_else(|| error_of(error))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.calls.lock();
        state.under_way -= 1;
        state.abandoned |= !self.settled;
    }
}
