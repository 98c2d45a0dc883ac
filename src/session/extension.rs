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

    /// Sees the finished physical plan before it runs: remote snapshots are opened here, all at one instant.
    async fn before_execute(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<()>;
}

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

    async fn before_execute(&self, _plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
        Ok(())
    }
}
