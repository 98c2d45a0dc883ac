//! A host for this module's tests: tokio's TCP, timers and tasks, no files.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is a host")]

use crate::host::{Clock, Disk, Entropy, Host, Listener, Net, Stream, TaskHandle, Tasks};
use futures::future::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct World {
    /// Sleeps take this fraction of their time.
    haste: u32,
    random: AtomicU64,
}

/// A host whose deadlines come `haste` times as fast.
pub fn host(haste: u32) -> Host {
    let world = Arc::new(World { haste, random: AtomicU64::new(1) });
    Host::new("test", world.clone(), world.clone(), world.clone(), world.clone(), world)
}

impl Net for World {
    fn listen(&self, address: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let address = format!("{address}:{port}");
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(address).await?;
            Ok(Box::new(TcpListener(listener)) as Box<dyn Listener>)
        })
    }

    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Stream>> {
        let address = format!("{host}:{port}");
        Box::pin(async move { Ok(Box::new(tokio::net::TcpStream::connect(address).await?) as Stream) })
    }
}

struct TcpListener(tokio::net::TcpListener);

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            Ok((Box::new(stream) as Stream, peer))
        })
    }

    fn local_address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }
}

impl Clock for World {
    fn utc_micros(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration / self.haste))
    }
}

impl Tasks for World {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        let task = tokio::spawn(future);
        TaskHandle::new(move || task.abort())
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        Box::pin(async move { work() })
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let next = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            *byte = (next >> 56) as u8;
        }
    }
}

impl Disk for World {
    fn open(&self, _: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn read(&self, _: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn write(&self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
