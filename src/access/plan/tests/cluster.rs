//! A hypertable in memory: rows, chunks, and data nodes that answer SQL.

use crate::access::FragmentSource;
use crate::access::plan::{explain, optimizer_rules, provider};
use crate::catalog::{Chunk, DataNode, Dimension, DimensionKind, Hypertable, HypertableNode, State};
use crate::chunk::hash::partition_hash;
use crate::chunk::slice::{Hypercube, Slice, closed_slice};
use crate::error::{Error, Result, codes};
use crate::ids::{ChunkId, DimensionId, HypertableId, RelationName};
use crate::session::planner::Planner;
use crate::session::planner::context::Relations;
use crate::sql::functions::Environment;
use crate::sql::statement::{self, Kind};
use crate::sql::types::{self, BatchStream, PG_TYPE, narrow};
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, TryStreamExt};
use postgres_types::Type;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub const DAY: i64 = 86_400_000_000;
/// 2023-01-01 00:00 UTC.
pub const START: i64 = 1_672_531_200_000_000;
const PARTITIONS: u16 = 3;

pub fn schema() -> SchemaRef {
    let tagged = |name: &str, tag: &str| {
        Field::new(name, DataType::Utf8, true).with_metadata([(PG_TYPE.to_string(), tag.to_string())].into())
    };
    Arc::new(Schema::new(vec![
        Field::new("time", types::timestamptz(), false),
        Field::new("host", DataType::Utf8, false),
        Field::new("region", DataType::Utf8, true),
        tagged("rack", "uuid"),
        tagged("code", "varchar"),
        Field::new("v", DataType::Float64, true),
        Field::new("w", DataType::Float32, true),
        Field::new("small", DataType::Int16, true),
        Field::new("n", DataType::Int32, true),
        Field::new("big", DataType::Int64, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

/// Numbers are small multiples of a quarter: sums are exact in any order. The row number makes `big` unique.
pub fn rows(seed: u64, count: usize, days: i64) -> RecordBatch {
    let mut chance = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |bound: i64| chance.random_range(0..bound);
    let mut some = |share: i64| draw(10) < share;
    let known: Vec<[bool; 12]> = (0..count).map(|_| std::array::from_fn(|_| some(8))).collect();
    let mut columns: Vec<Vec<i64>> = Vec::new();
    for bound in [days * 24 * 60, 7, 3, 4, 5, 400, 40, 20, 100, 2, 3000, days, days * 48] {
        columns.push((0..count).map(|_| draw(bound)).collect());
    }
    let opt = |column: usize, row: usize| known[row][column % 12].then(|| columns[column][row]);
    let each = |column: usize| (0..count).map(move |row| opt(column, row)).collect::<Vec<_>>();
    let text = |column: usize, of: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter(each(column).into_iter().map(|value| value.map(of))))
    };
    let first_day = (START / DAY) as i32;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(columns[0].iter().map(|minute| START + minute * 60_000_000))
                .with_timezone(types::UTC),
        ),
        Arc::new(StringArray::from_iter_values(columns[1].iter().map(|host| format!("host_{host}")))),
        text(2, &|region| ["eu", "us", "Asia"][region as usize].to_string()),
        text(3, &|rack| format!("550e8400-e29b-41d4-a716-44665544000{rack}")),
        text(4, &|code| format!("c'{code}")),
        Arc::new(Float64Array::from_iter(each(5).into_iter().map(|v| v.map(|v| v as f64 / 4.0 - 20.0)))),
        Arc::new(Float32Array::from_iter(each(6).into_iter().map(|v| v.map(|v| v as f32 / 4.0)))),
        Arc::new(Int16Array::from_iter(each(7).into_iter().map(|v| v.map(|v| v as i16 - 10)))),
        Arc::new(Int32Array::from_iter(each(8).into_iter().map(|v| v.map(|v| v as i32 - 50)))),
        Arc::new(Int64Array::from_iter_values((0..count as i64).map(|row| row * 1_000_000_007))),
        Arc::new(BooleanArray::from_iter(each(9).into_iter().map(|v| v.map(|v| v == 1)))),
        Arc::new(
            Decimal128Array::from_iter(each(10).into_iter().map(|v| v.map(|v| i128::from(v) - 1500)))
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
        Arc::new(Date32Array::from_iter(each(11).into_iter().map(|v| v.map(|v| first_day + v as i32)))),
        Arc::new(TimestampMicrosecondArray::from_iter(
            each(12).into_iter().map(|v| v.map(|v| START - DAY + v * 1_800_000_000 + 1)),
        )),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Where the replicas of a chunk are, by its day and hash slice.
pub type Layout = fn(day: i64, slice: usize) -> Vec<&'static str>;

pub const NODES: [&str; 3] = ["dn1", "dn2", "dn3"];

/// Each hash slice has its node.
pub fn aligned(_day: i64, slice: usize) -> Vec<&'static str> {
    vec![NODES[slice]]
}

/// The slices change nodes over time.
pub fn rotating(day: i64, slice: usize) -> Vec<&'static str> {
    vec![NODES[(slice + day as usize) % 3]]
}

/// Two replicas a chunk, the preferred one rotating.
pub fn replicated(day: i64, slice: usize) -> Vec<&'static str> {
    let first = slice + (day as usize % 2);
    vec![NODES[first % 3], NODES[(slice + 1 - day as usize % 2) % 3]]
}

pub fn single(_day: i64, _slice: usize) -> Vec<&'static str> {
    vec!["dn1"]
}

