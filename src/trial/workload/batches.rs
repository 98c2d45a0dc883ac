//! `batches`: every transaction writes a few rows that usually lie on several data nodes, by one INSERT, by a block of
//! several, or by COPY, and sometimes rolls back on purpose; readers look at all batches meanwhile.
//!
//! The table is the scenario's: `(time timestamptz, device text, writer int, batch int, row int, rows int)`.

use super::{Performer, rows};
use crate::sim::chance::Stream;
use crate::sim::history::Ending;
use crate::sim::scenario::session::Refusal;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::trial::history::{Batch, Read, Seen};
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

/// Batches that are written because none of the others came off are numbered from here.
const AGAIN: u32 = 1_000_000;

pub const FORMS: [&str; 5] = [
    "insert TABLE WRITER.BATCH TIME/DEVICE…",
    "insert-block TABLE WRITER.BATCH TIME/DEVICE…",
    "rollback TABLE WRITER.BATCH TIME/DEVICE…",
    "copy TABLE WRITER.BATCH TIME/DEVICE…",
    "read TABLE",
];

/// How a batch gets into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One INSERT.
    Insert,
    /// BEGIN, two INSERTs of about half of the rows each, COMMIT.
    Block,
    /// As a block, with ROLLBACK in the end.
    Rollback,
    /// One COPY.
    Copy,
}

const WAYS: [(&str, Way); 4] =
    [("insert", Way::Insert), ("insert-block", Way::Block), ("rollback", Way::Rollback), ("copy", Way::Copy)];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Write { way: Way, table: String, writer: u32, number: u32, rows: Vec<Row> },
    Read { table: String },
}

/// Where a row lies: its time (a date, or a date and time of UTC) and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub time: String,
    pub device: u32,
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
        let place = WAYS.iter().position(|(word, _)| *word == verb)?;
        let write = || {
            let [table, name, rows @ ..] = rest else { return None };
            let (writer, number) = name.split_once('.')?;
            let rows: Option<Vec<Row>> = rows.iter().map(|row| Row::parse(row)).collect();
            Some(Operation::Write {
                way: WAYS[place].1,
                table: table.to_string(),
                writer: writer.parse().ok()?,
                number: number.parse().ok()?,
                rows: rows.filter(|rows| !rows.is_empty())?,
            })
        };
        Some(
            write().ok_or_else(|| {
                format!("expected: {}, as insert t 0.1 2023-01-02/7 2023-01-09T12:30:00/3", FORMS[place])
            }),
        )
    }

    pub fn again(&self, number: u32) -> Operation {
        let mut again = self.clone();
        if let Operation::Write { way, number: own, .. } = &mut again {
            // All ways are counted from 0: without its place a batch rolled back would bear the name of one committed.
            let place = WAYS.iter().position(|(_, known)| known == way).expect("all ways have a word");
            *own = AGAIN + number * WAYS.len() as u32 + place as u32;
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
        let (time, device) = text.split_once('/')?;
        let known = |format| chrono::NaiveDateTime::parse_from_str(time, format).is_ok();
        let date = chrono::NaiveDate::parse_from_str(time, "%Y-%m-%d").is_ok();
        (date || known("%Y-%m-%dT%H:%M:%S")).then_some(Row { time: time.to_string(), device: device.parse().ok()? })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Write { way, table, writer, number, rows } => {
                let (verb, _) = WAYS.iter().find(|(_, known)| known == way).expect("all ways have a word");
                write!(f, "{verb} {table} {writer}.{number}")?;
                rows.iter().try_for_each(|row| write!(f, " {}/{}", row.time, row.device))
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
                let count = rows.len() as u32;
                let values: Vec<[String; 6]> = (0..)
                    .zip(rows)
                    .map(|(row, place): (u32, _)| {
                        let time = format!("{}+00", place.time.replace('T', " "));
                        let time = if place.time.contains('T') { time } else { format!("{} 00:00:00+00", place.time) };
                        let device = format!("device {}", place.device);
                        [time, device, writer.to_string(), number.to_string(), row.to_string(), count.to_string()]
                    })
                    .collect();
                let invoked = performer.now();
                let told = run(performer, &statements(*way, table, &values)).await;
                let (ending, text) = match told {
                    Ok(()) => (Ending::Ok, format!("{count} rows")),
                    Err(refusal) => (refusal.ending, refusal.message),
                };
                // Nobody ever said COMMIT: it must not have happened.
                let written = if *way == Way::Rollback { Ending::Failed } else { ending };
                let completed = performer.now();
                let batch =
                    Batch { writer: *writer, number: *number, rows: count, ending: written, invoked, completed };
                let mut history = performer.history.lock().expect("no client panics while it holds the lock");
                history.batches.entry(table.clone()).or_default().written.push(batch);
                Done { ending, text }
            }
        }
    }
}

/// Runs all statements; the outcome hangs on the last one.
async fn run(performer: &mut Performer, statements: &[String]) -> Result<(), Refusal> {
    let (last, before) = statements.split_last().expect("every way has a statement");
    for sql in before {
        if let Err(refusal) = performer.statement(sql).await {
            // The connection goes, and with it the block.
            performer.session.hang_up();
            return Err(Refusal { ending: Ending::Failed, ..refusal });
        }
    }
    performer.statement(last).await.map(|_| ())
}

