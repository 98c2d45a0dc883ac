//! `batches`: every transaction writes a few rows that usually lie on several data nodes, by one INSERT, by a block of
//! several, or by COPY, and sometimes rolls back on purpose; readers look at all batches meanwhile.
//!
//! The table is the scenario's: `(time timestamptz, device text, writer int, batch int, row int, rows int)`.

use super::options::{self, Number};
use super::writing::{AGAIN, Place, Way, Writing, identity};
use super::{Performer, rows};
use crate::sim::chance::Stream;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::trial::history::{Read, Seen};
use crate::trial::question;
use crate::units::{duration, exact};
use rand::Rng;
use std::fmt;
use std::time::Duration;

/// Readers pause so many times longer than writers: each read looks at everything.
const READ_PAUSE_FACTOR: u32 = 8;

pub const COLUMNS: &str = "time timestamptz NOT NULL, device text NOT NULL, writer int, batch int, row int, rows int";

/// Rows of nobody: readers leave the writer -1 out.
pub fn fresh_write(table: &str) -> String {
    format!(
        "INSERT INTO {table} VALUES ('2023-01-01 00:00:00+00', 'fresh', -1, 0, 0, 1), ('2023-01-21 00:00:00+00', 'write', -1, 0, 1, 1)"
    )
}

/// Devices of a table.
pub const DEVICES: u32 = 40;

/// Rows of one wide batch.
const WIDE_ROWS_MAX: u32 = 10_000;

pub const FORMS: [&str; 6] = [
    "insert TABLE WRITER.BATCH TIME/DEVICE…",
    "insert-block TABLE WRITER.BATCH TIME/DEVICE…",
    "rollback TABLE WRITER.BATCH TIME/DEVICE…",
    "copy TABLE WRITER.BATCH TIME/DEVICE…",
    "read TABLE",
    "copy-wide TABLE WRITER.BATCH TIME/DEVICE ROWS STEP",
];

const WAYS: [(&str, Way); 4] =
    [("insert", Way::Insert), ("insert-block", Way::Block), ("rollback", Way::Rollback), ("copy", Way::Copy)];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Write {
        way: Way,
        table: String,
        writer: u32,
        number: u32,
        rows: Vec<Row>,
    },
    /// `count` rows by COPY, each a `step` later than the one before it and of the next device.
    Wide {
        table: String,
        writer: u32,
        number: u32,
        first: Row,
        count: u32,
        step: Duration,
    },
    Read {
        table: String,
    },
}

/// Where a row lies: its time (a date, or a date and time of UTC) and its device; and its value, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub time: String,
    pub device: u32,
    pub value: Option<i64>,
}

impl Operation {
    /// `None` if the verb is another workload's.
    pub fn parse(verb: &str, rest: &[&str]) -> Option<Result<Operation, String>> {
        if verb == "read" {
            return Some(match rest {
                [table] => Ok(Operation::Read { table: table.to_string() }),
                _ => Err(format!("expected: {}", FORMS[4])),
            });
        }
        if verb == "copy-wide" {
            let read = || {
                let [table, name, first, count, step] = rest else { return None };
                let (writer, number) = identity(name)?;
                let (first, step) = (Row::parse(first)?, duration(step).ok()?);
                let count = count.parse().ok().filter(|count| (1..=WIDE_ROWS_MAX).contains(count))?;
                // The time of the last row, too, must be a date.
                let span = i64::try_from(step.checked_mul(count)?.as_micros()).ok()?;
                chrono::DateTime::from_timestamp_micros(question::micros(&first.time)?.checked_add(span)?)?;
                Some(Operation::Wide { table: table.to_string(), writer, number, first, count, step })
            };
            let form = || format!("expected: {}, as copy-wide t 0.1 2023-01-02/7 300 10m", FORMS[5]);
            return Some(read().ok_or_else(form));
        }
        let place = WAYS.iter().position(|(word, _)| *word == verb)?;
        let write = || {
            let [table, name, rows @ ..] = rest else { return None };
            let (writer, number) = identity(name)?;
            let (way, table, rows) = (WAYS[place].1, table.to_string(), Row::parse_all(rows)?);
            Some(Operation::Write { way, table, writer, number, rows })
        };
        Some(
            write().ok_or_else(|| {
                format!("expected: {}, as insert t 0.1 2023-01-02/7 2023-01-09T12:30:00/3", FORMS[place])
            }),
        )
    }

    pub fn again(&self, number: u32) -> Operation {
        let mut again = self.clone();
        if let Operation::Write { number: own, .. } | Operation::Wide { number: own, .. } = &mut again {
            *own = AGAIN + number;
        }
        again
    }

