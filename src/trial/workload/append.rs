//! `append`: transactions append values to lists and read whole lists, for the judge `isolation`.
//!
//! There is no UPDATE, so a list is rows of one hypertable: its key is the device, the position in the list is a column and
//! also fixes the time, an hour for each position. Lists begin on different days. So the lists of one transaction lie in
//! different chunks on different data nodes, and long ones go over several chunks. An append looks for the end of the list and
//! inserts the row behind it. PRIMARY KEY (time, device) has the columns that partition the table, so each chunk holds it for
//! itself, on stock PostgreSQL too: of two that append at one position one is refused (23505). Therefore the rows by their
//! positions are the list in its only version order, and every read of it shows that order.
//!
//! Values come from a counter of the run: a client `while` others does its operations several times.

use super::options::{self, Number};
use super::writing::{AGAIN, identity};
use super::{Performer, rows};
use crate::sim::chance::Stream;
use crate::sim::history::Ending;
use crate::sim::scenario::session::Refusal;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::trial::history::{ListStep, ListTransaction};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Readers pause so many times longer than writers.
const READ_PAUSE_FACTOR: u32 = 4;

pub const COLUMNS: &str = "time timestamptz NOT NULL, device text NOT NULL, position int NOT NULL, value bigint NOT NULL, \
                           PRIMARY KEY (time, device)";

pub const FORMS: [&str; 4] = [
    "txn TABLE WRITER.NUMBER rc|rr append:KEY|read:KEY,…",
    "txn-rollback TABLE WRITER.NUMBER rc|rr append:KEY|read:KEY,…",
    "append TABLE WRITER.NUMBER KEY",
    "look TABLE WRITER.NUMBER KEY,…",
];

/// How a transaction is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// BEGIN, the steps, COMMIT.
    Block,
    /// The same with ROLLBACK in the end.
    Rollback,
    /// One INSERT that looks for the end by itself.
    Append,
    /// One SELECT.
    Look,
}

const WAYS: [(&str, Way); 4] =
    [("txn", Way::Block), ("txn-rollback", Way::Rollback), ("append", Way::Append), ("look", Way::Look)];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub way: Way,
    pub table: String,
    pub writer: u32,
    pub number: u32,
    /// Under REPEATABLE READ, else READ COMMITTED. Statements outside of a block are always the latter.
    pub repeatable: bool,
    pub steps: Vec<Step>,
}

/// Keys are numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Append(u64),
    /// Several lists in one statement.
    Read(Vec<u64>),
}

impl Operation {
    /// `None` if the verb is another workload's.
    pub fn parse(verb: &str, rest: &[&str]) -> Option<Result<Operation, String>> {
        let place = WAYS.iter().position(|(word, _)| *word == verb)?;
        let way = WAYS[place].1;
        let operation = || {
            let [table, name, rest @ ..] = rest else { return None };
            let (writer, number) = identity(name)?;
            let (repeatable, steps) = match (way, rest) {
                (Way::Append, [key]) => (false, vec![Step::Append(key.parse().ok()?)]),
                (Way::Look, [keys]) => (false, vec![Step::Read(numbers(keys)?)]),
                (Way::Block | Way::Rollback, [level @ ("rc" | "rr"), steps @ ..]) if !steps.is_empty() => {
                    (*level == "rr", steps.iter().map(|step| Step::parse(step)).collect::<Option<_>>()?)
                }
                _ => return None,
            };
            Some(Operation { way, table: table.to_string(), writer, number, repeatable, steps })
        };
        let example =
            ["txn t 0.1 rr read:1,2 append:1", "txn-rollback t 0.1 rc append:1", "append t 0.1 3", "look t 0.1 1,2"];
        Some(operation().ok_or_else(|| format!("expected: {}, as {}", FORMS[place], example[place])))
    }

    pub fn again(&self, number: u32) -> Operation {
        Operation { number: AGAIN + number, ..self.clone() }
    }
}

impl Step {
    fn parse(text: &str) -> Option<Step> {
        match text.split_once(':')? {
            ("append", key) => Some(Step::Append(key.parse().ok()?)),
            ("read", keys) => Some(Step::Read(numbers(keys)?)),
            _ => None,
        }
    }
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split(',').map(|word| word.parse().ok()).collect()
}

