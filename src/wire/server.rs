//! One connection's protocol loop, and the registry that cancel requests look into.

use super::Acceptor;
use crate::host::{Host, Stream};
use std::net::SocketAddr;
use std::sync::Arc;

/// Backends of one server: process ids, secret keys, cancel flags.
#[derive(Default)]
pub struct Backends {
    _todo: (),
}

/// Serves one client until it leaves. Malformed bytes end this connection only. Never panics on input.
pub async fn serve<A: Acceptor>(
    host: Host,
    stream: Stream,
    peer: SocketAddr,
    acceptor: Arc<A>,
    backends: Arc<Backends>,
) {
    let _ = (host, stream, peer, acceptor, backends);
    todo!()
}
