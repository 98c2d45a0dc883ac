//! Whether a node's process still lives.
//!
//! A node may be crashed from inside one of its own tasks (a probe was hit). That task's code then runs on until
//! its next `await`, and later the destructors of all the node's tasks run. Every door of a host therefore asks
//! its [`Life`] first: once it is over, asynchronous operations never complete, synchronous ones fail, and
//! nothing changes in the world.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One process of one node, from its start to its crash. Clones share the fate.
#[derive(Clone, Debug)]
pub struct Life(Arc<AtomicBool>);

impl Life {
    pub fn begin() -> Life {
        Life(Arc::new(AtomicBool::new(true)))
    }

    pub fn is_over(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Errors once the life is over, for synchronous doors.
    pub fn check(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other("the node has crashed")) } else { Ok(()) }
    }
}
