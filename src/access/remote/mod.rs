//! Data nodes as the access node sees them: addresses, pooled connections, heartbeats.

use crate::catalog::DataNode;
use crate::error::Result;
use crate::host::Host;
use crate::wire::client::Connection;
use std::sync::Arc;

/// All data nodes of one cluster.
pub struct Nodes {
    _todo: (),
}

impl Nodes {
    pub fn new(host: &Host) -> Arc<Nodes> {
        let _ = host;
        todo!()
    }

    /// Follows the catalog: starts heartbeats for new nodes, forgets deleted ones. Call after every catalog change.
    pub fn set(&self, nodes: &[DataNode]) {
        let _ = nodes;
        todo!()
    }

    /// A connection from the pool or a new one, outside any transaction. Errors: `08001`
    /// `could not connect to "node"`, at once while heartbeats say the node is down.
    pub async fn connect(self: &Arc<Nodes>, node: &str, user: &str) -> Result<Lease> {
        let _ = (node, user);
        todo!()
    }

    /// What the heartbeats say.
    pub fn is_up(&self, node: &str) -> bool {
        let _ = node;
        todo!()
    }

    /// Resolves when heartbeats take the node for down: race requests in flight against it.
    pub async fn down(&self, node: &str) {
        let _ = node;
        todo!()
    }
}

/// A connection on loan. Dropping it gives it back when it is idle and outside a transaction, else closes it.
pub struct Lease {
    _todo: (),
}

impl Lease {
    pub fn connection(&self) -> &Connection {
        todo!()
    }

    pub fn node(&self) -> &str {
        todo!()
    }
}
