//! A front end that answers a handful of made-up statements, for this module's tests.

use super::copy::{CopyDecoder, CopyEncoder};
use super::server::{Backends, serve};
use super::values::Format;
use super::*;
use crate::error::{Error, codes};
use crate::host::{Host, Stream};
use crate::sql::copy_options::{CopyFormat, CopyOptions};
use crate::sql::types::field;
use arrow::array::{Array, Int32Array, StringArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use futures::{StreamExt, stream};
use std::sync::Mutex;

/// What happened, in order, for tests to look at.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn add(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Logs that it was dropped: a statement interrupted half-way.
struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add(format!("{} dropped", self.1));
    }
}

#[derive(Default)]
pub struct Toy {
    pub log: Log,
    pub password: Option<String>,
    pub backends: Arc<Backends>,
    /// Lets a `stubborn` statement end.
    pub release: Arc<tokio::sync::Notify>,
}

impl Toy {
    /// Serves one stream in the background.
    pub fn serve(self: &Arc<Self>, host: &Host, stream: Stream) {
        let (toy, peer) = (self.clone(), "127.0.0.1:1".parse().unwrap());
        let backends = self.backends.clone();
        host.spawn("toy", serve(host.clone(), stream, peer, toy, backends));
    }

    /// Listens on a free port of the loopback device.
    pub async fn listen(self: &Arc<Self>, host: &Host) -> u16 {
        let mut listener = host.net().listen("127.0.0.1", 0).await.unwrap();
        let (toy, host, port) = (self.clone(), host.clone(), listener.local_address().port());
        let accepting = host.clone();
        host.spawn("toy", async move {
            while let Ok((stream, _)) = listener.accept().await {
                toy.serve(&accepting, stream);
            }
        });
        port
    }
}

#[async_trait]
impl Acceptor for Toy {
    type Session = Session;

    fn password(&self, _user: &str) -> Option<String> {
        self.password.clone()
    }

    async fn open(&self, startup: Startup) -> Result<Session> {
        if startup.database == "missing" {
            return Err(Error::new(codes::INVALID_CATALOG_NAME, "database \"missing\" does not exist"));
        }
        self.log.add(format!("open {}/{}", startup.user, startup.database));
        Ok(Session {
            log: self.log.clone(),
            release: self.release.clone(),
            status: TransactionStatus::Idle,
            commit_fails: false,
            notices: Vec::new(),
            parameters: vec![
                ("server_version".into(), "15.0 (Hypertile toy)".into()),
                ("client_encoding".into(), "UTF8".into()),
            ],
            format: Format::default(),
            idle_limit: None,
        })
    }
}

pub struct Session {
    log: Log,
    release: Arc<tokio::sync::Notify>,
    status: TransactionStatus,
    commit_fails: bool,
    notices: Vec<Notice>,
    parameters: Vec<(String, String)>,
    format: Format,
    idle_limit: Option<Duration>,
}

pub fn schema(columns: &[(&str, Type)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, ty)| field(name, ty, true).unwrap()).collect::<Vec<_>>()))
}

pub fn two_columns() -> SchemaRef {
    schema(&[("id", Type::INT4), ("name", Type::TEXT)])
}

