//! Looks at a cluster from outside, node by node, for the checkers.

use super::checker::{ChunkRow, FinalState, NodeState};
use super::history::Read;
use super::stage::{ACCESS_NODE, Stage};
use super::workload::all_batches;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::wire::client::{Connection, error_of};

/// Reads the final state. `batches`: the workload's table, if there was a workload. Errors: a node does not answer.
pub async fn final_state(stage: &dyn Stage, batches: Option<&str>) -> Result<FinalState> {
    let host = stage.host().clone();
    let access = connect(stage, &host, ACCESS_NODE).await?;
    let read = match batches {
        Some(table) => {
            let invoked = host.monotonic().as_micros() as u64;
            let seen = all_batches(&access, table).await.map_err(|error| error_of(&error))?;
            Some(Read { invoked, completed: host.monotonic().as_micros() as u64, seen })
        }
        None => None,
    };
    let chunks = chunks(&access).await?;
    let decisions = column(access.texts("SELECT gid FROM hypertile.decisions ORDER BY gid").await?);
    let known = column(access.texts("SELECT node_name FROM timescaledb_information.data_nodes ORDER BY 1").await?);
    let mut nodes = Vec::new();
    for name in stage.data_nodes().iter().filter(|name| known.contains(name)) {
        nodes.push(node_state(&connect(stage, &host, name).await?, name).await?);
    }
    Ok(FinalState { read, chunks, nodes, decisions })
}

async fn connect(stage: &dyn Stage, host: &Host, node: &str) -> Result<Connection> {
    let address = stage
        .address(node)
        .ok_or_else(|| Error::new(codes::UNDEFINED_OBJECT, format!("there is no node \"{node}\" in this scenario")))?;
    Connection::open(host, &address).await.map_err(|error| error.on_node(node))
}

async fn chunks(access: &Connection) -> Result<Vec<ChunkRow>> {
    let rows = access
        .texts("SELECT chunk_name, array_to_string(data_nodes, ',') FROM timescaledb_information.chunks ORDER BY chunk_name")
        .await?;
    let row = |row: Vec<Option<String>>| -> Option<ChunkRow> {
        let mut cells = row.into_iter();
        let table = cells.next()??;
        let nodes = cells.next()??;
        Some(ChunkRow { table, nodes: nodes.split(',').filter(|n| !n.is_empty()).map(str::to_string).collect() })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

async fn node_state(node: &Connection, name: &str) -> Result<NodeState> {
    let prepared =
        column(node.texts("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid").await?);
    let names = column(
        node.texts(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '_timescaledb_internal' ORDER BY table_name",
        )
        .await?,
    );
    let mut tables = Vec::new();
    for table in names {
        let quoted = crate::ids::quote_identifier(&table);
        let count = column(node.texts(&format!("SELECT count(*) FROM _timescaledb_internal.{quoted}")).await?);
        tables.push((table, count.first().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)));
    }
    Ok(NodeState { name: name.to_string(), prepared, tables })
}

fn column(rows: Vec<Vec<Option<String>>>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
}

/// The chunk map as text, for `snapshot placement`: which chunk covers what and lies where.
pub async fn placement(stage: &dyn Stage) -> Result<String> {
    let access = connect(stage, &stage.host().clone(), ACCESS_NODE).await?;
    let rows = access
        .texts(
            "SELECT hypertable_name, chunk_name, range_start, range_end, data_nodes FROM timescaledb_information.chunks \
             ORDER BY hypertable_name, range_start, chunk_name",
        )
        .await?;
    Ok(lines(rows))
}

/// The catalog as text, for `snapshot catalog`.
pub async fn catalog(stage: &dyn Stage) -> Result<String> {
    let access = connect(stage, &stage.host().clone(), ACCESS_NODE).await?;
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
        text.push_str(&format!("{title}\n{}", lines(access.texts(sql).await?)));
    }
    Ok(text)
}

fn lines(rows: Vec<Vec<Option<String>>>) -> String {
    let cell = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_string());
    rows.into_iter().map(|row| format!("  {}\n", row.into_iter().map(cell).collect::<Vec<_>>().join(" | "))).collect()
}
