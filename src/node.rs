//! A server over a host: listener, databases, background tasks.
//!
//! There is one kind of server. It holds databases, each with an engine and a catalog; a database whose catalog names
//! data nodes is an access node, one that was added to a cluster is a data node, and the server does not care.
//!
//! Its folder: `FORMAT` (the version line), `databases.json` (name -> folder number), `database-<n>/engine.redb` and
//! `database-<n>/catalog.redb`. A database exists from the moment its line in `databases.json` is durable.

use crate::access::cluster::Cluster;
use crate::access::session::{AccessSession, Databases};
use crate::catalog::store::Store;
use crate::engine::Engine;
use crate::error::{Error, Result, codes};
use crate::host::{Host, Listener};
use crate::limits;
use crate::wire::server::{self, Backends};
use crate::wire::{Acceptor, Startup};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

/// Changes when the layout of the folder does.
pub const FORMAT: &str = "hypertile 1\n";

const FORMAT_FILE: &str = "FORMAT";
const ENGINE_FILE: &str = "engine.redb";
const CATALOG_FILE: &str = "catalog.redb";
const LIST_FILE: &str = "databases.json";

/// There from the start, as in PostgreSQL: a place to connect to for `CREATE DATABASE`.
pub const FIRST_DATABASE: &str = "postgres";

/// Makes now what the first query of a process would make: those who fork need it made before.
pub use crate::access::session::warm_up;

/// The host name by which clusters that are made for somebody (`hypertile up`, scenarios) know data node k.
pub fn data_node_host(k: u16) -> String {
    format!("dn{k}.example.com")
}

#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The port that clients use: the default port of `add_data_node`.
    pub port: u16,
    /// With one, every user must give it (SCRAM-SHA-256); without, everybody is trusted.
    pub password: Option<String>,
}

/// One server.
pub struct Server {
    host: Host,
    config: Config,
    backends: Arc<Backends>,
    open: Mutex<BTreeMap<String, Arc<Cluster>>>,
    /// Held while the list of databases changes.
    changing: tokio::sync::Mutex<List>,
    myself: Weak<Server>,
}

/// What `databases.json` holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct List {
    next: u64,
    folders: BTreeMap<String, u64>,
}

impl Server {
    /// Opens the host's folder and all its databases. Errors: `55000` for a folder of another version, `58030`.
    pub async fn open(host: &Host, config: Config) -> Result<Arc<Server>> {
        check_format(host)?;
        let list = read_list(host)?;
        let server = Arc::new_cyclic(|myself| Server {
            host: host.clone(),
            config,
            backends: Arc::new(Backends::default()),
            open: Mutex::new(BTreeMap::new()),
            changing: tokio::sync::Mutex::new(list.clone()),
            myself: myself.clone(),
        });
        for (name, folder) in &list.folders {
            check_present(host, name, *folder)?;
            let cluster = server.open_database(name, *folder).await?;
            server.open.lock().expect("never poisoned: no panics under this lock").insert(name.clone(), cluster);
        }
        if !list.folders.contains_key(FIRST_DATABASE) {
            server.create(FIRST_DATABASE).await?;
        }
        Ok(server)
    }

    /// Takes clients until the task is aborted or the listener breaks.
    pub async fn run(self: Arc<Self>, mut listener: Box<dyn Listener>) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection =
                        server::serve(self.host.clone(), stream, peer, self.clone(), self.backends.clone());
                    self.host.spawn("connection", connection);
                }
                // Out of file descriptors and the like pass; a closed listener would spin without the pause.
                Err(_) => self.host.sleep(limits::ACCEPT_RETRY_PAUSE).await,
            }
        }
    }

    /// Begins to shut down: new clients are turned away (`57P03`), those connected are terminated (`57P01`).
    pub fn shut_down(&self) {
        self.backends.shut_down();
    }

    /// Waits until no client is connected.
    pub async fn drained(&self) {
        self.backends.drained().await;
    }

    async fn open_database(&self, name: &str, folder: u64) -> Result<Arc<Cluster>> {
        let path = folder_path(folder);
        self.host.disk().create_dir(&path)?;
        let engine = Engine::open(&self.host, &format!("{path}/{ENGINE_FILE}")).await?;
        let store = Store::open(&self.host, &format!("{path}/{CATALOG_FILE}")).await?;
        let cluster = Cluster::open(&self.host, name, self.config.port, engine, store).await?;
        cluster.start();
        Ok(cluster)
    }

    fn cluster(&self, name: &str) -> Option<Arc<Cluster>> {
        self.open.lock().expect("never poisoned: no panics under this lock").get(name).cloned()
    }
}

