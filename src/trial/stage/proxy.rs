//! The links between the processes of a real world: a TCP proxy that can be cut, slow or lossy, each way of its own.
//!
//! A proxy is a port of 127.0.0.1 that stands for "the way from A to B". It dials B for everyone who dials it, and hands
//! bytes on through a bounded queue: when B does not read, A feels it.
//!
//! | trouble | what it does here |
//! |---|---|
//! | cut | what arrives is held and not handed on; a new connection is taken and held before B is dialled, and forgotten if A gives up. After the heal all of it goes on, in order |
//! | slow | each piece waits so long before it is handed on; pieces behind it wait no longer than theirs |
//! | narrow | pieces of all connections of this way queue behind each other at so many bytes a second |
//! | tail | a piece waits up to so much longer by chance |
//! | lossy | a piece waits [`RETRANSMISSION`] longer by chance, and all behind it, as after a lost segment |
//!
//! How a connection ends is handed on as it was, in its turn: end of stream as end of stream, reset as reset, a port where
//! nobody listens as a reset. What differs from a real network: a `connect` succeeds where it would be refused or hang,
//! and keepalive finds nothing wrong with a cut link, because it only goes as far as the proxy.
//!
//! Knows nothing of what the bytes mean.

#![expect(
    clippy::disallowed_types,
    reason = "stands between the processes of the real worlds; no node's code runs here"
)]

use crate::host::{AbortOnDrop, Host};
use crate::sim::chance::{self, Stream};
use crate::sim::net::{Trouble, TroubleId, Troubles, time_on_the_wire};
use bytes::BytesMut;
use futures::future::{Either, FutureExt, select};
use rand::Rng;
use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How much later a piece arrives that was lost: TCP's first retransmission, as in the simulated network.
pub const RETRANSMISSION: Duration = Duration::from_millis(200);

/// One read, and how many of them are under way in one direction of a connection: 256 KiB in all.
const PIECE_BYTES: usize = 16 * 1024;
const PIECES_MAX: usize = 16;

/// All directed links of a world, with their troubles.
pub struct Links {
    host: Host,
    seed: u64,
    links: Mutex<BTreeMap<(String, String), Arc<Link>>>,
}

/// One direction between two places.
struct Link {
    troubles: watch::Sender<Troubles>,
    lateness: Mutex<Lateness>,
}

struct Lateness {
    chance: Stream,
    /// Until then, on the host's monotonic clock, earlier pieces keep a narrow way busy.
    busy_until: Duration,
}

/// An open port; dropped, it closes with all its connections.
pub struct Proxy {
    port: u16,
    _task: AbortOnDrop,
}

impl Proxy {
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Links {
    /// `seed` draws what is lost.
    pub fn new(host: &Host, seed: u64) -> Links {
        Links { host: host.clone(), seed, links: Mutex::default() }
    }

    pub fn trouble(&self, id: TroubleId, from: &str, to: &str, trouble: Trouble) {
        self.link(from, to).troubles.send_modify(|troubles| troubles.add(id, trouble));
    }

    /// Ends what one fault did; what others did to the same links stays.
    pub fn mend(&self, id: TroubleId) {
        for link in self.all() {
            link.troubles.send_if_modified(|troubles| troubles.remove(id));
        }
    }

    /// All links are whole, fast and without loss.
    pub fn heal(&self) {
        for link in self.all() {
            link.troubles.send_modify(Troubles::heal);
        }
    }

    /// Opens a port of 127.0.0.1 that leads from `from` to `to`, which listens on `target`.
    pub async fn open(&self, from: &str, to: &str, target: u16) -> io::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let way = Way { host: self.host.clone(), there: self.link(from, to), back: self.link(to, from), target };
        let task = self.host.spawn("proxy", serve(listener, way)).abort_on_drop();
        Ok(Proxy { port, _task: task })
    }

    fn link(&self, from: &str, to: &str) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry((from.to_string(), to.to_string())).or_insert_with(|| {
            let chance = chance::stream(self.seed, &format!("proxy/{from}>{to}"));
            let lateness = Mutex::new(Lateness { chance, busy_until: Duration::ZERO });
            Arc::new(Link { troubles: watch::Sender::default(), lateness })
        });
        link.clone()
    }

    fn all(&self) -> Vec<Arc<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Link {
    /// Waits until bytes get through.
    async fn whole(&self) {
        // The sender is ours, so that this cannot fail.
        let _ = self.troubles.subscribe().wait_for(|troubles| !troubles.is_cut()).await;
    }

    /// When a piece of so many bytes that is read at `now` is to be handed on.
    fn due(&self, now: Duration, bytes: usize) -> Duration {
        let troubles = self.troubles.borrow().clone();
        let mut lateness = self.lateness.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = now + troubles.slow_by();
        if let Some(bytes_per_second) = troubles.bytes_per_second() {
            lateness.busy_until = lateness.busy_until.max(now) + time_on_the_wire(bytes, bytes_per_second);
            due += lateness.busy_until - now;
        }
        if let Some((chance, by)) = troubles.tail()
            && lateness.chance.random_bool(chance)
        {
            due += lateness.chance.random_range(Duration::ZERO..=by);
        }
        let loss = troubles.loss();
        let lost = loss > 0.0 && lateness.chance.random_bool(loss);
        due + if lost { RETRANSMISSION } else { Duration::ZERO }
    }
}