pub struct Cluster {
    pub state: Arc<State>,
    pub hypertable: Hypertable,
    pub source: Arc<Nodes>,
    pub all: RecordBatch,
}

/// The data nodes' side: each has its chunks' tables and no others.
#[derive(Default)]
pub struct Nodes {
    databases: BTreeMap<String, Database>,
    pub asked: Mutex<Vec<(String, String)>>,
    pub broken: Mutex<Option<String>>,
}

/// A database: the session's planner over tables in memory.
pub struct Database {
    planner: Planner,
    tables: BTreeMap<String, Arc<dyn TableProvider>>,
    rules: bool,
}

impl Database {
    /// `rules`: whether the access node's own optimizer rules run.
    pub fn new(rules: bool) -> Database {
        let environment: Arc<dyn Environment> = Arc::new(Surroundings);
        Database { planner: Planner::new(&environment), tables: BTreeMap::new(), rules }
    }

    pub fn with(mut self, name: &str, table: Arc<dyn TableProvider>) -> Database {
        self.tables.insert(name.into(), table);
        self
    }

    pub async fn plan(&self, sql: &str) -> Result<Arc<dyn ExecutionPlan>> {
        let mut statements = statement::parse(sql)?;
        let Kind::Query(query) = statements.remove(0).kind else { panic!("no query: {sql}") };
        let plan = self.planner.logical(&query, &[], self)?;
        let rules = if self.rules { optimizer_rules() } else { Vec::new() };
        self.planner.physical(plan, rules).await
    }

    pub fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        Ok(execute_stream(plan, self.planner.task_context())?)
    }
}

impl Relations for Database {
    fn find(&self, _schema: Option<&str>, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).cloned())
    }
}

struct Surroundings;

impl Environment for Surroundings {
    fn database(&self) -> String {
        "postgres".into()
    }
    fn user(&self) -> String {
        "postgres".into()
    }
    fn process_id(&self) -> i32 {
        1
    }
    fn transaction_time(&self) -> i64 {
        START
    }
    fn statement_time(&self) -> i64 {
        START
    }
    fn clock_time(&self) -> i64 {
        START
    }
    fn random_bytes(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
    fn time_zone(&self) -> chrono_tz::Tz {
        chrono_tz::UTC
    }
    fn setting(&self, name: &str) -> Result<String> {
        Err(Error::new(codes::UNDEFINED_OBJECT, name))
    }
    fn set_setting(&self, name: &str, _value: &str, _local: bool) -> Result<String> {
        self.setting(name)
    }
}

fn take(all: &RecordBatch, rows: &[u32]) -> RecordBatch {
    arrow::compute::take_record_batch(all, &UInt32Array::from(rows.to_vec())).unwrap()
}

impl Cluster {
    pub fn new(layout: Layout, all: RecordBatch) -> Cluster {
        let schema = all.schema();
        let dimension = |id, column: &str, ty: Type, kind| Dimension {
            id: DimensionId(id),
            column: column.into(),
            type_oid: ty.oid(),
            kind,
        };
        let hypertable = Hypertable {
            id: HypertableId(1),
            name: RelationName::new("public", "cpu"),
            owner: "postgres".into(),
            dimensions: vec![
                dimension(1, "time", Type::TIMESTAMPTZ, DimensionKind::Open { interval: DAY }),
                dimension(2, "host", Type::TEXT, DimensionKind::Closed { partitions: PARTITIONS }),
            ],
            replication_factor: 1,
            nodes: NODES.map(|name| HypertableNode { name: name.into(), block_chunks: false }).to_vec(),
            partitions: Vec::new(),
            chunk_schema: "_timescaledb_internal".into(),
            chunk_prefix: "_dist_hyper_1".into(),
        };
        let times: &TimestampMicrosecondArray = all.column(0).as_primitive();
        let hashes = partition_hash(all.column(1), schema.field(1)).unwrap();
        let slices: Vec<Slice> = {
            let mut slices: Vec<_> = hashes.iter().map(|hash| closed_slice(i64::from(*hash), PARTITIONS)).collect();
            slices.sort();
            slices.dedup();
            slices
        };
        let mut chunks: BTreeMap<(i64, usize), Vec<u32>> = BTreeMap::new();
        for (row, hash) in hashes.iter().enumerate() {
            let day = (times.value(row) - START) / DAY;
            let slice = slices.iter().position(|slice| slice.contains(i64::from(*hash))).unwrap();
            chunks.entry((day, slice)).or_default().push(row as u32);
        }
        let mut state = State { nodes: NODES.iter().map(|name| data_node(name)).collect(), ..State::default() };
        let mut tables: BTreeMap<&str, Vec<(String, RecordBatch)>> = BTreeMap::new();
        for (number, ((day, slice), rows)) in chunks.into_iter().enumerate() {
            let id = ChunkId(number as u32 + 1);
            let start = START + day * DAY;
            let nodes = layout(day, slice);
            let name = format!("_dist_hyper_1_{id}_chunk");
            for node in &nodes {
                tables.entry(node).or_default().push((name.clone(), take(&all, &rows)));
            }
            let chunk = Chunk {
                id,
                hypertable: HypertableId(1),
                table: RelationName::new("_timescaledb_internal", name),
                cube: Hypercube(vec![Slice { start, end: start + DAY }, slices[slice]]),
                nodes: nodes.into_iter().map(String::from).collect(),
                created_at: 0,
            };
            state.chunks.insert(id, chunk);
        }
        state.hypertables.insert(HypertableId(1), hypertable.clone());
        let databases = tables.into_iter().map(|(node, tables)| (node.to_string(), node_database(tables))).collect();
        let source = Arc::new(Nodes { databases, ..Nodes::default() });
        Cluster { state: Arc::new(state), hypertable, source, all }
    }

