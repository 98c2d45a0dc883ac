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

const EXERCISES: [Exercise; 4] = [
    Exercise {
        name: "scenarios/swarm/sabotage/calm.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/calm.mix"),
        bugs: &[
            "aggregate.full",
            "commit.gate",
            "commit.participant",
            "copy.last_batch",
            "engine.merge.newest",
            "plan.stale",
            "replica.write",
            "rollback.sent",
            "writer.stash",
        ],
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
            "resolver.live",
            "wire.closed",
        ],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/edges.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/edges.mix"),
        bugs: &["route.edge"],
    },
    Exercise {
        name: "scenarios/swarm/sabotage/one_node.mix",
        text: include_str!("../../../scenarios/swarm/sabotage/one_node.mix"),
        bugs: &["commit.lost_answer"],
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
