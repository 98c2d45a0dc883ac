//! What all sessions of one database share.

use super::remote::Nodes;
use super::txn::{Gate, Live};
use crate::catalog::store::Store;
use crate::engine::Engine;
use crate::host::Host;
use std::sync::Arc;

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
}
