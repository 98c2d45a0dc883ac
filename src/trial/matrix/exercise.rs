//! Which mix brings a planted bug out: what happens in one run of fifty of the default mix is made the rule.

use crate::sabotage::Bug;
use crate::trial::plan::mix::Mix;
use crate::trial::words::Words;
use crate::trial::workload;

/// A mix, and the bugs it is for.
struct Exercise {
    name: &'static str,
    text: &'static str,
    bugs: &'static [&'static str],
}

/// For all other bugs.
const DEFAULT: Exercise = Exercise {
    name: "scenarios/swarm/default.mix",
    text: include_str!("../../../scenarios/swarm/default.mix"),
    bugs: &[],
};

const EXERCISES: [Exercise; 10] = [
    Exercise {
        name: "scenarios/swarm/sabotage/calm.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/calm.mix"),
        bugs: &["commit.participant", "engine.merge.newest", "replica.write", "rollback.sent"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/crashes.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/crashes.mix"),
        bugs: &[
            "catalog.chunk",
            "commit.one_phase",
            "decision.forgotten",
            "decision.sync",
            "engine.commit.sync",
            "engine.counters",
            "engine.prepare.sync",
            "engine.prepared.rollback",
            "engine.prepared.rows",
            "engine.resolve.sync",
            "host.file.sync",
            "node.blocked",
            "wire.closed",
        ],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/dashboards.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/dashboards.mix"),
        bugs: &["aggregate.average", "aggregate.full", "aggregate.limit"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/edges.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/edges.mix"),
        bugs: &["route.edge"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/lists.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/lists.mix"),
        bugs: &["engine.keys.snapshot", "engine.snapshot"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/new_chunks.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/new_chunks.mix"),
        bugs: &["plan.stale"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/one_node.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/one_node.mix"),
        bugs: &["commit.lost_answer"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/readers.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/readers.mix"),
        bugs: &["commit.gate", "snapshot.late"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/resolver.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/resolver.mix"),
        bugs: &["resolver.live"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/wide.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/wide.mix"),
        bugs: &["copy.last_batch", "writer.stash"],
    },
];

fn of(bug: &Bug) -> &'static Exercise {
    EXERCISES.iter().find(|exercise| exercise.bugs.contains(&bug.name)).unwrap_or(&DEFAULT)
}

/// The file of the bug's mix.
pub fn name_of(bug: &Bug) -> &'static str {
    of(bug).name
}

pub fn mix_of(bug: &Bug) -> Mix {
    let exercise = of(bug);
    Mix::parse(exercise.name, exercise.text, &workload::NAMES, &Words).expect("the tests parse every built-in mix")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sabotage;

    #[test]
    fn exercises_name_bugs_that_there_are_once() {
        let mut named: Vec<&str> = EXERCISES.iter().flat_map(|exercise| exercise.bugs).copied().collect();
        assert!(named.iter().all(|name| sabotage::ALL.iter().any(|bug| bug.name == *name)), "{named:?}");
        let count = named.len();
        named.sort_unstable();
        named.dedup();
        assert_eq!(named.len(), count);
    }
}
