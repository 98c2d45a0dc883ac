//! How connections come to be: listening, asking, accepting.

use super::super::connection::{Both, Cargo, Connection, End, Pipe, Socket};
use super::super::{LifeNumber, NodeIndex, address_of};
use super::{EPHEMERAL_PORTS, Event, Listening, State};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// What a connect request finds when it arrives.
pub enum Answer {
    /// A partition, a dark machine, or a full queue.
    None,
    Refused,
    Accepted(LifeNumber),
}

/// Connections that may wait for `accept`, as Linux's usual `somaxconn` of old.
const ACCEPT_QUEUE_MAX: usize = 128;

impl State {
    /// Errors: `AddrInUse`.
    pub fn listen(&mut self, node: NodeIndex, life: LifeNumber, port: u16) -> io::Result<u16> {
        let port = if port == 0 { self.free_port(node) } else { port };
        if self.listeners.contains_key(&(node, port)) {
            let message = format!("port {port} of {} is in use", self.hosts[node].name);
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        self.listeners.insert((node, port), Listening { life, queue: VecDeque::new(), acceptor: None });
        Ok(port)
    }

    pub fn free_port(&mut self, node: NodeIndex) -> u16 {
        loop {
            let host = &mut self.hosts[node];
            let port = host.next_port;
            host.next_port = if port + 1 < EPHEMERAL_PORTS.end { port + 1 } else { EPHEMERAL_PORTS.start };
            if !self.listeners.contains_key(&(node, port)) {
                return port;
            }
        }
    }

    /// Resets what nobody accepted.
    pub fn stop_listening(&mut self, node: NodeIndex, life: LifeNumber, port: u16) {
        if self.listeners.get(&(node, port)).is_none_or(|listening| listening.life != life) {
            return;
        }
        let listening = self.listeners.remove(&(node, port)).expect("it was just found");
        for id in listening.queue {
            self.close(id, End::Server);
        }
    }

    pub fn poll_accept(
        &mut self,
        node: NodeIndex,
        life: LifeNumber,
        port: u16,
        context: &Context<'_>,
    ) -> Poll<(u64, SocketAddr)> {
        let Some(listening) = self.listeners.get_mut(&(node, port)).filter(|listening| listening.life == life) else {
            return Poll::Pending;
        };
        let Some(id) = listening.queue.pop_front() else {
            listening.acceptor = Some(context.waker().clone());
            return Poll::Pending;
        };
        let connection = self.connections.get_mut(&id).expect("a queued connection is open at this end");
        connection.sockets[End::Server].accepted = true;
        let client = connection.sockets[End::Client].node;
        let port = self.free_port(client);
        Poll::Ready((id, address_of(client, port)))
    }

    /// A connect request leaves; `None` if it never arrives.
    pub fn request(&mut self, from: NodeIndex, to: NodeIndex) -> Option<Duration> {
        let arrival = self.arrival(from, to, 0);
        self.passes(from, to).then_some(arrival)
    }

    /// A connect request arrives.
    pub fn answer(&self, from: NodeIndex, to: NodeIndex, port: u16) -> Answer {
        if !self.passes(from, to) {
            return Answer::None;
        }
        match self.listeners.get(&(to, port)) {
            Some(listening) if listening.queue.len() >= ACCEPT_QUEUE_MAX => Answer::None,
            Some(listening) => Answer::Accepted(listening.life),
            None => Answer::Refused,
        }
    }

    pub fn refused(&mut self, from: NodeIndex, to: NodeIndex, port: u16) {
        self.recorder.record(Event::Refused { from: self.name(from), to: self.name(to), port });
    }

    /// The answer has reached the client: it may write. The server's process learns with the next segment.
    pub fn establish(&mut self, from: (NodeIndex, LifeNumber), to: (NodeIndex, LifeNumber), port: u16) -> u64 {
        let id = self.next_connection;
        self.next_connection += 1;
        let mut client = Socket::new(from.0, from.1, true);
        client.accepted = true;
        let server = Socket::new(to.0, to.1, self.is_alive(to.0, to.1));
        let connection =
            Connection { sockets: Both([client, server]), pipes: Both([Pipe::default(), Pipe::default()]) };
        self.connections.insert(id, connection);
        let (from, to) = (self.name(from.0), self.name(to.0));
        self.recorder.record(Event::Connected { from, to, port, connection: id });
        self.send(id, End::Client, Cargo::Open { port });
        id
    }
}
