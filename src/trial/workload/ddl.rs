//! `ddl`: clients that make hypertables of their own, fill them and drop them again while others work.
//!
//! Each name is used once: what an unanswered statement may still do is then about this table only.

use super::Performer;
use super::batches;
use super::options::{self, Number};
use crate::sim::chance::Stream;
use crate::sim::history::Ending;
use crate::sim::scenario::session::Refusal;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::trial::history::{Standing, TableChange};
use crate::trial::question::literal;
use rand::Rng;
use std::fmt;

pub const FORMS: [&str; 4] = ["make TABLE SLICES", "make-block TABLE SLICES", "fill TABLE ROWS", "drop TABLE"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// CREATE TABLE and create_distributed_hypertable; with `block`, in one transaction.
    Make {
        table: String,
        slices: u32,
        block: bool,
    },
    /// Rows over several chunks.
    Fill {
        table: String,
        rows: u32,
    },
    Drop {
        table: String,
    },
}

impl Operation {
    /// `None` if the verb is another workload's.
    pub fn parse(verb: &str, rest: &[&str]) -> Option<Result<Operation, String>> {
        let form = FORMS.iter().find(|form| form.split(' ').next() == Some(verb))?;
        let read = || match (verb, rest) {
            ("make" | "make-block", [table, slices]) => {
                let slices = slices.parse().ok().filter(|slices| (1..=100).contains(slices))?;
                Some(Operation::Make { table: table.to_string(), slices, block: verb == "make-block" })
            }
            ("fill", [table, rows]) => {
                let rows = rows.parse().ok().filter(|rows| (1..=1_000).contains(rows))?;
                Some(Operation::Fill { table: table.to_string(), rows })
            }
            ("drop", [table]) => Some(Operation::Drop { table: table.to_string() }),
            _ => None,
        };
        Some(read().ok_or_else(|| format!("expected: {form}")))
    }

    pub fn again(&self, number: u32) -> Option<Operation> {
        match self {
            Operation::Make { table, slices, block } => {
                Some(Operation::Make { table: format!("{table}_again{number}"), slices: *slices, block: *block })
            }
            // The table may be one that was never made.
            Operation::Fill { .. } => None,
            Operation::Drop { .. } => Some(self.clone()),
        }
    }

    pub(super) async fn perform(&self, performer: &mut Performer) -> Done {
        match self {
            Operation::Make { table, slices, block } => make(table, *slices, *block, performer).await,
            Operation::Fill { table, rows } => {
                let row = |row: u32| {
                    let time = batches::time(i64::from(row % 21), 0);
                    format!("('{}', 'device {row}', {row})", literal(&time))
                };
                let values: Vec<String> = (0..*rows).map(row).collect();
                let answer = performer.statement(&format!("INSERT INTO {table} VALUES {}", values.join(", "))).await;
                answer.map_or_else(Done::from, |_| Done::ok(format!("{rows} rows")))
            }
            Operation::Drop { table } => {
                let answer = performer.statement(&format!("DROP TABLE IF EXISTS {table}")).await;
                note(table, Standing::Absent, ending_of(answer.as_ref().err()), performer);
                answer.map_or_else(Done::from, |_| Done::ok("dropped"))
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Make { table, slices, block } => {
                write!(f, "make{} {table} {slices}", if *block { "-block" } else { "" })
            }
            Operation::Fill { table, rows } => write!(f, "fill {table} {rows}"),
            Operation::Drop { table } => write!(f, "drop {table}"),
        }
    }
}

fn ending_of(refusal: Option<&Refusal>) -> Ending {
    refusal.map_or(Ending::Ok, |refusal| refusal.ending)
}

fn note(table: &str, to: Standing, ending: Ending, performer: &Performer) {
    let change = TableChange { table: table.to_string(), to, ending };
    performer.remember(|history| history.tables.push(change));
}

async fn make(table: &str, slices: u32, block: bool, performer: &mut Performer) -> Done {
    let create = format!("CREATE TABLE {table} (time timestamptz NOT NULL, device text NOT NULL, value int)");
    let hypertable =
        format!("SELECT create_distributed_hypertable('{table}', 'time', 'device', number_partitions => {slices})");
    if block {
        let statements = ["BEGIN".to_string(), create, hypertable, "COMMIT".to_string()];
        let answer = super::writing::run(performer, &statements).await;
        note(table, Standing::Hypertable, ending_of(answer.as_ref().err()), performer);
        return answer.map_or_else(Done::from, |()| Done::ok("made"));
    }
    let answer = performer.statement(&create).await;
    note(table, Standing::Local, ending_of(answer.as_ref().err()), performer);
    if let Err(refusal) = answer {
        return refusal.into();
    }
    let answer = performer.statement(&hypertable).await;
    note(table, Standing::Hypertable, ending_of(answer.as_ref().err()), performer);
    answer.map_or_else(Done::from, |_| Done::ok("made"))
}

/// The options of a `workload ddl` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub table: String,
    pub clients: u32,
    pub tables: u32,
    pub pause_ms_max: u32,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let mut options = Options { table: spec.name.clone(), clients: 1, tables: 3, pause_ms_max: options::PAUSE_MS };
        let numbers: [Number<'_>; 3] = [
            ("clients", 0..=1_000, &mut options.clients),
            ("tables", 0..=1_000, &mut options.tables),
            ("pause_ms", options::PAUSES_MS, &mut options.pause_ms_max),
        ];
        options::read(spec, &mut options.table, numbers)?;
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        options::clients(&self.table, "client", self.clients, |client| {
            (0..self.tables).flat_map(|number| self.life(client, number, chance)).collect()
        })
    }

    /// One table: made, filled, and mostly dropped.
    fn life(&self, client: u32, number: u32, chance: &mut Stream) -> Vec<Timed> {
        let table = format!("{}_{client}_{number}", self.table);
        let mut life = vec![
            Operation::Make {
                table: table.clone(),
                slices: chance.random_range(1..=4),
                block: chance.random_bool(0.4),
            },
            Operation::Fill { table: table.clone(), rows: chance.random_range(1..=12) },
        ];
        if chance.random_bool(0.8) {
            life.push(Operation::Drop { table });
        }
        let timed = |operation: Operation| Timed {
            pause: options::pause(self.pause_ms_max, chance),
            text: operation.to_string(),
        };
        life.into_iter().map(timed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back_as_they_were_written() {
        for text in ["make t 3", "make-block t 3", "fill t 10", "drop t"] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Operation::parse(words[0], &words[1..]).unwrap().unwrap().to_string(), text);
        }
        assert_eq!(Operation::parse("make", &["t"]).unwrap().unwrap_err(), "expected: make TABLE SLICES");
    }
}
