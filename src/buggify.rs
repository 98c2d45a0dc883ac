//! Points at which production code may do the unlikely but lawful: in a simulation, and only where a run asks for it.
//!
//! `if buggify!(host, "pool.dropped") { … }` has two levels, as in FoundationDB: a run has some points *active*, drawn when
//! it is planned; an active point then *fires* every now and then. What fires must be something that the code's contract
//! allows at any time: a batch of one row, a slow task, a dropped connection, a second try. So a run with them must pass
//! every judge, and it reaches states that luck alone would not reach in years.
//!
//! Built without `--cfg madsim` a point is the constant `false`; with it, it costs one thread-local look-up outside a
//! simulation.

/// A point in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub name: &'static str,
    /// What happens when it fires.
    pub what: &'static str,
}

const fn point(name: &'static str, what: &'static str) -> Point {
    Point { name, what }
}

/// Every point there is. `tests/integration/tidy.rs` compares this table with the sources.
pub static ALL: [Point; 17] = [
    point("catalog.slow", "a commit of the catalog waits before it writes"),
    point("chunk.slow", "a new chunk's tables are made later, with the catalog locked meanwhile"),
    point("commit.slow_phase_two", "a COMMIT PREPARED is sent later"),
    point("commit.unconfirmed", "a participant's confirmation is taken for lost: the resolver asks again"),
    point("copy.single_rows", "the rows of a batch are routed and sent one by one"),
    point("engine.merge_early", "two segments are enough for a merge"),
    point("engine.single_jobs", "the writer commits one job by itself"),
    point("engine.slow", "the writer waits before a batch"),
    point("engine.spill_early", "a transaction's rows go to the store before its buffer is full"),
    point("heartbeat.late", "the next heartbeat comes later"),
    point("plan.again", "a finished plan is thrown away, its snapshots too"),
    point("pool.dropped", "a connection is closed instead of kept"),
    point("resolver.slow", "a round of the resolver begins later"),
    point("resolver.sweep", "a round of the resolver looks at all nodes"),
    point("snapshot.slow", "commits are kept out for a while before the snapshots are opened"),
    point("wire.short_read", "one byte is read where there may be more"),
    point("wire.statement_forgotten", "a prepared statement is prepared anew"),
];

/// An active point fires so often, in percent, where its place does not say otherwise.
pub const FIRES_PERCENT: u32 = 15;

/// The point's name as the table has it.
pub fn find(name: &str) -> Option<&'static str> {
    ALL.iter().map(|point| point.name).find(|known| *known == name)
}

#[cfg(madsim)]
mod hook {
    use std::cell::RefCell;

    /// Called with the node's name, the point's name, and how often it fires in percent; says whether it does now.
    pub type Hook = Box<dyn Fn(&str, &'static str, u32) -> bool>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Installs the hook of the simulation that runs on this thread (`None` removes it).
    pub fn set_hook(hook: Option<Hook>) {
        HOOK.with(|cell| *cell.borrow_mut() = hook);
    }

    /// Use the [`buggify!`](crate::buggify!) macro instead.
    pub fn fires(node: &str, name: &'static str, percent: u32) -> bool {
        HOOK.with(|cell| cell.borrow().as_ref().is_some_and(|hook| hook(node, name, percent)))
    }
}

#[cfg(madsim)]
pub use hook::{Hook, fires, set_hook};

/// Use the [`buggify!`](crate::buggify!) macro instead.
#[cfg(not(madsim))]
#[inline(always)]
pub const fn fires(_node: &str, _name: &'static str, _percent: u32) -> bool {
    false
}

/// Whether the point of that name fires now: `buggify!(host, "area.event")`, or with a percentage of its own.
#[macro_export]
macro_rules! buggify {
    ($host:expr, $name:literal) => {
        $crate::buggify!($host, $name, $crate::buggify::FIRES_PERCENT)
    };
    ($host:expr, $name:literal, $percent:expr) => {
        $crate::buggify::fires($host.name(), $name, $percent)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(ALL.is_sorted_by_key(|point| point.name));
        assert_eq!((find("pool.dropped"), find("pool.drained")), (Some("pool.dropped"), None));
    }
}
