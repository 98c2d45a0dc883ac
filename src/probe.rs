//! Named points in production code that the simulator may watch, and at which it may strike.
//!
//! `probe!(host, "txn.decided")` costs one thread-local look-up outside a simulation. Inside one, the hook may
//! kill the node at this very point: from then on nothing that the node does has any effect on the world.
//!
//! A probe may say what it is about: `probe!(host, "txn.prepared", format_args!("{transaction} on {node}"))`. This
//! detail is written out only where a hook listens. Its form is `<subject> on <place>, <place>`, and several of these
//! are separated by `; `, so that the picture of a run can follow a subject through its steps.

use std::cell::RefCell;

/// Every probe there is, so that a scenario that names another is refused. `tests/integration/tidy.rs` compares this list
/// with the sources.
pub const ALL: [&str; 31] = [
    "catalog.commit",
    "catalog.committed",
    "chunk.created",
    "engine.commit.after_sync",
    "engine.commit.before_sync",
    "engine.commit.queued",
    "engine.merge.before_sync",
    "engine.prepare.after_sync",
    "engine.prepare.before_sync",
    "engine.prepare.queued",
    "engine.resolve.after_sync",
    "engine.resolve.before_sync",
    "resolver.commit",
    "resolver.confirmed",
    "resolver.rollback",
    "resolver.settled_doubts",
    "txn.before_decision",
    "txn.committed",
    "txn.confirmed",
    "txn.decided",
    "txn.in_doubt",
    "txn.local_snapshot_moved",
    "txn.one_phase",
    "txn.one_phase_done",
    "txn.prepared",
    "txn.preparing",
    "txn.rolled_back",
    "txn.snapshot_too_late",
    "txn.snapshots_open",
    "txn.unresolved",
    "txn.waits_for_resolution",
];

/// Called with the node's name, the probe's name and its detail (empty where it has none).
pub type Hook = Box<dyn Fn(&str, &'static str, String)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Installs the hook of the simulation that runs on this thread (`None` removes it).
pub fn set_hook(hook: Option<Hook>) {
    HOOK.with(|cell| *cell.borrow_mut() = hook);
}

/// Use the [`probe!`](crate::probe!) macro instead.
pub fn hit(node: &str, name: &'static str, detail: impl FnOnce() -> String) {
    HOOK.with(|cell| {
        if let Some(hook) = &*cell.borrow() {
            hook(node, name, detail());
        }
    });
}

/// Marks a point by name: `probe!(host, "area.event")`, maybe with what it is about, which anything that can be
/// displayed says: `probe!(host, "area.event", format_args!("{subject} on {place}"))`.
#[macro_export]
macro_rules! probe {
    ($host:expr, $name:literal) => {
        $crate::probe::hit($host.name(), $name, ::std::string::String::new)
    };
    ($host:expr, $name:literal, $detail:expr) => {
        $crate::probe::hit($host.name(), $name, || ::std::string::ToString::to_string(&$detail))
    };
}

#[cfg(test)]
mod tests;
