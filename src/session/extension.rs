//! What a layer above adds to a session.

use crate::error::Result;
use crate::ids::RelationName;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// What a layer above adds to the engine's relations for one statement.
#[async_trait]
pub trait Extension: Send + Sync {
    /// Shadows the engine's relation of that name.
    fn relation(&self, name: &RelationName) -> Result<Option<Arc<dyn TableProvider>>>;

    /// Run after DataFusion's own logical rules.
    fn optimizer_rules(&self) -> Vec<Arc<dyn OptimizerRule + Send + Sync>>;

    /// Sees the finished physical plan before it runs: remote snapshots are opened here, all at one instant. If the
    /// session's own snapshot, which the plan was made in, may be of another one, `begin` is called at that instant to
    /// move it, and the answer is `true`: the query must be planned anew in the moved snapshot.
    async fn before_execute(&self, plan: &Arc<dyn ExecutionPlan>, begin: Begin<'_>) -> Result<bool>;
}

/// Starts the statement once more: under READ COMMITTED the local snapshot moves to now.
pub type Begin<'a> = &'a mut (dyn FnMut() -> Result<()> + Send);

/// Adds nothing.
pub struct NoExtension;

#[async_trait]
impl Extension for NoExtension {
    fn relation(&self, _name: &RelationName) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(None)
    }

    fn optimizer_rules(&self) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
        Vec::new()
    }

    async fn before_execute(&self, _plan: &Arc<dyn ExecutionPlan>, _begin: Begin<'_>) -> Result<bool> {
        Ok(false)
    }
}
