//! Planted bugs: what real systems have got wrong, to be switched on in a simulation so that the judges prove themselves.
//!
//! `if sabotage!("engine.commit.sync") { … }` is false everywhere but in a simulation that was told to plant the bug of
//! that name. Built without `--cfg madsim` it is the constant `false`. With it, it costs one thread-local look-up; only
//! the simulated world plants bugs, on the one thread that all nodes of a run share (`tests/integration/tidy.rs` sees to
//! it that nobody else does), so that a server of the real world can never have one.
//!
//! A name says what is missing or wrong: with `decision.sync` planted, the decision is not synced.

use std::collections::{BTreeMap, BTreeSet};

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    pub name: &'static str,
    /// The files with its `sabotage!`.
    pub places: &'static [&'static str],
    /// What goes wrong, in one sentence.
    pub what: &'static str,
}

const fn bug(name: &'static str, places: &'static [&'static str], what: &'static str) -> Bug {
    Bug { name, places, what }
}

/// Every bug there is. `tests/integration/tidy.rs` compares this table with the sources.
pub static ALL: [Bug; 30] = [
    bug(
        "aggregate.average",
        &["src/access/plan/aggregate.rs"],
        "An average over several data nodes is the average of their averages.",
    ),
    bug(
        "aggregate.full",
        &["src/access/plan/aggregate.rs"],
        "A data node's part of a group is taken for the whole group.",
    ),
    bug(
        "aggregate.limit",
        &["src/access/plan/aggregate.rs"],
        "LIMIT cuts off groups on a data node before their parts are merged.",
    ),
    bug(
        "catalog.chunk",
        &["src/catalog/store/file.rs"],
        "New chunks are made on data nodes and never reach the catalog's log.",
    ),
    bug(
        "commit.gate",
        &["src/access/txn/driver.rs"],
        "A commit lets snapshots be opened while it has reached some of its nodes only.",
    ),
    bug("commit.lost_answer", &["src/access/txn/machine.rs"], "A COMMIT whose answer was lost is reported as done."),
    bug(
        "commit.one_phase",
        &["src/access/txn/driver.rs"],
        "A transaction of several data nodes commits on each by itself, without PREPARE.",
    ),
    bug("commit.participant", &["src/access/txn/driver.rs"], "The last participant is never told to commit."),
    bug("copy.last_batch", &["src/access/session/copy.rs"], "The unfinished batch at the end of a COPY is dropped."),
    bug(
        "decision.forgotten",
        &["src/access/txn/machine.rs"],
        "The decision is forgotten although a participant has not confirmed.",
    ),
    bug("decision.sync", &["src/catalog/store/file.rs"], "The decision to commit is written and not synced."),
    bug("engine.commit.sync", &["src/engine/job.rs"], "A commit is acknowledged before it is synced."),
    bug(
        "engine.counters",
        &["src/engine/writer.rs"],
        "Numbers handed out before a restart are handed out again after it.",
    ),
    bug(
        "engine.keys.snapshot",
        &["src/engine/transaction.rs"],
        "A unique key is looked up in a snapshot that is older than its reservation.",
    ),
    bug("engine.merge.newest", &["src/engine/stage.rs"], "Merging segments loses the newest of them."),
    bug("engine.prepare.sync", &["src/engine/job.rs"], "A PREPARE is acknowledged before it is synced."),
    bug(
        "engine.prepared.rollback",
        &["src/engine/stage.rs"],
        "ROLLBACK PREPARED leaves the rows of the transaction in their tables.",
    ),
    bug("engine.prepared.rows", &["src/engine/core.rs"], "A restart throws away the rows of prepared transactions."),
    bug("engine.resolve.sync", &["src/engine/job.rs"], "A COMMIT PREPARED is acknowledged before it is synced."),
    bug(
        "engine.snapshot",
        &["src/engine/transaction.rs"],
        "The snapshot of a REPEATABLE READ transaction moves with every statement.",
    ),
    bug("host.file.sync", &["src/host/store_file.rs"], "A sync of the catalog's file says ok and does nothing."),
    bug(
        "node.blocked",
        &["src/access/txn/live.rs"],
        "Statements use a data node that has not confirmed a decided transaction.",
    ),
    bug(
        "plan.stale",
        &["src/access/txn/transaction.rs"],
        "A query goes on with a plan that lacks the chunks made since.",
    ),
    bug("replica.write", &["src/access/execute/writers.rs"], "The last replica of a chunk does not get its rows."),
    bug("resolver.live", &["src/access/txn/resolver.rs"], "The resolver ends transactions whose commit is at work."),
    bug(
        "rollback.sent",
        &["src/access/txn/driver.rs"],
        "A connection goes back to the pool without the ROLLBACK of its transaction.",
    ),
    bug(
        "route.edge",
        &["src/access/execute/chunk_ddl.rs", "src/chunk/slice.rs"],
        "A row at the end of a slice is taken for one inside it.",
    ),
    bug(
        "snapshot.late",
        &["src/access/txn/snapshots.rs"],
        "A snapshot opened after another commit joins the older ones of its statement.",
    ),
    bug("wire.closed", &["src/wire/client/mod.rs"], "A connection that closes before the answer counts as an answer."),
    bug(
        "writer.stash",
        &["src/access/execute/writers.rs"],
        "Of the rows kept back for other chunks of a data node only one chunk's are sent.",
    ),
];

/// The bugs of one run, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sabotage(BTreeSet<&'static str>);

impl Sabotage {
    /// Errors: an unknown name; says which there are.
    pub fn from_names(names: &[String]) -> Result<Sabotage, String> {
        let known = |name: &String| {
            ALL.iter().map(|bug| bug.name).find(|known| known == name).ok_or_else(|| {
                let all = ALL.map(|bug| bug.name).join(", ");
                format!("unknown sabotage \"{name}\", expected one of: {all}")
            })
        };
        names.iter().map(known).collect::<Result<_, _>>().map(Sabotage)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

/// How often the run came to each planted bug.
pub type Hits = BTreeMap<&'static str, u64>;

#[cfg(madsim)]
mod planted {
    use super::{Hits, Sabotage};
    use std::cell::RefCell;

    thread_local! {
        static PLANTED: RefCell<Option<Hits>> = const { RefCell::new(None) };
    }

    /// The bugs are planted on this thread as long as it lives.
    pub struct Planted(());

    /// Plants the bugs of the simulation that runs on this thread.
    pub fn plant(sabotage: &Sabotage) -> Planted {
        let hits: Hits = sabotage.names().map(|name| (name, 0)).collect();
        PLANTED.with(|cell| *cell.borrow_mut() = (!hits.is_empty()).then_some(hits));
        Planted(())
    }

    impl Planted {
        pub fn hits(&self) -> Hits {
            PLANTED.with(|cell| cell.borrow().clone().unwrap_or_default())
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.with(|cell| *cell.borrow_mut() = None);
        }
    }

    /// Use the [`sabotage!`](crate::sabotage!) macro instead.
    pub fn is_planted(name: &str) -> bool {
        PLANTED.with(|cell| {
            let mut planted = cell.borrow_mut();
            let Some(hits) = planted.as_mut().and_then(|planted| planted.get_mut(name)) else { return false };
            *hits += 1;
            true
        })
    }
}

#[cfg(madsim)]
pub use planted::{Planted, is_planted, plant};

/// Use the [`sabotage!`](crate::sabotage!) macro instead.
#[cfg(not(madsim))]
#[inline(always)]
pub const fn is_planted(_name: &str) -> bool {
    false
}

/// Whether the bug of that name is planted in this run: `sabotage!("decision.sync")`.
#[macro_export]
macro_rules! sabotage {
    ($name:literal) => {
        $crate::sabotage::is_planted($name)
    };
}

#[cfg(all(test, madsim))]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_bug_is_there_only_while_it_is_planted() {
        assert!(!sabotage!("decision.sync"));
        let planted = plant(&Sabotage::from_names(&names(&["decision.sync"])).unwrap());
        assert!(sabotage!("decision.sync") && !sabotage!("commit.gate"));
        assert_eq!(planted.hits(), Hits::from([("decision.sync", 1)]));
        drop(planted);
        assert!(!sabotage!("decision.sync"));
    }

    #[test]
    fn an_unknown_bug_is_told_all_there_are() {
        let error = Sabotage::from_names(&names(&["decision.sync", "everything"])).unwrap_err();
        assert!(error.starts_with("unknown sabotage \"everything\", expected one of: aggregate.average, "), "{error}");
        assert!(error.ends_with(", writer.stash"), "{error}");
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(ALL.is_sorted_by_key(|bug| bug.name));
    }
}
