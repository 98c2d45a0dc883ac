//! Servers and clients for the tests of this module.

use crate::access::cluster::Cluster;
use crate::access::session::{AccessSession, Databases};
use crate::catalog::store::Store;
use crate::engine::Engine;
use crate::error::{Error, Notice, Result, codes};
use crate::host::Host;
use crate::host::real::real;
use crate::wire::server::{Backends, serve};
use crate::wire::{Acceptor, Frontend, Outcome, Parameter, Startup, values};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use postgres_types::Type;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A server with its folder, which goes with it.
pub struct Server {
    pub host: Host,
    folder: PathBuf,
    pub port: u16,
    clusters: Mutex<BTreeMap<String, Arc<Cluster>>>,
    myself: Weak<Server>,
}

impl Drop for Server {
    #[expect(clippy::disallowed_methods, reason = "the folder is the test's, not the host's")]
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// Listens on a free port and serves.
    pub async fn start(name: &str) -> Arc<Server> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("hypertile-access-{}-{number}", std::process::id()));
        let host = real(name, &folder).unwrap();
        let mut listener = host.net().listen("127.0.0.1", 0).await.unwrap();
        let port = listener.local_address().port();
        let server = Arc::new_cyclic(|myself| Server {
            host: host.clone(),
            folder,
            port,
            clusters: Mutex::default(),
            myself: myself.clone(),
        });
        server.create("postgres").await.unwrap();
        let (acceptor, backends, serving) = (server.clone(), Arc::new(Backends::default()), host.clone());
        host.spawn("listener", async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let connection = serve(serving.clone(), stream, peer, acceptor.clone(), backends.clone());
                serving.spawn("connection", connection);
            }
        });
        server
    }

    pub fn cluster(&self, database: &str) -> Option<Arc<Cluster>> {
        self.clusters.lock().unwrap().get(database).cloned()
    }

    /// A client without a network in between.
    pub async fn client(&self, database: &str) -> Client {
        let startup = Startup { user: "postgres".into(), database: database.into(), ..Startup::default() };
        Client { session: self.open(startup).await.unwrap(), notices: Vec::new() }
    }
}

#[async_trait]
impl Databases for Server {
    async fn create(&self, name: &str) -> Result<()> {
        if self.cluster(name).is_some() {
            return Err(Error::new(codes::DUPLICATE_DATABASE, format!("database \"{name}\" already exists")));
        }
        let engine = Engine::open(&self.host, &format!("{name}/engine.redb")).await?;
        let store = Store::open(&self.host, &format!("{name}/catalog.redb")).await?;
        let cluster = Cluster::open(&self.host, name, self.port, engine, store).await?;
        cluster.start();
        self.clusters.lock().unwrap().insert(name.to_string(), cluster);
        Ok(())
    }

    async fn drop(&self, name: &str) -> Result<()> {
        match self.clusters.lock().unwrap().remove(name) {
            Some(_) => Ok(()),
            None => Err(Error::new(codes::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))),
        }
    }

    fn list(&self) -> Vec<String> {
        self.clusters.lock().unwrap().keys().cloned().collect()
    }
}

#[async_trait]
impl Acceptor for Server {
    type Session = AccessSession;

    fn password(&self, _user: &str) -> Option<String> {
        None
    }

    async fn open(&self, startup: Startup) -> Result<AccessSession> {
        let cluster = self.cluster(&startup.database).ok_or_else(|| {
            Error::new(codes::INVALID_CATALOG_NAME, format!("database \"{}\" does not exist", startup.database))
        })?;
        Ok(AccessSession::new(cluster, self.myself.upgrade().unwrap(), startup))
    }
}

/// Drives a session as the protocol does.
pub struct Client {
    pub session: AccessSession,
    pub notices: Vec<Notice>,
}

impl Client {
    /// Rows as psql prints them unaligned, or the command tag.
    pub async fn run(&mut self, sql: &str) -> Result<Vec<String>> {
        let result = self.run_all(sql).await;
        let ended = self.session.sync(result.is_ok()).await;
        self.notices = self.session.take_notices();
        let lines = result?;
        ended.map(|()| lines)
    }

