//! Looks at a cluster from outside, node by node, for the checkers.

use super::checker::{ChunkRow, ChunkTable, FinalState, HypertableRow, NodeState};
use super::history::{Answer, Audit, History, ListStep, ListTransaction, Read, Row};
use super::question::Question;
use super::stage::ACCESS_NODE;
use super::workload::batches::{all_batches, seen};
use super::workload::{append, bank};
use crate::chunk::dimension::{Dimension, DimensionKind};
use crate::chunk::slice::{Hypercube, Slice};
use crate::ids::{DimensionId, quote_identifier};
use crate::sim::history::Ending;
use crate::sim::scenario::session::{Output, Session};
use crate::sim::scenario::stage::Stage;
use crate::sql::type_names;
use postgres_types::Type;
use std::collections::BTreeMap;

/// Reads the final state, and of every table that batches or lists were written to all of them. Errors: a node does not answer.
pub async fn final_state(stage: &dyn Stage, history: &History) -> Result<FinalState, String> {
    let mut access = Node::open(stage, ACCESS_NODE).await?;
    let mut state = FinalState {
        calm_since: stage.calm_since().map(|since| since.as_micros() as u64),
        faultless: stage.recorder().is_some_and(|recorder| recorder.faults() == 0),
        ..FinalState::default()
    };
    let now = || stage.host().monotonic().as_micros() as u64;
    for table in history.batches.keys() {
        let invoked = now();
        let seen = seen(&access.rows(&all_batches(table)).await?);
        state.reads.insert(table.clone(), Read { invoked, completed: now(), seen });
        let rows = access.all_rows(table, 6).await?;
        state.rows.insert(table.clone(), rows.iter().filter_map(|row| Row::from_text(row)).collect());
    }
    for table in history.lists.keys() {
        state.lists.insert(table.clone(), all_lists(stage, &mut access, table).await?);
    }
    for (table, answers) in &history.answers {
        let last: BTreeMap<String, &Question> =
            answers.iter().map(|answer| (answer.question.kind(), &answer.question)).collect();
        for question in last.into_values() {
            let (question, invoked) = (question.clone(), now());
            let rows = access.rows(&question.sql(table)).await?;
            let answer = Answer { question, invoked, completed: now(), rows };
            state.answers.entry(table.clone()).or_default().push(answer);
        }
    }
    for table in history.audits.keys() {
        let (invoked, mut statements) = (now(), vec![]);
        for query in bank::queries(table) {
            statements.push(bank::balances(&access.rows(&query).await?));
        }
        state.audits.insert(table.clone(), Audit { invoked, completed: now(), statements });
    }
    state.hypertables = hypertables(&mut access).await?;
    state.chunks = chunks(&mut access).await?;
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name";
    state.tables = column(access.rows(tables).await?);
    state.decisions = column(access.rows("SELECT gid FROM hypertile.decisions ORDER BY gid").await?);
    let known = column(access.rows("SELECT node_name FROM timescaledb_information.data_nodes ORDER BY 1").await?);
    for name in stage.nodes().iter().filter(|name| known.contains(name)) {
        state.nodes.push(node_state(&mut Node::open(stage, name).await?).await?);
    }
    Ok(state)
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

/// So many rows are fetched at a time.
const PAGE_ROWS: usize = 2_000;

/// A connection to one node.
struct Node {
    name: String,
    session: Box<dyn Session>,
}

impl Node {
    /// Errors name the node.
    async fn open(stage: &dyn Stage, name: &str) -> Result<Node, String> {
        let mut node = Node { name: name.to_string(), session: stage.session(name) };
        // How times print depends on it.
        node.rows("SET TimeZone TO 'UTC'").await?;
        Ok(node)
    }

    /// Rows as text. Errors name the node.
    async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        match self.session.run(sql).await {
            Ok(Output::Rows { rows, .. }) => Ok(rows),
            Ok(_) => Ok(Vec::new()),
            Err(refusal) => Err(format!("{}: {}", self.name, refusal.message)),
        }
    }

    /// All rows of a table, sorted; in several statements if there are many, for which its first `columns` columns must
    /// have an order.
    async fn all_rows(&mut self, table: &str, columns: usize) -> Result<Vec<Vec<String>>, String> {
        let mut rows = self.rows(&format!("SELECT * FROM {table} LIMIT {}", PAGE_ROWS + 1)).await?;
        if rows.len() > PAGE_ROWS {
            rows.clear();
            let order: Vec<String> = (1..=columns).map(|column| column.to_string()).collect();
            loop {
                let (order, skip) = (order.join(", "), rows.len());
                let page = self
                    .rows(&format!("SELECT * FROM {table} ORDER BY {order} LIMIT {PAGE_ROWS} OFFSET {skip}"))
                    .await?;
                let full = page.len() == PAGE_ROWS;
                rows.extend(page);
                if !full {
                    break;
                }
            }
        }
        rows.sort();
        Ok(rows)
    }
}

/// `a,b` as a list; the empty text is an empty one.
fn list(text: &str) -> Vec<String> {
    text.split(',')
        .filter(|name| !name.is_empty() && *name != "(empty)" && *name != "NULL")
        .map(str::to_string)
        .collect()
}