fn listed<T: ToString>(keys: &[T]) -> String {
    keys.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Append(key) => write!(f, "append:{key}"),
            Step::Read(keys) => write!(f, "read:{}", listed(keys)),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, _) = WAYS.iter().find(|(_, known)| *known == self.way).expect("all ways have a word");
        write!(f, "{verb} {} {}.{}", self.table, self.writer, self.number)?;
        if matches!(self.way, Way::Block | Way::Rollback) {
            f.write_str(if self.repeatable { " rr" } else { " rc" })?;
            return self.steps.iter().try_for_each(|step| write!(f, " {step}"));
        }
        self.steps.iter().try_for_each(|step| match step {
            Step::Append(key) => write!(f, " {key}"),
            Step::Read(keys) => write!(f, " {}", listed(keys)),
        })
    }
}

impl Operation {
    pub(super) async fn perform(&self, performer: &mut Performer) -> Done {
        let mut transaction = ListTransaction {
            name: format!("{}.{}", self.writer, self.number),
            process: performer.number,
            repeatable: self.repeatable,
            invoked: performer.now(),
            completed: 0,
            ending: Ending::Failed,
            steps: vec![],
        };
        let told = match self.way {
            Way::Block | Way::Rollback => self.block(performer, &mut transaction.steps).await,
            Way::Append | Way::Look => self.alone(performer, &mut transaction.steps).await,
        };
        let done = told.map_or_else(Done::from, |()| Done::ok(format!("{} steps", transaction.steps.len())));
        // Nobody ever said COMMIT: it must not have happened.
        transaction.ending = if self.way == Way::Rollback { Ending::Failed } else { done.ending };
        transaction.completed = performer.now();
        performer.remember(|history| {
            history.lists.entry(self.table.clone()).or_default().transactions.push(transaction);
        });
        done
    }

    /// One statement is all there is.
    async fn alone(&self, performer: &mut Performer, done: &mut Vec<ListStep>) -> Result<(), Refusal> {
        for step in &self.steps {
            match step {
                Step::Read(keys) => read(performer, &self.table, keys, done).await?,
                Step::Append(key) => {
                    let value = next_value(performer, &self.table);
                    done.push(ListStep::Append { key: *key, value });
                    performer.statement(&append_at_once(&self.table, &device(*key), *key, value)).await?;
                }
            }
        }
        Ok(())
    }

    /// The outcome hangs on the last statement alone: whatever goes wrong before, the block has failed.
    async fn block(&self, performer: &mut Performer, done: &mut Vec<ListStep>) -> Result<(), Refusal> {
        let level = if self.repeatable { "REPEATABLE READ" } else { "READ COMMITTED" };
        let begun = performer.statement(&format!("BEGIN ISOLATION LEVEL {level}")).await;
        begun.map_err(|refusal| Refusal { ending: Ending::Failed, ..refusal })?;
        performer.session.hold(true);
        let told = match self.steps(performer, done).await {
            Ok(()) => performer.statement(if self.way == Way::Block { "COMMIT" } else { "ROLLBACK" }).await.map(|_| ()),
            Err(refusal) => {
                // Some clients say that they give up, others just go.
                let polite = refusal.ending == Ending::Failed && performer.number.is_multiple_of(2);
                if !polite || performer.statement("ROLLBACK").await.is_err() {
                    performer.session.hang_up();
                }
                Err(Refusal { ending: Ending::Failed, ..refusal })
            }
        };
        performer.session.hold(false);
        told
    }

    async fn steps(&self, performer: &mut Performer, done: &mut Vec<ListStep>) -> Result<(), Refusal> {
        for step in &self.steps {
            match step {
                Step::Read(keys) => read(performer, &self.table, keys, done).await?,
                Step::Append(key) => append(performer, &self.table, *key, done).await?,
            }
        }
        Ok(())
    }
}

fn next_value(performer: &Performer, table: &str) -> u64 {
    performer.remember(|history| {
        let lists = history.lists.entry(table.to_string()).or_default();
        lists.values += 1;
        lists.values
    })
}

