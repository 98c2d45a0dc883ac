//! What all sessions of one database share.

use super::remote::Nodes;
use super::session::claims::Tables;
use super::txn::{Gate, Live, resolver};
use crate::catalog::store::Store;
use crate::engine::Engine;
use crate::error::Result;
use crate::host::{Host, TaskHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One database of a server: its engine, its catalog (empty unless it is an access node), its data nodes.
pub struct Cluster {
    pub host: Host,
    /// Tells this open database from all others, also from its own later openings: a random UUID. So `add_data_node`
    /// recognises itself at the other end of a connection.
    pub identity: String,
    /// The database's name on this server.
    pub database: String,
    /// The server's own port: the default port of `add_data_node`.
    pub port: u16,
    pub engine: Arc<Engine>,
    pub store: Arc<Store>,
    pub nodes: Arc<Nodes>,
    pub gate: Gate,
    pub live: Live,
    /// Held by a transaction from its first catalog change to its end: changes are computed on a state that
    /// nobody else moves.
    pub ddl: Arc<tokio::sync::Mutex<()>>,
    /// What sessions are doing to tables of this database that only they can know.
    pub tables: Tables,
    sessions: AtomicUsize,
}

impl Cluster {
    /// Takes up where the last incarnation stopped: starts heartbeats, ends what is left prepared in `engine`, and
    /// keeps data nodes with unconfirmed commits from being read. Call [`Cluster::start`] next, then open sessions.
    /// Errors: the engine's.
    pub async fn open(
        host: &Host,
        database: &str,
        port: u16,
        engine: Arc<Engine>,
        store: Arc<Store>,
    ) -> Result<Arc<Cluster>> {
        let nodes = Nodes::new(host);
        nodes.set(&store.state().nodes);
        let live = Live::default();
        for decision in store.decisions() {
            live.adopt(&decision.gid, &decision.participants);
        }
        let cluster = Arc::new(Cluster {
            host: host.clone(),
            identity: random_uuid(host),
            database: database.into(),
            port,
            engine,
            store,
            nodes,
            gate: Gate::default(),
            live,
            ddl: Arc::default(),
            tables: Tables::default(),
            sessions: AtomicUsize::new(0),
        });
        resolver::recover_local(&cluster).await?;
        Ok(cluster)
    }

    /// Starts the resolver. It ends with the cluster, or when the handle aborts it.
    pub fn start(self: &Arc<Cluster>) -> TaskHandle {
        self.host.spawn("resolver", resolver::run(Arc::downgrade(self)))
    }

    /// How many clients are connected to this database: it cannot be dropped under them.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }

    /// Counts a session for as long as what it returns lives.
    pub fn enter(self: &Arc<Cluster>) -> Presence {
        self.sessions.fetch_add(1, Ordering::SeqCst);
        Presence(self.clone())
    }
}

/// One session's place in [`Cluster::sessions`].
pub struct Presence(Arc<Cluster>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A random UUID (version 4, RFC 9562), from the host's entropy.
pub fn random_uuid(host: &Host) -> String {
    let mut bytes = [0; 16];
    host.random_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
