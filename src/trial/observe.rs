//! Looks at a cluster from outside, node by node, for the checkers.

use super::checker::{ChunkRow, FinalState, NodeState};
use super::history::{History, ListStep, ListTransaction, Read};
use super::stage::ACCESS_NODE;
use super::workload::append;
use super::workload::batches::{all_batches, seen};
use crate::sim::history::Ending;
use crate::sim::scenario::session::{Output, Session};
use crate::sim::scenario::stage::Stage;
use std::collections::BTreeMap;

/// Reads the final state, and of every table that batches or lists were written to all of them. Errors: a node does not answer.
pub async fn final_state(stage: &dyn Stage, history: &History) -> Result<FinalState, String> {
    let mut access = Node::new(stage, ACCESS_NODE);
    let mut reads = BTreeMap::new();
    for table in history.batches.keys() {
        let invoked = stage.host().monotonic().as_micros() as u64;
        let seen = seen(&access.rows(&all_batches(table)).await?);
        reads.insert(table.clone(), Read { invoked, completed: stage.host().monotonic().as_micros() as u64, seen });
    }
    let mut lists = BTreeMap::new();
    for table in history.lists.keys() {
        lists.insert(table.clone(), all_lists(stage, &mut access, table).await?);
    }
    let chunks = chunks(&mut access).await?;
    let decisions = column(access.rows("SELECT gid FROM hypertile.decisions ORDER BY gid").await?);
    let known = column(access.rows("SELECT node_name FROM timescaledb_information.data_nodes ORDER BY 1").await?);
    let mut nodes = Vec::new();
    for name in stage.nodes().iter().filter(|name| known.contains(name)) {
        nodes.push(node_state(&mut Node::new(stage, name), name).await?);
    }
    Ok(FinalState { reads, lists, chunks, nodes, decisions })
}

async fn all_lists(stage: &dyn Stage, access: &mut Node, table: &str) -> Result<ListTransaction, String> {
    let now = || stage.host().monotonic().as_micros() as u64;
    let invoked = now();
    let lists = append::lists(&access.rows(&append::all_lists(table)).await?);
    let completed = now();
    Ok(ListTransaction {
        name: "the final read".to_string(),
        // Clients are numbered from 1.
        process: 0,
        repeatable: false,
        invoked,
        completed,
        ending: Ending::Ok,
        steps: vec![ListStep::Read { invoked, completed, lists }],
    })
}

/// A connection to one node.
struct Node {
    name: String,
    session: Box<dyn Session>,
}

impl Node {
    fn new(stage: &dyn Stage, name: &str) -> Node {
        Node { name: name.to_string(), session: stage.session(name) }
    }

    /// Rows as text. Errors name the node.
    async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        match self.session.run(sql).await {
            Ok(Output::Rows { rows, .. }) => Ok(rows),
            Ok(_) => Ok(Vec::new()),
            Err(refusal) => Err(format!("{}: {}", self.name, refusal.message)),
        }
    }
}

async fn chunks(access: &mut Node) -> Result<Vec<ChunkRow>, String> {
    let rows = access
        .rows("SELECT chunk_name, array_to_string(data_nodes, ',') FROM timescaledb_information.chunks ORDER BY chunk_name")
        .await?;
    let row = |row: Vec<String>| -> Option<ChunkRow> {
        let [table, nodes] = <[String; 2]>::try_from(row).ok()?;
        Some(ChunkRow { table, nodes: nodes.split(',').filter(|n| !n.is_empty()).map(str::to_string).collect() })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

async fn node_state(node: &mut Node, name: &str) -> Result<NodeState, String> {
    let prepared =
        column(node.rows("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid").await?);
    let names = column(
        node.rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '_timescaledb_internal' ORDER BY table_name",
        )
        .await?,
    );
    let mut tables = Vec::new();
    for table in names {
        let quoted = crate::ids::quote_identifier(&table);
        let count = column(node.rows(&format!("SELECT count(*) FROM _timescaledb_internal.{quoted}")).await?);
        tables.push((table, count.first().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)));
    }
    Ok(NodeState { name: name.to_string(), prepared, tables })
}

fn column(rows: Vec<Vec<String>>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next()).collect()
}

/// The chunk map as text, for `snapshot placement`: which chunk covers what and lies where.
pub async fn placement(stage: &dyn Stage) -> Result<String, String> {
    let mut access = Node::new(stage, ACCESS_NODE);
    let rows = access
        .rows(
            "SELECT hypertable_name, chunk_name, range_start, range_end, data_nodes FROM timescaledb_information.chunks \
             ORDER BY hypertable_name, range_start, chunk_name",
        )
        .await?;
    Ok(lines(rows))
}

/// The catalog as text, for `snapshot catalog`.
pub async fn catalog(stage: &dyn Stage) -> Result<String, String> {
    let mut access = Node::new(stage, ACCESS_NODE);
    let mut text = String::new();
    for (title, sql) in [
        ("data nodes", "SELECT node_name, owner FROM timescaledb_information.data_nodes ORDER BY 1"),
        (
            "hypertables",
            "SELECT hypertable_name, num_dimensions, num_chunks, replication_factor, data_nodes FROM timescaledb_information.hypertables ORDER BY 1",
        ),
        (
            "dimensions",
            "SELECT hypertable_name, dimension_number, column_name, dimension_type, time_interval, num_partitions \
             FROM timescaledb_information.dimensions ORDER BY 1, 2",
        ),
        ("partitions", "SELECT * FROM _timescaledb_catalog.dimension_partition ORDER BY 1, 2"),
    ] {
        text.push_str(&format!("{title}\n{}", lines(access.rows(sql).await?)));
    }
    Ok(text)
}

fn lines(rows: Vec<Vec<String>>) -> String {
    rows.into_iter().map(|row| format!("  {}\n", row.join(" | "))).collect()
}
