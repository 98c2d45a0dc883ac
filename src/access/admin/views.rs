//! The information views: what the catalog says, as relations. No data node is contacted.
//!
//! Columns, their types and their order are those of TimescaleDB 2.13's `timescaledb_information` and of the tables of
//! `_timescaledb_catalog` that tools read; `hypertile.*` is our own.

use super::rows::{Cell, Column, Rows, column};
use crate::access::cluster::Cluster;
use crate::access::session::Databases;
use crate::catalog::{Chunk, DataNode, Dimension, DimensionKind, Hypertable, State};
use crate::chunk::dimension::is_time;
use crate::error::Result;
use crate::ids::RelationName;
use crate::sql::type_names;
use datafusion::catalog::TableProvider;
use postgres_types::Type;
use std::sync::Arc;

/// What the views are made from.
pub struct Source<'a> {
    pub cluster: &'a Cluster,
    /// As the statement's transaction sees it.
    pub state: &'a State,
    pub databases: &'a dyn Databases,
}

struct View {
    schema: &'static str,
    name: &'static str,
    columns: &'static [Column],
    fill: fn(&Source<'_>, &mut Rows),
}

/// The view of that name, filled; `None` if there is none.
pub fn relation(source: &Source<'_>, name: &RelationName) -> Result<Option<Arc<dyn TableProvider>>> {
    let Some(view) = VIEWS.iter().find(|view| view.schema == name.schema && view.name == name.name) else {
        return Ok(None);
    };
    let mut rows = Rows::new(view.columns);
    (view.fill)(source, &mut rows);
    rows.table().map(Some)
}

/// All of them, for tools that ask what relations there are.
pub fn names() -> impl Iterator<Item = RelationName> {
    VIEWS.iter().map(|view| RelationName::new(view.schema, view.name))
}

const INFORMATION: &str = "timescaledb_information";
const CATALOG: &str = "_timescaledb_catalog";
const OURS: &str = "hypertile";

const VIEWS: &[View] = &[
    View {
        schema: INFORMATION,
        name: "data_nodes",
        columns: &[column("node_name", Type::NAME), column("owner", Type::NAME), column("options", Type::TEXT_ARRAY)],
        fill: data_nodes,
    },
    View {
        schema: INFORMATION,
        name: "hypertables",
        columns: &[
            column("hypertable_schema", Type::NAME),
            column("hypertable_name", Type::NAME),
            column("owner", Type::NAME),
            column("num_dimensions", Type::INT2),
            column("num_chunks", Type::INT8),
            column("compression_enabled", Type::BOOL),
            column("is_distributed", Type::BOOL),
            column("replication_factor", Type::INT2),
            column("data_nodes", Type::NAME_ARRAY),
            column("tablespaces", Type::NAME_ARRAY),
        ],
        fill: hypertables,
    },
    View {
        schema: INFORMATION,
        name: "dimensions",
        columns: &[
            column("hypertable_schema", Type::NAME),
            column("hypertable_name", Type::NAME),
            column("dimension_number", Type::INT8),
            column("column_name", Type::NAME),
            column("column_type", Type::REGTYPE),
            column("dimension_type", Type::TEXT),
            column("time_interval", Type::INTERVAL),
            column("integer_interval", Type::INT8),
            column("integer_now_func", Type::NAME),
            column("num_partitions", Type::INT2),
        ],
        fill: dimensions,
    },
    View {
        schema: INFORMATION,
        name: "chunks",
        columns: &[
            column("hypertable_schema", Type::NAME),
            column("hypertable_name", Type::NAME),
            column("chunk_schema", Type::NAME),
            column("chunk_name", Type::NAME),
            column("primary_dimension", Type::NAME),
            column("primary_dimension_type", Type::REGTYPE),
            column("range_start", Type::TIMESTAMPTZ),
            column("range_end", Type::TIMESTAMPTZ),
            column("range_start_integer", Type::INT8),
            column("range_end_integer", Type::INT8),
            column("is_compressed", Type::BOOL),
            column("chunk_tablespace", Type::NAME),
            column("data_nodes", Type::NAME_ARRAY),
            column("chunk_creation_time", Type::TIMESTAMPTZ),
        ],
        fill: chunks,
    },
    View {
        schema: CATALOG,
        name: "hypertable",
        columns: &[
            column("id", Type::INT4),
            column("schema_name", Type::NAME),
            column("table_name", Type::NAME),
            column("associated_schema_name", Type::NAME),
            column("associated_table_prefix", Type::NAME),
            column("num_dimensions", Type::INT2),
            column("replication_factor", Type::INT2),
        ],
        fill: catalog_hypertable,
    },
    View {
        schema: CATALOG,
        name: "dimension",
        columns: &[
            column("id", Type::INT4),
            column("hypertable_id", Type::INT4),
            column("column_name", Type::NAME),
            column("column_type", Type::REGTYPE),
            column("aligned", Type::BOOL),
            column("num_slices", Type::INT2),
            column("interval_length", Type::INT8),
        ],
        fill: catalog_dimension,
    },
    View {
        schema: CATALOG,
        name: "dimension_partition",
        columns: &[
            column("dimension_id", Type::INT4),
            column("range_start", Type::INT8),
            column("data_nodes", Type::NAME_ARRAY),
        ],
        fill: dimension_partition,
    },
    View {
        schema: CATALOG,
        name: "hypertable_data_node",
        columns: &[
            column("hypertable_id", Type::INT4),
            column("node_hypertable_id", Type::INT4),
            column("node_name", Type::NAME),
            column("block_chunks", Type::BOOL),
        ],
        fill: hypertable_data_node,
    },
    View {
        schema: CATALOG,
        name: "chunk_data_node",
        columns: &[
            column("chunk_id", Type::INT4),
            column("node_chunk_id", Type::INT4),
            column("node_name", Type::NAME),
        ],
        fill: chunk_data_node,
    },
    View {
        schema: OURS,
        name: "identity",
        columns: &[column("database", Type::NAME), column("identity", Type::TEXT), column("cluster", Type::TEXT)],
        fill: identity,
    },
    View {
        schema: OURS,
        name: "data_nodes",
        columns: &[
            column("node_name", Type::NAME),
            column("host", Type::TEXT),
            column("port", Type::INT4),
            column("database", Type::NAME),
            column("up", Type::BOOL),
            column("chunks", Type::INT8),
        ],
        fill: node_health,
    },
    View {
        schema: OURS,
        name: "slices",
        columns: &[
            column("hypertable_schema", Type::NAME),
            column("hypertable_name", Type::NAME),
            column("chunk_schema", Type::NAME),
            column("chunk_name", Type::NAME),
            column("dimension_number", Type::INT8),
            column("column_name", Type::NAME),
            column("range_start", Type::INT8),
            column("range_end", Type::INT8),
        ],
        fill: slices,
    },
    View {
        schema: OURS,
        name: "decisions",
        columns: &[column("gid", Type::TEXT), column("participants", Type::NAME_ARRAY)],
        fill: decisions,
    },
    View {
        schema: "pg_catalog",
        name: "pg_database",
        columns: &[
            column("oid", Type::OID),
            column("datname", Type::NAME),
            column("datdba", Type::OID),
            column("encoding", Type::INT4),
            column("datcollate", Type::NAME),
            column("datctype", Type::NAME),
            column("datistemplate", Type::BOOL),
            column("datallowconn", Type::BOOL),
            column("datconnlimit", Type::INT4),
        ],
        fill: pg_database,
    },
];

fn data_nodes(source: &Source<'_>, rows: &mut Rows) {
    for node in &source.state.nodes {
        rows.push(vec![Cell::text(&node.name), Cell::text(&node.owner), Cell::Texts(options(node))]);
    }
}

fn options(node: &DataNode) -> Vec<String> {
    let mut options =
        vec![format!("host={}", node.host), format!("port={}", node.port), format!("dbname={}", node.database)];
    options.extend(node.available.map(|available| format!("available={available}")));
    options
}

fn hypertables(source: &Source<'_>, rows: &mut Rows) {
    for table in source.state.hypertables.values() {
        let [schema, name] = qualified(&table.name);
        rows.push(vec![
            schema,
            name,
            Cell::text(&table.owner),
            count(table.dimensions.len()),
            count(source.state.chunks_of(table.id).count()),
            Cell::Bool(false),
            Cell::Bool(true),
            Cell::int(table.replication_factor),
            Cell::Texts(table.nodes.iter().map(|node| node.name.clone()).collect()),
            Cell::Null,
        ]);
    }
}

fn dimensions(source: &Source<'_>, rows: &mut Rows) {
    for table in source.state.hypertables.values() {
        for (at, dimension) in table.dimensions.iter().enumerate() {
            let [schema, name] = qualified(&table.name);
            let (kind, time, integer, partitions) = match dimension.kind {
                DimensionKind::Open { interval } if is_time(&dimension.column_type()) => {
                    ("Time", Cell::Span(interval), Cell::Null, Cell::Null)
                }
                DimensionKind::Open { interval } => ("Time", Cell::Null, Cell::Int(interval), Cell::Null),
                DimensionKind::Closed { partitions } => ("Space", Cell::Null, Cell::Null, Cell::int(partitions)),
            };
            rows.push(vec![
                schema,
                name,
                count(at + 1),
                Cell::text(&dimension.column),
                type_name(dimension),
                Cell::text(kind),
                time,
                integer,
                Cell::Null,
                partitions,
            ]);
        }
    }
}

fn chunks(source: &Source<'_>, rows: &mut Rows) {
    for chunk in source.state.chunks.values() {
        let Some(table) = source.state.hypertables.get(&chunk.hypertable) else { continue };
        let [schema, name] = qualified(&table.name);
        let [chunk_schema, chunk_name] = qualified(&chunk.table);
        let mut row = vec![schema, name, chunk_schema, chunk_name];
        row.extend(primary_range(table, chunk));
        let mut nodes = chunk.nodes.clone();
        nodes.sort();
        row.extend([Cell::Bool(false), Cell::Null, Cell::Texts(nodes), Cell::Instant(chunk.created_at)]);
        rows.push(row);
    }
}

/// The open dimension's column and type, and the chunk's range in it: as timestamps or as integers.
fn primary_range(table: &Hypertable, chunk: &Chunk) -> [Cell; 6] {
    let (Some(dimension), Some(slice)) = (table.dimensions.first(), chunk.cube.0.first()) else {
        return std::array::from_fn(|_| Cell::Null);
    };
    let [column, ty] = [Cell::text(&dimension.column), type_name(dimension)];
    if is_time(&dimension.column_type()) {
        // A range without a bound has no timestamp that could say so.
        let instant = |micros: i64| match micros {
            i64::MIN | i64::MAX => Cell::Null,
            micros => Cell::Instant(micros),
        };
        [column, ty, instant(slice.start), instant(slice.end), Cell::Null, Cell::Null]
    } else {
        [column, ty, Cell::Null, Cell::Null, Cell::Int(slice.start), Cell::Int(slice.end)]
    }
}

fn catalog_hypertable(source: &Source<'_>, rows: &mut Rows) {
    for table in source.state.hypertables.values() {
        let [schema, name] = qualified(&table.name);
        rows.push(vec![
            Cell::int(table.id.0),
            schema,
            name,
            Cell::text(&table.chunk_schema),
            Cell::text(&table.chunk_prefix),
            count(table.dimensions.len()),
            Cell::int(table.replication_factor),
        ]);
    }
}

fn catalog_dimension(source: &Source<'_>, rows: &mut Rows) {
    for table in source.state.hypertables.values() {
        for dimension in &table.dimensions {
            let (slices, interval) = match dimension.kind {
                DimensionKind::Open { interval } => (Cell::Null, Cell::Int(interval)),
                DimensionKind::Closed { partitions } => (Cell::int(partitions), Cell::Null),
            };
            rows.push(vec![
                Cell::int(dimension.id.0),
                Cell::int(table.id.0),
                Cell::text(&dimension.column),
                type_name(dimension),
                Cell::Bool(dimension.is_open()),
                slices,
                interval,
            ]);
        }
    }
}

fn dimension_partition(source: &Source<'_>, rows: &mut Rows) {
    for table in source.state.hypertables.values() {
        let Some(space) = table.dimensions.iter().find(|dimension| !dimension.is_open()) else { continue };
        for partition in &table.partitions {
            rows.push(vec![
                Cell::int(space.id.0),
                Cell::Int(partition.range_start),
                Cell::Texts(partition.nodes.clone()),
            ]);
        }
    }
}

fn hypertable_data_node(source: &Source<'_>, rows: &mut Rows) {
    for table in source.state.hypertables.values() {
        for node in &table.nodes {
            let id = || Cell::int(table.id.0);
            rows.push(vec![id(), id(), Cell::text(&node.name), Cell::Bool(node.block_chunks)]);
        }
    }
}

fn chunk_data_node(source: &Source<'_>, rows: &mut Rows) {
    for chunk in source.state.chunks.values() {
        for node in &chunk.nodes {
            rows.push(vec![Cell::int(chunk.id.0), Cell::int(chunk.id.0), Cell::text(node)]);
        }
    }
}

/// Who this database is: what `add_data_node` on another server asks it.
fn identity(source: &Source<'_>, rows: &mut Rows) {
    rows.push(vec![
        Cell::text(&source.cluster.database),
        Cell::text(&source.cluster.identity),
        source.state.cluster.as_ref().map_or(Cell::Null, Cell::text),
    ]);
}

fn node_health(source: &Source<'_>, rows: &mut Rows) {
    for node in &source.state.nodes {
        let holds = |chunk: &&Chunk| chunk.nodes.contains(&node.name);
        rows.push(vec![
            Cell::text(&node.name),
            Cell::text(&node.host),
            Cell::int(node.port),
            Cell::text(&node.database),
            Cell::Bool(source.cluster.nodes.is_up(&node.name)),
            count(source.state.chunks.values().filter(holds).count()),
        ]);
    }
}

/// What each chunk covers in each dimension, in coordinates; NULL where it is open.
fn slices(source: &Source<'_>, rows: &mut Rows) {
    let bound = |coordinate: i64| match coordinate {
        i64::MIN | i64::MAX => Cell::Null,
        coordinate => Cell::Int(coordinate),
    };
    for chunk in source.state.chunks.values() {
        let Some(table) = source.state.hypertables.get(&chunk.hypertable) else { continue };
        for (at, (dimension, slice)) in table.dimensions.iter().zip(&chunk.cube.0).enumerate() {
            let ([schema, name], [chunk_schema, chunk_name]) = (qualified(&table.name), qualified(&chunk.table));
            let column = Cell::text(&dimension.column);
            let (start, end) = (bound(slice.start), bound(slice.end));
            rows.push(vec![schema, name, chunk_schema, chunk_name, count(at + 1), column, start, end]);
        }
    }
}

/// Distributed transactions that are decided and not yet confirmed by all participants.
fn decisions(source: &Source<'_>, rows: &mut Rows) {
    for decision in source.cluster.store.decisions() {
        rows.push(vec![Cell::text(decision.gid), Cell::Texts(decision.participants)]);
    }
}

fn pg_database(source: &Source<'_>, rows: &mut Rows) {
    const UTF8: i64 = 6;
    /// PostgreSQL numbers what users create from here.
    const FIRST_OID: i64 = 16_384;
    const SUPERUSER_OID: i64 = 10;
    for (at, name) in source.databases.list().into_iter().enumerate() {
        rows.push(vec![
            Cell::Int(FIRST_OID + i64::try_from(at).unwrap_or(0)),
            Cell::text(name),
            Cell::Int(SUPERUSER_OID),
            Cell::Int(UTF8),
            Cell::text("C"),
            Cell::text("C"),
            Cell::Bool(false),
            Cell::Bool(true),
            Cell::Int(-1),
        ]);
    }
}

fn qualified(name: &RelationName) -> [Cell; 2] {
    [Cell::text(&name.schema), Cell::text(&name.name)]
}

fn type_name(dimension: &Dimension) -> Cell {
    Cell::Text(type_names::display(&dimension.column_type()))
}

fn count(number: usize) -> Cell {
    Cell::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
