//! Transactions that write a batch of rows, all tagged with the writer and the number of the batch.
//!
//! Tables of workloads have their first columns in common, which lets one set of judges look at all of them:
//! `(time timestamptz, SPACE text, writer int, batch int, row int, rows int)`, and in some a value behind them.

use super::Performer;
use crate::sim::history::Ending;
use crate::sim::scenario::session::Refusal;
use crate::sim::scenario::stage::Done;
use crate::trial::history::{Batch, Row};

/// Batches and transactions over lists that are there because none of the others came off are numbered from here.
pub const AGAIN: u32 = 1_000_000;

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

/// Where a row lies, and its value if the table has such a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Microseconds since 1970 UTC.
    pub time: i64,
    pub place: String,
    pub value: Option<i64>,
}

/// One batch.
pub struct Writing<'a> {
    pub table: &'a str,
    pub writer: u32,
    pub number: u32,
    pub places: Vec<Place>,
}

/// `WRITER.BATCH`, `WRITER.NUMBER`.
pub fn identity(text: &str) -> Option<(u32, u32)> {
    let (writer, number) = text.split_once('.')?;
    Some((writer.parse().ok()?, number.parse().ok()?))
}

impl Writing<'_> {
    pub async fn perform(&self, way: Way, performer: &mut Performer) -> Done {
        let invoked = performer.now();
        let (ending, text) = match run(performer, &self.statements(way)).await {
            Ok(()) => (Ending::Ok, format!("{} rows", self.places.len())),
            Err(refusal) => (refusal.ending, refusal.message),
        };
        // Nobody ever said COMMIT: it must not have happened.
        let written = if way == Way::Rollback { Ending::Failed } else { ending };
        self.remember(written, invoked, performer);
        Done { ending, text }
    }

    /// Tells the judges what became of the batch.
    pub fn remember(&self, ending: Ending, invoked: u64, performer: &Performer) {
        let (writer, number, rows) = (self.writer, self.number, self.places.len() as u32);
        let row = |(row, place): (u32, &Place)| Row {
            writer: i64::from(writer),
            number,
            row,
            rows,
            time: place.time,
            place: place.place.clone(),
            value: place.value.unwrap_or_default(),
        };
        let content = (0..).zip(&self.places).map(row).collect();
        let completed = performer.now();
        let batch = Batch { writer, number, rows, ending, invoked, completed, content };
        performer.remember(|history| history.batches.entry(self.table.to_string()).or_default().written.push(batch));
    }

    pub fn statements(&self, way: Way) -> Vec<String> {
        let lines = self.lines();
        match way {
            Way::Insert => vec![self.insert(&lines)],
            Way::Copy => {
                let lines: Vec<String> = lines.iter().map(|line| line.join("\t")).collect();
                vec![format!("COPY {} FROM STDIN\n{}", self.table, lines.join("\n"))]
            }
            Way::Block | Way::Rollback => {
                let (first, rest) = lines.split_at(lines.len() / 2);
                let mut all = vec!["BEGIN".to_string()];
                all.extend([first, rest].into_iter().filter(|part| !part.is_empty()).map(|part| self.insert(part)));
                all.push(if way == Way::Block { "COMMIT" } else { "ROLLBACK" }.to_string());
                all
            }
        }
    }

    /// One INSERT of all rows.
    pub fn insert_all(&self) -> String {
        self.insert(&self.lines())
    }

    fn insert(&self, lines: &[Vec<String>]) -> String {
        let literal = |line: &Vec<String>| format!("('{}', '{}', {})", line[0], line[1], line[2..].join(", "));
        let values: Vec<String> = lines.iter().map(literal).collect();
        format!("INSERT INTO {} VALUES {}", self.table, values.join(", "))
    }

    /// Values of every row as text.
    fn lines(&self) -> Vec<Vec<String>> {
        let count = self.places.len();
        let line = |(row, place): (usize, &Place)| {
            let time = chrono::DateTime::from_timestamp_micros(place.time).expect("times of scenarios are dates");
            let mut line = vec![time.format("%Y-%m-%d %H:%M:%S%.f+00").to_string(), place.place.clone()];
            line.extend([self.writer, self.number, row as u32, count as u32].map(|number| number.to_string()));
            line.extend(place.value.map(|value| value.to_string()));
            line
        };
        self.places.iter().enumerate().map(line).collect()
    }
}

/// Runs all statements; the outcome hangs on the last one.
pub async fn run(performer: &mut Performer, statements: &[String]) -> Result<(), Refusal> {
    let (last, before) = statements.split_last().expect("every way has a statement");
    for sql in before {
        if let Err(refusal) = performer.statement(sql).await {
            // The connection goes, and with it the block.
            performer.session.hang_up();
            performer.session.hold(false);
            return Err(Refusal { ending: Ending::Failed, ..refusal });
        }
        performer.session.hold(true);
    }
    let told = performer.statement(last).await.map(|_| ());
    performer.session.hold(false);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing() -> Writing<'static> {
        let place = |time, value| Place { time, place: "device 7".into(), value };
        Writing { table: "t", writer: 1, number: 2, places: vec![place(0, None), place(1_500_000, Some(-3))] }
    }

    #[test]
    fn rows_are_tagged_with_their_batch() {
        assert_eq!(
            writing().insert_all(),
            "INSERT INTO t VALUES ('1970-01-01 00:00:00+00', 'device 7', 1, 2, 0, 2), \
             ('1970-01-01 00:00:01.500+00', 'device 7', 1, 2, 1, 2, -3)"
        );
        let copy = &writing().statements(Way::Copy)[0];
        assert!(copy.starts_with("COPY t FROM STDIN\n1970-01-01 00:00:00+00\tdevice 7\t1\t2\t0\t2\n"), "{copy}");
    }

    #[test]
    fn a_block_has_about_half_of_the_rows_in_each_insert() {
        let statements = writing().statements(Way::Rollback);
        assert_eq!((statements.len(), statements[3].as_str()), (4, "ROLLBACK"));
    }
}
