//! One client session over an engine: statement -> plan -> rows; transactions; settings.
//!
//! Knows no hypertable and no other node. A layer above adds relations and optimizer rules through [`Extension`];
//! a plain data-node session has none.

use crate::engine::Engine;
use crate::error::Result;
use crate::host::Host;
use crate::ids::RelationName;
use crate::sql::statement::Statement;
use crate::wire::{Description, Outcome, Parameter, Startup};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use postgres_types::Type;
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

/// One client's session state over one database.
pub struct Session {
    _todo: (),
}

impl Session {
    pub fn new(host: &Host, engine: &Arc<Engine>, startup: &Startup) -> Session {
        let _ = (host, engine, startup);
        todo!()
    }

    /// Parameter and column types of a statement.
    pub async fn describe(
        &mut self,
        statement: &Statement,
        hints: &[Type],
        extension: &dyn Extension,
    ) -> Result<Description> {
        let _ = (statement, hints, extension);
        todo!()
    }

    /// Runs any statement of one database; transaction control included.
    pub async fn execute(
        &mut self,
        statement: &Statement,
        types: &[Type],
        parameters: Vec<Parameter>,
        extension: &dyn Extension,
    ) -> Result<Outcome> {
        let _ = (statement, types, parameters, extension);
        todo!()
    }
}
