//! The commit protocol as a pure state machine.
