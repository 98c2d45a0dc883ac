//! `bank`: transfers between accounts in double entry, and auditors to whom the sum must be zero at any time.
//!
//! A transfer is one transaction of two rows, the debit and the credit. They are of different accounts and mostly of
//! different times, so they lie in different chunks and often on different nodes. Nothing else is ever written, so every
//! snapshot of the table sums up to nothing; half a transfer that somebody sees shows in the sum.

use super::options::{self, Number};
use super::writing::{AGAIN, Place, Way, Writing, identity};
use super::{Performer, rows};
use crate::sim::chance::Stream;
use crate::sim::scenario::session::Refusal;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::trial::history::Audit;
use crate::trial::question::micros;
use rand::Rng;
use std::fmt;

pub const COLUMNS: &str =
    "time timestamptz NOT NULL, account text NOT NULL, writer int, batch int, row int, rows int, amount bigint";

/// Both rows of a transfer of nobody.
pub fn fresh_write(table: &str) -> String {
    format!(
        "INSERT INTO {table} VALUES ('2023-01-01 00:00:00+00', 'fresh', -1, 0, 0, 2, -1), ('2023-01-21 00:00:00+00', 'write', -1, 0, 1, 2, 1)"
    )
}

/// Days that transfers are about.
const DAYS: u32 = 21;

/// Auditors pause so many times longer than tellers.
const AUDIT_PAUSE_FACTOR: u32 = 4;

pub const FORMS: [&str; 7] = [
    "transfer TABLE WRITER.BATCH TIME/ACCOUNT TIME/ACCOUNT AMOUNT",
    "transfer-block TABLE WRITER.BATCH TIME/ACCOUNT TIME/ACCOUNT AMOUNT",
    "transfer-rollback TABLE WRITER.BATCH TIME/ACCOUNT TIME/ACCOUNT AMOUNT",
    "transfer-copy TABLE WRITER.BATCH TIME/ACCOUNT TIME/ACCOUNT AMOUNT",
    "audit TABLE",
    "audit-total TABLE",
    "audit-block TABLE",
];

const WAYS: [(&str, Way); 4] = [
    ("transfer", Way::Insert),
    ("transfer-block", Way::Block),
    ("transfer-rollback", Way::Rollback),
    ("transfer-copy", Way::Copy),
];

const AUDITS: [(&str, Auditing); 3] =
    [("audit", Auditing::Accounts), ("audit-total", Auditing::Total), ("audit-block", Auditing::Block)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auditing {
    Accounts,
    Total,
    /// Both, twice, in one REPEATABLE READ transaction.
    Block,
}

/// When and on which account one row of a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    time: String,
    account: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Transfer { way: Way, table: String, writer: u32, number: u32, debit: Entry, credit: Entry, amount: i64 },
    Audit { auditing: Auditing, table: String },
}

impl Operation {
    /// `None` if the verb is another workload's.
    pub fn parse(verb: &str, rest: &[&str]) -> Option<Result<Operation, String>> {
        if let Some(place) = AUDITS.iter().position(|(word, _)| *word == verb) {
            return Some(match rest {
                [table] => Ok(Operation::Audit { auditing: AUDITS[place].1, table: table.to_string() }),
                _ => Err(format!("expected: {}", FORMS[WAYS.len() + place])),
            });
        }
        let place = WAYS.iter().position(|(word, _)| *word == verb)?;
        let read = || {
            let [table, name, debit, credit, amount] = rest else { return None };
            let (writer, number) = identity(name)?;
            let (debit, credit) = (Entry::parse(debit)?, Entry::parse(credit)?);
            let (way, table, amount) = (WAYS[place].1, table.to_string(), amount.parse().ok()?);
            Some(Operation::Transfer { way, table, writer, number, debit, credit, amount })
        };
        let form = || format!("expected: {}, as transfer t 0.1 2023-01-02/7 2023-01-09/3 25", FORMS[place]);
        Some(read().ok_or_else(form))
    }

    pub fn again(&self, number: u32) -> Operation {
        let mut again = self.clone();
        if let Operation::Transfer { number: own, .. } = &mut again {
            *own = AGAIN + number;
        }
        again
    }

    pub(super) async fn perform(&self, performer: &mut Performer) -> Done {
        match self {
            Operation::Audit { auditing, table } => audit(*auditing, table, performer).await,
            Operation::Transfer { way, table, writer, number, debit, credit, amount } => {
                let places = vec![debit.place(-amount), credit.place(*amount)];
                Writing { table, writer: *writer, number: *number, places }.perform(*way, performer).await
            }
        }
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        let (time, account) = text.split_once('/')?;
        micros(time)?;
        Some(Entry { time: time.to_string(), account: account.parse().ok()? })
    }

    fn place(&self, amount: i64) -> Place {
        let time = micros(&self.time).expect("the line was read");
        Place { time, place: format!("account {}", self.account), value: Some(amount) }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.time, self.account)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Audit { auditing, table } => {
                let (verb, _) = AUDITS.iter().find(|(_, known)| known == auditing).expect("all have a word");
                write!(f, "{verb} {table}")
            }
            Operation::Transfer { way, table, writer, number, debit, credit, amount } => {
                let (verb, _) = WAYS.iter().find(|(_, known)| known == way).expect("all ways have a word");
                write!(f, "{verb} {table} {writer}.{number} {debit} {credit} {amount}")
            }
        }
    }
}