    /// The same rows by one INSERT.
    pub fn simpler(&self) -> Option<Operation> {
        match self {
            Operation::Write { way, table, writer, number, rows } if *way != Way::Insert => Some(Operation::Write {
                way: Way::Insert,
                table: table.clone(),
                writer: *writer,
                number: *number,
                rows: rows.clone(),
            }),
            _ => None,
        }
    }
}

impl Row {
    fn parse(text: &str) -> Option<Row> {
        let (text, value) = match text.split_once('=') {
            Some((text, value)) => (text, Some(value.parse().ok()?)),
            None => (text, None),
        };
        let (time, device) = text.split_once('/')?;
        question::micros(time)?;
        Some(Row { time: time.to_string(), device: device.parse().ok()?, value })
    }

    /// All of them; `None` if there are none.
    pub(super) fn parse_all(words: &[&str]) -> Option<Vec<Row>> {
        words.iter().map(|row| Row::parse(row)).collect::<Option<Vec<Row>>>().filter(|rows| !rows.is_empty())
    }

    pub(super) fn place(&self) -> Place {
        let time = question::micros(&self.time).expect("the line was read");
        Place { time, place: format!("device {}", self.device), value: self.value }
    }
}

/// `TIME/DEVICE`, or `TIME/DEVICE=VALUE`.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.time, self.device)?;
        self.value.iter().try_for_each(|value| write!(f, "={value}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Write { way, table, writer, number, rows } => {
                let (verb, _) = WAYS.iter().find(|(_, known)| known == way).expect("all ways have a word");
                write!(f, "{verb} {table} {writer}.{number}")?;
                rows.iter().try_for_each(|row| write!(f, " {row}"))
            }
            Operation::Wide { table, writer, number, first, count, step } => {
                write!(f, "copy-wide {table} {writer}.{number} {first} {count} {}", exact(*step))
            }
            Operation::Read { table } => write!(f, "read {table}"),
        }
    }
}

impl Operation {
    pub(super) async fn perform(&self, performer: &mut Performer) -> Done {
        match self {
            Operation::Read { table } => read(table, performer).await,
            Operation::Write { way, table, writer, number, rows } => {
                let places = rows.iter().map(Row::place).collect();
                Writing { table, writer: *writer, number: *number, places }.perform(*way, performer).await
            }
            Operation::Wide { table, writer, number, first, count, step } => {
                let start = question::micros(&first.time).expect("the line was read");
                let place = |nth: u32| {
                    let row = Row { device: (first.device % DEVICES + nth) % DEVICES, ..first.clone() };
                    Place { time: start + i64::from(nth) * step.as_micros() as i64, ..row.place() }
                };
                let places = (0..*count).map(place).collect();
                Writing { table, writer: *writer, number: *number, places }.perform(Way::Copy, performer).await
            }
        }
    }
}

async fn read(table: &str, performer: &mut Performer) -> Done {
    let invoked = performer.now();
    match performer.statement(&all_batches(table)).await {
        Ok(output) => {
            let read = Read { invoked, completed: performer.now(), seen: seen(&rows(output)) };
            let done = Done::ok(format!("{} batches", read.seen.len()));
            performer.remember(|history| history.batches.entry(table.to_string()).or_default().reads.push(read));
            done
        }
        Err(refusal) => refusal.into(),
    }
}

/// The query for the row counts of every batch.
pub fn all_batches(table: &str) -> String {
    format!(
        "SELECT writer, batch, count(*), count(DISTINCT row), min(rows), max(rows) FROM {table} WHERE writer >= 0 GROUP BY writer, batch ORDER BY writer, batch"
    )
}

/// The answer to [`all_batches`].
pub fn seen(rows: &[Vec<String>]) -> Vec<Seen> {
    let number = |row: &[String], column: usize| row.get(column).and_then(|text| text.parse().ok()).unwrap_or(u32::MAX);
    rows.iter()
        .map(|row| Seen {
            writer: number(row, 0),
            number: number(row, 1),
            rows: number(row, 2),
            distinct: number(row, 3),
            expected: if number(row, 4) == number(row, 5) { number(row, 4) } else { 0 },
        })
        .collect()
}

