use super::*;
use crate::sim::chance::Stream;
use crate::sim::scenario::{Action, ClientBlock, WorkloadSpec};
use proptest::prelude::*;
use std::cell::Cell;

/// A system whose operations are `put` and `get` with any number of words.
struct Toy;

impl Vocabulary for Toy {
    fn workload(&self, spec: &WorkloadSpec, chance: &mut Stream) -> Result<Vec<ClientBlock>, String> {
        use rand::Rng;
        let operation = |_| crate::sim::scenario::Timed {
            pause: Default::default(),
            text: format!("put {}", chance.random_range(0..10)),
        };
        let operations = (0..20).map(operation).collect();
        Ok(vec![ClientBlock { name: spec.name.clone(), accompanies: vec![], operations }])
    }

    fn operation(&self, text: &str) -> Result<(), String> {
        let known = ["put", "get"].contains(&text.split(' ').next().unwrap_or_default());
        known.then_some(()).ok_or_else(|| "expected: put or get".to_string())
    }

    fn checkers(&self) -> Vec<&'static str> {
        vec!["sums", "order"]
    }

    fn snapshots(&self) -> Vec<&'static str> {
        vec![]
    }

    fn probes(&self) -> &'static [&'static str] {
        &["toy.saved"]
    }

    fn simpler_statements(&self, statement: &str) -> Vec<String> {
        statement.split_once(" WITH ").map(|(plain, _)| plain.to_string()).into_iter().collect()
    }
}

/// Says what a made-up system does with a scenario and a seed.
struct MadeUp<'a> {
    judge: &'a dyn Fn(&Scenario, u64) -> Option<String>,
    tries: Cell<usize>,
    at_once: usize,
}

impl Oracle for MadeUp<'_> {
    fn at_once(&self) -> usize {
        self.at_once
    }

    fn violations(&self, runs: &[(String, u64)]) -> Vec<Option<String>> {
        self.tries.set(self.tries.get() + runs.len());
        let scenario = |text: &str| parse("x.slt", text, &Toy).unwrap_or_else(|error| panic!("{error}\n{text}"));
        runs.iter().map(|(text, seed)| (self.judge)(&scenario(text), *seed)).collect()
    }
}

fn shrunk(text: &str, seed: u64, limits: Limits, judge: &dyn Fn(&Scenario, u64) -> Option<String>) -> Shrunk {
    let scenario = parse("x.slt", text, &Toy).unwrap();
    let [one, many] = [1, 5].map(|at_once| {
        let oracle = MadeUp { judge, tries: Cell::new(0), at_once };
        let shrunk = shrink(&scenario, seed, &Toy, &oracle, limits).unwrap();
        assert_eq!(shrunk.tries, oracle.tries.get());
        shrunk
    });
    assert_eq!((&one.text, one.seed), (&many.text, many.seed), "who tries side by side finds the same");
    one
}

fn operations(scenario: &Scenario) -> Vec<String> {
    let texts = |action: &Action| match action {
        Action::Client(block) => block.operations.iter().map(|one| one.text.clone()).collect(),
        _ => vec![],
    };
    scenario.steps.iter().flat_map(|step| texts(&step.action)).collect()
}

fn faults(scenario: &Scenario) -> Vec<String> {
    let text = |action: &Action| match action {
        Action::Nemesis(nemesis) => Some(nemesis.to_string()),
        _ => None,
    };
    scenario.steps.iter().filter_map(|step| text(&step.action)).collect()
}

fn has(texts: &[String], part: &str) -> bool {
    texts.iter().any(|text| text.contains(part))
}

const STORY: &str = "\
# A story with much in it.
cluster data=4 spare=1 seed=3 world=sim

statement ok
CREATE TABLE t WITH (colour = 'red')

nemesis crash node3 after 1s..2s for 3s     # of no importance
nemesis partition an node0 | node1 node4 after 1234ms for 4321ms
nemesis crash node0 at toy.saved hit 9 for 1s

client w0
17ms put a b c
1s put d
get e

client w1
2500ms put f
1500ms put needle and thread
3s put g

client r0 while w0 w1
0s..1s get a

connection c2
query I
SELECT 1
----
1

await workload
nemesis recover

check all
";

