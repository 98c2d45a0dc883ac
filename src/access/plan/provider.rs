//! Hypertables and their fragments as DataFusion sees them: tables.

use super::bounds::Bounds;
use super::chunks::{Assignment, assign};
use super::fragment::{Fragment, OrderKey, Output, Shape};
use super::literal::Reason;
use super::render::Renderer;
use super::scan::DataNodeScan;
use crate::access::FragmentSource;
use crate::catalog::{Hypertable, State};
use crate::error::Result;
use crate::sql::types::client_schema;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::sync::Arc;

/// A hypertable: all its rows, wherever they are.
#[derive(Clone)]
pub struct HypertableTable {
    pub state: Arc<State>,
    pub hypertable: Arc<Hypertable>,
    pub schema: SchemaRef,
    pub source: Arc<dyn FragmentSource>,
    /// What was not pushed down, and why: for EXPLAIN.
    pub notes: Vec<String>,
}

/// A fragment that stands in for the part of the plan that went into it.
#[derive(Clone)]
pub struct FragmentTable {
    pub fragment: Fragment,
    /// The columns in the types that the plan above expects; the wire's may be others.
    pub schema: SchemaRef,
    pub source: Arc<dyn FragmentSource>,
    pub notes: Vec<String>,
}

/// What every fragment over a hypertable starts from.
pub struct Base<'a> {
    pub renderer: Renderer,
    pub filters: Vec<String>,
    pub assignment: Assignment<'a>,
}

impl HypertableTable {
    /// Renders the filters and picks chunks and nodes. Errors: the first filter that cannot go down.
    pub fn base(&self, filters: &[Expr]) -> std::result::Result<Base<'_>, Reason> {
        let mut renderer = Renderer::new(&self.schema)?;
        let rendered = filters.iter().map(|filter| renderer.expression(filter)).collect::<std::result::Result<_, _>>();
        let assignment = assign(&self.state, &self.hypertable, &self.bounds(filters))
            .map_err(|error| error.message().to_string())?;
        Ok(Base { filters: rendered?, renderer, assignment })
    }

    fn bounds(&self, filters: &[Expr]) -> Bounds {
        Bounds::of(&self.hypertable.dimensions, &self.schema, filters)
    }

    /// Why a filter stays on the access node; `None` if it goes down.
    pub fn obstacle(&self, filter: &Expr) -> Option<Reason> {
        Renderer::new(&self.schema).and_then(|mut renderer| renderer.expression(filter)).err()
    }

    /// A fragment that returns columns of rows. `base` is consumed: its columns are known only when all is rendered.
    pub fn rows(
        &self,
        mut base: Base,
        columns: &[usize],
        shape: Shape,
        order_by: Vec<OrderKey>,
        limit: Option<usize>,
    ) -> std::result::Result<Fragment, Reason> {
        let mut outputs = Vec::with_capacity(columns.len());
        for position in columns {
            let field = self.schema.field(*position);
            let column = datafusion::common::Column::new_unqualified(field.name());
            outputs.push(Output { sql: base.renderer.column(&column)?, field: wire_field(field)? });
        }
        Ok(self.fragment(base, outputs, shape, order_by, limit))
    }

    pub fn fragment(
        &self,
        base: Base,
        outputs: Vec<Output>,
        shape: Shape,
        order_by: Vec<OrderKey>,
        limit: Option<usize>,
    ) -> Fragment {
        let columns = base.renderer.used().iter().map(|position| self.schema.field(*position).name().clone()).collect();
        Fragment {
            relation: self.hypertable.name.clone(),
            nodes: Fragment::node_chunks(&base.assignment),
            columns,
            filters: base.filters,
            outputs,
            shape,
            order_by,
            limit,
        }
    }
}

/// The field as it comes over the wire.
pub fn wire_field(field: &Field) -> std::result::Result<Field, Reason> {
    let schema = client_schema(&Schema::new(vec![field.clone()])).map_err(|error| error.message().to_string())?;
    Ok(schema.field(0).clone())
}

impl fmt::Debug for HypertableTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HypertableTable").field("name", &self.hypertable.name).field("notes", &self.notes).finish()
    }
}

impl fmt::Debug for FragmentTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FragmentTable").field("fragment", &self.fragment).finish()
    }
}

#[async_trait]
impl TableProvider for HypertableTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let unqualified = filters.iter().map(|filter| super::rewrite::unqualified(filter)).collect::<Vec<_>>();
        let of = |filter: &Expr| match self.obstacle(filter) {
            None => TableProviderFilterPushDown::Exact,
            // It cannot run on the data nodes, but it may still tell which chunks to read.
            Some(_) if self.bounds(std::slice::from_ref(filter)).is_bounded() => TableProviderFilterPushDown::Inexact,
            Some(_) => TableProviderFilterPushDown::Unsupported,
        };
        Ok(unqualified.iter().map(of).collect())
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        Ok(Arc::new(self.scan_rows(&columns, filters, limit)?))
    }
}

impl HypertableTable {
    fn scan_rows(&self, columns: &[usize], filters: &[Expr], limit: Option<usize>) -> Result<DataNodeScan> {
        let mut renderer = Renderer::new(&self.schema).map_err(crate::Error::internal)?;
        let rendered: Vec<String> = filters.iter().filter_map(|filter| renderer.expression(filter).ok()).collect();
        // What was offered as inexact still runs above: a limit below it would lose rows.
        let limit = limit.filter(|_| rendered.len() == filters.len());
        let assignment = assign(&self.state, &self.hypertable, &self.bounds(filters))?;
        let base = Base { renderer, filters: rendered, assignment };
        let fragment = self.rows(base, columns, Shape::Rows, Vec::new(), limit).map_err(crate::Error::internal)?;
        let schema = Arc::new(self.schema.project(columns)?);
        Ok(DataNodeScan::new(fragment, schema, self.source.clone(), self.notes.clone()))
    }
}

#[async_trait]
impl TableProvider for FragmentTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let mut fragment = self.fragment.project(&columns);
        fragment.limit = match (fragment.limit, limit) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        let schema = Arc::new(self.schema.project(&columns)?);
        Ok(Arc::new(DataNodeScan::new(fragment, schema, self.source.clone(), self.notes.clone())))
    }
}
