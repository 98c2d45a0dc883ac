//! Data nodes as the access node sees them: addresses, pooled connections, heartbeats.
//!
//! A data node is a PostgreSQL server and nothing more; what is known about it here is its address, whether it
//! answers, and which connections to it lie idle. A request in flight to a node that stops answering must not hang
//! until TCP gives up: every call through a [`Lease`] ends with `08006` when the heartbeats take the node for down, or
//! find that it has been restarted.
//!
//! Reading order: this file, [`lease`] (one connection on loan), [`pool`] (idle ones), [`heartbeat`].

mod heartbeat;
mod lease;
mod pool;

pub use lease::{Lease, RemoteCopy, is_loss};

use crate::catalog::DataNode;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use pool::Node;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// All data nodes of one cluster.
pub struct Nodes {
    host: Host,
    nodes: Mutex<BTreeMap<String, Arc<Node>>>,
}

impl Nodes {
    pub fn new(host: &Host) -> Arc<Nodes> {
        Arc::new(Nodes { host: host.clone(), nodes: Mutex::default() })
    }

    /// Follows the catalog: starts heartbeats for new nodes, forgets deleted ones. Call after every catalog change.
    pub fn set(&self, nodes: &[DataNode]) {
        let mut known = self.lock();
        known.retain(|name, node| nodes.iter().any(|data| data.name == *name && data == node.data()));
        for data in nodes {
            known.entry(data.name.clone()).or_insert_with(|| Node::start(&self.host, data.clone()));
        }
    }

    /// A connection from the pool or a new one, outside any transaction. Errors: `08001`
    /// `could not connect to "node"`, at once while heartbeats say the node is down; `42704` for an unknown node;
    /// `55000` when an operator has declared it unavailable.
    pub async fn connect(self: &Arc<Nodes>, node: &str, user: &str) -> Result<Lease> {
        self.find(node)?.lease(user).await
    }

    /// Fails as `connect` would at once, without connecting.
    pub fn check(&self, node: &str) -> Result<()> {
        self.find(node)?.check()
    }

    /// What the heartbeats say; an operator's `alter_data_node(available => false)` counts as down.
    pub fn is_up(&self, node: &str) -> bool {
        self.find(node).is_ok_and(|node| node.check().is_ok())
    }

    /// Resolves when heartbeats take the node for down, or when it is deleted: race requests in flight against it.
    pub async fn down(&self, node: &str) {
        if let Ok(node) = self.find(node) {
            node.down().await;
        }
    }

    fn find(&self, node: &str) -> Result<Arc<Node>> {
        self.lock()
            .get(node)
            .cloned()
            .ok_or_else(|| Error::new(codes::UNDEFINED_OBJECT, format!("server \"{node}\" does not exist")))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Node>>> {
        self.nodes.lock().expect("nothing panics while it holds the nodes")
    }
}

/// An error of a request to `node` as the client sees it: a broken connection is named as such, what the server said
/// gets the node's name in front. A server that ends our connection because it stops does not stop the client's.
pub fn remote_error(node: &str, error: Error) -> Error {
    match error.code() {
        codes::CANNOT_CONNECT => error.on_node(node),
        codes::ADMIN_SHUTDOWN | codes::CRASH_SHUTDOWN => connection_lost(node, error.message()),
        code if code.class() == "08" => connection_lost(node, error.message()),
        _ => error.on_node(node),
    }
}

fn connection_lost(node: &str, reason: &str) -> Error {
    Error::new(codes::CONNECTION_FAILURE, format!("connection to data node \"{node}\" was lost")).with_detail(reason)
}