#[test]
fn what_does_not_matter_goes_and_the_rest_becomes_simple() {
    let judge = |scenario: &Scenario, _| {
        let both = has(&operations(scenario), "needle") && has(&faults(scenario), "partition");
        both.then(|| "safety sums".to_string())
    };
    let shrunk = shrunk(STORY, 3, Limits::default(), &judge);
    assert_eq!(
        shrunk.text,
        "cluster data=2 seed=3 world=sim\nnemesis partition node0 | node1\n\nclient w1\nput needle\n"
    );
    assert_eq!((shrunk.lines_after, shrunk.finished, shrunk.violation.as_str()), (4, true, "safety sums"));
    assert_eq!(shrunk.lines_before, 24);
}

#[test]
fn faults_of_links_lose_the_names_that_do_not_matter() {
    let text = "cluster data=4 seed=3\n\nnemesis tail an node3 | node0 node1 5% by 300ms\n\
                nemesis bandwidth node0 -> an node1 node3 100kB/s\n\ncheck all\n";
    let judge = |scenario: &Scenario, _| {
        let faults = faults(scenario);
        let both = has(&faults, "tail") && has(&faults, "bandwidth node0") && has(&faults, "node1");
        both.then(|| "safety sums".to_string())
    };
    let shrunk = shrunk(text, 3, Limits::default(), &judge).text;
    assert!(!shrunk.contains("node3") && shrunk.contains("data=2"), "{shrunk}");
    assert!(shrunk.contains("bandwidth node0 -> an 100kB/s") || !shrunk.contains("tail an | node0 node1"), "{shrunk}");
}

#[test]
fn an_unshrunk_story_keeps_everything_but_its_comments() {
    let judge = |scenario: &Scenario, _| (scenario.steps.len() == 11).then(|| "panic".to_string());
    let limits = Limits { tries: 2, other_seeds: 0 };
    let text = shrunk(STORY, 3, limits, &judge).text;
    let plain: Vec<&str> =
        STORY.lines().map(|line| line.split("  ").next().unwrap()).filter(|line| !line.starts_with('#')).collect();
    let kept: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let expected: Vec<&str> = plain.into_iter().filter(|line| !line.is_empty()).collect();
    // The range of the first fault is drawn.
    assert_eq!(kept.len(), expected.len());
    assert_eq!(kept[..3], expected[..3]);
    assert_eq!(kept[4..], expected[4..]);
}

#[test]
fn only_checkers_that_speak_are_kept() {
    let judge = |scenario: &Scenario, _| {
        let asked =
            |action: &Action| matches!(action, Action::Check(names) if has(names, "all") || has(names, "order"));
        scenario.steps.iter().any(|step| asked(&step.action)).then(|| "safety order".to_string())
    };
    assert_eq!(shrunk(STORY, 3, Limits::default(), &judge).text, "cluster data=1 seed=3 world=sim\ncheck order\n");
}

#[test]
fn another_violation_is_not_the_same() {
    let judge = |scenario: &Scenario, _| {
        let kind = if operations(scenario).len() > 3 { "safety sums" } else { "liveness" };
        Some(kind.to_string())
    };
    let shrunk = shrunk(STORY, 3, Limits::default(), &judge);
    let scenario = parse("x.slt", &shrunk.text, &Toy).unwrap();
    assert_eq!((operations(&scenario).len(), shrunk.violation.as_str()), (4, "safety sums"));
}

#[test]
fn a_fault_by_the_clock_strikes_at_a_probe_where_that_shows_the_same() {
    let text = "cluster data=1 seed=1\n\nnemesis crash an after 1s\n\nclient w0\n900ms put x\n";
    let judge = |scenario: &Scenario, _| {
        let in_time = has(&faults(scenario), "after 1s") && scenario.text.contains("900ms put x");
        (in_time || has(&faults(scenario), "at toy.saved hit 1")).then(|| "panic".to_string())
    };
    let shrunk = shrunk(text, 1, Limits::default(), &judge);
    assert_eq!(shrunk.text, "cluster data=1 seed=1\nnemesis crash an at toy.saved hit 1\n");
}

