//! From a syntax tree to rows: DataFusion, set up once per session.
//!
//! Building a `SessionState` costs more than planning a small query, so one is built for the process, and each session
//! that plans anything has a copy with its own functions; what differs from statement to statement (relations, the time,
//! parameters) is handed in or set cheaply.
//!
//! Reading order: this file, [`context`] (names to relations and functions), [`semantics`] (what expressions mean),
//! [`conversion`] (casts), [`temporal`] (intervals), [`series`],
//! [`checked`] (overflow), [`serial`] (nothing spawns), [`errors`].

pub mod checked;
pub mod context;
pub mod conversion;
pub mod errors;
pub mod semantics;
pub mod serial;
pub mod series;
pub mod temporal;

use super::parameters::{self, Bound};
use crate::error::{Error, Result, codes};
use crate::limits;
use crate::sql::functions::{self, Environment};
use crate::sql::{rewrite, types};
use crate::wire::values::Format;
use context::{Context, Relations};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::config::Dialect;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{FunctionRegistry, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use semantics::Semantics;
use sqlparser::ast;
use std::sync::{Arc, OnceLock};

/// One session's DataFusion. Set up when something is planned for the first time: sessions that only carry rows, as those
/// between nodes do, never pay for it.
pub struct Planner {
    environment: Arc<dyn Environment>,
    semantics: Semantics,
    types: Arc<context::Types>,
    /// When the statement takes place, microseconds since 1970.
    started_micros: i64,
    ready: OnceLock<Ready>,
}

struct Ready {
    state: SessionState,
    analyzer: Analyzer,
    task: Arc<TaskContext>,
}

impl Planner {
    pub fn new(environment: &Arc<dyn Environment>) -> Planner {
        Planner {
            environment: environment.clone(),
            semantics: Semantics(environment.clone()),
            types: Arc::new(context::Types),
            started_micros: 0,
            ready: OnceLock::new(),
        }
    }

    /// Sets the time at which statements planned from now on take place.
    pub fn begin_statement(&mut self, utc_micros: i64) {
        self.started_micros = utc_micros;
        if let Some(ready) = self.ready.get_mut() {
            ready.begin_statement(utc_micros);
        }
    }

    fn ready(&self) -> &Ready {
        self.ready.get_or_init(|| Ready::new(&self.environment, &self.semantics, self.started_micros))
    }

    fn state(&self) -> &SessionState {
        &self.ready().state
    }

    /// The plan of a query as the user wrote it. `types`: what is known of its parameters.
    pub fn logical(
        &self,
        query: &ast::Query,
        types: &[Option<FieldRef>],
        relations: &dyn Relations,
    ) -> Result<LogicalPlan> {
        let mut rewritten = query.clone();
        rewrite::query(&mut rewritten);
        let context = Context::new(self.state(), &self.semantics, &self.types, relations);
        let mut planner_context = PlannerContext::new().with_prepare_param_data_types(types.to_vec());
        SqlToRel::new_with_options(&context, parser_options())
            .sql_statement_to_plan_with_context(ast::Statement::Query(Box::new(rewritten)), &mut planner_context)
            .map_err(|error| locate(errors::polish(error), query))
    }

    /// The plan with all types settled.
    pub fn analyzed(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let options = OptimizerConfig::options(self.state());
        self.ready().analyzer.execute_and_check(plan, &options, |_, _| {}).map_err(errors::polish)
    }

    pub async fn physical(
        &self,
        plan: LogicalPlan,
        rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (plan, state) = (self.analyzed(plan)?, self.state());
        let plan = state.optimizer().optimize(plan, state, |_, _| {}).map_err(errors::polish)?;
        let plan = match rules.is_empty() {
            true => plan,
            false => Optimizer::with_rules(rules).optimize(plan, state, |_, _| {}).map_err(errors::polish)?,
        };
        state.query_planner().create_physical_plan(&plan, state).await.map_err(errors::polish)
    }

    pub fn task_context(&self) -> Arc<TaskContext> {
        self.ready().task.clone()
    }

    /// A scalar expression over the columns of `schema`, ready to run on its batches, and the field it yields.
    pub fn expression(&self, expr: &ast::Expr, schema: &Schema) -> Result<(Arc<dyn PhysicalExpr>, FieldRef)> {
        let schema = DFSchema::try_from(schema.clone()).map_err(errors::polish)?;
        let expr = self.logical_expression(expr, &schema, &[])?;
        self.compile(expr, &schema)
    }

    pub fn logical_expression(&self, expr: &ast::Expr, schema: &DFSchema, types: &[Option<FieldRef>]) -> Result<Expr> {
        let mut rewritten = expr.clone();
        rewrite::expression(&mut rewritten);
        let context = Context::new(self.state(), &self.semantics, &self.types, &context::NoRelations);
        let mut planner_context = PlannerContext::new().with_prepare_param_data_types(types.to_vec());
        let expr = SqlToRel::new_with_options(&context, parser_options())
            .sql_to_expr(rewritten, schema, &mut planner_context)
            .map_err(errors::polish)?;
        refuse_queries(&expr)?;
        self.semantics.rewrite(expr, schema).map_err(errors::polish)
    }

    fn compile(&self, expr: Expr, schema: &DFSchema) -> Result<(Arc<dyn PhysicalExpr>, FieldRef)> {
        let physical = self.state().create_physical_expr(expr, schema).map_err(errors::polish)?;
        let physical = checked::checked(physical, schema.as_arrow()).map_err(errors::polish)?.data;
        let field = physical.return_field(schema.as_arrow()).map_err(errors::polish)?;
        Ok((physical, field))
    }

    /// A constant expression's value, and the field that tells its type. It may name parameters.
    pub fn constant(&self, expr: &ast::Expr, bound: &Bound<'_>, format: &Format) -> Result<(ScalarValue, FieldRef)> {
        let schema = DFSchema::empty();
        let mut expr = self.logical_expression(expr, &schema, &bound.fields()?)?;
        if !bound.values.is_empty() {
            let values = bound.scalars(format)?;
            expr = with_parameters(expr, &values)?;
            expr = self.semantics.rewrite(expr, &schema).map_err(errors::polish)?;
        }
        let (physical, field) = self.compile(expr, &schema)?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
        let column = physical.evaluate(&row).and_then(|value| value.into_array(1)).map_err(errors::polish)?;
        Ok((ScalarValue::try_from_array(&column, 0)?, field))
    }
}

fn with_parameters(expr: Expr, values: &[ScalarValue]) -> Result<Expr> {
    let replaced = expr.transform_up(|expr| match &expr {
        Expr::Placeholder(placeholder) => {
            let number = parameters::number(&placeholder.id)?;
            let value = values.get(number - 1).ok_or_else(|| parameters::missing(number))?;
            Ok(Transformed::yes(Expr::Literal(value.clone(), None)))
        }
        _ => Ok(Transformed::no(expr)),
    });
    Ok(replaced.map_err(errors::polish)?.data)
}

impl Ready {
    fn new(environment: &Arc<dyn Environment>, semantics: &Semantics, started_micros: i64) -> Ready {
        let mut state = common().clone();
        for function in functions::scalar(environment) {
            replace(&mut state, function);
        }
        let mut analyzer = Analyzer::new();
        analyzer.rules.insert(0, Arc::new(semantics.clone()));
        // Operators find the functions that they call in their plans, not here.
        let task = TaskContext::default().with_session_config(state.config().clone()).with_runtime(Arc::new(runtime()));
        let mut ready = Ready { state, analyzer, task: Arc::new(task) };
        ready.begin_statement(started_micros);
        ready
    }

    fn begin_statement(&mut self, utc_micros: i64) {
        let mut props = ExecutionProps::new();
        props.query_execution_start_time = chrono::DateTime::from_timestamp_micros(utc_micros);
        props.config_options = Some(self.state.config_options().clone());
        *self.state.execution_props_mut() = props;
    }
}

/// What all sessions of a process have in common: DataFusion's functions and rules. To make them anew for each session takes
/// longer than to plan a small query.
fn common() -> &'static SessionState {
    static COMMON: OnceLock<SessionState> = OnceLock::new();
    COMMON.get_or_init(|| {
        let mut state = SessionStateBuilder::new()
            // The default is random.
            .with_session_id("hypertile".into())
            .with_default_features()
            .with_config(configuration())
            .with_physical_optimizer_rule(Arc::new(checked::CheckedArithmetic))
            .with_physical_optimizer_rule(Arc::new(serial::NoSpawn))
            .build();
        // DataFusion's versions of these mean something else than PostgreSQL's: better unknown than wrong.
        for name in ["to_char", "date_format", "to_date", "to_time"] {
            let _ = state.deregister_udf(name);
        }
        for function in functions::aggregate() {
            let _ = state.register_udaf(Arc::new(function));
        }
        state
    })
}

