//! Heartbeats: one small question a second on a connection of its own.
//!
//! The question is the empty statement: both PostgreSQL and the embedded server answer it without planning. What
//! counts as an answer is anything the server says, a refusal included: a server that has no connection left for us
//! is not down. A node is taken for down `NODE_DOWN_AFTER` after its last answer, and for up with its next answer.
//!
//! A server that lost its power and came back within that time never was down; but it knows nothing of the connections
//! it had. The heartbeats' own connection breaks with the next question, or cannot be made, and stands for the others.

use super::pool::{Health, Node};
use crate::buggify;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::limits::{HEARTBEAT_INTERVAL, NODE_DOWN_AFTER};
use crate::wire::client::{Address, Connection};
use std::sync::{Arc, Weak};

/// Runs until the node is forgotten.
pub(super) async fn run(host: Host, node: Weak<Node>) {
    let mut connection = None;
    let mut answered_at = host.monotonic();
    loop {
        let Some(node) = node.upgrade() else { return };
        let beat = host.timeout(NODE_DOWN_AFTER, beat(&node, &mut connection)).await;
        let answered = match &beat {
            Ok(Ok(())) => true,
            Ok(Err(error)) => is_alive(error),
            Err(_) => false,
        };
        if !matches!(beat, Ok(Ok(()))) {
            connection = None;
            // A server that ends our connection with words ends others' with words too, if it means to.
            let said_so = matches!(&beat, Ok(Err(error)) if error.code().class() != "08");
            if said_so { node.forget_idle() } else { node.forget_connections() }
        }
        if answered {
            answered_at = host.monotonic();
            node.set_health(Health::Up);
        } else if beat.is_err() || host.monotonic() - answered_at >= NODE_DOWN_AFTER {
            node.set_health(Health::Down);
        }
        drop(node);
        host.sleep(HEARTBEAT_INTERVAL).await;
        if buggify!(host, "heartbeat.late") {
            host.sleep(HEARTBEAT_INTERVAL).await;
        }
    }
}

async fn beat(node: &Arc<Node>, connection: &mut Option<Connection>) -> Result<()> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(node.host(), &address(node)).await?),
    };
    open.run("").await
}

fn address(node: &Node) -> Address {
    let data = node.data();
    Address {
        host: data.host.clone(),
        port: data.port,
        database: data.database.clone(),
        user: node.own_user().into(),
        password: data.password.clone(),
    }
}

/// Whether an error is the answer of a server that serves others. Class 57 is a server on its way up or down.
fn is_alive(error: &Error) -> bool {
    !matches!(error.code().class(), "08" | "57") && error.code() != codes::INTERNAL
}
