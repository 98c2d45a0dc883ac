//! Touches once what libraries initialise once per process; see `world::run`.

use super::world::run::{on_fresh_thread, run_here};
use super::world::{World, WorldConfig};
use crate::host::{Host, StoreFile};
use datafusion::prelude::SessionContext;
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

/// A query, a commit and a message: between them they use every library that runs inside a node.
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
    let context = SessionContext::new();
    let sql = "SELECT key, count(*), avg(value) FROM (VALUES ('a', 1), ('b', 2)) AS rows (key, value) \
               WHERE value > 0 GROUP BY key ORDER BY key";
    let query = context.sql(sql).await.expect("the warm-up query is valid");
    query.collect().await.expect("the warm-up query runs");
    let mut listener = host.net().listen("0.0.0.0", 5432).await.expect("nobody else listens");
    if let Ok((mut stream, _)) = listener.accept().await {
        let byte = stream.read_u8().await.unwrap_or_default();
        let _ = stream.write_u8(byte).await;
    }
}