/// Makes now what the first query of a process would make.
pub fn warm_up() {
    common();
}

/// Registers a function in place of DataFusion's functions of its names.
fn replace(state: &mut SessionState, function: ScalarUDF) {
    for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
        let _ = state.deregister_udf(name);
    }
    let _ = state.register_udf(Arc::new(function));
}

fn configuration() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(limits::BATCH_ROWS_MAX)
        .with_create_default_catalog_and_schema(false)
        .with_collect_statistics(false);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.execution.time_zone = Some(types::UTC.into());
    // Dynamic filters arrive when they arrive: plans, and what goes to other nodes, would depend on timing.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    config
}

fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_parse_float_as_decimal(true)
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
}

fn runtime() -> datafusion::execution::runtime_env::RuntimeEnv {
    RuntimeEnvBuilder::new()
        // Temporary files would bypass the host's disk.
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(QUERY_MEMORY_BYTES_MAX)))
        .build()
        .expect("no part of it can fail without files")
}

/// What sorts, joins and aggregations of one session may hold in memory; beyond it a query fails with `53200`.
pub const QUERY_MEMORY_BYTES_MAX: usize = 1 << 30;

/// `42P01` gets the place at which the relation is named.
fn locate(error: Error, query: &ast::Query) -> Error {
    if error.code() != codes::UNDEFINED_TABLE || error.position().is_some() {
        return error;
    }
    let mut position = None;
    let _ = ast::visit_relations(query, |name| {
        let shown: Vec<String> =
            name.0.iter().filter_map(|part| part.as_ident()).map(crate::sql::statement::fold).collect();
        if error.message().contains(&format!("\"{}\"", shown.join("."))) {
            position = crate::sql::statement::position_of(name);
            return std::ops::ControlFlow::Break(());
        }
        std::ops::ControlFlow::Continue(())
    });
    match position {
        Some(position) => error.with_position(position),
        None => error,
    }
}

/// Defaults, checks and constant arguments stand alone.
fn refuse_queries(expr: &Expr) -> Result<()> {
    let aggregate = expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(false);
    if aggregate {
        return Err(Error::new(codes::GROUPING_ERROR, "aggregate functions are not allowed here"));
    }
    let query = expr
        .exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))))
        .unwrap_or(false);
    if query {
        return Err(Error::unsupported("cannot use subquery here"));
    }
    Ok(())
}