/// What the connections of one proxy have in common.
#[derive(Clone)]
struct Way {
    host: Host,
    there: Arc<Link>,
    back: Arc<Link>,
    target: u16,
}

async fn serve(listener: TcpListener, way: Way) {
    // Dropped with this task, it ends what it holds.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let way = way.clone();
                    connections.spawn(async move { way.carry(client).await });
                }
                // Out of file descriptors, most likely: not for ever.
                Err(_) => way.host.sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

impl Way {
    async fn carry(&self, client: TcpStream) {
        if !self.shakes_hands(&client).await {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)).await else {
            return reset(&client);
        };
        let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let (from_client, mut to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        let endings = {
            let there = pin!(pump(&self.host, &self.there, from_client, &mut to_server));
            let back = pin!(pump(&self.host, &self.back, from_server, &mut to_client));
            match select(there, back).await {
                Either::Left((Ending::Reset, _)) | Either::Right((Ending::Reset, _)) => [Ending::Reset; 2],
                Either::Left((first, other)) => [first, other.await],
                Either::Right((first, other)) => [first, other.await],
            }
        };
        if endings != [Ending::Finished; 2] {
            // Whoever ended it knows already; to the other side this is the news.
            reset(to_client.as_ref());
            reset(to_server.as_ref());
            // Dropped, these would say "end of stream" first.
            to_client.forget();
            to_server.forget();
        }
    }

    /// Waits until a handshake would get through, both ways. `false` if the client has given up before: a real one would
    /// not have reached the server at all, and many of them at once might be more than it takes.
    async fn shakes_hands(&self, client: &TcpStream) -> bool {
        let mut whole = pin!(async {
            self.there.whole().await;
            self.back.whole().await;
        });
        // A client that says one thing and leaves (it cancels a statement) is only late on a link that is cut.
        if whole.as_mut().now_or_never().is_some() {
            return true;
        }
        loop {
            let waited = select(whole.as_mut(), self.host.sleep(HELD_LOOK_INTERVAL)).await;
            match waited {
                _ if is_gone(client) => return false,
                Either::Left(_) => return true,
                Either::Right(_) => {}
            }
        }
    }
}

/// How often a held client is asked whether it still waits.
const HELD_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether it has closed its end, whatever it said before.
fn is_gone(client: &TcpStream) -> bool {
    let ready = client.ready(Interest::READABLE).now_or_never();
    ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
}

/// Closing it will be a reset.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// How one direction came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The end of the stream has been handed on.
    Finished,
    /// The sender has reset the connection: nobody waits for the other direction.
    Reset,
    /// The receiver is gone. What it said before may still be under way in the other direction.
    Refused,
}

/// What was read at once, or the end; to be handed on at `due`.
struct Piece {
    due: Duration,
    content: Content,
}

enum Content {
    Bytes(BytesMut),
    End,
    Reset,
}

/// Carries one direction to its end.
async fn pump(host: &Host, link: &Link, mut from: OwnedReadHalf, to: &mut OwnedWriteHalf) -> Ending {
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    let read = async move {
        loop {
            let mut bytes = BytesMut::with_capacity(PIECE_BYTES);
            let content = match from.read_buf(&mut bytes).await {
                Ok(0) => Content::End,
                Ok(_) => Content::Bytes(bytes),
                Err(_) => Content::Reset,
            };
            let goes_on = matches!(content, Content::Bytes(_));
            let length = if let Content::Bytes(bytes) = &content { bytes.len() } else { 0 };
            let piece = Piece { due: link.due(host.monotonic(), length), content };
            if sender.send(piece).await.is_err() || !goes_on {
                return;
            }
        }
    };
    let write = async move {
        while let Some(Piece { due, content }) = pieces.recv().await {
            let now = host.monotonic();
            if due > now {
                host.sleep(due - now).await;
            }
            link.whole().await;
            match content {
                Content::Bytes(bytes) if to.write_all(&bytes).await.is_ok() => {}
                Content::Bytes(_) => return Ending::Refused,
                Content::Reset => return Ending::Reset,
                // Fails if the receiver has gone too, and then there is nothing to say.
                Content::End => return to.shutdown().await.map_or(Ending::Refused, |()| Ending::Finished),
            }
        }
        Ending::Reset
    };
    match select(pin!(write), pin!(read)).await {
        Either::Left((ending, _)) => ending,
        // All is read, not all is handed on.
        Either::Right(((), write)) => write.await,
    }
}

#[cfg(test)]
mod tests;
