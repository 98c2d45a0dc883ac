//! Shrinking: from a scenario that fails to a short one that fails in the same way.
//!
//! Delta debugging over the parsed scenario. What may be left out or made simpler: faults and their times, clients,
//! their operations and the words of these, steps of the story, options of statements, nodes, checkers, pauses. All of it
//! is shrunk together, pass after pass ([`passes`]), until a round of all passes finds nothing more (a *fixpoint*), or the
//! tries or the time are used up.
//!
//! | promise | how |
//! |---|---|
//! | the same violation | a candidate counts only if the [`Oracle`] names the violation that the scenario began with |
//! | a valid scenario | candidates that do not parse are not tried |
//! | one order, whoever runs it | of the candidates that are tried side by side the first in order is taken |
//! | an end | every candidate is simpler than what it comes from: fewer lines, then fewer characters and smaller digits; or a fault strikes at a probe and no longer by the clock |
//!
//! What a fault's removal shifts may make a failure go away that is still there. Two things help: an operation that is
//! left out leaves its pause to the next one, so that the others keep their moments; and once nothing more is found with the
//! seed at hand, candidates are also tried with a few others. The seed that fails is in the text's `cluster` line.
//!
//! Knows the language of scenarios, and no system: what only a system can make simpler it learns from its
//! [`Vocabulary`]. Reading order: this file, [`story`] (a scenario as parts), [`passes`], `timing`.

pub mod passes;
pub mod story;
#[cfg(test)]
mod tests;
mod timing;

use super::fingerprint::digest;
use super::scenario::problem::ParseError;
use super::scenario::stage::Vocabulary;
use super::scenario::{Scenario, parse};
use passes::{Context, PASSES, Pass};
use std::collections::BTreeSet;
use std::fmt;
use story::Story;

/// Who knows what a scenario shows.
pub trait Oracle {
    /// So many runs are worth asking for at a time.
    fn at_once(&self) -> usize;

    /// The violation of each run, a scenario's text with a seed; `None` for one that does not fail.
    fn violations(&self, runs: &[(String, u64)]) -> Vec<Option<String>>;

    /// Whether to end with what there is: the time is over, or somebody is tired of waiting.
    fn enough(&self) -> bool {
        false
    }

    /// Hears what has become of the scenario so far, whenever it has become less.
    fn told(&self, _so_far: &Shrunk) {}
}

/// How much to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Runs, in all.
    pub tries: usize,
    /// So many seeds besides its own are tried with a candidate, once its own finds nothing more.
    pub other_seeds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { tries: 600, other_seeds: 2 }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    pub text: String,
    /// The seed with which the text fails.
    pub seed: u64,
    pub violation: String,
    /// Lines that are neither empty nor a comment; before, those of the scenario with every draw made explicit.
    pub lines_before: usize,
    pub lines_after: usize,
    pub tries: usize,
    /// Whether nothing more was found; otherwise the tries or the time were over.
    pub finished: bool,
}

/// Why nothing was shrunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not fail with this seed.
    Holds,
    Malformed(ParseError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Holds => f.write_str("it does not fail with this seed: there is nothing to shrink"),
            Refusal::Malformed(error) => error.fmt(f),
        }
    }
}

/// Shrinks `scenario`, which fails with `seed`.
pub fn shrink(
    scenario: &Scenario,
    seed: u64,
    words: &dyn Vocabulary,
    oracle: &dyn Oracle,
    limits: Limits,
) -> Result<Shrunk, Refusal> {
    let first = oracle.violations(&[(scenario.text.clone(), seed)]).pop().flatten();
    let violation = first.ok_or(Refusal::Holds)?;
    let before = lines(&scenario.text);
    let mut shrinker = Shrinker {
        story: Story::of(scenario),
        context: Context { words, violation: violation.clone(), size: 0 },
        oracle,
        limits,
        seen: BTreeSet::new(),
        best: Shrunk {
            text: scenario.text.clone(),
            seed,
            violation,
            lines_before: before,
            lines_after: before,
            tries: 1,
            finished: false,
        },
        wide: false,
    };
    shrinker.begin().map_err(Refusal::Malformed)?;
    shrinker.run();
    Ok(shrinker.best)
}

/// Lines that say something.
pub fn lines(text: &str) -> usize {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

struct Shrinker<'a> {
    /// What `best` says, as parts.
    story: Story,
    context: Context<'a>,
    oracle: &'a dyn Oracle,
    limits: Limits,
    /// What has been tried, by the digest of its text.
    seen: BTreeSet<u64>,
    best: Shrunk,
    /// Whether other seeds are tried, too.
    wide: bool,
}