fn folder_path(folder: u64) -> String {
    format!("database-{folder}")
}

fn check_format(host: &Host) -> Result<()> {
    match host.disk().read(FORMAT_FILE) {
        Ok(found) if found == FORMAT.as_bytes() => Ok(()),
        Ok(found) => Err(Error::new(
            codes::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "the data folder is of another version: it says \"{}\", this server needs \"{}\"",
                String::from_utf8_lossy(&found).trim().escape_debug(),
                FORMAT.trim()
            ),
        )
        .with_hint("Use the hypertile version that made the folder, or start with an empty folder.")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let strangers = host.disk().list("")?;
            if let Some(stranger) = strangers.iter().find(|name| *name != "lock") {
                return Err(Error::new(
                    codes::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("the data folder holds \"{stranger}\" but was not made by hypertile"),
                )
                .with_hint("Name an empty folder, or one that does not exist yet."));
            }
            Ok(host.disk().write(FORMAT_FILE, FORMAT.as_bytes())?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A file that has been lost or emptied must not be taken for a new one.
fn check_present(host: &Host, name: &str, folder: u64) -> Result<()> {
    for file in [ENGINE_FILE, CATALOG_FILE] {
        let path = format!("{}/{file}", folder_path(folder));
        let found = host.disk().open(&path)?;
        let length = found.len()?;
        found.close()?;
        if length == 0 {
            let message = format!("database \"{name}\" is damaged: its file {path} is missing or empty");
            return Err(Error::new(codes::DATA_CORRUPTED, message)
                .with_hint("Restore the data folder, or start with an empty one."));
        }
    }
    Ok(())
}

fn read_list(host: &Host) -> Result<List> {
    match host.disk().read(LIST_FILE) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(codes::DATA_CORRUPTED, format!("{LIST_FILE} cannot be read: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(List::default()),
        Err(error) => Err(error.into()),
    }
}

fn write_list(host: &Host, list: &List) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(list).expect("names and numbers always serialize");
    Ok(host.disk().write(LIST_FILE, &bytes)?)
}

#[async_trait]
impl Databases for Server {
    async fn create(&self, name: &str) -> Result<()> {
        let mut list = self.changing.lock().await;
        if list.folders.contains_key(name) {
            return Err(Error::new(codes::DUPLICATE_DATABASE, format!("database \"{name}\" already exists")));
        }
        let mut changed = list.clone();
        let folder = changed.next;
        changed.next += 1;
        changed.folders.insert(name.to_string(), folder);
        // What an earlier attempt may have left there; nobody can have used it.
        self.host.disk().remove(&folder_path(folder))?;
        let cluster = self.open_database(name, folder).await?;
        write_list(&self.host, &changed)?;
        *list = changed;
        self.open.lock().expect("never poisoned: no panics under this lock").insert(name.to_string(), cluster);
        Ok(())
    }

    async fn drop(&self, name: &str) -> Result<()> {
        let mut list = self.changing.lock().await;
        let Some(folder) = list.folders.get(name).copied() else {
            return Err(Error::new(codes::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist")));
        };
        let in_use = || {
            Error::new(codes::OBJECT_IN_USE, format!("database \"{name}\" is being accessed by other users"))
                .with_hint("End the sessions that are connected to it, then try again.")
        };
        let cluster = self.cluster(name).ok_or_else(in_use)?;
        if cluster.sessions() > 0 || name == FIRST_DATABASE {
            return Err(in_use());
        }
        let mut changed = list.clone();
        changed.folders.remove(name);
        write_list(&self.host, &changed)?;
        *list = changed;
        self.open.lock().expect("never poisoned: no panics under this lock").remove(name);
        // Nothing may write to the files any more when they go.
        cluster.engine.close().await;
        drop(cluster);
        Ok(self.host.disk().remove(&folder_path(folder))?)
    }

    fn list(&self) -> Vec<String> {
        self.open.lock().expect("never poisoned: no panics under this lock").keys().cloned().collect()
    }
}

#[async_trait]
impl Acceptor for Server {
    type Session = AccessSession;

    fn password(&self, _user: &str) -> Option<String> {
        self.config.password.clone()
    }

    async fn open(&self, startup: Startup) -> Result<AccessSession> {
        let cluster = self.cluster(&startup.database).ok_or_else(|| {
            Error::new(codes::INVALID_CATALOG_NAME, format!("database \"{}\" does not exist", startup.database))
        })?;
        let server = self.myself.upgrade().expect("a server that serves is alive");
        Ok(AccessSession::new(cluster, server, startup))
    }
}