/// The options of a `workload batches` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub table: String,
    pub writers: u32,
    pub batches: u32,
    pub readers: u32,
    pub pause_ms_max: u32,
    /// Rows lie within so many days.
    pub days: u32,
    /// So many of a hundred batches are about the time that the writer has come to, as a sensor's are.
    pub ordered_percent: u32,
    /// So many are of the months before.
    pub late_percent: u32,
    /// So many are COPYs of some hundred rows.
    pub wide_percent: u32,
    /// Rows have a value, too.
    pub valued: bool,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let mut options = Options {
            table: spec.name.clone(),
            writers: 2,
            batches: 10,
            readers: 1,
            pause_ms_max: options::PAUSE_MS,
            days: 21,
            ordered_percent: 0,
            late_percent: 0,
            wide_percent: 0,
            valued: false,
        };
        let numbers: [Number<'_>; 8] = [
            ("writers", 0..=1_000, &mut options.writers),
            ("batches", 0..=1_000_000, &mut options.batches),
            ("readers", 0..=1_000, &mut options.readers),
            ("pause_ms", options::PAUSES_MS, &mut options.pause_ms_max),
            ("days", 1..=3_650, &mut options.days),
            ("ordered", 0..=100, &mut options.ordered_percent),
            ("late", 0..=100, &mut options.late_percent),
            ("wide", 0..=100, &mut options.wide_percent),
        ];
        options::read(spec, &mut options.table, numbers)?;
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        let writers = options::clients(&self.table, "writer", self.writers, |writer| {
            (0..self.batches).map(|number| self.write(writer, number, chance)).collect()
        });
        let pause = options::watchers_pause(self.pause_ms_max, READ_PAUSE_FACTOR);
        let read = Timed { pause, text: Operation::Read { table: self.table.clone() }.to_string() };
        let readers = options::watchers(&self.table, "reader", self.readers, &writers, |_| vec![read.clone()]);
        [writers, readers].concat()
    }

    fn write(&self, writer: u32, number: u32, chance: &mut Stream) -> Timed {
        let percent = |chance: &mut Stream, percent: u32| chance.random_range(0..100) < percent;
        let (wide, late) = (percent(chance, self.wide_percent), percent(chance, self.late_percent));
        let ordered = percent(chance, self.ordered_percent);
        let row = |chance: &mut Stream| {
            let day = match () {
                () if late => -i64::from(chance.random_range(1..=60_u32)),
                () if ordered => i64::from(number) * i64::from(self.days) / i64::from(self.batches),
                () => i64::from(chance.random_range(0..self.days)),
            };
            let value = self.valued.then(|| chance.random_range(-1_000..=1_000));
            Row {
                time: time(day, if self.valued { chance.random_range(0..86_400) } else { 0 }),
                device: chance.random_range(0..DEVICES),
                value,
            }
        };
        let table = self.table.clone();
        let operation = if wide {
            let step = Duration::from_secs(60 * chance.random_range(1..=20));
            let (first, count) = (Row { value: None, ..row(chance) }, chance.random_range(100..=400));
            Operation::Wide { table, writer, number, first, count, step }
        } else {
            let rows = (0..chance.random_range(1..=6)).map(|_| row(chance)).collect();
            let way = match chance.random_range(0..10) {
                0..5 => Way::Insert,
                5 => Way::Copy,
                6..9 => Way::Block,
                _ => Way::Rollback,
            };
            Operation::Write { way, table, writer, number, rows }
        };
        Timed { pause: options::pause(self.pause_ms_max, chance), text: operation.to_string() }
    }
}

/// So many days and seconds after 2023-01-01.
pub(super) fn time(day: i64, second: i64) -> String {
    let start = chrono::DateTime::from_timestamp(FIRST_DAY, 0).expect("a date of this century").naive_utc();
    let time = start + chrono::TimeDelta::days(day) + chrono::TimeDelta::seconds(second);
    time.format(if second == 0 { "%Y-%m-%d" } else { "%Y-%m-%dT%H:%M:%S" }).to_string()
}

/// 2023-01-01, in seconds since 1970.
const FIRST_DAY: i64 = 1_672_531_200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::chance::stream;
    use crate::trial::workload;

    #[test]
    fn operations_read_back_as_they_were_written() {
        for text in [
            "insert t 0.3 2023-01-05/7 2023-01-06T12:00:00/9",
            "rollback t 1.2 2023-01-05/7",
            "copy t 0.0 2023-01-05/7=-25",
            "copy-wide t 0.0 2023-01-05/7 300 10m",
            "read t",
        ] {
            assert_eq!(text.parse::<workload::Operation>().unwrap().to_string(), text);
        }
        for text in [
            "insert t 0.3",
            "insert t 0 2023-01-05/7",
            "copy t 0.1 2023-13-05/7",
            "copy-wide t 0.1 2023-01-05/7 0 10m",
            "copy-wide t 0.1 2023-01-05/7 10000 100000000d",
            "read",
            "burn t",
            "",
        ] {
            assert!(text.parse::<workload::Operation>().unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn a_drawn_workload_can_be_performed_and_is_the_same_for_the_same_seed() {
        let spec = WorkloadSpec { name: "batches".into(), options: vec![("writers".into(), "3".into())] };
        let draw = |seed| workload::clients(&spec, &mut stream(seed, "workload")).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let lines: Vec<String> =
            draw(1).iter().flat_map(|block| &block.operations).map(|line| line.text.clone()).collect();
        assert_eq!(lines.len(), 3 * 10 + 1);
        assert!(lines.iter().all(|line| line.parse::<workload::Operation>().is_ok()));
    }
}
