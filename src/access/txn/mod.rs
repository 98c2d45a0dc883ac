//! Distributed transactions: one remote transaction per data node, committed together.
//!
//! Decide, then do: [`machine`] is the protocol as a pure state machine, [`driver`] does its I/O, [`resolver`]
//! finishes what a crash left, [`gate`] keeps multi-node reads from seeing half of a commit.

pub mod driver;
pub mod gate;
pub mod machine;
pub mod resolver;

pub use driver::{Live, LocalParticipant, Transaction};
pub use gate::Gate;
