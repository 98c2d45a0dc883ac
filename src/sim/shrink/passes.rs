//! What is tried: each pass lists candidates that are simpler than a story in one respect, the boldest first.

use super::story::{Part, Story};
use super::timing;
use crate::sim::scenario::stage::Vocabulary;
use crate::sim::scenario::{ClientBlock, Fault, Links, Nemesis, When};
use std::ops::Range;
use std::time::Duration;

/// What candidates may depend on besides the story.
pub struct Context<'a> {
    pub words: &'a dyn Vocabulary,
    /// The violation to keep.
    pub violation: String,
    /// Of the pieces that are left out: see [`Pass::sizes`].
    pub size: usize,
}

/// One respect in which a story can be simpler.
pub struct Pass {
    /// The pass is made with each of these sizes in turn: halves, quarters …, single things.
    pub sizes: fn(&Story) -> Vec<usize>,
    pub candidates: fn(&Story, &Context) -> Vec<Story>,
    /// Whether its candidates may be longer than what they come from: there is an end to them all the same.
    pub may_cost_more: bool,
}

const fn pass(sizes: fn(&Story) -> Vec<usize>, candidates: fn(&Story, &Context) -> Vec<Story>) -> Pass {
    Pass { sizes, candidates, may_cost_more: false }
}

/// All passes in the order of a round: what takes much away comes first, because every later try is then faster.
pub const PASSES: &[Pass] = &[
    pass(|story| halves(count(story, is_fault)), fewer_faults),
    pass(once, earlier_hits),
    pass(|story| halves(story.clients().count()), fewer_clients),
    pass(|story| halves(operations(story)), fewer_operations),
    pass(once, fewer_steps),
    pass(once, simpler_statements),
    pass(once, fewer_nodes),
    pass(once, simpler_faults),
    pass(once, timing::simpler_times),
    pass(|story| halves(longest_operation(story)), fewer_words),
    pass(once, simpler_operations),
    Pass { sizes: once, candidates: fewer_checkers, may_cost_more: true },
    Pass { sizes: once, candidates: probes_for_delays, may_cost_more: true },
];

fn once(_: &Story) -> Vec<usize> {
    vec![1]
}

/// `n`, `n/2`, …, 1.
fn halves(mut count: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    while count > 0 {
        sizes.push(count);
        count /= 2;
    }
    sizes
}

fn count(story: &Story, which: fn(&Part) -> bool) -> usize {
    story.parts.iter().filter(|part| which(part)).count()
}

fn is_fault(part: &Part) -> bool {
    matches!(part, Part::Fault(nemesis) if !matches!(nemesis.fault, Fault::Recover | Fault::Heal))
}

fn operations(story: &Story) -> usize {
    story.clients().map(|block| block.operations.len()).sum()
}

fn longest_operation(story: &Story) -> usize {
    let words = |block: &ClientBlock| block.operations.iter().map(|one| one.text.split(' ').count()).max();
    story.clients().filter_map(words).max().unwrap_or_default()
}

/// Neighbouring pieces of `0..count`.
fn pieces(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(size.max(1)).map(move |start| start..(start + size).min(count))
}

fn fewer_faults(story: &Story, context: &Context) -> Vec<Story> {
    let places: Vec<usize> = (0..story.parts.len()).filter(|at| is_fault(&story.parts[*at])).collect();
    fewer_parts(story, &places, context.size)
}

fn fewer_clients(story: &Story, context: &Context) -> Vec<Story> {
    let is_client = |part: &Part| matches!(part, Part::Client(_));
    let places: Vec<usize> = (0..story.parts.len()).filter(|at| is_client(&story.parts[*at])).collect();
    fewer_parts(story, &places, context.size)
}

/// Without one of the other parts.
fn fewer_steps(story: &Story, _: &Context) -> Vec<Story> {
    let places: Vec<usize> = (0..story.parts.len()).collect();
    fewer_parts(story, &places, 1)
}

fn fewer_parts(story: &Story, places: &[usize], size: usize) -> Vec<Story> {
    let without = |piece: Range<usize>| {
        let gone = &places[piece];
        let kept = story.parts.iter().enumerate().filter(|(at, _)| !gone.contains(at));
        Story { parts: kept.map(|(_, part)| part.clone()).collect(), ..story.clone() }.tidied()
    };
    pieces(places.len(), size).map(without).collect()
}

fn fewer_operations(story: &Story, context: &Context) -> Vec<Story> {
    pieces(operations(story), context.size).map(|piece| without_operations(story, &piece)).collect()
}