/// Rows `(first, "row first")` and on.
pub fn numbered(first: i32, count: i32) -> RecordBatch {
    let ids: Int32Array = (first..first + count).collect();
    let names: StringArray = (first..first + count).map(|id| Some(format!("row {id}"))).collect();
    RecordBatch::try_new(two_columns(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

fn rows(batch: RecordBatch) -> Outcome {
    let schema = batch.schema();
    Outcome::Rows { schema, rows: stream::iter([Ok(batch)]).boxed(), tag: "SELECT" }
}

fn done(tag: &str) -> Outcome {
    Outcome::Done { tag: tag.into() }
}

struct Sink {
    decoder: CopyDecoder,
    rows: u64,
    log: Log,
    stuck: bool,
    _dropped: Dropped,
}

#[async_trait]
impl CopySink for Sink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        if self.stuck {
            self.log.add("stuck");
            std::future::pending::<()>().await;
        }
        for batch in self.decoder.push(&data)? {
            self.rows += batch.num_rows() as u64;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        self.rows += self.decoder.finish()?.map_or(0, |batch| batch.num_rows() as u64);
        self.log.add(format!("copied {}", self.rows));
        Ok(self.rows)
    }
}

impl Session {
    fn copy_in(&self, format: CopyFormat, stuck: bool) -> Outcome {
        let decoder = CopyDecoder::new(two_columns(), CopyOptions::new(format), Format::default(), "t");
        let dropped = Dropped(self.log.clone(), "sink");
        let sink = Box::new(Sink { decoder, rows: 0, log: self.log.clone(), stuck, _dropped: dropped });
        Outcome::CopyIn { sink, columns: 2, binary: format == CopyFormat::Binary }
    }

    fn copy_out(&self) -> Outcome {
        let mut encoder = CopyEncoder::new(two_columns(), CopyOptions::new(CopyFormat::Text), self.format.clone());
        let chunks = encoder.encode_rows(&numbered(1, 3)).unwrap();
        Outcome::CopyOut { data: stream::iter(chunks.into_iter().map(Ok)).boxed(), columns: 2, binary: false }
    }
}

#[async_trait]
impl Frontend for Session {
    type Statement = String;

    fn parse(&mut self, sql: &str) -> Result<Vec<Arc<String>>> {
        if let Some(at) = sql.find("syntax") {
            let error = Error::new(codes::SYNTAX_ERROR, "syntax error at or near \"syntax\"");
            return Err(error.with_position(at as u32 + 1));
        }
        Ok(sql.split(';').map(str::trim).filter(|s| !s.is_empty()).map(|s| Arc::new(s.to_string())).collect())
    }

    async fn describe(&mut self, statement: &Arc<String>, hints: &[Type]) -> Result<Description> {
        let columns = match statement.split(' ').next().unwrap() {
            "rows" | "endless" | "late" => Some(two_columns()),
            "echo" => Some(schema(&[("echo", Type::TEXT)])),
            "at" => Some(schema(&[("at", Type::TIMESTAMPTZ)])),
            _ => None,
        };
        let count = statement.matches('$').count();
        let hint = |index: usize| hints.get(index).filter(|ty| **ty != Type::UNKNOWN).cloned().unwrap_or(Type::INT4);
        Ok(Description { parameters: (0..count).map(hint).collect(), columns })
    }

    async fn execute(
        &mut self,
        statement: &Arc<String>,
        types: &[Type],
        parameters: Vec<Parameter>,
    ) -> Result<Outcome> {
        self.log.add(format!("execute {statement}"));
        let (word, argument) = statement.split_once(' ').unwrap_or((statement, ""));
        if self.status == TransactionStatus::Failed && !matches!(word, "rollback" | "commit") {
            return Err(Error::new(codes::IN_FAILED_TRANSACTION, "current transaction is aborted"));
        }
        Ok(match word {
            "begin" => {
                self.status = TransactionStatus::InTransaction;
                done("BEGIN")
            }
            "commit" | "rollback" => {
                self.status = TransactionStatus::Idle;
                done(&word.to_ascii_uppercase())
            }
            "rows" => {
                let count = argument.parse::<i32>().unwrap();
                let batches = (0..count).step_by(1000).map(move |first| Ok(numbered(first, 1000.min(count - first))));
                Outcome::Rows { schema: two_columns(), rows: stream::iter(batches).boxed(), tag: "SELECT" }
            }
            "endless" => {
                let dropped = Dropped(self.log.clone(), "endless");
                let batches = stream::repeat_with(move || {
                    let _ = &dropped;
                    Ok(numbered(0, 1000))
                });
                Outcome::Rows { schema: two_columns(), rows: batches.boxed(), tag: "SELECT" }
            }
            "late" => {
                let error = Error::new(codes::DIVISION_BY_ZERO, "division by zero");
                let rows = stream::iter([Ok(numbered(0, 2)), Err(error)]).boxed();
                Outcome::Rows { schema: two_columns(), rows, tag: "SELECT" }
            }
            "at" => {
                let column = values::parse_text(
                    &field("at", &Type::TIMESTAMPTZ, true)?,
                    Some("2023-01-01 00:00:00Z"),
                    &Format::default(),
                )?;
                rows(RecordBatch::try_new(schema(&[("at", Type::TIMESTAMPTZ)]), vec![column])?)
            }
            "echo" => {
                let mut text = Vec::new();
                for (ty, parameter) in types.iter().zip(parameters) {
                    let field = field("p", ty, true)?;
                    let array = match (parameter.binary, &parameter.bytes) {
                        (true, bytes) => values::parse_binary(&field, bytes.as_deref())?,
                        (false, bytes) => {
                            let value = bytes.as_deref().map(|b| std::str::from_utf8(b).unwrap());
                            values::parse_text(&field, value, &self.format)?
                        }
                    };
                    let mut out = bytes::BytesMut::new();
                    let shown = values::write_text(&array, &field, 0, &self.format, &mut out)?;
                    text.push(if shown { String::from_utf8(out.to_vec()).unwrap() } else { "NULL".into() });
                }
                let column = Arc::new(StringArray::from(vec![text.join(",")])) as Arc<dyn Array>;
                rows(RecordBatch::try_new(schema(&[("echo", Type::TEXT)]), vec![column])?)
            }
            "insert" => done("INSERT 0 1"),
            "impatient" => {
                self.idle_limit = Some(Duration::from_millis(50));
                done("SET")
            }
            "doom" => {
                self.commit_fails = true;
                done("INSERT 0 1")
            }
            "sleep" => {
                let _dropped = Dropped(self.log.clone(), "sleep");
                std::future::pending::<()>().await;
                done("SLEEP")
            }
            "stubborn" => {
                self.release.notified().await;
                done("STUBBORN")
            }
            "notice" => {
                self.notices.push(Notice::warning(codes::WARNING, argument));
                done("NOTICE")
            }
            "zone" => {
                self.format = Format { time_zone: argument.parse().unwrap() };
                self.parameters.push(("TimeZone".into(), argument.into()));
                done("SET")
            }
            "copy_in" => self.copy_in(CopyFormat::Text, argument == "stuck"),
            "copy_in_binary" => self.copy_in(CopyFormat::Binary, false),
            "copy_out" => self.copy_out(),
            _ => {
                let error = Error::new(codes::UNDEFINED_TABLE, format!("relation \"{word}\" does not exist"));
                return Err(error.with_detail("a detail").with_hint("a hint").with_position(3));
            }
        })
    }

    fn interruptible(&self, statement: &String) -> bool {
        statement != "stubborn"
    }

    async fn sync(&mut self, ok: bool) -> Result<()> {
        self.log.add(format!("sync {ok}"));
        if !ok && self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
        if std::mem::take(&mut self.commit_fails) && ok {
            return Err(Error::new(codes::SERIALIZATION_FAILURE, "could not serialize access"));
        }
        Ok(())
    }

    fn status(&self) -> TransactionStatus {
        self.status
    }

    fn idle_limit(&self) -> Option<(Duration, Error)> {
        Some((self.idle_limit?, Error::new(codes::WARNING, "idle")))
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.parameters)
    }

    fn format(&self) -> Format {
        self.format.clone()
    }
}