async fn read(performer: &mut Performer, table: &str, keys: &[u64], done: &mut Vec<ListStep>) -> Result<(), Refusal> {
    let invoked = performer.now();
    let devices: Vec<String> = keys.iter().map(|key| format!("'{}'", device(*key))).collect();
    let condition = match &devices[..] {
        [one] => format!("device = {one}"),
        several => format!("device IN ({})", several.join(", ")),
    };
    let sql = format!("SELECT device, value FROM {table} WHERE {condition} ORDER BY device, position");
    let mut lists = lists(&rows(performer.statement(&sql).await?));
    keys.iter().for_each(|key| {
        lists.entry(*key).or_default();
    });
    done.push(ListStep::Read { invoked, completed: performer.now(), lists });
    Ok(())
}

async fn append(performer: &mut Performer, table: &str, key: u64, done: &mut Vec<ListStep>) -> Result<(), Refusal> {
    let device = device(key);
    let end = format!("SELECT coalesce(max(position), -1) + 1 FROM {table} WHERE device = '{device}'");
    let end = rows(performer.statement(&end).await?);
    let position: i64 = end.first().and_then(|row| row.first()?.parse().ok()).unwrap_or_default();
    let value = next_value(performer, table);
    done.push(ListStep::Append { key, value });
    let time = first_time(key);
    let insert = format!(
        "INSERT INTO {table} VALUES (timestamptz '{time}' + {position} * interval '1 hour', '{device}', {position}, {value})"
    );
    performer.statement(&insert).await.map(|_| ())
}

/// An append of one statement.
fn append_at_once(table: &str, device: &str, key: u64, value: u64) -> String {
    let (time, end) = (first_time(key), "coalesce(max(position), -1) + 1");
    format!(
        "INSERT INTO {table} SELECT timestamptz '{time}' + ({end}) * interval '1 hour', '{device}', {end}, {value} \
         FROM {table} WHERE device = '{device}'"
    )
}

fn device(key: u64) -> String {
    format!("list {key}")
}

/// Where a list begins: within three weeks, neighbours far from each other.
fn first_time(key: u64) -> String {
    format!("2023-01-{:02} 00:00:00+00", 1 + (key * 8) % 21)
}

/// Appends to a list that no judge looks at; may be said again if nobody knows what became of it.
pub fn fresh_write(table: &str) -> String {
    append_at_once(table, "fresh", 0, 0)
}

/// The query for all lists.
pub fn all_lists(table: &str) -> String {
    format!("SELECT device, value FROM {table} WHERE device <> 'fresh' ORDER BY device, position")
}

/// The answer to [`all_lists`], and to those for some of them.
pub fn lists(rows: &[Vec<String>]) -> BTreeMap<u64, Vec<u64>> {
    let mut lists: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for row in rows {
        let key = row.first().and_then(|device| device.strip_prefix("list ")?.parse().ok());
        let value = row.get(1).and_then(|value| value.parse().ok());
        // What cannot be read is what nobody wrote.
        lists.entry(key.unwrap_or(u64::MAX)).or_default().push(value.unwrap_or(u64::MAX));
    }
    lists
}

