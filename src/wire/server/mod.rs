//! One connection's protocol loop, and the registry that cancel requests look into.
//! PostgreSQL documentation, chapter 55, "Frontend/Backend Protocol".
//!
//! The loop is a state machine of our own over any byte stream. From pgwire it takes SCRAM only: pgwire's message
//! decoders trust the counts inside a message (they read into the next one, or panic, where it is too short), its
//! encoders give up halfway through texts longer than libpq likes, and its handlers neither watch the client nor can
//! be cancelled once rows flow.
//!
//! Promises: malformed bytes end this connection only and never panic; at most one message and a bounded read-ahead
//! are held of what the client sends, and one output buffer of what it has yet to take; a statement stops when its
//! client cancels it or goes away. A client that half-closes its side (EOF) counts as gone while a statement runs.
//!
//! Reading order: [`backends`] (who is connected), `link` (bytes, interrupts), `message` (what clients say),
//! `reply` (what we say), `startup`, `connection` (the loop, simple queries), `rows`, `transfer` (COPY), `extended`.

pub mod backends;
mod connection;
mod extended;
mod link;
mod message;
mod reply;
mod rows;
mod startup;
#[cfg(test)]
mod tests;
mod transfer;

pub use backends::{BackendInfo, Backends};

use super::Acceptor;
use crate::error::{Error, codes};
use crate::host::{Host, Stream};
use connection::Connection;
use link::Link;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a client has to take the last message before its connection is closed.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection ends.
pub(crate) enum Stop {
    /// The client said goodbye or went away: nobody is left to tell.
    Gone,
    /// The client is told, then the connection is closed.
    Fatal(Error),
}

/// Why what a client asked for was not done.
pub(crate) enum Failure {
    /// The statement failed; the connection goes on.
    Statement(Error),
    Stop(Stop),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        if error.code() == codes::ADMIN_SHUTDOWN {
            return Failure::Stop(Stop::Fatal(error));
        }
        Failure::Statement(error)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        Failure::Stop(stop)
    }
}

/// Serves one client until it leaves. Malformed bytes end this connection only. Never panics on input.
pub async fn serve<A: Acceptor>(
    host: Host,
    stream: Stream,
    peer: SocketAddr,
    acceptor: Arc<A>,
    backends: Arc<Backends>,
) {
    let mut link = Link::new(&host, stream);
    let stop = converse(&host, &mut link, peer, &*acceptor, &backends).await;
    if let Stop::Fatal(error) = stop {
        tracing::debug!(node = host.name(), %peer, %error, "closing a connection");
        reply::error(&error, reply::Severity::Fatal, &mut link.output);
        // The client may have stopped reading; whether it gets this is its own affair.
        let _ = host.timeout(FAREWELL_TIMEOUT, link.farewell()).await;
    }
}

async fn converse<A: Acceptor>(
    host: &Host,
    link: &mut Link,
    peer: SocketAddr,
    acceptor: &A,
    backends: &Arc<Backends>,
) -> Stop {
    let accepted = match startup::accept(host, link, peer, acceptor, backends).await {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return Stop::Gone,
        Err(stop) => return stop,
    };
    // The registration lives as long as the conversation: dropping it takes the backend off the list.
    let startup::Accepted { session, registration } = accepted;
    Connection::new(host, link, session).run(&registration).await
}
