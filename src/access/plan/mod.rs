//! What goes down to which data node.

use super::FragmentSource;
use crate::catalog::{Hypertable, State};
use crate::error::Result;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// A hypertable as DataFusion sees it: filters and projection go into the remote SQL, chunks are excluded.
pub fn provider(
    state: &Arc<State>,
    hypertable: &Hypertable,
    schema: SchemaRef,
    source: Arc<dyn FragmentSource>,
) -> Result<Arc<dyn TableProvider>> {
    let _ = (state, hypertable, schema, source);
    todo!()
}

/// The rules that move aggregates, DISTINCT and ORDER BY + LIMIT down to the data nodes.
pub fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    todo!()
}

/// The data nodes whose rows a physical plan reads, sorted.
pub fn nodes_of(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let _ = plan;
    todo!()
}

/// The lines that EXPLAIN (VERBOSE) adds: each data node, its chunks, its SQL, what was not pushed down and why.
pub fn explain(plan: &Arc<dyn ExecutionPlan>, verbose: bool) -> Vec<String> {
    let _ = (plan, verbose);
    todo!()
}