async fn hypertables(access: &mut Node) -> Result<Vec<HypertableRow>, String> {
    let tables = access
        .rows(
            "SELECT hypertable_name, replication_factor, array_to_string(data_nodes, ',') \
             FROM timescaledb_information.hypertables ORDER BY hypertable_name",
        )
        .await?;
    let dimensions = access
        .rows(
            "SELECT h.table_name, d.column_name, d.column_type, d.num_slices, d.interval_length \
             FROM _timescaledb_catalog.dimension d JOIN _timescaledb_catalog.hypertable h ON h.id = d.hypertable_id \
             ORDER BY d.id",
        )
        .await?;
    let row = |row: &Vec<String>| -> Option<HypertableRow> {
        let [name, replication, nodes] = &row[..] else { return None };
        let own = dimensions.iter().filter(|dimension| dimension[0] == *name);
        let dimensions = own.map(|row| dimension(&row[1..])).collect::<Option<_>>()?;
        Some(HypertableRow {
            name: name.clone(),
            replication: replication.parse().ok()?,
            nodes: list(nodes),
            dimensions,
        })
    };
    tables.iter().map(|text| row(text).ok_or_else(|| format!("cannot read hypertable {text:?}"))).collect()
}

/// Types that a dimension may have and that judges know.
const DIMENSION_TYPES: [Type; 10] = [
    Type::TIMESTAMPTZ,
    Type::TIMESTAMP,
    Type::DATE,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::TEXT,
    Type::VARCHAR,
    Type::BPCHAR,
    Type::UUID,
];

fn dimension(row: &[String]) -> Option<Dimension> {
    let [column, ty, slices, interval] = row else { return None };
    let ty = DIMENSION_TYPES.into_iter().find(|known| type_names::display(known) == *ty).unwrap_or(Type::UNKNOWN);
    let kind = match slices.parse() {
        Ok(partitions) => DimensionKind::Closed { partitions },
        Err(_) => DimensionKind::Open { interval: interval.parse().ok()? },
    };
    // Nobody here asks for the number.
    Some(Dimension { id: DimensionId(0), column: column.clone(), type_oid: ty.oid(), kind })
}

async fn chunks(access: &mut Node) -> Result<Vec<ChunkRow>, String> {
    let rows = access
        .rows(
            "SELECT chunk_name, hypertable_name, array_to_string(data_nodes, ',') \
             FROM timescaledb_information.chunks ORDER BY chunk_name",
        )
        .await?;
    let slices = access
        .rows("SELECT chunk_name, range_start, range_end FROM hypertile.slices ORDER BY chunk_name, dimension_number")
        .await?;
    let mut cubes: BTreeMap<&str, Vec<Slice>> = BTreeMap::new();
    for row in &slices {
        let bound = |text: &str, open: i64| if text == "NULL" { Ok(open) } else { text.parse() };
        let (start, end) = (bound(&row[1], i64::MIN), bound(&row[2], i64::MAX));
        let (Ok(start), Ok(end)) = (start, end) else { return Err(format!("cannot read slice {row:?}")) };
        cubes.entry(&row[0]).or_default().push(Slice { start, end });
    }
    let row = |row: &Vec<String>| -> Option<ChunkRow> {
        let [table, hypertable, nodes] = &row[..] else { return None };
        let cube = Hypercube(cubes.get(table.as_str()).cloned().unwrap_or_default());
        Some(ChunkRow { table: table.clone(), hypertable: hypertable.clone(), cube, nodes: list(nodes) })
    };
    rows.iter().map(|text| row(text).ok_or_else(|| format!("cannot read chunk {text:?}"))).collect()
}

async fn node_state(node: &mut Node) -> Result<NodeState, String> {
    let prepared =
        column(node.rows("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid").await?);
    let idle = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    // The embedded server does not have this view.
    let idle = column(node.rows(idle).await.unwrap_or_default());
    let idle_in_transaction = idle.first().and_then(|count| count.parse().ok()).unwrap_or(0);
    let names = node
        .rows(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = '_timescaledb_internal' \
             ORDER BY table_name, ordinal_position",
        )
        .await?;
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for [table, column] in names.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok()) {
        columns.entry(table).or_default().push(column);
    }
    let mut tables = Vec::new();
    for (name, columns) in columns {
        let quoted = format!("_timescaledb_internal.{}", quote_identifier(&name));
        let rows = node.all_rows(&quoted, columns.len()).await?;
        tables.push(ChunkTable { name, columns, rows });
    }
    Ok(NodeState { name: node.name.clone(), prepared, idle_in_transaction, tables })
}

fn column(rows: Vec<Vec<String>>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next()).collect()
}

/// The chunk map as text, for `snapshot placement`: which chunk covers what and lies where.
pub async fn placement(stage: &dyn Stage) -> Result<String, String> {
    let mut access = Node::open(stage, ACCESS_NODE).await?;
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
    let mut access = Node::open(stage, ACCESS_NODE).await?;
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
