//! One data node: its health and its idle connections.

use super::heartbeat;
use super::lease::Lease;
use crate::buggify;
use crate::catalog::DataNode;
use crate::error::{Error, Result, codes};
use crate::host::{Host, TaskHandle};
use crate::limits::{CONNECT_TIMEOUT, IDLE_CONNECTIONS_MAX, LOCK_TIMEOUT};
use crate::wire::client::{Address, Connection};
use futures::future::{Either, select};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::sync::watch;

/// What every connection is told first. Both ends then write values alike, names resolve to nothing of the user's,
/// and no limit meant for people ends a request: the access node has its own deadlines. Only waits for locks are
/// bounded, since no node can see a deadlock that goes over several.
const SESSION_SETUP: &str = "SET search_path = pg_catalog; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; \
     SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET statement_timeout = 0; SET lock_timeout = 30000";

const _: () = assert!(LOCK_TIMEOUT.as_millis() == 30_000);

/// When this machine loses its power, a server that waits for our next statement hears nothing: within half a minute it
/// shall find out and let go of the locks. Sent along with the setup, for stock PostgreSQL: the embedded server probes all
/// its connections so, by itself.
const KEEP_ALIVE: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Up,
    Down,
}

/// What the heartbeats have found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pulse {
    health: Health,
    /// Counts the heartbeats that found no connection. The server behind such a one has most likely lost its memory: the
    /// other connections of that time are dead too, but a half-open TCP connection does not tell those who only wait
    /// for an answer. So requests on a connection of an older generation are given up, and idle ones are not kept.
    generation: u64,
}

pub(super) struct Node {
    data: DataNode,
    host: Host,
    pulse: watch::Sender<Pulse>,
    /// Connections that nobody uses, by user.
    idle: Mutex<BTreeMap<String, Vec<Connection>>>,
    heartbeat: OnceLock<TaskHandle>,
}

impl Node {
    /// Starts the heartbeats.
    pub fn start(host: &Host, data: DataNode) -> Arc<Node> {
        let node = Arc::new(Node {
            data,
            host: host.clone(),
            pulse: watch::Sender::new(Pulse { health: Health::Up, generation: 0 }),
            idle: Mutex::default(),
            heartbeat: OnceLock::new(),
        });
        let beats = heartbeat::run(host.clone(), Arc::downgrade(&node));
        let _ = node.heartbeat.set(host.spawn("heartbeat", beats));
        node
    }

    pub fn data(&self) -> &DataNode {
        &self.data
    }

    pub fn name(&self) -> &str {
        &self.data.name
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// As whom the heartbeats connect.
    pub fn own_user(&self) -> &str {
        self.data.user.as_deref().unwrap_or(&self.data.owner)
    }

    pub fn set_health(&self, health: Health) {
        self.pulse.send_if_modified(|pulse| std::mem::replace(&mut pulse.health, health) != health);
    }

    /// The heartbeats' connection has broken, or does not answer.
    pub fn forget_connections(&self) {
        let mut idle = self.lock();
        // In one step for those who take connections out of the pool or give them back: a connection is of the
        // generation that it is taken for.
        self.pulse.send_modify(|pulse| pulse.generation += 1);
        let stale = std::mem::take(&mut *idle);
        drop(idle);
        drop(stale);
    }

    /// Without giving up requests under way.
    pub fn forget_idle(&self) {
        let stale = std::mem::take(&mut *self.lock());
        drop(stale);
    }

    pub fn check(&self) -> Result<()> {
        let name = self.name();
        if self.data.available == Some(false) {
            let message = format!("data node \"{name}\" is not available");
            return Err(
                Error::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint("Bring the data node back.")
            );
        }
        match self.pulse.borrow().health {
            Health::Up => Ok(()),
            Health::Down => Err(could_not_connect(name, "The data node does not answer heartbeats.")),
        }
    }

    pub async fn down(&self) {
        // An error means that the node is being forgotten: nothing more will be heard of it either.
        let _ = self.pulse.subscribe().wait_for(|pulse| pulse.health == Health::Down).await;
    }

    /// Resolves when a connection of `generation` is not worth waiting for any more.
    pub async fn lost(&self, generation: u64) {
        let is_lost = |pulse: &Pulse| pulse.health == Health::Down || pulse.generation != generation;
        let _ = self.pulse.subscribe().wait_for(is_lost).await;
    }

    fn generation(&self) -> u64 {
        self.pulse.borrow().generation
    }

    pub async fn lease(self: &Arc<Node>, user: &str) -> Result<Lease> {
        self.check()?;
        let user = self.data.user.as_deref().unwrap_or(user);
        let generation = self.generation();
        let idle = self.take_idle(user);
        let pooled = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open(user).await?,
        };
        Ok(Lease::new(self.clone(), user, connection, generation, pooled))
    }

    /// A new connection, set up, and the generation it belongs to.
    pub async fn open_fresh(&self, user: &str) -> Result<(Connection, u64)> {
        let generation = self.generation();
        Ok((self.open(user).await?, generation))
    }

    async fn open(&self, user: &str) -> Result<Connection> {
        let address = Address {
            host: self.data.host.clone(),
            port: self.data.port,
            database: self.data.database.clone(),
            user: user.into(),
            password: self.data.password.clone(),
        };
        let opening = async {
            let connection = Connection::open(&self.host, &address).await?;
            let setup = async { futures::join!(connection.run(SESSION_SETUP), connection.run(KEEP_ALIVE)) };
            match self.host.timeout(CONNECT_TIMEOUT, setup).await {
                Ok((done, _)) => done.map(|()| connection),
                Err(_) => Err(Error::new(codes::CONNECTION_FAILURE, "timeout while setting up the session")),
            }
        };
        match select(pin!(opening), pin!(self.down())).await {
            Either::Left((connection, _)) => connection.map_err(|e| could_not_connect(self.name(), reason(&e))),
            Either::Right(_) => Err(could_not_connect(self.name(), "The data node does not answer heartbeats.")),
        }
    }

    /// Newest first: the oldest may die of old age.
    fn take_idle(&self, user: &str) -> Option<Connection> {
        let mut idle = self.lock();
        let connections = idle.get_mut(user)?;
        while let Some(connection) = connections.pop() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a clean connection back, unless there are enough or its time has passed.
    pub fn give_back(&self, user: &str, connection: Connection, generation: u64) {
        let mut idle = self.lock();
        if generation != self.generation() || connection.is_closed() || buggify!(self.host, "pool.dropped") {
            return;
        }
        let connections = idle.entry(user.into()).or_default();
        if connections.len() < IDLE_CONNECTIONS_MAX {
            connections.push(connection);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Connection>>> {
        self.idle.lock().expect("nothing panics while it holds the idle connections")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(heartbeat) = self.heartbeat.get() {
            heartbeat.abort();
        }
    }
}

fn could_not_connect(node: &str, reason: &str) -> Error {
    Error::new(codes::CANNOT_CONNECT, format!("could not connect to \"{node}\"")).with_detail(reason)
}

/// `Connection::open` gives the reason as DETAIL of its own `08001`, or what the server said as message.
fn reason(error: &Error) -> &str {
    match error.code() {
        codes::CANNOT_CONNECT => error.detail().unwrap_or(error.message()),
        _ => error.message(),
    }
}
