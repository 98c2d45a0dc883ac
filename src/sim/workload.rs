//! Clients that write and read while faults strike, and remember what they were told.
//!
//! `batches`: every transaction writes a few rows that usually lie on several data nodes, in one INSERT or in a block
//! of several, and sometimes rolls back on purpose; readers look at all batches meanwhile. The table is the scenario's:
//! `(time timestamptz, device text, writer int, batch int, row int, rows int)`.

use super::history::{Batch, Counts, Ending, History, Read, Seen};
use super::scenario::WorkloadSpec;
use crate::host::Host;
use crate::wire::client::{Address, Connection};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_postgres::SimpleQueryMessage;

/// A client gives a statement up after this long: a server that lost its power says nothing at all.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// With its own part done, a client goes on for so long until something has been acknowledged and something read: faults
/// may have outlasted all batches, and then there would be nothing to judge.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a client rests before it tries beyond its own part.
const PATIENT_PAUSE: Duration = Duration::from_millis(500);

/// Readers pause so many times longer than writers: each read looks at everything.
const READ_PAUSE_FACTOR: u64 = 8;

/// The options of a `workload batches` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    pub table: String,
    pub writers: u32,
    pub batches: u32,
    pub readers: u32,
    pub pause_ms_max: u64,
}

impl Batches {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Batches, String> {
        if spec.name != "batches" {
            return Err(format!("unknown workload \"{}\", expected: batches", spec.name));
        }
        let mut options = Batches { table: "batches".into(), writers: 2, batches: 10, readers: 1, pause_ms_max: 50 };
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
                    return Err(format!(
                        "unknown option \"{key}\", expected: table, writers, batches, readers, pause_ms"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// A workload under way.
pub struct Running {
    host: Host,
    history: Arc<Mutex<History>>,
    /// A permit for every client that is through.
    through: Arc<Semaphore>,
    clients: u32,
}

/// Starts all clients. `seed` fixes what they do (not when the cluster answers).
pub fn start(host: &Host, address: &Address, options: Batches, seed: u64) -> Running {
    let history = Arc::new(Mutex::new(History::default()));
    let through = Arc::new(Semaphore::new(0));
    let writers_left = Arc::new(AtomicU32::new(options.writers));
    for writer in 0..options.writers {
        let mut client = Client::new(
            host,
            address,
            &options,
            &history,
            seed ^ u64::from(writer).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        );
        let (through, writers_left) = (through.clone(), writers_left.clone());
        host.spawn("workload writer", async move {
            client.write(writer).await;
            writers_left.fetch_sub(1, Ordering::Relaxed);
            through.add_permits(1);
        });
    }
    for reader in 0..options.readers {
        let seed = seed ^ (u64::from(reader) + 1).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
        let mut client = Client::new(host, address, &options, &history, seed);
        let (through, writers_left) = (through.clone(), writers_left.clone());
        host.spawn("workload reader", async move {
            while writers_left.load(Ordering::Relaxed) > 0 {
                client.read().await;
                client.pause(READ_PAUSE_FACTOR).await;
            }
            client.read_at_last().await;
            through.add_permits(1);
        });
    }
    Running { host: host.clone(), history, through, clients: options.writers + options.readers }
}

impl Running {
    /// Waits until all clients are through; `None` if they are not within `limit`.
    pub async fn finish(self, limit: Duration) -> Option<History> {
        let all = self.through.acquire_many(self.clients);
        self.host.timeout(limit, all).await.ok()?.ok()?.forget();
        let history = self.history.lock().expect("no client panics while it holds the lock").clone();
        Some(history)
    }
}

struct Client {
    host: Host,
    address: Address,
    options: Batches,
    history: Arc<Mutex<History>>,
    random: ChaCha8Rng,
    connection: Option<Connection>,
}

impl Client {
    fn new(host: &Host, address: &Address, options: &Batches, history: &Arc<Mutex<History>>, seed: u64) -> Client {
        Client {
            host: host.clone(),
            address: address.clone(),
            options: options.clone(),
            history: history.clone(),
            random: ChaCha8Rng::seed_from_u64(seed),
            connection: None,
        }
    }

    async fn write(&mut self, writer: u32) {
        for number in 0..self.options.batches {
            self.write_batch(writer, number).await;
            self.pause(1).await;
        }
        let deadline = self.host.monotonic() + PATIENCE;
        let mut number = self.options.batches;
        while self.counts().acknowledged == 0 && self.host.monotonic() < deadline {
            self.host.sleep(PATIENT_PAUSE).await;
            self.write_batch(writer, number).await;
            number += 1;
        }
    }

    async fn write_batch(&mut self, writer: u32, number: u32) {
        let rows = self.random.random_range(1..=6u32);
        let plan = self.plan(writer, number, rows);
        let invoked = self.now();
        let ending = self.run(&plan).await;
        let batch = Batch { writer, number, rows, ending, invoked, completed: self.now() };
        self.history.lock().expect("no client panics while it holds the lock").batches.push(batch);
    }

    fn counts(&self) -> Counts {
        self.history.lock().expect("no client panics while it holds the lock").counts()
    }

    /// The statements of one batch; its outcome hangs on the last one.
    fn plan(&mut self, writer: u32, number: u32, rows: u32) -> Plan {
        let table = self.options.table.clone();
        let mut values: Vec<String> = (0..rows)
            .map(|row| {
                let day = self.random.random_range(1..=21);
                let device = self.random.random_range(0..40);
                format!("('2023-01-{day:02} 00:00:00+00', 'device {device}', {writer}, {number}, {row}, {rows})")
            })
            .collect();
        let insert = |values: &[String]| format!("INSERT INTO {table} VALUES {}", values.join(", "));
        match self.random.random_range(0..10) {
            0..6 => Plan { before: vec![], last: insert(&values), keeps: true },
            kind => {
                let rest = values.split_off(values.len() / 2);
                let mut before = vec!["BEGIN".to_string()];
                before.extend([values, rest].iter().filter(|part| !part.is_empty()).map(|part| insert(part)));
                let keeps = kind < 9;
                Plan { before, last: if keeps { "COMMIT" } else { "ROLLBACK" }.to_string(), keeps }
            }
        }
    }

    async fn run(&mut self, plan: &Plan) -> Ending {
        for sql in &plan.before {
            if self.statement(sql).await.is_err() {
                // Nobody ever said COMMIT: it must not have happened. The connection goes, and with it the block.
                self.connection = None;
                return Ending::Failed;
            }
        }
        match self.statement(&plan.last).await {
            Ok(()) if plan.keeps => Ending::Ok,
            Ok(()) => Ending::Failed,
            Err(_) if !plan.keeps => Ending::Failed,
            Err(ending) => ending,
        }
    }

    /// Runs one statement without rows; the error says what a client may conclude.
    async fn statement(&mut self, sql: &str) -> Result<(), Ending> {
        // Not even sent: it cannot have happened.
        self.connect().await.map_err(|_| Ending::Failed)?;
        let connection = self.connection.take().expect("just connected");
        let answer = self.host.timeout(STATEMENT_TIMEOUT, connection.client().simple_query(sql)).await;
        match answer {
            Ok(Ok(_)) => {
                self.connection = Some(connection);
                Ok(())
            }
            Ok(Err(error)) => match error.as_db_error() {
                Some(refused) if refused.code().code() != "08007" => {
                    self.connection = Some(connection);
                    Err(Ending::Failed)
                }
                _ => Err(Ending::Unknown),
            },
            Err(_) => Err(Ending::Unknown),
        }
    }

    async fn connect(&mut self) -> Result<(), ()> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_closed()) {
            return Ok(());
        }
        match Connection::open(&self.host, &self.address).await {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(_) => {
                // The access node is down: do not spin.
                self.host.sleep(Duration::from_millis(200)).await;
                Err(())
            }
        }
    }

    async fn read(&mut self) {
        let invoked = self.now();
        if self.connect().await.is_ok() {
            let connection = self.connection.take().expect("just connected");
            let work = all_batches(&connection, &self.options.table);
            if let Ok(Ok(seen)) = self.host.timeout(STATEMENT_TIMEOUT, work).await {
                let read = Read { invoked, completed: self.now(), seen };
                self.history.lock().expect("no client panics while it holds the lock").reads.push(read);
                self.connection = Some(connection);
            }
        }
    }

    /// The writers are through: reads only if no reader has read anything yet.
    async fn read_at_last(&mut self) {
        let deadline = self.host.monotonic() + PATIENCE;
        while self.counts().reads == 0 && self.host.monotonic() < deadline {
            self.read().await;
            self.host.sleep(PATIENT_PAUSE).await;
        }
    }

    async fn pause(&mut self, factor: u64) {
        let pause = self.random.random_range(0..=self.options.pause_ms_max * factor);
        self.host.sleep(Duration::from_millis(pause)).await;
    }

    fn now(&self) -> u64 {
        self.host.monotonic().as_micros() as u64
    }
}

struct Plan {
    before: Vec<String>,
    last: String,
    keeps: bool,
}

/// Reads every batch's row counts through `connection`.
pub async fn all_batches(connection: &Connection, table: &str) -> Result<Vec<Seen>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT writer, batch, count(*), count(DISTINCT row), min(rows), max(rows) FROM {table} GROUP BY writer, batch ORDER BY writer, batch"
    );
    let messages = connection.client().simple_query(&sql).await?;
    let number = |row: &tokio_postgres::SimpleQueryRow, column: usize| -> u32 {
        row.get(column).and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
    };
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(Seen {
                writer: number(row, 0),
                number: number(row, 1),
                rows: number(row, 2),
                distinct: number(row, 3),
                expected: if number(row, 4) == number(row, 5) { number(row, 4) } else { 0 },
            }),
            _ => None,
        })
        .collect())
}