fn statements(way: Way, table: &str, values: &[[String; 6]]) -> Vec<String> {
    let literal =
        |[time, device, numbers @ ..]: &[String; 6]| format!("('{time}', '{device}', {})", numbers.join(", "));
    let insert = |values: &[[String; 6]]| {
        let values: Vec<String> = values.iter().map(literal).collect();
        format!("INSERT INTO {table} VALUES {}", values.join(", "))
    };
    match way {
        Way::Insert => vec![insert(values)],
        Way::Copy => {
            let lines: Vec<String> = values.iter().map(|row| row.join("\t")).collect();
            vec![format!("COPY {table} FROM STDIN\n{}", lines.join("\n"))]
        }
        Way::Block | Way::Rollback => {
            let (first, rest) = values.split_at(values.len() / 2);
            let mut all = vec!["BEGIN".to_string()];
            all.extend([first, rest].into_iter().filter(|part| !part.is_empty()).map(insert));
            all.push(if way == Way::Block { "COMMIT" } else { "ROLLBACK" }.to_string());
            all
        }
    }
}

async fn read(table: &str, performer: &mut Performer) -> Done {
    let invoked = performer.now();
    match performer.statement(&all_batches(table)).await {
        Ok(output) => {
            let read = Read { invoked, completed: performer.now(), seen: seen(&rows(output)) };
            let text = format!("{} batches", read.seen.len());
            let mut history = performer.history.lock().expect("no client panics while it holds the lock");
            history.batches.entry(table.to_string()).or_default().reads.push(read);
            Done { ending: Ending::Ok, text }
        }
        Err(refusal) => Done { ending: refusal.ending, text: refusal.message },
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
    pub pause_ms_max: u64,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let mut options = Options { table: "batches".into(), writers: 2, batches: 10, readers: 1, pause_ms_max: 50 };
        for (key, value) in &spec.options {
            let number = |max: u64| {
                value
                    .parse::<u64>()
                    .ok()
                    .filter(|n| *n <= max)
                    .ok_or(format!("bad value in \"{key}={value}\", expected at most {max}"))
            };
            match key.as_str() {
                "table" => options.table = value.clone(),
                "writers" => options.writers = number(1000)? as u32,
                "batches" => options.batches = number(1_000_000)? as u32,
                "readers" => options.readers = number(1000)? as u32,
                "pause_ms" => options.pause_ms_max = number(60_000)?,
                _ => {
                    let known = "table, writers, batches, readers, pause_ms";
                    return Err(format!("unknown option \"{key}\", expected: {known}"));
                }
            }
        }
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        let name = |kind: &str, number: u32| format!("{}-{kind}{number}", self.table);
        let writers: Vec<String> = (0..self.writers).map(|writer| name("writer", writer)).collect();
        let mut clients: Vec<ClientBlock> = (0..)
            .zip(&writers)
            .map(|(writer, name)| {
                let operations = (0..self.batches).map(|number| self.write(writer, number, chance)).collect();
                ClientBlock { name: name.clone(), accompanies: vec![], operations }
            })
            .collect();
        let pause = (Duration::ZERO, Duration::from_millis(self.pause_ms_max) * READ_PAUSE_FACTOR);
        let read = Timed { pause, text: Operation::Read { table: self.table.clone() }.to_string() };
        clients.extend((0..self.readers).map(|reader| ClientBlock {
            name: name("reader", reader),
            accompanies: writers.clone(),
            operations: vec![read.clone()],
        }));
        clients
    }

    fn write(&self, writer: u32, number: u32, chance: &mut Stream) -> Timed {
        let rows = (0..chance.random_range(1..=6))
            .map(|_| Row {
                time: format!("2023-01-{:02}", chance.random_range(1..=21)),
                device: chance.random_range(0..40),
            })
            .collect();
        let way = match chance.random_range(0..10) {
            0..5 => Way::Insert,
            5 => Way::Copy,
            6..9 => Way::Block,
            _ => Way::Rollback,
        };
        let pause = Duration::from_millis(chance.random_range(0..=self.pause_ms_max));
        let operation = Operation::Write { way, table: self.table.clone(), writer, number, rows };
        Timed { pause: (pause, pause), text: operation.to_string() }
    }
}

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
            "copy t 0.0 2023-01-05/7",
            "read t",
        ] {
            assert_eq!(text.parse::<workload::Operation>().unwrap().to_string(), text);
        }
        for text in ["insert t 0.3", "insert t 0 2023-01-05/7", "copy t 0.1 2023-13-05/7", "read", "burn t", ""] {
            assert!(text.parse::<workload::Operation>().unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn what_is_tried_again_has_a_name_of_its_own_whatever_its_way() {
        let again = |text: &str, number| match text.parse::<workload::Operation>().unwrap().again(number).unwrap() {
            workload::Operation::Batches(Operation::Write { writer, number, .. }) => (writer, number),
            other => panic!("{other}"),
        };
        let ways = ["insert", "insert-block", "rollback", "copy"].map(|way| format!("{way} t 0.1 2023-01-05/7"));
        let names: Vec<(u32, u32)> = ways.iter().flat_map(|text| (0..3).map(|number| again(text, number))).collect();
        let distinct: std::collections::BTreeSet<(u32, u32)> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
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
