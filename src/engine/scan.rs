//! A table as DataFusion reads it: segment by segment from a snapshot, then the transaction's own rows.
//!
//! Never more than one segment is in memory. Reading one is synchronous (at most [`SEGMENT_BYTES_MAX`] from a file),
//! between two of them the scan yields. Segments whose bounds rule out a filter are not read.
//!
//! [`SEGMENT_BYTES_MAX`]: crate::limits::SEGMENT_BYTES_MAX

use super::pruning;
use super::segment;
use super::snapshot::Snapshot;
use super::store::{DATA, SEGMENTS, storage};
use super::table::Table;
use crate::error::{Error, Result, codes};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream, StatisticsArgs,
};
use std::fmt;
use std::sync::Arc;

/// A portion of a table's rows.
#[derive(Clone)]
pub(super) enum Source {
    Stored { snapshot: Arc<Snapshot>, data: u64 },
    Memory(RecordBatch),
}

/// The rows that one statement of one transaction sees.
pub(super) struct TableScan {
    table: Arc<Table>,
    schema: SchemaRef,
    snapshot: Arc<Snapshot>,
    /// The transaction's own rows, which no snapshot has.
    own: Vec<Source>,
}

impl TableScan {
    pub fn new(table: Arc<Table>, snapshot: Arc<Snapshot>, own: Vec<Source>) -> Result<TableScan> {
        Ok(TableScan { schema: table.schema()?, table, snapshot, own })
    }

    /// Data id and rows of the snapshot's segments, in the order of their rows.
    fn segments(&self) -> Result<Vec<(u64, u64)>> {
        let segments = self.snapshot.read.open_table(SEGMENTS).map_err(storage)?;
        let mut found = Vec::new();
        for entry in segments.range((self.table.id, 0)..=(self.table.id, u64::MAX)).map_err(storage)? {
            let (data, rows, _) = entry.map_err(storage)?.1.value();
            found.push((data, rows));
        }
        Ok(found)
    }
}

impl fmt::Debug for TableScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableScan").field("table", &self.table.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for TableScan {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let segments = self.segments()?;
        let total = segments.len();
        let kept = pruning::keep(&self.snapshot, &self.schema, segments, filters, state)?;
        let stored = kept.iter().map(|(data, _)| Source::Stored { snapshot: self.snapshot.clone(), data: *data });
        let rows_in_memory = |source: &Source| match source {
            Source::Memory(batch) => Some(batch.num_rows()),
            Source::Stored { .. } => None,
        };
        let own_rows = self.own.iter().map(rows_in_memory).sum::<Option<usize>>();
        let rows = own_rows.map(|own| own + kept.iter().map(|(_, rows)| *rows as usize).sum::<usize>());
        Ok(Arc::new(SegmentScanExec::new(Scan {
            name: self.table.name.to_string(),
            sources: stored.chain(self.own.iter().cloned()).collect(),
            segments: total,
            pruned: total - kept.len(),
            schema: self.schema.clone(),
            projection: projection.cloned(),
            // Filters are only hints here: rows that they remove later must not count.
            limit: limit.filter(|_| filters.is_empty()),
            rows,
        })?))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// What to read.
#[derive(Clone)]
struct Scan {
    name: String,
    sources: Vec<Source>,
    /// For EXPLAIN: stored segments, and how many of them need not be read.
    segments: usize,
    pruned: usize,
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
    limit: Option<usize>,
    /// Rows in all sources, where that is known without reading.
    rows: Option<usize>,
}

/// Reads the sources one after the other, as one partition.
#[derive(Clone)]
struct SegmentScanExec {
    scan: Arc<Scan>,
    properties: Arc<PlanProperties>,
}

impl SegmentScanExec {
    fn new(scan: Scan) -> PlanResult<SegmentScanExec> {
        let schema = match &scan.projection {
            Some(projection) => Arc::new(scan.schema.project(projection)?),
            None => scan.schema.clone(),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(SegmentScanExec { scan: Arc::new(scan), properties: Arc::new(properties) })
    }
}

impl fmt::Debug for SegmentScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentScanExec").field("table", &self.scan.name).finish_non_exhaustive()
    }
}

impl DisplayAs for SegmentScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scan = &*self.scan;
        write!(f, "SegmentScanExec: table={}, segments={}", scan.name, scan.segments)?;
        if scan.pruned > 0 {
            write!(f, ", pruned={}", scan.pruned)?;
        }
        if scan.projection.is_some() {
            let schema = self.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
            write!(f, ", projection=[{}]", names.join(", "))?;
        }
        match scan.limit {
            Some(limit) => write!(f, ", fetch={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for SegmentScanExec {
    fn name(&self) -> &str {
        "SegmentScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a segment scan has no children") }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> PlanResult<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a segment scan has no children") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a segment scan has one partition, asked for {partition}");
        }
        let batches = Batches {
            scan: self.scan.clone(),
            next_source: 0,
            current: None,
            batch_rows: context.session_config().batch_size().max(1),
            rows_left: self.scan.limit.unwrap_or(usize::MAX),
        };
        let stream = RecordBatchStreamAdapter::new(self.schema(), futures::stream::iter(batches));
        Ok(make_cooperative(Box::pin(stream)))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> PlanResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let Some(rows) = self.scan.rows {
            // Exact as long as nothing was left out: `count(*)` may then be answered from here.
            statistics.num_rows = match self.scan.limit {
                None => Precision::Exact(rows),
                Some(limit) => Precision::Exact(rows.min(limit)),
            };
        }
        Ok(Arc::new(statistics))
    }

    fn fetch(&self) -> Option<usize> {
        self.scan.limit
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let scan = Scan { limit, ..(*self.scan).clone() };
        Some(Arc::new(SegmentScanExec { scan: Arc::new(scan), properties: self.properties.clone() }))
    }
}

/// The rows in portions that suit DataFusion's operators.
struct Batches {
    scan: Arc<Scan>,
    next_source: usize,
    current: Option<RecordBatch>,
    batch_rows: usize,
    rows_left: usize,
}

impl Iterator for Batches {
    type Item = PlanResult<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.current.is_none() && self.rows_left > 0 {
            let source = self.scan.sources.get(self.next_source)?;
            self.next_source += 1;
            match read(source, &self.scan) {
                Ok(batch) => self.current = Some(batch).filter(|batch| batch.num_rows() > 0),
                Err(error) => return Some(Err(DataFusionError::from(error))),
            }
        }
        let batch = self.current.take().filter(|_| self.rows_left > 0)?;
        let rows = batch.num_rows().min(self.batch_rows).min(self.rows_left);
        if rows < batch.num_rows() {
            self.current = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.rows_left -= rows;
        Some(Ok(batch.slice(0, rows)))
    }
}

fn read(source: &Source, scan: &Scan) -> Result<RecordBatch> {
    match source {
        Source::Memory(batch) => match &scan.projection {
            Some(projection) => Ok(batch.project(projection)?),
            None => Ok(batch.clone()),
        },
        Source::Stored { snapshot, data } => {
            let table = snapshot.read.open_table(DATA).map_err(storage)?;
            let missing = || Error::new(codes::DATA_CORRUPTED, format!("segment {data} of {} is missing", scan.name));
            let bytes = table.get(*data).map_err(storage)?.ok_or_else(missing)?;
            segment::decode(bytes.value(), &scan.schema, scan.projection.as_deref())
        }
    }
}