/// Sum and number of entries, over all and by account.
pub fn queries(table: &str) -> [String; 2] {
    [
        format!("SELECT sum(amount), count(*) FROM {table}"),
        format!("SELECT account, sum(amount), count(*) FROM {table} GROUP BY account ORDER BY account"),
    ]
}

async fn audit(auditing: Auditing, table: &str, performer: &mut Performer) -> Done {
    let invoked = performer.now();
    let [total, accounts] = queries(table);
    let queries = match auditing {
        Auditing::Total => vec![total],
        Auditing::Accounts => vec![accounts],
        Auditing::Block => vec![total.clone(), accounts.clone(), total, accounts],
    };
    match ask(auditing == Auditing::Block, &queries, performer).await {
        Ok(statements) => {
            let audit = Audit { invoked, completed: performer.now(), statements };
            let entries: u64 = audit.statements[0].iter().map(|(.., count)| count).sum();
            performer.remember(|history| history.audits.entry(table.to_string()).or_default().push(audit));
            Done::ok(format!("{entries} entries"))
        }
        Err(refusal) => {
            performer.session.hang_up();
            refusal.into()
        }
    }
}

async fn ask(
    block: bool,
    queries: &[String],
    performer: &mut Performer,
) -> Result<Vec<Vec<(String, i64, u64)>>, Refusal> {
    if block {
        performer.statement("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    }
    let mut statements = Vec::new();
    for query in queries {
        statements.push(balances(&rows(performer.statement(query).await?)));
    }
    if block {
        performer.statement("COMMIT").await?;
    }
    Ok(statements)
}

/// An answer to [`queries`]. What cannot be read is a number that no sum hides.
pub fn balances(rows: &[Vec<String>]) -> Vec<(String, i64, u64)> {
    let number = |text: Option<&String>| match text.map(String::as_str) {
        Some("NULL") => 0,
        text => text.and_then(|text| text.parse().ok()).unwrap_or(i64::from(u32::MAX)),
    };
    rows.iter()
        .map(|row| {
            let (account, numbers) = match &row[..] {
                [account, numbers @ ..] if numbers.len() == 2 => (account.clone(), numbers),
                numbers => (String::new(), numbers),
            };
            (account, number(numbers.first()), number(numbers.get(1)).unsigned_abs())
        })
        .collect()
}

/// The options of a `workload bank` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub table: String,
    pub tellers: u32,
    pub transfers: u32,
    pub auditors: u32,
    pub accounts: u32,
    pub pause_ms_max: u32,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let (table, pause_ms_max) = (spec.name.clone(), options::PAUSE_MS);
        let mut options = Options { table, tellers: 2, transfers: 10, auditors: 1, accounts: 8, pause_ms_max };
        let numbers: [Number<'_>; 5] = [
            ("tellers", 0..=1_000, &mut options.tellers),
            ("transfers", 0..=1_000_000, &mut options.transfers),
            ("auditors", 0..=1_000, &mut options.auditors),
            ("accounts", 2..=1_000, &mut options.accounts),
            ("pause_ms", options::PAUSES_MS, &mut options.pause_ms_max),
        ];
        options::read(spec, &mut options.table, numbers)?;
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        let tellers = options::clients(&self.table, "teller", self.tellers, |teller| {
            (0..self.transfers).map(|number| self.transfer(teller, number, chance)).collect()
        });
        let pause = options::watchers_pause(self.pause_ms_max, AUDIT_PAUSE_FACTOR);
        let audit = |(verb, _): &(&str, Auditing)| Timed { pause, text: format!("{verb} {}", self.table) };
        let audits = |_| AUDITS.iter().map(audit).collect();
        let auditors = options::watchers(&self.table, "auditor", self.auditors, &tellers, audits);
        [tellers, auditors].concat()
    }

    fn transfer(&self, writer: u32, number: u32, chance: &mut Stream) -> Timed {
        let from = chance.random_range(0..self.accounts);
        let to = (from + chance.random_range(1..self.accounts)) % self.accounts;
        let mut entry = |account| {
            let day = i64::from(chance.random_range(0..DAYS));
            Entry { time: super::batches::time(day, 0), account }
        };
        let (debit, credit) = (entry(from), entry(to));
        let way = match chance.random_range(0..10) {
            0..5 => Way::Insert,
            5..8 => Way::Block,
            8 => Way::Rollback,
            _ => Way::Copy,
        };
        let (table, amount) = (self.table.clone(), chance.random_range(1..=100));
        let transfer = Operation::Transfer { way, table, writer, number, debit, credit, amount };
        Timed { pause: options::pause(self.pause_ms_max, chance), text: transfer.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back_as_they_were_written() {
        for text in ["transfer t 0.3 2023-01-05/7 2023-01-06T12:00:00/2 25", "audit t", "audit-block t"] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Operation::parse(words[0], &words[1..]).unwrap().unwrap().to_string(), text);
        }
        assert!(Operation::parse("transfer", &["t", "0.1", "2023-01-05/7"]).unwrap().unwrap_err().contains("expected"));
        assert!(Operation::parse("insert", &[]).is_none());
    }

    #[test]
    fn answers_become_balances() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(balances(&[row(&["NULL", "0"])]), [(String::new(), 0, 0)]);
        assert_eq!(balances(&[row(&["account 1", "-5", "2"])]), [("account 1".to_string(), -5, 2)]);
        assert_ne!(balances(&[row(&["?", "2"])])[0].1, 0);
    }
}
