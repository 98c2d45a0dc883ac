//! What goes down to which data node.
//!
//! A query over hypertables is a DataFusion plan whose leaves are [`provider`]s. DataFusion itself pushes filters,
//! columns and LIMIT into the leaf, as far as [`render`] can say them in SQL that means the same on every data node;
//! the rule in [`rewrite`] then moves aggregates, DISTINCT and ORDER BY + LIMIT into it. What a leaf asks for is a
//! [`fragment`]: a value per hypertable, with SQL text per data node.
//!
//! ```text
//! Sort fetch=5                         Sort fetch=5
//!   Aggregate max(v) by host             Aggregate max(max_1) by host      (gone if no group spans nodes)
//!     Filter time > …          ->          DataNodeScan
//!       TableScan cpu                        dn1: SELECT host, max(v) FROM (… chunks …) WHERE time > … GROUP BY 1 …
//!                                            dn2: SELECT host, max(v) FROM …
//! ```
//!
//! Promises: the rows of a query do not depend on what was pushed down, but for the two differences that [`render`] names
//! and the last digits of floating-point sums that are added up in parts; every chunk that can hold a matching row is
//! read from exactly one replica; what was not pushed down says why. Must not know: connections, transactions.
//!
//! Reading order: [`literal`], [`bucket`], [`render`] (expressions as SQL), [`bounds`], [`chunks`] (what to read
//! where), [`fragment`], [`scan`], [`provider`], [`rewrite`], [`aggregate`], [`explain`].

pub mod aggregate;
pub mod bounds;
pub mod bucket;
pub mod chunks;
pub mod explain;
pub mod fragment;
pub mod literal;
pub mod provider;
pub mod render;
pub mod rewrite;
pub mod scan;

#[cfg(test)]
mod tests;

use super::FragmentSource;
use crate::catalog::{Hypertable, State};
use crate::error::Result;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::optimizer::OptimizerRule;
use std::sync::Arc;

pub use explain::{explain, nodes_of};

/// A hypertable as DataFusion sees it: filters and projection go into the remote SQL, chunks are excluded.
pub fn provider(
    state: &Arc<State>,
    hypertable: &Hypertable,
    schema: SchemaRef,
    source: Arc<dyn FragmentSource>,
) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(provider::HypertableTable {
        state: state.clone(),
        hypertable: Arc::new(hypertable.clone()),
        schema,
        source,
        notes: Vec::new(),
    }))
}

/// The rules that move aggregates, DISTINCT and ORDER BY + LIMIT down to the data nodes.
pub fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![Arc::new(rewrite::PushDown)]
}