impl Shrinker<'_> {
    /// Writes the scenario in its own words, every draw made explicit, if it fails so too: what is short for much cannot be
    /// shrunk. Errors: the scenario comes out as none, which a hand-written one may.
    fn begin(&mut self) -> Result<(), ParseError> {
        let plain = self.story.clone();
        let expanded = plain.expanded(self.best.seed, self.context.words);
        self.wide = true;
        let candidates = if expanded == plain { vec![plain.clone()] } else { vec![expanded, plain.clone()] };
        if self.improve(candidates) {
            self.best.lines_before = self.best.lines_after;
        } else {
            parse("shrunk", &plain.text(self.best.seed), self.context.words)?;
        }
        self.wide = false;
        Ok(())
    }

    fn run(&mut self) {
        loop {
            let before = self.best.text.clone();
            for pass in PASSES {
                for size in (pass.sizes)(&self.story) {
                    self.context.size = size;
                    self.walk(pass);
                }
            }
            let (found, over) = (self.best.text != before, self.over());
            if over || (!found && (self.wide || self.limits.other_seeds == 0)) {
                self.best.finished = !over;
                return;
            }
            self.wide = !found;
        }
    }

    /// Tries the candidates in order. After one that is taken, goes on at its place in the list of the new story: what it
    /// left out is gone from there.
    fn walk(&mut self, pass: &Pass) {
        let mut at = 0;
        loop {
            let all = (pass.candidates)(&self.story, &self.context);
            if at >= all.len() || self.over() {
                return;
            }
            let limit = self.story.cost();
            let simple = |story: &Story| story.cost() < limit || (pass.may_cost_more && *story != self.story);
            let simpler: Vec<(usize, Story)> =
                all.into_iter().enumerate().skip(at).filter(|(_, story)| simple(story)).collect();
            match self.first_that_fails(&simpler) {
                Some(place) => at = simpler[place].0,
                None => return,
            }
        }
    }

    fn improve(&mut self, candidates: Vec<Story>) -> bool {
        let numbered: Vec<(usize, Story)> = candidates.into_iter().enumerate().collect();
        self.first_that_fails(&numbered).is_some()
    }

    /// Takes the first candidate that fails as it should.
    fn first_that_fails(&mut self, candidates: &[(usize, Story)]) -> Option<usize> {
        let mut waiting = candidates.iter().enumerate();
        loop {
            let mut runs: Vec<(usize, String, u64)> = Vec::new();
            for (place, (_, story)) in waiting.by_ref() {
                runs.extend(self.runs(story).into_iter().map(|(text, seed)| (place, text, seed)));
                if runs.len() >= self.oracle.at_once() {
                    break;
                }
            }
            if runs.is_empty() || self.over() {
                return None;
            }
            for some in runs.chunks(self.oracle.at_once().max(1)) {
                let asked: Vec<(String, u64)> = some.iter().map(|(_, text, seed)| (text.clone(), *seed)).collect();
                self.best.tries += asked.len();
                let found = self.oracle.violations(&asked);
                let fails = found.iter().position(|found| found.as_ref() == Some(&self.best.violation));
                // What was tried behind the first that fails counts as not tried: it depends on how many go at a time.
                let counted = fails.map_or(some.len(), |index| index + 1);
                self.seen.extend(some[..counted].iter().map(|(_, text, _)| digest(text.as_bytes())));
                if let Some(index) = fails {
                    let (place, text, seed) = &some[index];
                    self.take(candidates[*place].1.clone(), text, *seed);
                    return Some(*place);
                }
            }
        }
    }

    /// Texts and seeds to try of a candidate: none if it is no scenario, or has been tried.
    fn runs(&self, story: &Story) -> Vec<(String, u64)> {
        let own = self.best.seed;
        if parse("shrunk", &story.text(own), self.context.words).is_err() {
            return vec![];
        }
        let others =
            (1..).filter(|seed| *seed != own).take(if self.wide { self.limits.other_seeds as usize } else { 0 });
        let runs: Vec<(String, u64)> = [own].into_iter().chain(others).map(|seed| (story.text(seed), seed)).collect();
        runs.into_iter().filter(|(text, _)| !self.seen.contains(&digest(text.as_bytes()))).collect()
    }

    fn take(&mut self, story: Story, text: &str, seed: u64) {
        self.story = story;
        self.best = Shrunk { text: text.to_string(), seed, lines_after: lines(text), ..self.best.clone() };
        self.oracle.told(&self.best);
    }

    fn over(&self) -> bool {
        self.best.tries >= self.limits.tries || self.oracle.enough()
    }
}