    pub async fn ok(&mut self, sql: &str) -> Vec<String> {
        self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error} {:?}", error.hint()))
    }

    /// SQLSTATE and message.
    pub async fn err(&mut self, sql: &str) -> String {
        match self.run(sql).await {
            Ok(lines) => panic!("{sql}: {lines:?}"),
            Err(error) => format!("{}: {}", error.code(), error.message()),
        }
    }

    /// Messages of the notices of the last statement.
    pub fn told(&self) -> Vec<&str> {
        self.notices.iter().map(|notice| notice.error.message()).collect()
    }

    async fn run_all(&mut self, sql: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for statement in self.session.parse(sql)? {
            let outcome = self.session.execute(&statement, &[], Vec::new()).await?;
            lines = self.drain(outcome).await?;
        }
        Ok(lines)
    }

    async fn drain(&mut self, outcome: Outcome) -> Result<Vec<String>> {
        match outcome {
            Outcome::Rows { mut rows, .. } => {
                let mut lines = Vec::new();
                while let Some(batch) = rows.next().await {
                    lines.extend(printed(&batch?, &self.session.format()));
                }
                Ok(lines)
            }
            Outcome::Done { tag } => Ok(vec![tag]),
            Outcome::Empty => Ok(Vec::new()),
            Outcome::CopyIn { .. } => panic!("use copy()"),
            Outcome::CopyOut { mut data, .. } => {
                let mut text = Vec::new();
                while let Some(chunk) = data.next().await {
                    text.extend_from_slice(&chunk?.bytes);
                }
                Ok(String::from_utf8(text).unwrap().lines().map(str::to_string).collect())
            }
        }
    }

    /// COPY FROM STDIN with these pieces of data.
    pub async fn copy(&mut self, sql: &str, pieces: &[&str]) -> Result<u64> {
        let result = self.copy_all(sql, pieces).await;
        let ended = self.session.sync(result.is_ok()).await;
        let rows = result?;
        ended.map(|()| rows)
    }

    async fn copy_all(&mut self, sql: &str, pieces: &[&str]) -> Result<u64> {
        let statement = self.session.parse(sql)?.remove(0);
        let Outcome::CopyIn { mut sink, .. } = self.session.execute(&statement, &[], Vec::new()).await? else {
            panic!("{sql} is no COPY FROM STDIN")
        };
        for piece in pieces {
            sink.write(Bytes::copy_from_slice(piece.as_bytes())).await?;
        }
        sink.finish().await
    }

    /// As the extended protocol does, with text parameters.
    pub async fn prepared(&mut self, sql: &str, parameters: &[&str]) -> Result<(Vec<Type>, Vec<String>)> {
        let result = self.prepared_all(sql, parameters).await;
        let ended = self.session.sync(result.is_ok()).await;
        let answer = result?;
        ended.map(|()| answer)
    }

    async fn prepared_all(&mut self, sql: &str, parameters: &[&str]) -> Result<(Vec<Type>, Vec<String>)> {
        let statement = self.session.parse(sql)?.remove(0);
        let description = self.session.describe(&statement, &[]).await?;
        let bound = parameters
            .iter()
            .map(|text| Parameter { binary: false, bytes: Some(Bytes::copy_from_slice(text.as_bytes())) })
            .collect();
        let outcome = self.session.execute(&statement, &description.parameters, bound).await?;
        if let Outcome::Rows { schema, .. } = &outcome {
            assert_eq!(Some(schema), description.columns.as_ref(), "{sql}");
        }
        Ok((description.parameters, self.drain(outcome).await?))
    }
}

fn printed(batch: &RecordBatch, format: &values::Format) -> Vec<String> {
    let line = |row: usize| {
        let cell = |at: usize| {
            let mut text = BytesMut::new();
            let field = batch.schema_ref().field(at).clone();
            match values::write_text(batch.column(at), &field, row, format, &mut text).unwrap() {
                true => String::from_utf8(text.to_vec()).unwrap(),
                false => "NULL".to_string(),
            }
        };
        (0..batch.num_columns()).map(cell).collect::<Vec<_>>().join("|")
    };
    (0..batch.num_rows()).map(line).collect()
}
