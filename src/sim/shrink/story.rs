//! A scenario as parts that can be left out or made simpler, and back to text.

use crate::sim::chance;
use crate::sim::scenario::stage::Vocabulary;
use crate::sim::scenario::{Action, ClientBlock, ClusterSpec, Nemesis, Record, Scenario, Step, WorkloadSpec};
use crate::units::exact;
use rand::Rng;
use std::fmt;
use std::time::Duration;

/// A scenario without its comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    pub cluster: ClusterSpec,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Fault(Nemesis),
    Client(ClientBlock),
    Workload(WorkloadSpec),
    Advance(Duration),
    Check(Vec<String>),
    /// A statement from which nothing but its success is expected.
    Statement {
        /// The lines before its text.
        head: Vec<String>,
        text: String,
    },
    /// Everything else, as it stands in the file: it can be left out, and nothing more is known of it.
    Lines(Vec<String>),
}

impl Story {
    pub fn of(scenario: &Scenario) -> Story {
        let source: Vec<&str> = scenario.text.lines().collect();
        let mut parts = Vec::with_capacity(scenario.steps.len());
        let mut from = 0;
        for step in &scenario.steps {
            let until = end_of(step, &source);
            parts.push(part(step, &source, from, until));
            from = until;
        }
        Story { cluster: scenario.cluster.clone(), parts }
    }

    /// Every draw made explicit, as the run with this seed draws it: `workload` lines become their clients, ranges of
    /// faults become points.
    pub fn expanded(&self, seed: u64, words: &dyn Vocabulary) -> Story {
        let (mut faults, mut workload) = (chance::stream(seed, "faults"), chance::stream(seed, "workload"));
        // The first number is the clients' seed.
        let _: u64 = workload.random_range(0..=u64::MAX);
        let expand = |part: &Part| match part {
            Part::Fault(nemesis) => vec![Part::Fault(nemesis.fixed(&mut |range| faults.random_range(range)))],
            Part::Workload(spec) => {
                let seed = workload.random_range(0..=u64::MAX);
                let clients = words.workload(spec, &mut chance::stream(seed, &spec.name));
                clients.map_or(vec![part.clone()], |clients| clients.into_iter().map(Part::Client).collect())
            }
            other => vec![other.clone()],
        };
        Story { cluster: self.cluster.clone(), parts: self.parts.iter().flat_map(expand).collect() }
    }

    /// The scenario's text, which says that it fails with `seed`.
    pub fn text(&self, seed: u64) -> String {
        let cluster = ClusterSpec { seed: Some(seed), ..self.cluster.clone() };
        format!("{cluster}\n{self}")
    }

    /// What shall become less: lines first, then characters and the sum of digits, so that rounder is simpler.
    pub fn cost(&self) -> (usize, usize) {
        let text = self.text(0);
        let digits: u32 = text.chars().filter_map(|c| c.to_digit(10)).sum();
        (super::lines(&text), text.len() * DIGITS_A_CHARACTER + digits as usize)
    }

    pub fn clients(&self) -> impl Iterator<Item = &ClientBlock> {
        self.parts.iter().filter_map(|part| match part {
            Part::Client(block) => Some(block),
            _ => None,
        })
    }

    pub fn clients_mut(&mut self) -> impl Iterator<Item = &mut ClientBlock> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Client(block) => Some(block),
            _ => None,
        })
    }

    /// Leaves out clients that do nothing, and what others say of clients that are not there.
    pub fn tidied(mut self) -> Story {
        self.parts.retain(|part| !matches!(part, Part::Client(block) if block.operations.is_empty()));
        let names: Vec<String> = self.clients().map(|block| block.name.clone()).collect();
        self.clients_mut().for_each(|block| block.accompanies.retain(|name| names.contains(name)));
        self
    }
}

/// A character less is worth any digits.
const DIGITS_A_CHARACTER: usize = 9;

/// Everything after the `cluster` line.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = true;
        for part in &self.parts {
            let is_line = part.is_line();
            if !(before && is_line) {
                f.write_str("\n")?;
            }
            writeln!(f, "{part}")?;
            before = is_line;
        }
        Ok(())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Fault(nemesis) => write!(f, "nemesis {nemesis}"),
            Part::Client(block) => block.fmt(f),
            Part::Workload(spec) => spec.fmt(f),
            Part::Advance(duration) => write!(f, "advance {}", exact(*duration)),
            Part::Check(names) => write!(f, "check {}", names.join(" ")),
            Part::Statement { head, text } => write!(f, "{}\n{text}", head.join("\n")),
            Part::Lines(lines) => f.write_str(&lines.join("\n")),
        }
    }
}

impl Part {
    /// Whether it may stand on the line after another such part.
    fn is_line(&self) -> bool {
        match self {
            Part::Client(_) | Part::Statement { .. } => false,
            Part::Lines(lines) => lines.len() == 1,
            _ => true,
        }
    }
}

/// The index of the line after a step: directives are one line, records and clients end at an empty one.
fn end_of(step: &Step, source: &[&str]) -> usize {
    let first = step.line as usize;
    if !matches!(step.action, Action::Record { .. } | Action::Client(_)) {
        return first;
    }
    let rest = source.iter().skip(first).position(|line| line.trim().is_empty());
    rest.map_or(source.len(), |length| first + length)
}

fn part(step: &Step, source: &[&str], from: usize, until: usize) -> Part {
    match &step.action {
        Action::Nemesis(nemesis) => Part::Fault(nemesis.clone()),
        Action::Client(block) => Part::Client(block.clone()),
        Action::Workload(spec) => Part::Workload(spec.clone()),
        Action::Advance(duration) => Part::Advance(*duration),
        Action::Check(names) => Part::Check(names.clone()),
        action => {
            let own = step.line as usize - 1;
            let before = source[from..own].iter().filter(|line| says_something(line));
            let mut lines: Vec<String> = before.chain(&source[own..until]).map(ToString::to_string).collect();
            match action {
                Action::Record { record, .. } => match plain_statement(record) {
                    Some(sql) => {
                        lines.truncate(lines.len() - (until - own - 1));
                        Part::Statement { head: lines, text: sql.to_string() }
                    }
                    None => Part::Lines(lines),
                },
                _ => Part::Lines(lines.iter().map(|line| without_comment(line)).collect()),
            }
        }
    }
}

/// Between two steps there are lines that belong to the second (`connection c2`), comments, and the `cluster` line.
fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#') && line.split_whitespace().next() != Some("cluster")
}

fn without_comment(line: &str) -> String {
    line.split(" #").next().unwrap_or(line).trim().to_string()
}

/// The text of a statement that shall succeed, or may.
fn plain_statement(record: &Record) -> Option<&str> {
    use sqllogictest::StatementExpect as Expect;
    match record {
        sqllogictest::Record::Statement { sql, expected: Expect::Ok | Expect::Count(_), .. } => Some(sql.trim()),
        _ => None,
    }
}
