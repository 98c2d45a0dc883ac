//! `churn`: clients that come and go, leave in the middle of a transaction, have statements cancelled, and make mistakes of
//! all kinds inside of blocks. Of what they left half done nothing may show, and nothing may stay behind.

use super::batches::Row;
use super::options::{self, Number};
use super::writing::{AGAIN, Way, Writing, identity};
use super::{Performer, STATEMENT_TIMEOUT, batches, no_answer};
use crate::error::codes;
use crate::sim::chance::Stream;
use crate::sim::history::Ending;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::units::{duration, exact};
use rand::Rng;
use std::fmt;
use std::time::Duration;

/// As those of `batches`, with a key, so that there is something to violate.
pub const COLUMNS: &str = "time timestamptz NOT NULL, device text NOT NULL, writer int, batch int, row int, rows int, \
     PRIMARY KEY (time, device, writer, batch, row)";

pub const FORMS: [&str; 5] = [
    "leave TABLE WRITER.BATCH TIME/DEVICE…",
    "cancel TABLE WRITER.BATCH AFTER TIME/DEVICE…",
    "walk-off TABLE WRITER.BATCH AFTER TIME/DEVICE…",
    "stumble TABLE WRITER.BATCH MISTAKE TIME/DEVICE…",
    "visit TABLE",
];

/// Something that the server must refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    Duplicate,
    Division,
    Input,
    Missing,
    Null,
}

/// By name, with the SQLSTATE that it must be refused with.
const MISTAKES: [(&str, Mistake, &str); 5] = [
    ("duplicate", Mistake::Duplicate, "23505"),
    ("division", Mistake::Division, "22012"),
    ("input", Mistake::Input, "22P02"),
    ("missing", Mistake::Missing, "42P01"),
    ("null", Mistake::Null, "23502"),
];

/// Every statement after a mistake in a block.
const IN_FAILED_TRANSACTION: &str = "25P02";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// BEGIN, INSERT, and gone.
    Leave(Rows),
    /// An INSERT, and after a while a request to cancel it.
    Cancel(Rows, Duration),
    /// An INSERT, and gone after a while.
    WalkOff(Rows, Duration),
    /// BEGIN, INSERT, a mistake, and on as if nothing had been.
    Stumble(Rows, Mistake),
    /// A connection for one query.
    Visit { table: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    table: String,
    writer: u32,
    number: u32,
    rows: Vec<Row>,
}

impl Rows {
    fn parse(table: &str, name: &str, rows: &[&str]) -> Option<Rows> {
        let (writer, number) = identity(name)?;
        Some(Rows { table: table.to_string(), writer, number, rows: Row::parse_all(rows)? })
    }

    fn writing(&self) -> Writing<'_> {
        let places = self.rows.iter().map(Row::place).collect();
        Writing { table: &self.table, writer: self.writer, number: self.number, places }
    }
}

impl Operation {
    /// `None` if the verb is another workload's.
    pub fn parse(verb: &str, rest: &[&str]) -> Option<Result<Operation, String>> {
        let form = FORMS.iter().find(|form| form.split(' ').next() == Some(verb))?;
        let read = || match (verb, rest) {
            ("visit", [table]) => Some(Operation::Visit { table: table.to_string() }),
            ("leave", [table, name, rows @ ..]) => Some(Operation::Leave(Rows::parse(table, name, rows)?)),
            ("cancel", [table, name, after, rows @ ..]) => {
                Some(Operation::Cancel(Rows::parse(table, name, rows)?, duration(after).ok()?))
            }
            ("walk-off", [table, name, after, rows @ ..]) => {
                Some(Operation::WalkOff(Rows::parse(table, name, rows)?, duration(after).ok()?))
            }
            ("stumble", [table, name, mistake, rows @ ..]) => {
                let (_, mistake, _) = MISTAKES.iter().find(|(word, ..)| word == mistake)?;
                Some(Operation::Stumble(Rows::parse(table, name, rows)?, *mistake))
            }
            _ => None,
        };
        let mistakes = MISTAKES.map(|(word, ..)| word).join(", ");
        Some(read().ok_or_else(|| format!("expected: {form}, AFTER as 5ms, MISTAKE one of: {mistakes}")))
    }

    pub fn again(&self, number: u32) -> Operation {
        let mut again = self.clone();
        match &mut again {
            Operation::Leave(rows)
            | Operation::Cancel(rows, _)
            | Operation::WalkOff(rows, _)
            | Operation::Stumble(rows, _) => rows.number = AGAIN + number,
            Operation::Visit { .. } => {}
        }
        again
    }

