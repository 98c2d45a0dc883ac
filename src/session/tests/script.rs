//! Runs scripts: statements, `----`, expected lines, an empty line.

#![expect(clippy::disallowed_methods, reason = "a test makes and removes the folder of its database")]

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::session::PlainFrontend;
use crate::wire::values::{self, Format};
use crate::wire::{Frontend, Outcome, Startup};
use bytes::BytesMut;
use futures::StreamExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A database in a folder of its own, removed in the end.
pub struct Database {
    pub engine: Arc<Engine>,
    pub host: crate::host::Host,
    folder: PathBuf,
}

impl Database {
    pub async fn new(name: &str) -> Database {
        let folder = std::env::temp_dir().join(format!("hypertile-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let host = crate::host::real::real("test", &folder).unwrap();
        let engine = Engine::open(&host, "db").await.unwrap();
        Database { engine, host, folder }
    }

    pub fn client(&self) -> Client {
        let startup = Startup { user: "alice".into(), database: "app".into(), parameters: vec![], process_id: 42 };
        Client { frontend: PlainFrontend::new(&self.host, &self.engine, &startup) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub struct Client {
    pub frontend: PlainFrontend,
}

impl Client {
    /// As psql prints it, unaligned: notices, then column names and rows, or the tag, or the error.
    pub async fn run(&mut self, sql: &str) -> String {
        let mut lines = Vec::new();
        let result = self.statements(sql, &mut lines).await;
        let ended = match &result {
            Ok(()) => self.frontend.sync(true).await,
            Err(_) => self.frontend.sync(false).await,
        };
        for notice in self.frontend.take_notices() {
            lines.push(labelled(notice.severity.as_str(), &notice.error));
        }
        if let Err(error) = result.and(ended) {
            lines.push(shown(&error));
        }
        lines.join("\n")
    }

    async fn statements(&mut self, sql: &str, lines: &mut Vec<String>) -> Result<()> {
        for statement in self.frontend.parse(sql)? {
            let outcome = self.frontend.execute(&statement, &[], vec![]).await;
            for notice in self.frontend.take_notices() {
                lines.push(labelled(notice.severity.as_str(), &notice.error));
            }
            match outcome? {
                Outcome::Rows { schema, mut rows, .. } => {
                    let format = self.frontend.format();
                    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                    let mut printed = vec![names.join("|")];
                    while let Some(batch) = rows.next().await {
                        printed.extend(print(&batch?, &format)?);
                    }
                    lines.extend(printed);
                }
                Outcome::Done { tag } => lines.push(tag),
                Outcome::Empty => {}
                Outcome::CopyIn { mut sink, .. } => {
                    let _ = &mut sink;
                    lines.push("COPY IN".into());
                }
                Outcome::CopyOut { mut data, .. } => {
                    while let Some(chunk) = data.next().await {
                        let text = String::from_utf8(chunk?.bytes.to_vec()).unwrap();
                        lines.extend(text.lines().map(str::to_string));
                    }
                }
            }
        }
        Ok(())
    }
}

pub fn shown(error: &Error) -> String {
    labelled("ERROR", error)
}

fn labelled(severity: &str, error: &Error) -> String {
    let mut text = format!("{severity}:  {}: {}", error.code(), error.message());
    if let Some(detail) = error.detail() {
        text.push_str(&format!("\nDETAIL:  {detail}"));
    }
    text
}

fn print(batch: &datafusion::arrow::record_batch::RecordBatch, format: &Format) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for row in 0..batch.num_rows() {
        let mut cells = Vec::new();
        for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
            let mut buffer = BytesMut::new();
            let written = values::write_text(column, field, row, format, &mut buffer)?;
            cells.push(if written { String::from_utf8_lossy(&buffer).into_owned() } else { "NULL".into() });
        }
        lines.push(cells.join("|"));
    }
    Ok(lines)
}

/// Fails with all differences at once.
pub async fn run_script(name: &str, script: &str) {
    let database = Database::new(&name.replace(['/', '.'], "-")).await;
    let mut client = database.client();
    let mut differences = Vec::new();
    for record in script.split("\n\n") {
        let record = record.lines().filter(|line| !line.starts_with("# ")).collect::<Vec<_>>().join("\n");
        let Some((sql, expected)) = record.split_once("\n----") else { continue };
        let (sql, expected) = (sql.trim(), expected.trim());
        let answer = client.run(sql).await;
        if answer.trim() != expected {
            differences.push(format!("{sql}\n---- expected\n{expected}\n---- got\n{answer}\n"));
        }
    }
    assert!(differences.is_empty(), "{name}: {} differences\n\n{}", differences.len(), differences.join("\n"));
}