    pub fn distributed(&self, rules: bool) -> Database {
        let cpu = provider(&self.state, &self.hypertable, self.all.schema(), self.source.clone()).unwrap();
        Database::new(rules).with("cpu", cpu).with("hosts", hosts())
    }

    pub fn plain(&self) -> Database {
        Database::new(false).with("cpu", in_memory(self.all.clone())).with("hosts", hosts())
    }

    /// One plain table; filters and columns pushed down; everything.
    pub fn three_ways(&self) -> [Database; 3] {
        [self.plain(), self.distributed(false), self.distributed(true)]
    }

    pub async fn explain(&self, sql: &str) -> Vec<String> {
        explain(&self.distributed(true).plan(sql).await.unwrap(), true)
    }
}

fn in_memory(rows: RecordBatch) -> Arc<dyn TableProvider> {
    Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap())
}

pub fn data_node(name: &str) -> DataNode {
    DataNode {
        name: name.into(),
        host: name.into(),
        port: 5432,
        database: "postgres".into(),
        user: None,
        password: None,
        owner: "postgres".into(),
        available: None,
    }
}

/// A local table to join with.
fn hosts() -> Arc<dyn TableProvider> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("host", DataType::Utf8, false),
        Field::new("team", DataType::Utf8, false),
    ]));
    let hosts = StringArray::from_iter_values((0..5).map(|host| format!("host_{host}")));
    let teams = StringArray::from_iter_values((0..5).map(|host| format!("team_{}", host % 2)));
    in_memory(RecordBatch::try_new(schema, vec![Arc::new(hosts), Arc::new(teams)]).unwrap())
}

fn node_database(tables: Vec<(String, RecordBatch)>) -> Database {
    tables.into_iter().fold(Database::new(false), |database, (name, rows)| database.with(&name, in_memory(rows)))
}

#[async_trait]
impl FragmentSource for Nodes {
    async fn open_snapshots(&self, _nodes: &[String]) -> Result<()> {
        Ok(())
    }

    async fn fragment(&self, node: &str, sql: &str, schema: SchemaRef) -> Result<BatchStream> {
        self.asked.lock().unwrap().push((node.into(), sql.into()));
        if self.broken.lock().unwrap().as_deref() == Some(node) {
            return Err(Error::new(codes::CONNECTION_FAILURE, "the node has gone").with_hint("wait"));
        }
        let wrapped = |error: Error| Error::internal(format!("{sql}\n{error}"));
        let database = &self.databases[node];
        let stream = database.plan(sql).await.and_then(|plan| database.run(plan)).map_err(wrapped)?;
        Ok(stream.map(move |batch| narrow(&batch?, &schema)).boxed())
    }
}

/// Rows as text, floats to nine digits: variances depend on the order of rows. Scaled, for the data's round numbers
/// would lie just between two texts.
pub async fn answer(database: &Database, sql: &str) -> Result<(SchemaRef, Vec<Vec<String>>)> {
    let plan = database.plan(sql).await?;
    let batches: Vec<RecordBatch> = database.run(plan.clone())?.try_collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        rows.extend((0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()));
    }
    Ok((plan.schema(), rows))
}

fn cell(column: &ArrayRef, row: usize) -> String {
    match column.as_primitive_opt::<arrow::datatypes::Float64Type>() {
        Some(floats) if floats.is_valid(row) => format!("{:.9e}", floats.value(row) * 1.000_314_159_27),
        _ => arrow::util::display::array_value_to_string(column, row).unwrap(),
    }
}
