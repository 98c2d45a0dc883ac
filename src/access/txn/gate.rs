//! The commit gate: phase two holds it shared, a multi-node read holds it for the instant in which its snapshots open.

/// One per access node.
#[derive(Default)]
pub struct Gate {
    _todo: (),
}
