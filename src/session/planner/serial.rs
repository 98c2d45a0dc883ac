//! Keeps DataFusion from spawning tasks: everything a query does happens inside the task that polls its rows.
//!
//! `CoalescePartitionsExec` spawns one task per input partition; in a simulation there is no tokio runtime to spawn
//! on, and outside one a cancelled session must not leave tasks behind.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::StreamExt;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Replaces every spawning coalesce, and puts one of ours at the root where several partitions would come out.
#[derive(Debug)]
pub struct NoSpawn;

impl PhysicalOptimizerRule for NoSpawn {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan
            .transform_up(|node| {
                let any: &dyn Any = node.as_ref();
                Ok(match any.downcast_ref::<CoalescePartitionsExec>() {
                    Some(coalesce) => Transformed::yes(serial(coalesce.input().clone(), coalesce.fetch())),
                    None => Transformed::no(node),
                })
            })?
            .data;
        // Executing a plan with several partitions adds a spawning coalesce above it, after all optimizer rules.
        let partitions = plan.properties().output_partitioning().partition_count();
        Ok(if partitions > 1 { serial(plan, None) } else { plan })
    }

    fn name(&self) -> &str {
        "no_spawn"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn serial(input: Arc<dyn ExecutionPlan>, fetch: Option<usize>) -> Arc<dyn ExecutionPlan> {
    Arc::new(SerialCoalesceExec::new(input, fetch))
}

/// All partitions of its input, one after the other.
#[derive(Debug)]
pub struct SerialCoalesceExec {
    input: Arc<dyn ExecutionPlan>,
    /// Rows to let through at most.
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl SerialCoalesceExec {
    fn new(input: Arc<dyn ExecutionPlan>, fetch: Option<usize>) -> SerialCoalesceExec {
        let mut equivalences = input.properties().equivalence_properties().clone();
        equivalences.clear_orderings();
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(1),
            input.properties().emission_type,
            input.properties().boundedness,
        );
        SerialCoalesceExec { input, fetch, properties: Arc::new(properties) }
    }
}

impl DisplayAs for SerialCoalesceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SerialCoalesceExec")?;
        self.fetch.map_or(Ok(()), |fetch| write!(f, ": fetch={fetch}"))
    }
}

impl ExecutionPlan for SerialCoalesceExec {
    fn name(&self) -> &str {
        "SerialCoalesceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(serial(children.remove(0), self.fetch))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = self.input.properties().output_partitioning().partition_count();
        let streams =
            (0..partitions).map(|index| self.input.execute(index, context.clone())).collect::<Result<Vec<_>>>()?;
        let mut left = self.fetch.unwrap_or(usize::MAX);
        let batches = futures::stream::iter(streams).flatten().map(move |batch| {
            let batch = batch?;
            let rows = batch.num_rows().min(left);
            left -= rows;
            Ok(batch.slice(0, rows))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
