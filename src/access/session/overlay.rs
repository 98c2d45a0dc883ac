//! What one statement sees besides the engine's own relations: hypertables, information views, results of calls.

use crate::access::FragmentSource;
use crate::access::admin::{Results, views};
use crate::access::cluster::Cluster;
use crate::access::plan;
use crate::access::session::Databases;
use crate::access::txn::Transaction;
use crate::access::txn::snapshots::LocalRows;
use crate::catalog::State;
use crate::error::Result;
use crate::ids::RelationName;
use crate::session::{Begin, Extension};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Made anew for every statement: it holds the catalog's state of that moment.
pub struct Overlay {
    pub cluster: Arc<Cluster>,
    pub transaction: Transaction,
    pub state: Arc<State>,
    /// Row types of the hypertables that the statement names, from their local definitions.
    pub schemas: BTreeMap<RelationName, SchemaRef>,
    /// The statement names local tables too.
    pub names_local: bool,
    /// The commit gate's, from before the statement's local snapshot is taken.
    pub epoch: Option<u64>,
    /// What stands for the statement's calls.
    pub results: Results,
    pub databases: Arc<dyn Databases>,
}

#[async_trait]
impl Extension for Overlay {
    fn relation(&self, name: &RelationName) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(result) = self.results.get(name) {
            return Ok(Some(result.clone()));
        }
        if let (Some(hypertable), Some(schema)) = (self.state.hypertable(name), self.schemas.get(name)) {
            let source: Arc<dyn FragmentSource> = Arc::new(self.transaction.clone());
            return plan::provider(&self.state, hypertable, schema.clone(), source).map(Some);
        }
        let source = views::Source { cluster: &self.cluster, state: &self.state, databases: &*self.databases };
        views::relation(&source, name)
    }

    fn optimizer_rules(&self) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
        match self.schemas.is_empty() {
            true => Vec::new(),
            false => plan::optimizer_rules(),
        }
    }

    async fn before_execute(&self, plan: &Arc<dyn ExecutionPlan>, begin: Begin<'_>) -> Result<bool> {
        let nodes = plan::nodes_of(plan);
        if nodes.is_empty() {
            return Ok(false);
        }
        // Asked of the names, not of the plan: an exact count of local rows is planned as a constant.
        let local = self.names_local.then_some(LocalRows { epoch: self.epoch, begin });
        self.transaction.open(&nodes, local).await
    }
}