/// The options of a `workload append` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub table: String,
    pub writers: u32,
    pub transactions: u32,
    pub readers: u32,
    pub keys: u32,
    /// So many percent of the blocks are under REPEATABLE READ.
    pub repeatable_read: u32,
    pub pause_ms_max: u32,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let mut options = Options {
            table: "lists".into(),
            writers: 3,
            transactions: 10,
            readers: 1,
            keys: 6,
            repeatable_read: 50,
            pause_ms_max: options::PAUSE_MS,
        };
        let numbers: [Number<'_>; 6] = [
            ("writers", 0..=1_000, &mut options.writers),
            ("transactions", 0..=100_000, &mut options.transactions),
            ("readers", 0..=1_000, &mut options.readers),
            ("keys", 1..=1_000, &mut options.keys),
            ("repeatable_read", 0..=100, &mut options.repeatable_read),
            ("pause_ms", options::PAUSES_MS, &mut options.pause_ms_max),
        ];
        options::read(spec, &mut options.table, numbers)?;
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        let writers = options::clients(&self.table, "writer", self.writers, |writer| {
            (0..self.transactions).map(|number| self.transaction(writer, number, chance)).collect()
        });
        let pause = options::watchers_pause(self.pause_ms_max, READ_PAUSE_FACTOR);
        let readers = options::watchers(&self.table, "reader", self.readers, &writers, |reader| {
            let look = Operation {
                way: Way::Look,
                table: self.table.clone(),
                writer: self.writers + reader,
                number: 0,
                repeatable: false,
                steps: vec![Step::Read((0..u64::from(self.keys)).collect())],
            };
            vec![Timed { pause, text: look.to_string() }]
        });
        [writers, readers].concat()
    }

    fn transaction(&self, writer: u32, number: u32, chance: &mut Stream) -> Timed {
        let way = match chance.random_range(0..10) {
            0..6 => Way::Block,
            6 => Way::Rollback,
            7..9 => Way::Append,
            _ => Way::Look,
        };
        let repeatable = chance.random_range(0..100) < self.repeatable_read;
        let (repeatable, steps) = match way {
            Way::Block | Way::Rollback => (repeatable, self.steps(chance)),
            Way::Append => (false, vec![Step::Append(self.key(chance))]),
            Way::Look => (false, vec![self.read(chance)]),
        };
        let operation = Operation { way, table: self.table.clone(), writer, number, repeatable, steps };
        Timed { pause: options::pause(self.pause_ms_max, chance), text: operation.to_string() }
    }

    /// Reads and appends, mixed.
    fn steps(&self, chance: &mut Stream) -> Vec<Step> {
        let kinds: Vec<bool> = (0..chance.random_range(1..=5)).map(|_| chance.random_bool(0.5)).collect();
        let mut keys: Vec<u64> = kinds.iter().filter(|appends| **appends).map(|_| self.key(chance)).collect();
        // Nobody sees a deadlock over several data nodes: it ends when a client's patience does. A few are worth having.
        if chance.random_bool(0.9) {
            keys.sort_unstable();
        }
        let mut keys = keys.into_iter();
        let step = |appends: bool| match appends.then(|| keys.next()).flatten() {
            Some(key) => Step::Append(key),
            None => self.read(chance),
        };
        kinds.into_iter().map(step).collect()
    }

    fn read(&self, chance: &mut Stream) -> Step {
        let keys: BTreeSet<u64> = (0..chance.random_range(1..=3)).map(|_| self.key(chance)).collect();
        Step::Read(keys.into_iter().collect())
    }

    fn key(&self, chance: &mut Stream) -> u64 {
        chance.random_range(0..u64::from(self.keys))
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
            "txn t 0.3 rr read:1,2 append:1 append:7",
            "txn-rollback t 1.2 rc append:0",
            "append t 0.0 12",
            "look t 3.0 0,1,2",
        ] {
            assert_eq!(text.parse::<workload::Operation>().unwrap().to_string(), text);
        }
        for text in [
            "txn t 0.3 rr",
            "txn t 0.3 read:1",
            "txn t 0.3 rc read:",
            "txn t 0.3 rc burn:1",
            "txn t 0 rc read:1",
            "append t 0.1 1 2",
            "append t 0.1 x",
            "look t 0.1",
        ] {
            assert!(text.parse::<workload::Operation>().unwrap_err().contains("expected: "), "{text}");
        }
    }

    #[test]
    fn a_drawn_workload_can_be_performed_and_has_all_kinds() {
        let options = [("writers", "4"), ("transactions", "50"), ("keys", "3"), ("repeatable_read", "50")];
        let options = options.map(|(key, value)| (key.to_string(), value.to_string())).to_vec();
        let spec = WorkloadSpec { name: "append".into(), options };
        let draw = |seed| workload::clients(&spec, &mut stream(seed, "workload")).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let lines: Vec<String> =
            draw(1).iter().flat_map(|block| &block.operations).map(|line| line.text.clone()).collect();
        assert_eq!(lines.len(), 4 * 50 + 1);
        assert!(lines.iter().all(|line| line.parse::<workload::Operation>().is_ok()));
        for part in ["txn ", "txn-rollback ", "append ", "look ", " rc ", " rr ", " append:", " read:"] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}");
        }
    }

    #[test]
    fn bad_options_are_refused() {
        for (key, value) in [("keys", "0"), ("repeatable_read", "101"), ("colour", "1"), ("writers", "x")] {
            let spec = WorkloadSpec { name: "append".into(), options: vec![(key.into(), value.into())] };
            assert!(Options::from_spec(&spec).unwrap_err().contains("expected"), "{key}");
        }
    }
}