/// The pauses of operations that are left out are left to those after them: these keep their moments.
fn without_operations(story: &Story, gone: &Range<usize>) -> Story {
    let mut story = story.clone();
    let mut number = 0;
    for block in story.clients_mut() {
        let (mut kept, mut carried) = (Vec::new(), (Duration::ZERO, Duration::ZERO));
        for mut operation in std::mem::take(&mut block.operations) {
            let pause = (operation.pause.0 + carried.0, operation.pause.1 + carried.1);
            if gone.contains(&number) {
                carried = pause;
            } else {
                operation.pause = pause;
                carried = (Duration::ZERO, Duration::ZERO);
                kept.push(operation);
            }
            number += 1;
        }
        block.operations = kept;
    }
    story.tidied()
}

/// Operations with fewer words: what is no operation then is not tried.
fn fewer_words(story: &Story, context: &Context) -> Vec<Story> {
    let shorter = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let without = |piece: Range<usize>| [&words[..piece.start], &words[piece.end..]].concat().join(" ");
        // The first word is the operation's verb.
        pieces(words.len() - 1, context.size).map(|piece| without(piece.start + 1..piece.end + 1)).collect()
    };
    other_operations(story, &shorter)
}

fn simpler_operations(story: &Story, context: &Context) -> Vec<Story> {
    other_operations(story, &|text| context.words.simpler_operations(text))
}

fn other_operations(story: &Story, others: &dyn Fn(&str) -> Vec<String>) -> Vec<Story> {
    let mut candidates = Vec::new();
    let places = story.clients().enumerate().flat_map(|(client, block)| {
        block.operations.iter().enumerate().map(move |(at, operation)| (client, at, &operation.text))
    });
    for (client, at, text) in places {
        candidates.extend(others(text).into_iter().map(|other| {
            let mut story = story.clone();
            if let Some(block) = story.clients_mut().nth(client) {
                block.operations[at].text = other;
            }
            story
        }));
    }
    candidates
}

fn simpler_statements(story: &Story, context: &Context) -> Vec<Story> {
    each_part(story, &|part| match part {
        Part::Statement { head, text } => {
            let other = |text| Part::Statement { head: head.clone(), text };
            context.words.simpler_statements(text).into_iter().map(other).collect()
        }
        _ => vec![],
    })
}

/// Candidates that have another form of one part.
fn each_part(story: &Story, others: &dyn Fn(&Part) -> Vec<Part>) -> Vec<Story> {
    let mut candidates = Vec::new();
    for (at, part) in story.parts.iter().enumerate() {
        candidates.extend(others(part).into_iter().map(|other| {
            let mut story = story.clone();
            story.parts[at] = other;
            story
        }));
    }
    candidates
}

fn each_fault(story: &Story, others: &dyn Fn(&Nemesis) -> Vec<Nemesis>) -> Vec<Story> {
    each_part(story, &|part| match part {
        Part::Fault(nemesis) => others(nemesis).into_iter().map(Part::Fault).collect(),
        _ => vec![],
    })
}

/// With fewer operations a probe is reached less often: a fault that waits for its 20th hit would not strike any more.
fn earlier_hits(story: &Story, _: &Context) -> Vec<Story> {
    each_fault(story, &|nemesis| match &nemesis.when {
        When::At { probe, hits: (low, _) } => {
            let at = |hit| Nemesis { when: When::At { probe: probe.clone(), hits: (hit, hit) }, ..nemesis.clone() };
            let mut hits = vec![1, 2, low / 4, low / 2, low - 1];
            hits.retain(|hit| (1..*low).contains(hit));
            hits.dedup();
            hits.into_iter().map(at).collect()
        }
        _ => vec![],
    })
}

/// What strikes by the clock strikes at a probe instead: that says what it interrupts, and holds when times change. Only
/// once the story is small, for there are many probes.
fn probes_for_delays(story: &Story, context: &Context) -> Vec<Story> {
    let delayed = |part: &Part| matches!(part, Part::Fault(nemesis) if matches!(nemesis.when, When::After(..)));
    if count(story, delayed) > DELAYS_MAX || operations(story) > OPERATIONS_MAX {
        return vec![];
    }
    each_fault(story, &|nemesis| match nemesis.when {
        When::After(..) => {
            let at = |probe: &&str| When::At { probe: probe.to_string(), hits: (1, 1) };
            context.words.probes().iter().map(|probe| Nemesis { when: at(probe), ..nemesis.clone() }).collect()
        }
        _ => vec![],
    })
}

