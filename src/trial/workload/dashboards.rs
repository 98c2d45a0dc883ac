//! `dashboards`: sensors write, and dashboards ask what people ask of such tables: buckets of time, totals, the newest
//! and the largest, groups on and off the space column, joins with a small local table.
//!
//! Rows are written by the operations of `batches`, with values (`TIME/DEVICE=VALUE`). What the answers must be is
//! computed by [`Question::answer`].

use super::options::{self, Number};
use super::{Performer, batches, rows};
use crate::sim::chance::Stream;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::trial::history::Answer;
use crate::trial::question::{FORMS as QUESTIONS, LABELLED, Question, Span, label};
use rand::Rng;
use std::fmt;

pub const COLUMNS: &str =
    "time timestamptz NOT NULL, device text NOT NULL, writer int, batch int, row int, rows int, value double precision";

/// Rows of nobody: questions leave the writer -1 out.
pub fn fresh_write(table: &str) -> String {
    format!(
        "INSERT INTO {table} VALUES ('2023-01-01 00:00:00+00', 'fresh', -1, 0, 0, 1, 1), ('2023-01-21 00:00:00+00', 'write', -1, 0, 1, 1, 2)"
    )
}

/// The local table that questions join with.
pub fn companions(table: &str) -> Vec<String> {
    let places: Vec<String> = (0..LABELLED).map(|device| format!("device {device}")).collect();
    let value = |place: &String| format!("('{place}', '{}')", label(place).unwrap_or_default());
    let values: Vec<String> = places.iter().map(value).collect();
    vec![
        format!("CREATE TABLE {table}_labels (device text, label text)"),
        format!("INSERT INTO {table}_labels VALUES {}", values.join(", ")),
    ]
}

/// `ask TABLE QUESTION…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    table: String,
    question: Question,
}

pub const FORMS: [&str; 1] = ["ask TABLE QUESTION…"];

impl Operation {
    /// `None` if the verb is another workload's.
    pub fn parse(verb: &str, rest: &[&str]) -> Option<Result<Operation, String>> {
        if verb != "ask" {
            return None;
        }
        let Some((table, words)) = rest.split_first() else {
            return Some(Err(format!("expected: ask TABLE QUESTION, QUESTION one of: {QUESTIONS}")));
        };
        Some(Question::parse(words).map(|question| Operation { table: table.to_string(), question }))
    }

    pub(super) async fn perform(&self, performer: &mut Performer) -> Done {
        let invoked = performer.now();
        match performer.statement(&self.question.sql(&self.table)).await {
            Ok(output) => {
                let (question, completed, rows) = (self.question.clone(), performer.now(), rows(output));
                let done = Done::ok(format!("{} lines", rows.len()));
                let answer = Answer { question, invoked, completed, rows };
                performer.remember(|history| history.answers.entry(self.table.clone()).or_default().push(answer));
                done
            }
            Err(refusal) => refusal.into(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ask {} {}", self.table, self.question)
    }
}

/// The options of a `workload dashboards` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub sensors: batches::Options,
    pub dashboards: u32,
    pub questions: u32,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let none = WorkloadSpec { name: spec.name.clone(), options: vec![] };
        let sensors = batches::Options { readers: 0, valued: true, ..batches::Options::from_spec(&none)? };
        let mut options = Options { sensors, dashboards: 1, questions: 12 };
        let numbers: [Number<'_>; 6] = [
            ("sensors", 0..=1_000, &mut options.sensors.writers),
            ("batches", 0..=1_000_000, &mut options.sensors.batches),
            ("dashboards", 0..=1_000, &mut options.dashboards),
            ("questions", 0..=1_000_000, &mut options.questions),
            ("days", 1..=3_650, &mut options.sensors.days),
            ("pause_ms", options::PAUSES_MS, &mut options.sensors.pause_ms_max),
        ];
        options::read(spec, &mut options.sensors.table, numbers)?;
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        let sensors = self.sensors.clients(chance);
        let table = &self.sensors.table;
        let mut ask = |_| {
            let pause = options::pause(self.sensors.pause_ms_max, chance);
            let operation = Operation { table: table.clone(), question: self.question(chance) };
            Timed { pause, text: operation.to_string() }
        };
        let questions = |_| (0..self.questions).map(&mut ask).collect();
        let dashboards = options::clients(table, "dashboard", self.dashboards, questions);
        [sensors, dashboards].concat()
    }

    fn question(&self, chance: &mut Stream) -> Question {
        let days = i64::from(self.sensors.days);
        let from = chance.random_range(0..days);
        let before = from + chance.random_range(1..=days);
        let span = Span { from: batches::time(from, 0), before: batches::time(before, 0) };
        let hours = [1, 6, 24, 168][chance.random_range(0..4)];
        let device = chance.random_range(0..batches::DEVICES);
        match chance.random_range(0..10) {
            0 => Question::Total(span),
            1 => Question::Buckets { hours, span },
            2 => Question::DeviceBuckets { hours, device },
            3 => Question::Top(chance.random_range(1..=10)),
            4 => Question::Latest { device, rows: chance.random_range(1..=5) },
            5 => Question::ByDevice,
            6 => Question::ByWriter(span),
            7 => Question::Devices(span),
            8 => Question::Peaks { hours, rows: chance.random_range(1..=5) },
            _ => Question::ByLabel,
        }
    }
}