    pub(super) async fn perform(&self, performer: &mut Performer) -> Done {
        match self {
            Operation::Visit { table } => visit(table, performer).await,
            Operation::Leave(rows) => leave(&rows.writing(), performer).await,
            Operation::Cancel(rows, after) => cancel(&rows.writing(), *after, performer).await,
            Operation::WalkOff(rows, after) => walk_off(&rows.writing(), *after, performer).await,
            Operation::Stumble(rows, mistake) => stumble(&rows.writing(), *mistake, performer).await,
        }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|row| write!(f, " {row}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |rows: &Rows| format!("{} {}.{}", rows.table, rows.writer, rows.number);
        match self {
            Operation::Visit { table } => write!(f, "visit {table}"),
            Operation::Leave(rows) => write!(f, "leave {}{rows}", name(rows)),
            Operation::Cancel(rows, after) => write!(f, "cancel {} {}{rows}", name(rows), exact(*after)),
            Operation::WalkOff(rows, after) => write!(f, "walk-off {} {}{rows}", name(rows), exact(*after)),
            Operation::Stumble(rows, mistake) => {
                let (word, ..) = MISTAKES.iter().find(|(_, known, _)| known == mistake).expect("all have a word");
                write!(f, "stumble {} {word}{rows}", name(rows))
            }
        }
    }
}

async fn visit(table: &str, performer: &mut Performer) -> Done {
    performer.session.hang_up();
    let answer = performer.statement(&format!("SELECT count(*) FROM {table}")).await;
    performer.session.hang_up();
    answer.map_or_else(Done::from, |_| Done::ok("a look"))
}

async fn leave(writing: &Writing<'_>, performer: &mut Performer) -> Done {
    let invoked = performer.now();
    let opened = async {
        performer.statement("BEGIN").await?;
        performer.statement(&writing.insert_all()).await
    };
    let opened = opened.await;
    performer.session.hang_up();
    // Nobody ever said COMMIT.
    writing.remember(Ending::Failed, invoked, performer);
    opened.map_or_else(Done::from, |_| Done::ok("left a transaction open"))
}

async fn cancel(writing: &Writing<'_>, after: Duration, performer: &mut Performer) -> Done {
    let invoked = performer.now();
    let (host, sql) = (performer.host.clone(), writing.insert_all());
    let answer = host.timeout(STATEMENT_TIMEOUT, performer.session.run_until_cancelled(&sql, after)).await;
    let answer = answer.unwrap_or_else(|_| {
        performer.session.hang_up();
        Err(no_answer())
    });
    let ending = answer.as_ref().err().map_or(Ending::Ok, |refusal| refusal.ending);
    writing.remember(ending, invoked, performer);
    match answer {
        Ok(_) => Done::ok("too late to cancel"),
        Err(refusal) if refusal.code.as_deref() == Some(codes::QUERY_CANCELED.as_str()) => Done::ok("cancelled"),
        Err(refusal) => refusal.into(),
    }
}

async fn walk_off(writing: &Writing<'_>, after: Duration, performer: &mut Performer) -> Done {
    let (invoked, host) = (performer.now(), performer.host.clone());
    let answer = host.timeout(after, performer.session.run(&writing.insert_all())).await;
    performer.session.hang_up();
    let (ending, done) = match answer {
        Ok(Ok(_)) => (Ending::Ok, Done::ok("too late to leave")),
        Ok(Err(refusal)) => (refusal.ending, refusal.into()),
        Err(_) => (Ending::Unknown, Done::ok("left before the answer")),
    };
    writing.remember(ending, invoked, performer);
    done
}

/// The statement that is a mistake.
fn mistaken(writing: &Writing<'_>, mistake: Mistake) -> String {
    let table = writing.table;
    match mistake {
        Mistake::Duplicate => writing.insert_all(),
        Mistake::Division => format!("SELECT 1 / (count(*) - count(*)) FROM {table} WHERE writer < -1"),
        Mistake::Input => format!("INSERT INTO {table} VALUES ('2023-01-01', 'device 0', 'many', 0, 0, 1)"),
        Mistake::Missing => format!("SELECT * FROM {table}_that_is_not_there"),
        Mistake::Null => format!("INSERT INTO {table} VALUES (NULL, 'device 0', 0, 0, 0, 1)"),
    }
}

async fn stumble(writing: &Writing<'_>, mistake: Mistake, performer: &mut Performer) -> Done {
    let invoked = performer.now();
    let (_, _, code) = MISTAKES.iter().find(|(_, known, _)| *known == mistake).expect("all have a code");
    let steps = [
        ("BEGIN".to_string(), None),
        (writing.insert_all(), None),
        (mistaken(writing, mistake), Some(*code)),
        ("SELECT 1".to_string(), Some(IN_FAILED_TRANSACTION)),
        // PostgreSQL makes it a ROLLBACK.
        ("COMMIT".to_string(), None),
    ];
    let mut outcome = Done::ok("stumbled");
    for (sql, due) in steps {
        match (performer.statement(&sql).await, due) {
            (Ok(_), None) => {}
            (Err(refusal), Some(code)) if refusal.code.as_deref() == Some(code) => {}
            (Ok(_), Some(code)) => {
                let text = format!("\"{sql}\" succeeded at {} us, where {code} is due", performer.now());
                performer.remember(|history| history.surprises.push(text.clone()));
                performer.session.hang_up();
                outcome = Done { ending: Ending::Failed, text };
                break;
            }
            // Faults may refuse anything with codes of their own.
            (Err(refusal), _) => {
                performer.session.hang_up();
                outcome = Done { ending: Ending::Failed, text: refusal.message };
                break;
            }
        }
    }
    writing.remember(Ending::Failed, invoked, performer);
    outcome
}

/// The options of a `workload churn` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub table: String,
    pub clients: u32,
    pub turns: u32,
    pub pause_ms_max: u32,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let mut options = Options { table: spec.name.clone(), clients: 2, turns: 12, pause_ms_max: options::PAUSE_MS };
        let numbers: [Number<'_>; 3] = [
            ("clients", 0..=1_000, &mut options.clients),
            ("turns", 0..=1_000_000, &mut options.turns),
            ("pause_ms", options::PAUSES_MS, &mut options.pause_ms_max),
        ];
        options::read(spec, &mut options.table, numbers)?;
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        options::clients(&self.table, "client", self.clients, |client| {
            (0..self.turns).map(|number| self.turn(client, number, chance)).collect()
        })
    }

    fn turn(&self, writer: u32, number: u32, chance: &mut Stream) -> Timed {
        let row = |_| {
            let time = batches::time(i64::from(chance.random_range(0..21_u32)), 0);
            Row { time, device: chance.random_range(0..batches::DEVICES), value: None }
        };
        let count = row_count(number);
        let rows: Vec<Row> = (0..count).map(row).collect();
        let after = Duration::from_micros(chance.random_range(100..=60_000));
        let mistake = MISTAKES[chance.random_range(0..MISTAKES.len())].1;
        let table = self.table.clone();
        let batch = Rows { table: table.clone(), writer, number, rows: rows.clone() };
        let text = match chance.random_range(0..10) {
            0..2 => Operation::Leave(batch).to_string(),
            2..4 => Operation::Cancel(batch, after).to_string(),
            4 => Operation::WalkOff(batch, after).to_string(),
            5..8 => Operation::Stumble(batch, mistake).to_string(),
            8 => Operation::Visit { table }.to_string(),
            _ => batches::Operation::Write { way: Way::Insert, table, writer, number, rows }.to_string(),
        };
        Timed { pause: options::pause(self.pause_ms_max, chance), text }
    }
}

/// Batches of one to four rows.
fn row_count(number: u32) -> u32 {
    1 + number % 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back_as_they_were_written() {
        for text in [
            "leave t 0.3 2023-01-05/7",
            "cancel t 0.3 5ms 2023-01-05/7 2023-01-06/8",
            "walk-off t 0.3 5ms 2023-01-05/7",
            "stumble t 0.3 duplicate 2023-01-05/7",
            "visit t",
        ] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Operation::parse(words[0], &words[1..]).unwrap().unwrap().to_string(), text);
        }
        let bad = Operation::parse("stumble", &["t", "0.1", "twice", "2023-01-05/7"]).unwrap().unwrap_err();
        assert!(bad.contains("MISTAKE one of: duplicate, division"), "{bad}");
    }

    #[test]
    fn a_drawn_workload_can_be_performed() {
        let options = Options { table: "t".into(), clients: 1, turns: 50, pause_ms_max: 0 };
        let clients = options.clients(&mut crate::sim::chance::stream(1, "churn"));
        assert!(clients[0].operations.iter().all(|line| line.text.parse::<super::super::Operation>().is_ok()));
    }
}
