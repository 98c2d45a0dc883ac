//! Makes missing chunks.
//!
//! A chunk is made in a transaction of its own that commits at once (unless the session's own transaction holds the
//! catalog lock; then it is part of that). Otherwise all who insert into the same new time range would wait until the
//! first of them ends its transaction, which may be up to a person. The price: a chunk may be left without rows when
//! the transaction that wanted it rolls back, which harms nobody.

use super::chunk_ddl::create_chunk_table;
use crate::access::cluster::Cluster;
use crate::access::txn::Transaction;
use crate::catalog::Change;
use crate::catalog::planning::ChunkPlan;
use crate::engine::table::Table;
use crate::error::{Error, Kind, Result, codes};
use crate::ids::HypertableId;
use crate::limits::{CHUNK_CREATION_ATTEMPTS_MAX, RESOLVER_INTERVAL};
use crate::{buggify, probe};
use futures::future::try_join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Makes the chunks that hold `points`; whoever comes second finds them made.
pub(super) async fn missing_chunks(
    cluster: &Arc<Cluster>,
    transaction: &Transaction,
    hypertable: HypertableId,
    table: &Table,
    points: &[Vec<i64>],
) -> Result<()> {
    if transaction.holds_catalog() {
        return create(cluster, transaction, hypertable, table, points).await;
    }
    let mut attempts_left = CHUNK_CREATION_ATTEMPTS_MAX;
    loop {
        attempts_left -= 1;
        let own = Transaction::new(cluster, transaction.user());
        let made = match create(cluster, &own, hypertable, table, points).await {
            Ok(()) => own.commit(None).await,
            Err(error) => {
                own.rollback().await;
                Err(error)
            }
        };
        for notice in own.take_notices() {
            transaction.notice(notice);
        }
        match made {
            // A creation that was cut off before its decision may have left the table prepared, and chunk numbers come
            // back when nothing was decided. The resolver clears it away.
            Err(error)
                if matches!(error.code(), codes::DUPLICATE_TABLE | codes::OBJECT_IN_USE) && attempts_left > 0 =>
            {
                for node in &cluster.store.state().nodes {
                    cluster.live.suspect(&node.name);
                }
                cluster.host.sleep(RESOLVER_INTERVAL / 2).await;
            }
            // The caller's own transaction is not in doubt, and finds out what became of the chunk by trying again.
            Err(error) if error.kind() == Kind::Unknown => {
                return Err(Error::new(
                    codes::SERIALIZATION_FAILURE,
                    "it is not known whether a new chunk was created",
                )
                .with_detail(error.message())
                .with_hint("Repeat the transaction."));
            }
            made => return made,
        }
    }
}

async fn create(
    cluster: &Arc<Cluster>,
    transaction: &Transaction,
    hypertable: HypertableId,
    table: &Table,
    points: &[Vec<i64>],
) -> Result<()> {
    transaction.lock_catalog().await?;
    let mut statements: BTreeMap<String, String> = BTreeMap::new();
    let mut created = Vec::new();
    let nodes = &cluster.nodes;
    let down: BTreeSet<String> = transaction
        .state()
        .nodes
        .iter()
        .filter(|node| !nodes.is_up(&node.name))
        .map(|node| node.name.clone())
        .collect();
    for point in points {
        // Each chunk is planned on a state that has the ones before it.
        let state = transaction.state();
        let planned = state.plan_chunk(hypertable, point, cluster.host.utc_micros(), &down)?;
        let ChunkPlan::Create { chunk, notices } = planned else { continue };
        let definition = state.hypertables.get(&hypertable).ok_or_else(|| Error::internal("no such hypertable"))?;
        let sql = create_chunk_table(table, definition, &chunk)?;
        for node in &chunk.nodes {
            statements.entry(node.clone()).or_default().push_str(&sql);
        }
        notices.into_iter().for_each(|notice| transaction.notice(notice));
        created.push((chunk.table.name.clone(), chunk.nodes.clone()));
        transaction.change(Change::CreateChunk { chunk })?;
    }
    if buggify!(cluster.host, "chunk.slow") {
        cluster.host.sleep(RESOLVER_INTERVAL / 8).await;
    }
    let on_nodes = statements.iter().map(|(node, sql)| async {
        let mut writer = transaction.join(node).await?;
        writer.run(sql).await
    });
    try_join_all(on_nodes).await?;
    probe!(cluster.host, "chunk.created", list(&created));
    Ok(())
}

/// For probes: `<table> on <node>, <node>; <table> on …`.
fn list(created: &[(String, Vec<String>)]) -> String {
    let one = |(table, nodes): &(String, Vec<String>)| format!("{table} on {}", nodes.join(", "));
    created.iter().map(one).collect::<Vec<_>>().join("; ")
}
