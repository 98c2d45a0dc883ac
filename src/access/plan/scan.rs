//! The leaf of a distributed plan: the rows of one fragment, from all its data nodes at once.

use super::fragment::{Completeness, Fragment, Shape};
use crate::access::FragmentSource;
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::stream::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// One output partition: nothing above needs to spawn to read several nodes, and a node that is slow holds back only
/// its own rows.
pub struct DataNodeScan {
    fragment: Arc<Fragment>,
    schema: SchemaRef,
    source: Arc<dyn FragmentSource>,
    notes: Vec<String>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl DataNodeScan {
    /// `schema` has the fragment's outputs in the types that the plan above expects.
    pub fn new(
        fragment: Fragment,
        schema: SchemaRef,
        source: Arc<dyn FragmentSource>,
        notes: Vec<String>,
    ) -> DataNodeScan {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        DataNodeScan {
            fragment: Arc::new(fragment),
            schema,
            source,
            notes,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    pub fn fragment(&self) -> &Fragment {
        &self.fragment
    }

    /// What was not pushed down, each as `what: why`.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// All nodes are asked when the stream is first polled, and read as their rows come: in the order of arrival, which
    /// is FuturesUnordered's ready queue and holds no chance of its own. Nothing is read ahead of the consumer.
    fn rows(&self) -> impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static {
        let wire = self.fragment.wire_schema();
        let open = |node: &super::fragment::NodeChunks| {
            let (source, name, sql) = (self.source.clone(), node.node.clone(), self.fragment.sql_for(node));
            let wire = wire.clone();
            futures::stream::once(async move { source.fragment(&name, &sql, wire).await }).try_flatten().boxed()
        };
        let streams: Vec<_> = self.fragment.nodes.iter().map(open).collect();
        let schema = self.schema.clone();
        futures::stream::select_all(streams).map(move |batch| convert(&batch?, &schema))
    }
}

/// From the wire's types to the plan's. Errors: `XX000` if the node's answer has another shape, else the cast's.
fn convert(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    if schema.fields().is_empty() {
        return Ok(RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)?);
    }
    if batch.num_columns() != schema.fields().len() {
        let (seen, wanted) = (batch.num_columns(), schema.fields().len());
        return Err(Error::internal(format!("a data node answered with {seen} columns instead of {wanted}")));
    }
    let strict = arrow::compute::CastOptions { safe: false, ..Default::default() };
    let cast = |(column, field): (&arrow::array::ArrayRef, &Arc<arrow::datatypes::Field>)| match column.data_type()
        == field.data_type()
    {
        true => Ok(column.clone()),
        false => arrow::compute::cast_with_options(column, field.data_type(), &strict),
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(cast).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

impl fmt::Debug for DataNodeScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataNodeScan").field("fragment", &self.fragment).finish()
    }
}

impl DisplayAs for DataNodeScan {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fragment = &self.fragment;
        let separator = match kind {
            DisplayFormatType::TreeRender => "\n",
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "DataNodeScan: ")?;
                ", "
            }
        };
        let (nodes, chunks) = (fragment.nodes.len(), fragment.chunk_count());
        write!(f, "table={}{separator}data_nodes={nodes}{separator}chunks={chunks}", fragment.relation)?;
        match &fragment.shape {
            Shape::Rows => {}
            Shape::FirstRows(_) => write!(f, "{separator}rows=first")?,
            Shape::Groups { completeness: Completeness::Full, .. } => write!(f, "{separator}aggregate=full")?,
            Shape::Groups { completeness: Completeness::Partial, .. } => write!(f, "{separator}aggregate=partial")?,
        }
        if !fragment.order_by.is_empty() && matches!(fragment.shape, Shape::Rows | Shape::Groups { .. }) {
            write!(f, "{separator}sorted")?;
        }
        match fragment.limit {
            Some(limit) => write!(f, "{separator}limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for DataNodeScan {
    fn name(&self) -> &str {
        "DataNodeScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let counted = self.rows().map(move |batch| {
            if let Ok(batch) = &batch {
                metrics.record_output(batch.num_rows());
            }
            batch.map_err(DataFusionError::from)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), counted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