const DELAYS_MAX: usize = 2;
const OPERATIONS_MAX: usize = 8;

fn simpler_faults(story: &Story, _: &Context) -> Vec<Story> {
    each_fault(story, &|nemesis| {
        let with = |fault: Fault| Nemesis { fault, ..nemesis.clone() };
        let mut others =
            vec![Nemesis { when: When::Now, ..nemesis.clone() }, Nemesis { lasts: None, ..nemesis.clone() }];
        let fewer = nemesis.fault.links().iter().flat_map(fewer_links).collect::<Vec<_>>();
        others.extend(fewer.into_iter().map(|links| with(nemesis.fault.over(links))));
        others
    })
}

fn fewer_links(links: &Links) -> Vec<Links> {
    match links {
        Links::Between(groups) => fewer_names(groups).into_iter().map(Links::Between).collect(),
        Links::OneWay(from, to) => {
            let fewer = fewer_names(std::slice::from_ref(to)).into_iter().flatten();
            fewer.map(|to| Links::OneWay(from.clone(), to)).collect()
        }
    }
}

/// The groups without one of their names each; none becomes empty.
fn fewer_names(groups: &[Vec<String>]) -> Vec<Vec<Vec<String>>> {
    let mut fewer = Vec::new();
    for (group, names) in groups.iter().enumerate().filter(|(_, names)| names.len() > 1) {
        for at in 0..names.len() {
            let mut groups = groups.to_vec();
            groups[group].remove(at);
            fewer.push(groups);
        }
    }
    fewer
}

/// Smaller clusters. Faults lose the names of nodes that are gone, and go themselves if no name is left.
fn fewer_nodes(story: &Story, _: &Context) -> Vec<Story> {
    let (data, spare) = (story.cluster.data, story.cluster.spare);
    let mut sizes =
        vec![(data, 0), (1, 0), (data / 2, 0), (data.saturating_sub(1), 0), (data.saturating_sub(1), spare)];
    sizes.push((data, spare.saturating_sub(1)));
    sizes.retain(|size| *size != (data, spare) && size.0 <= data && size.1 <= spare);
    // A cluster without any node fails at everything, and shows nothing.
    sizes.retain(|size| size.0 > 0 || data == 0);
    sizes.dedup();
    sizes.into_iter().map(|(data, spare)| with_nodes(story, data, spare)).collect()
}

fn with_nodes(story: &Story, data: u16, spare: u16) -> Story {
    let before = story.cluster.data + story.cluster.spare;
    let gone: Vec<String> = (data + spare..before).map(|number| format!("node{number}")).collect();
    let mut story = story.clone();
    (story.cluster.data, story.cluster.spare) = (data, spare);
    let kept = |part: Part| match part {
        Part::Fault(nemesis) => without_nodes(nemesis, &gone).map(Part::Fault),
        part => Some(part),
    };
    story.parts = story.parts.into_iter().filter_map(kept).collect();
    story
}

fn without_nodes(nemesis: Nemesis, gone: &[String]) -> Option<Nemesis> {
    if !nemesis.fault.nodes().into_iter().any(|node| gone.iter().any(|name| name == node)) {
        return Some(nemesis);
    }
    let left = |names: &[String]| names.iter().filter(|name| !gone.contains(name)).cloned().collect::<Vec<_>>();
    let links = match nemesis.fault.links()? {
        Links::Between(groups) => {
            let groups = groups.iter().map(|group| left(group)).filter(|group| !group.is_empty());
            Some(groups.collect::<Vec<_>>()).filter(|groups| groups.len() > 1).map(Links::Between)
        }
        Links::OneWay(from, to) => {
            let to = left(&to);
            (!gone.contains(&from) && !to.is_empty()).then_some(Links::OneWay(from, to))
        }
    };
    Some(Nemesis { fault: nemesis.fault.over(links?), ..nemesis })
}

/// Only those that the violation names; and without one of them.
fn fewer_checkers(story: &Story, context: &Context) -> Vec<Story> {
    let speak: Vec<String> = context.violation.split(' ').map(str::to_string).collect();
    each_part(story, &|part| {
        let Part::Check(names) = part else { return vec![] };
        let speaking = context.words.checkers().into_iter().map(str::to_string).filter(|name| speak.contains(name));
        let speaking: Vec<String> = speaking.collect();
        let without = |at: usize| {
            let mut names = names.clone();
            names.remove(at);
            names
        };
        let fewer = (0..names.len()).map(without);
        [speaking].into_iter().chain(fewer).filter(|names| !names.is_empty()).map(Part::Check).collect()
    })
}
