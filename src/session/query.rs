//! Queries: planning, running, describing, explaining.

use super::parameters::{self, Bound};
use super::planner::context::Relations;
use super::planner::errors;
use super::{Extension, Session, catalogs};
use crate::engine::Transaction;
use crate::error::{Error, Result, codes};
use crate::host::Host;
use crate::ids::RelationName;
use crate::sql::rewrite;
use crate::sql::types::{self, BatchStream};
use crate::wire::{Description, Outcome};
use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::future::{Either, select};
use futures::{FutureExt, StreamExt};
use postgres_types::Type;
use sqlparser::ast;
use std::sync::Arc;
use std::time::Duration;

/// The relations that one statement sees: the extension's before the engine's, the system's last.
pub struct Visible<'v> {
    pub session: &'v Session,
    pub extension: &'v dyn Extension,
    pub transaction: &'v Transaction,
    pub search_path: Vec<String>,
}

impl Visible<'_> {
    fn named(&self, name: &RelationName) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(provider) = self.extension.relation(name)? {
            return Ok(Some(provider));
        }
        if let Some(table) = self.transaction.table(name)? {
            return Ok(Some(self.transaction.scan(&table)?));
        }
        catalogs::relation(self.session, self.transaction, name)
    }
}

impl Relations for Visible<'_> {
    fn find(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(schema) = schema {
            return self.named(&RelationName::new(schema, name));
        }
        for schema in &self.search_path {
            if let Some(found) = self.named(&RelationName::new(schema, name))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Session {
    /// Runs a query; the schema is what the client sees. The stream borrows nothing.
    pub async fn run_query(
        &mut self,
        query: &ast::Query,
        bound: &Bound<'_>,
        extension: &dyn Extension,
    ) -> Result<(SchemaRef, BatchStream)> {
        let plan = self.ready_query(query, bound, extension).await?;
        self.run_plan(plan)
    }

    /// The physical plan of a query that is going to run: the extension has opened its snapshots.
    pub async fn ready_query(
        &mut self,
        query: &ast::Query,
        bound: &Bound<'_>,
        extension: &dyn Extension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.plan_query(query, bound, extension).await?;
        match extension.before_execute(&plan, &mut || self.begin_statement()).await? {
            true => self.physical_plan(query, bound, extension).await,
            false => Ok(plan),
        }
    }

    /// The physical plan of a query, with its parameters in place.
    pub async fn plan_query(
        &mut self,
        query: &ast::Query,
        bound: &Bound<'_>,
        extension: &dyn Extension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.begin_statement()?;
        self.physical_plan(query, bound, extension).await
    }

    /// In the snapshot of the statement that has begun.
    async fn physical_plan(
        &mut self,
        query: &ast::Query,
        bound: &Bound<'_>,
        extension: &dyn Extension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.logical_plan(query, &bound.fields()?, extension)?;
        let plan = if bound.values.is_empty() {
            plan
        } else {
            let values = bound.scalars(&self.format())?;
            plan.with_param_values(ParamValues::from(values)).map_err(errors::polish)?
        };
        self.planner.physical(plan, extension.optimizer_rules()).await
    }

    fn logical_plan(
        &self,
        query: &ast::Query,
        types: &[Option<datafusion::arrow::datatypes::FieldRef>],
        extension: &dyn Extension,
    ) -> Result<LogicalPlan> {
        let lease = self.current.lease()?;
        let visible = Visible { session: self, extension, transaction: &lease, search_path: self.search_path() };
        self.planner.logical(query, types, &visible)
    }

    /// Runs a plan made by [`Session::ready_query`].
    pub fn run_plan(&self, plan: Arc<dyn ExecutionPlan>) -> Result<(SchemaRef, BatchStream)> {
        let schema = client_schema(&plan.schema())?;
        let stream = execute_stream(plan, self.planner.task_context()).map_err(errors::polish)?;
        let narrowed = schema.clone();
        let rows = stream
            .map(move |batch| {
                let batch = batch.map_err(errors::polish)?;
                types::narrow(&batch, &narrowed)
            })
            .boxed();
        Ok((schema, self.limited(rows)))
    }

    /// Ends the stream with `57014` once the statement's time is up.
    fn limited(&self, rows: BatchStream) -> BatchStream {
        match self.deadline {
            Some(deadline) => until(rows, self.facts.host.clone(), deadline),
            None => rows,
        }
    }

    /// Parameter types and columns of a query. Plans it without running it.
    pub(super) fn describe_query(
        &mut self,
        query: &ast::Query,
        hints: &[Type],
        extension: &dyn Extension,
    ) -> Result<Description> {
        self.begin_statement()?;
        let known = hints.iter().map(parameters::hint).collect::<Result<Vec<_>>>()?;
        let plan = self.logical_plan(query, &known, extension)?;
        let parameters = parameter_types(&plan, hints)?;
        let nulls = parameters
            .iter()
            .map(|ty| Ok(ScalarValue::try_from(types::field("", ty, true)?.data_type())?))
            .collect::<Result<Vec<_>>>()?;
        let plan = if nulls.is_empty() {
            plan
        } else {
            plan.with_param_values(ParamValues::from(nulls)).map_err(errors::polish)?
        };
        let plan = self.planner.analyzed(plan)?;
        Ok(Description { parameters, columns: Some(client_schema(plan.schema().as_arrow())?) })
    }

    /// `EXPLAIN query`: the lines of its plan; with `analyze` it is run to its end first.
    pub async fn explain_query(
        &mut self,
        query: &ast::Query,
        bound: &Bound<'_>,
        extension: &dyn Extension,
        analyze: bool,
        verbose: bool,
    ) -> Result<Vec<String>> {
        let plan = match analyze {
            true => self.ready_query(query, bound, extension).await?,
            false => self.plan_query(query, bound, extension).await?,
        };
        let text = if analyze {
            let (_, mut rows) = self.run_plan(plan.clone())?;
            while let Some(batch) = rows.next().await {
                batch?;
            }
            DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(verbose).to_string()
        } else {
            DisplayableExecutionPlan::new(plan.as_ref()).indent(verbose).to_string()
        };
        Ok(text.lines().map(|line| line.replace(rewrite::MARK, "_")).collect())
    }
}

/// Names restored, types as the client knows them. Everything may be NULL: DataFusion's promises are not checked.
pub fn client_schema(schema: &Schema) -> Result<SchemaRef> {
    let narrowed = types::client_schema(schema)?;
    let fields: Vec<Field> = narrowed
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_name(rewrite::client_name(field.name())).with_nullable(true))
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// What the client said wins over what the plan tells; a parameter of which nothing is known is text.
fn parameter_types(plan: &LogicalPlan, hints: &[Type]) -> Result<Vec<Type>> {
    let mut types = hints.to_vec();
    note_casts(plan, &mut types)?;
    for (name, field) in plan.get_parameter_fields().map_err(errors::polish)? {
        let number = parameters::number(&name)?;
        if types.len() < number {
            types.resize(number, Type::UNKNOWN);
        }
        if types[number - 1] == Type::UNKNOWN
            && let Some(field) = field
        {
            types[number - 1] = types::pg_type(&field);
        }
    }
    types.iter_mut().filter(|ty| **ty == Type::UNKNOWN).for_each(|ty| *ty = Type::TEXT);
    Ok(types)
}

/// `$1::type` says what the parameter is.
fn note_casts(plan: &LogicalPlan, known: &mut Vec<Type>) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
                {
                    let number = parameters::number(&placeholder.id)?;
                    if known.len() < number {
                        known.resize(number, Type::UNKNOWN);
                    }
                    if known[number - 1] == Type::UNKNOWN {
                        known[number - 1] = types::pg_type(&cast.field);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(errors::polish)?;
    Ok(())
}

/// Rows of one text column.
pub fn text_rows(column: &str, lines: Vec<String>, tag: &'static str) -> Result<Outcome> {
    let schema = text_schema(&[column]);
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from(lines))])?;
    Ok(Outcome::Rows { schema, rows: futures::stream::iter([Ok(batch)]).boxed(), tag })
}

pub fn text_schema(columns: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()))
}

pub fn timed_out() -> Error {
    Error::new(codes::QUERY_CANCELED, "canceling statement due to statement timeout")
}

fn until(rows: BatchStream, host: Host, deadline: Duration) -> BatchStream {
    let sleep = host.sleep(deadline.saturating_sub(host.monotonic()));
    let state = Some((rows, sleep.fuse(), host));
    futures::stream::unfold(state, move |state| async move {
        let (mut rows, sleep, host) = state?;
        // A source that is always ready never lets the timer be polled: hence the clock is asked as well.
        if host.monotonic() >= deadline {
            return Some((Err(timed_out()), None));
        }
        // The timer first: rows that never wait use up the task's budget, and it would starve.
        match select(sleep, rows.next()).await {
            Either::Right((Some(batch), sleep)) => Some((batch, Some((rows, sleep, host)))),
            Either::Right((None, _)) => None,
            Either::Left(_) => Some((Err(timed_out()), None)),
        }
    })
    .boxed()
}
