//! The network as one process of a node sees it: the host's `Net`.

use super::super::life::Life;
use super::connection::End;
use super::state::Answer;
use super::{LifeNumber, Network, NodeIndex, SimStream, address_of};
use crate::host::{Listener, Net, Stream};
use futures::future::BoxFuture;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The network for as long as one process lives.
#[derive(Clone)]
pub struct NetDoor {
    network: Arc<Network>,
    node: NodeIndex,
    life: Life,
    number: LifeNumber,
}

/// First wait for the answer to a connect request; doubles with every try.
const CONNECT_RETRY: Duration = Duration::from_secs(1);

/// Linux gives up after six retries: 1 + 2 + 4 … + 64 seconds.
const CONNECT_TRIES: u32 = 7;

impl NetDoor {
    pub fn new(network: Arc<Network>, node: NodeIndex, life: Life, number: LifeNumber) -> NetDoor {
        NetDoor { network, node, life, number }
    }

    /// Never returns once the process is dead: whatever the caller wanted to do next must not happen.
    async fn sleep_until(&self, due: Duration) {
        let wait = due.saturating_sub(self.network.agenda.now());
        self.network.agenda.sleep(&self.life, wait).await;
    }

    async fn dial(self, to: NodeIndex, port: u16) -> io::Result<Stream> {
        let mut wait = CONNECT_RETRY;
        for _ in 0..CONNECT_TRIES {
            let asked = self.network.agenda.now();
            if let Some(result) = self.try_once(to, port).await {
                return result;
            }
            self.sleep_until(asked + wait).await;
            wait *= 2;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))
    }

    /// `None` if no answer will come.
    async fn try_once(&self, to: NodeIndex, port: u16) -> Option<io::Result<Stream>> {
        let (network, from) = (&self.network, self.node);
        let there = network.with(|state| state.request(from, to))?;
        self.sleep_until(there).await;
        let (answer, back) = network.with(|state| (state.answer(from, to, port), state.request(to, from)));
        if matches!(answer, Answer::None) {
            return None;
        }
        self.sleep_until(back?).await;
        match answer {
            Answer::Accepted(life) => {
                let id = network.with(|state| state.establish((from, self.number), (to, life), port));
                Some(Ok(Box::new(SimStream::new(network.clone(), id, End::Client)) as Stream))
            }
            _ => {
                network.with(|state| state.refused(from, to, port));
                Some(Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused")))
            }
        }
    }
}

impl Net for NetDoor {
    fn listen(&self, _address: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let door = self.clone();
        Box::pin(async move {
            if door.life.is_over() {
                pending::<()>().await;
            }
            let port = door.network.with(|state| state.listen(door.node, door.number, port))?;
            Ok(Box::new(SimListener { door, port }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Stream>> {
        let (door, host) = (self.clone(), host.to_string());
        Box::pin(async move {
            if door.life.is_over() {
                pending::<()>().await;
            }
            let to = door.network.with(|state| state.resolve(door.node, &host))?;
            door.dial(to, port).await
        })
    }
}

/// A listening socket of one process.
struct SimListener {
    door: NetDoor,
    port: u16,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async move {
            let NetDoor { network, node, number, .. } = &self.door;
            let accept = |context: &mut std::task::Context<'_>| {
                network.with(|state| state.poll_accept(*node, *number, self.port, context))
            };
            let (id, peer) = poll_fn(accept).await;
            Ok((Box::new(SimStream::new(network.clone(), id, End::Server)) as Stream, peer))
        })
    }

    fn local_address(&self) -> SocketAddr {
        address_of(self.door.node, self.port)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let NetDoor { network, node, number, .. } = &self.door;
        network.with(|state| state.stop_listening(*node, *number, self.port));
    }
}
