//! The judges: pure over what clients saw and what the nodes hold in the end.

use hypertile::sim::checker::Violation;
use hypertile::sim::history::Ending;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a client did and what came of it.
#[derive(Clone, Debug)]
pub enum Happened {
    Append {
        word: String,
        ending: Ending,
        /// Its place in the log, from 1, if the client was told.
        number: Option<usize>,
        completed: Duration,
    },
    Read {
        node: String,
        words: Vec<String>,
        invoked: Duration,
    },
}

/// Each node's words in the end, by its name.
pub type FinalLogs = BTreeMap<String, Vec<String>>;

pub type Checker = fn(&[Happened], &FinalLogs) -> Vec<Violation>;

/// All judges by name, in the order in which they speak.
pub const ALL: [(&str, Checker); 2] = [("durability", durability), ("agreement", agreement)];

/// An acknowledged word is at its place on every node; nothing is there that was refused, that nobody appended, or twice.
fn durability(history: &[Happened], logs: &FinalLogs) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut known: BTreeMap<&str, Ending> = BTreeMap::new();
    for (node, words) in logs {
        for event in history {
            let Happened::Append { word, ending, number, completed } = event else { continue };
            known.insert(word, *ending);
            let place = number.map(|number| words.get(number - 1));
            if place.is_some_and(|there| there != Some(word)) {
                let there = place.flatten().map_or("nothing", String::as_str);
                let number = number.unwrap_or_default();
                found.push(format!(
                    "{word} was acknowledged as number {number} at {completed:?}; there {node} has {there}"
                ));
            }
        }
        let mut before = BTreeSet::new();
        for word in words {
            match known.get(word.as_str()) {
                Some(Ending::Failed) => found.push(format!("{node} has {word}, which was refused")),
                None if !word.starts_with(STORY) => found.push(format!("{node} has {word}, which nobody appended")),
                _ if !before.insert(word) => found.push(format!("{node} has {word} twice")),
                _ => {}
            }
        }
    }
    found.into_iter().map(|evidence| Violation { checker: "durability", evidence }).collect()
}

/// Words that the scenario's own statements append begin so; no client remembers them.
const STORY: &str = "story";

/// All nodes have the same log in the end, and it begins with whatever anybody ever read.
fn agreement(history: &[Happened], logs: &FinalLogs) -> Vec<Violation> {
    let Some((first, log)) = logs.first_key_value() else { return Vec::new() };
    let differing = logs.iter().filter(|(_, other)| *other != log).map(|(node, other)| {
        let (at, own, theirs) = difference(log, other);
        format!("as number {at}, {first} has {own} in the end, and {node} has {theirs}")
    });
    let unread = history.iter().filter_map(|event| match event {
        Happened::Read { node, words, invoked } if !log.starts_with(words) => {
            let (at, own, theirs) = difference(log, words);
            Some(format!("{node} showed {theirs} as number {at} at {invoked:?}; in the end {first} has {own} there"))
        }
        _ => None,
    });
    differing.chain(unread).map(|evidence| Violation { checker: "agreement", evidence }).collect()
}

/// The first place, from 1, at which two logs differ, and what they have there.
fn difference<'a>(one: &'a [String], other: &'a [String]) -> (usize, &'a str, &'a str) {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let there = |words: &'a [String]| words.get(at).map_or("nothing", String::as_str);
    (at + 1, there(one), there(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(word: &str, ending: Ending, number: Option<usize>) -> Happened {
        Happened::Append { word: word.to_string(), ending, number, completed: Duration::ZERO }
    }

    fn logs(all: &[&[&str]]) -> FinalLogs {
        let words = |words: &&[&str]| words.iter().map(ToString::to_string).collect();
        all.iter().enumerate().map(|(node, log)| (format!("n{node}"), words(log))).collect()
    }

    #[test]
    fn a_lost_a_moved_a_doubled_a_refused_and_an_invented_word_are_found() {
        let acknowledged = [append("a", Ending::Ok, Some(1)), append("b", Ending::Unknown, None)];
        assert!(durability(&acknowledged, &logs(&[&["a"], &["a", "b"]])).is_empty(), "unknown may go either way");
        assert_eq!(durability(&acknowledged, &logs(&[&["a"], &[]])).len(), 1, "lost");
        assert_eq!(durability(&acknowledged, &logs(&[&["b", "a"]])).len(), 1, "moved");
        assert_eq!(durability(&acknowledged, &logs(&[&["a", "b", "b"]])).len(), 1, "doubled");
        assert_eq!(durability(&acknowledged, &logs(&[&["a", "c", "story1"]])).len(), 1, "invented");
        assert_eq!(durability(&[append("a", Ending::Failed, None)], &logs(&[&["a"]])).len(), 1, "refused");
    }

    #[test]
    fn logs_that_differ_and_reads_that_came_undone_are_found() {
        let read = |words: &[&str]| Happened::Read {
            node: "n1".to_string(),
            words: words.iter().map(ToString::to_string).collect(),
            invoked: Duration::ZERO,
        };
        assert!(agreement(&[read(&[]), read(&["a"])], &logs(&[&["a", "b"], &["a", "b"]])).is_empty());
        assert_eq!(agreement(&[], &logs(&[&["a"], &["a", "b"]])).len(), 1);
        assert_eq!(agreement(&[read(&["b"])], &logs(&[&["a", "b"]])).len(), 1);
    }
}