#[test]
fn a_failure_that_moves_to_another_seed_is_followed() {
    let judge = |scenario: &Scenario, seed| {
        let few = operations(scenario).len() < 7;
        (has(&operations(scenario), "needle") && (!few || seed == 2)).then(|| "safety sums".to_string())
    };
    let shrunk = shrunk(STORY, 3, Limits::default(), &judge);
    assert_eq!(shrunk.text, "cluster data=1 seed=2 world=sim\n\nclient w1\nput needle\n");
}

#[test]
fn a_workload_is_written_out_and_shrunk() {
    let text = "cluster data=1\n\nworkload toys\ncheck sums\n";
    let judge = |scenario: &Scenario, _| {
        let spelled = operations(scenario).iter().filter(|text| *text == "put 3").count() >= 1;
        let short = scenario.steps.iter().any(|step| matches!(step.action, Action::Workload(_)));
        (spelled || short).then(|| "safety sums".to_string())
    };
    let seed = (1..100).find(|seed| {
        let scenario = parse("x.slt", text, &Toy).unwrap();
        Story::of(&scenario).expanded(*seed, &Toy).to_string().contains("put 3")
    });
    let shrunk = shrunk(text, seed.unwrap(), Limits::default(), &judge);
    assert_eq!(shrunk.text, format!("cluster data=1 seed={}\n\nclient toys\nput 3\n", shrunk.seed));
    assert_eq!(shrunk.lines_before, 23);
}

#[test]
fn tries_are_bounded_and_a_scenario_that_holds_is_refused() {
    let fails = |_: &Scenario, _| Some("panic".to_string());
    let limits = Limits { tries: 4, other_seeds: 0 };
    assert!(
        !shrunk(STORY, 3, limits, &|scenario, _| has(&operations(scenario), "needle").then(|| "x".to_string()))
            .finished
    );
    assert!(shrunk(STORY, 3, Limits::default(), &fails).text.lines().count() == 1);
    let oracle = MadeUp { judge: &|_, _| None, tries: Cell::new(0), at_once: 1 };
    let scenario = parse("x.slt", STORY, &Toy).unwrap();
    assert_eq!(shrink(&scenario, 3, &Toy, &oracle, Limits::default()), Err(Refusal::Holds));
}

/// A scenario with these operations, by client, and so many faults.
fn written(clients: &[Vec<u32>], crashes: u32) -> String {
    let mut text = String::from("cluster data=3 world=sim\n\n");
    (0..crashes)
        .for_each(|number| text.push_str(&format!("nemesis crash node{} after {}ms\n", number % 3, number * 337)));
    for (client, values) in clients.iter().enumerate().filter(|(_, values)| !values.is_empty()) {
        text.push_str(&format!("\nclient w{client}\n"));
        values.iter().for_each(|value| text.push_str(&format!("{}ms put {value}\n", value * 13)));
    }
    text.push_str("\ncheck all\n");
    text
}

proptest! {
    /// Whatever two operations and fault a failure hangs on: nothing is left that could go.
    #[test]
    fn a_result_is_one_minimal(
        clients in prop::collection::vec(prop::collection::vec(0..40_u32, 0..12), 1..5),
        crashes in 1..5_u32,
        picks in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3_u32),
    ) {
        let all: Vec<u32> = clients.iter().flatten().copied().collect();
        prop_assume!(!all.is_empty());
        let needles = [all[picks.0.index(all.len())], all[picks.1.index(all.len())]];
        let node = picks.2 % crashes;
        let judge = move |scenario: &Scenario, _| {
            let there = |value: &u32| operations(scenario).contains(&format!("put {value}"));
            let crashed = faults(scenario).iter().any(|fault| fault.starts_with(&format!("crash node{node}")));
            (needles.iter().all(there) && crashed).then(|| "safety sums".to_string())
        };
        let shrunk = shrunk(&written(&clients, crashes), 1, Limits { tries: 100_000, other_seeds: 0 }, &judge);
        prop_assert!(shrunk.finished);
        let scenario = parse("x.slt", &shrunk.text, &Toy).unwrap();
        let distinct = if needles[0] == needles[1] { 1 } else { 2 };
        prop_assert_eq!(operations(&scenario).len(), distinct);
        prop_assert_eq!(faults(&scenario).len(), 1);
        prop_assert_eq!(scenario.cluster.data, (node + 1) as u16);
        prop_assert!(shrunk.text.lines().all(|line| !line.contains("ms")), "{}", shrunk.text);
    }
}
