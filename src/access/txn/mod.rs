//! Distributed transactions: one remote transaction per data node, committed together.
//!
//! Promises: a transaction's writes are stored on all its nodes or on none, whatever crashes; a multi-node read sees
//! all of a transaction or nothing of it; what a client was told is stored is seen by every later statement. Must not
//! know: what the statements mean.
//!
//! Decide, then do. Reading order: [`machine`] is the commit protocol as a pure state machine, [`driver`] does its
//! I/O; [`gid`] names transactions, [`live`] knows those that have not ended, [`resolver`] finishes what a crash left;
//! [`gate`] keeps multi-node reads from seeing half of a commit; [`member`] is one remote transaction and
//! [`transaction`] the whole, as a session holds it; [`snapshots`] is what it reads.

pub mod driver;
pub mod gate;
pub mod gid;
pub mod live;
pub mod machine;
mod member;
pub mod resolver;
pub mod snapshots;
pub mod transaction;

pub use driver::LocalParticipant;
pub use gate::Gate;
pub use live::Live;
pub use transaction::{Transaction, Writer};
