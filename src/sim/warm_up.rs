//! Touches once what the libraries under a simulated world initialise once per process; see `world::run`.
//!
//! What the libraries of the system under test make once is that system's business: it simulates something that uses
//! them, and forgets it, before the first run that counts (as `trial::warm_up` does).

use super::world::run::{on_fresh_thread, run_here};
use super::world::{World, WorldConfig};
use crate::host::{Host, StoreFile};
use std::sync::Once;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs the story below once per process, before the first run that counts.
///
/// Libraries initialise things once per process, some of them with randomness, which inside a simulation comes
/// from the seed: the first run would otherwise draw numbers that the next ones do not.
pub fn warm_up() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        on_fresh_thread(|| run_here(0, WorldConfig::default(), story));
    });
}

/// A commit and a message.
async fn story(world: World) {
    world.start("dn1", serve);
    let client = world.node("client");
    let host = client.clone();
    client.spawn("warm up", async move {
        let mut stream = loop {
            match host.net().connect("dn1", 5432).await {
                Ok(stream) => break stream,
                Err(_) => host.sleep(Duration::from_millis(1)).await,
            }
        };
        stream.write_all(b"x").await.expect("nobody crashes during the warm-up");
        let _ = stream.read_u8().await;
    });
    world.sleep(Duration::from_secs(1)).await;
}

async fn serve(host: Host) {
    let file = host.disk().open("warm_up").expect("an empty disk opens files");
    let store = redb::Builder::new().create_with_backend(StoreFile::new(file)).expect("an empty file becomes a store");
    drop(store);
    let mut listener = host.net().listen("0.0.0.0", 5432).await.expect("nobody else listens");
    if let Ok((mut stream, _)) = listener.accept().await {
        let byte = stream.read_u8().await.unwrap_or_default();
        let _ = stream.write_u8(byte).await;
    }
}
