//! DROP TABLE of a hypertable: its chunks on all data nodes, its catalog entries, its local definition.

use crate::access::txn::Transaction;
use crate::catalog::{Change, Hypertable, State};
use crate::error::{Error, Result, codes};
use crate::ids::{HypertableId, RelationName};
use std::collections::BTreeMap;

/// Drops the chunks and the catalog entries as part of `transaction`; the local table is left to the caller.
/// Errors: `08001` while a data node that holds chunks does not answer.
pub async fn drop_chunks(transaction: &Transaction, hypertable: HypertableId) -> Result<()> {
    transaction.lock_catalog().await?;
    let state = transaction.state();
    // Another session may have dropped it while we waited for the lock; its local table then tells.
    let Some(hypertable) = state.hypertables.get(&hypertable) else { return Ok(()) };
    for (node, sql) in remote_statements(&state, hypertable) {
        transaction.join(&node).await?.run(&sql).await?;
    }
    transaction.change(Change::DropHypertable { hypertable: hypertable.id })
}

/// The table became a hypertable after the catalog was looked at. Dropping it as a plain one would leave the catalog's
/// half of it.
pub fn overtaken(name: &RelationName) -> Error {
    let message = format!("table \"{}\" was made a hypertable by another transaction", name.name);
    Error::new(codes::SERIALIZATION_FAILURE, message).with_hint("Drop it again.")
}

/// One statement per data node that holds chunks.
fn remote_statements(state: &State, hypertable: &Hypertable) -> BTreeMap<String, String> {
    let mut tables: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for chunk in state.chunks_of(hypertable.id) {
        for node in &chunk.nodes {
            tables.entry(node).or_default().push(chunk.table.quoted());
        }
    }
    let statement = |tables: Vec<String>| format!("DROP TABLE IF EXISTS {}", tables.join(", "));
    tables.into_iter().map(|(node, tables)| (node.to_string(), statement(tables))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Chunk, HypertableNode};
    use crate::chunk::slice::Hypercube;
    use crate::ids::ChunkId;

    #[test]
    fn every_replica_is_dropped_with_one_statement_a_node() {
        let hypertable = Hypertable {
            id: HypertableId(1),
            name: RelationName::new("public", "t"),
            owner: "postgres".into(),
            dimensions: vec![],
            replication_factor: 2,
            nodes: vec![HypertableNode { name: "a".into(), block_chunks: false }],
            partitions: vec![],
            chunk_schema: "s".into(),
            chunk_prefix: "p".into(),
        };
        let mut state = State::default();
        for (id, nodes) in [(1, vec!["a", "b"]), (2, vec!["b"])] {
            let chunk = Chunk {
                id: ChunkId(id),
                hypertable: HypertableId(1),
                table: RelationName::new("s", format!("p_{id}_chunk")),
                cube: Hypercube(vec![]),
                nodes: nodes.into_iter().map(String::from).collect(),
                created_at: 0,
            };
            state.chunks.insert(chunk.id, chunk);
        }
        let statements: Vec<_> = remote_statements(&state, &hypertable).into_iter().collect();
        assert_eq!(
            statements,
            [
                ("a".into(), r#"DROP TABLE IF EXISTS "s"."p_1_chunk""#.into()),
                ("b".into(), r#"DROP TABLE IF EXISTS "s"."p_1_chunk", "s"."p_2_chunk""#.into()),
            ]
        );
    }
}
