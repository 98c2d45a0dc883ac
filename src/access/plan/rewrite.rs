//! The optimizer rule that moves work into the leaves.
//!
//! It looks for a *chain*: projections, filters and aliases over the scan of one hypertable. Over a chain it knows three
//! moves, and each leaves the plan's columns, names and types as they were:
//!
//! * an Aggregate becomes a fragment of groups ([`super::aggregate`]);
//! * DISTINCT ON, `first` and `last` become a fragment of first rows, below the unchanged Aggregate;
//! * Sort with a limit (over rows, or over groups) becomes a fragment of the best rows of each node, below the unchanged Sort.
//!
//! What stands in the way is noted in the scan, for EXPLAIN. DataFusion runs its rules until nothing changes; a chain
//! that was rewritten ends in another kind of table, so the rule finds it no more.

use super::aggregate;
use super::fragment::{OrderKey, Shape};
use super::literal::Reason;
use super::provider::{FragmentTable, HypertableTable};
use super::render::{Renderer, ordered_alike};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::logical_plan::{
    Aggregate, FetchType, Limit, SkipType, Sort, TableScan, TableScanBuilder,
};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, SortExpr};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// See the module's description.
#[derive(Debug)]
pub struct PushDown;

impl OptimizerRule for PushDown {
    fn name(&self) -> &str {
        "push_down_to_data_nodes"
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> DataFusionResult<Transformed<LogicalPlan>> {
        rewrite_all(plan)
    }
}

/// Subqueries in a second round: a chain that was dealt with is not looked into again, but its filters may hold some.
fn rewrite_all(plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    let chains = plan.transform_down(rewrite_chain)?;
    chains.transform_data(|plan| plan.transform_down(|node| node.map_subqueries(rewrite_all)))
}

fn rewrite_chain(plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Sort(sort) => match rewrite_sort(sort)? {
            Some(done) => Ok(done),
            None => Ok(Transformed::no(plan)),
        },
        LogicalPlan::Limit(limit) => match rewrite_limit(limit)? {
            Some(done) => Ok(done),
            None => Ok(Transformed::no(plan)),
        },
        LogicalPlan::Aggregate(aggregate) => match Flat::of(&aggregate.input)? {
            Some(flat) => {
                let outcome = push_aggregate(aggregate, &flat, None);
                finish(plan.clone(), &flat, outcome)
            }
            None => Ok(Transformed::no(plan)),
        },
        _ => match Flat::of(&plan)? {
            Some(flat) => finish(plan.clone(), &flat, Ok(None)),
            None => Ok(Transformed::no(plan)),
        },
    }
}

/// The new plan, or the old one with its scan's notes brought up to date. Either way there is nothing left to find
/// below.
fn finish(
    plan: LogicalPlan,
    flat: &Flat,
    outcome: Result<Option<LogicalPlan>, Reason>,
) -> DataFusionResult<Transformed<LogicalPlan>> {
    let mut notes = flat.filter_notes();
    match outcome {
        Ok(Some(rewritten)) => return Ok(Transformed::new(rewritten, true, TreeNodeRecursion::Jump)),
        Ok(None) => {}
        Err(note) => notes.push(note),
    }
    if notes == flat.table.notes {
        return Ok(Transformed::new(plan, false, TreeNodeRecursion::Jump));
    }
    let noted = with_scan(plan, |scan| {
        let table = HypertableTable { notes, ..flat.table.as_ref().clone() };
        Ok(TableScan { source: provider_as_source(Arc::new(table)), ..scan })
    })?;
    Ok(Transformed::new(noted, true, TreeNodeRecursion::Jump))
}

fn push_aggregate(aggregate: &Aggregate, flat: &Flat, top: Option<&Top>) -> Result<Option<LogicalPlan>, Reason> {
    flat.check().map_err(|why| format!("aggregation: {why}"))?;
    if let Some(fragment) = aggregate::first_rows(aggregate, flat)? {
        let plan = LogicalPlan::Aggregate(aggregate.clone());
        return flat.replace_scan(plan, fragment).map(Some).map_err(reason);
    }
    aggregate::push(aggregate, flat, top)
}

/// ORDER BY + LIMIT over the groups of an aggregate.
pub struct Top {
    /// Position among the aggregate's output columns, ascending, nulls first. None: LIMIT without ORDER BY.
    pub keys: Vec<(usize, bool, bool)>,
    pub fetch: usize,
}

fn rewrite_sort(sort: &Sort) -> DataFusionResult<Option<Transformed<LogicalPlan>>> {
    let Some(fetch) = sort.fetch else { return Ok(None) };
    let plan = LogicalPlan::Sort(sort.clone());
    if let Some(flat) = Flat::of(&sort.input)? {
        let outcome = push_best_rows(sort, &flat, fetch);
        return finish(plan, &flat, outcome).map(Some);
    }
    let (depth, core) = below_projections(&sort.input);
    let LogicalPlan::Aggregate(aggregate) = core else { return Ok(None) };
    let Some(flat) = Flat::of(&aggregate.input)? else { return Ok(None) };
    let top = top_of(sort, aggregate, depth, fetch);
    rewrite_groups(plan, depth, aggregate, &flat, top).map(Some)
}

/// LIMIT over groups: any of them will do. (Over rows DataFusion puts it into the scan itself.)
fn rewrite_limit(limit: &Limit) -> DataFusionResult<Option<Transformed<LogicalPlan>>> {
    let (SkipType::Literal(skip), FetchType::Literal(Some(fetch))) = (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    let (depth, core) = below_projections(&limit.input);
    let LogicalPlan::Aggregate(aggregate) = core else { return Ok(None) };
    let Some(flat) = Flat::of(&aggregate.input)? else { return Ok(None) };
    let top = Top { keys: Vec::new(), fetch: skip.saturating_add(fetch) };
    rewrite_groups(LogicalPlan::Limit(limit.clone()), depth, aggregate, &flat, Some(top)).map(Some)
}

/// `plan` has `depth` projections and then the aggregate below its topmost operator.
fn rewrite_groups(
    plan: LogicalPlan,
    depth: usize,
    aggregate: &Aggregate,
    flat: &Flat,
    top: Option<Top>,
) -> DataFusionResult<Transformed<LogicalPlan>> {
    let outcome = match push_aggregate(aggregate, flat, top.as_ref()) {
        Ok(Some(core)) => Ok(Some(replace_below(plan.clone(), depth + 1, core)?)),
        other => other,
    };
    finish(plan, flat, outcome)
}

fn push_best_rows(sort: &Sort, flat: &Flat, fetch: usize) -> Result<Option<LogicalPlan>, Reason> {
    let noted = |why: Reason| format!("ORDER BY with LIMIT {fetch}: {why}");
    flat.check().map_err(noted)?;
    let mut base = flat.table.base(&flat.filters).map_err(noted)?;
    let mut order_by = Vec::with_capacity(sort.expr.len());
    for key in &sort.expr {
        let inner = substitute(&key.expr, sort.input.schema(), &flat.columns).map_err(reason)?;
        order_by.push(order_key(&mut base.renderer, &inner, key).map_err(noted)?);
    }
    let columns = flat.scanned_columns();
    let fragment = flat.table.rows(base, &columns, Shape::Rows, order_by, Some(fetch)).map_err(noted)?;
    flat.replace_scan(LogicalPlan::Sort(sort.clone()), fragment).map(Some).map_err(reason)
}

/// A sort key that orders alike on all nodes.
pub fn order_key(renderer: &mut Renderer, inner: &Expr, key: &SortExpr) -> Result<OrderKey, Reason> {
    ordered_alike(renderer.class_of(inner)?)?;
    Ok(OrderKey { sql: renderer.expression(inner)?, ascending: key.asc, nulls_first: key.nulls_first })
}

/// The sort's keys as columns of the aggregate under `depth` projections; `None` if one is computed from them.
fn top_of(sort: &Sort, aggregate: &Aggregate, depth: usize, fetch: usize) -> Option<Top> {
    let mut keys = Vec::with_capacity(sort.expr.len());
    for key in &sort.expr {
        let mut inner = key.expr.clone().unalias();
        let mut node = &*sort.input;
        for _ in 0..depth {
            let Expr::Column(column) = &inner else { return None };
            let position = node.schema().maybe_index_of_column(column)?;
            (inner, node) = match node {
                LogicalPlan::Projection(projection) => {
                    (projection.expr[position].clone().unalias(), &*projection.input)
                }
                LogicalPlan::SubqueryAlias(alias) => {
                    (Expr::Column(Column::from(alias.input.schema().qualified_field(position))), &*alias.input)
                }
                _ => return None,
            };
        }
        let Expr::Column(column) = &inner else { return None };
        keys.push((aggregate.schema.maybe_index_of_column(column)?, key.asc, key.nulls_first));
    }
    Some(Top { keys, fetch })
}

/// How many projections and aliases lie on top, and what is under them.
fn below_projections(plan: &LogicalPlan) -> (usize, &LogicalPlan) {
    match plan {
        LogicalPlan::Projection(projection) => {
            let (depth, core) = below_projections(&projection.input);
            (depth + 1, core)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let (depth, core) = below_projections(&alias.input);
            (depth + 1, core)
        }
        core => (0, core),
    }
}

fn replace_below(plan: LogicalPlan, depth: usize, core: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    if depth == 0 {
        return Ok(core);
    }
    let mut core = Some(core);
    let replaced = plan.map_children(|child| {
        let core = core.take().expect("sort, projection and alias have one input");
        Ok(Transformed::yes(replace_below(child, depth - 1, core)?))
    })?;
    Ok(replaced.data)
}

/// A chain, with every output column and filter expressed in the hypertable's own columns, unqualified.
pub struct Flat {
    pub table: Arc<HypertableTable>,
    pub scan: TableScan,
    pub columns: Vec<Expr>,
    pub filters: Vec<Expr>,
}

impl Flat {
    /// `None` if the plan is no chain over a hypertable.
    fn of(plan: &LogicalPlan) -> DataFusionResult<Option<Flat>> {
        Ok(match plan {
            LogicalPlan::TableScan(scan) => Flat::of_scan(scan),
            LogicalPlan::SubqueryAlias(alias) => Flat::of(&alias.input)?,
            LogicalPlan::Projection(projection) => match Flat::of(&projection.input)? {
                Some(flat) => {
                    let column = |expression: &Expr| {
                        substitute(&expression.clone().unalias(), projection.input.schema(), &flat.columns)
                    };
                    let columns = projection.expr.iter().map(column).collect::<DataFusionResult<_>>()?;
                    Some(Flat { columns, ..flat })
                }
                None => None,
            },
            LogicalPlan::Filter(filter) => match Flat::of(&filter.input)? {
                Some(mut flat) => {
                    for condition in split_conjunction(&filter.predicate) {
                        flat.filters.push(substitute(condition, filter.input.schema(), &flat.columns)?);
                    }
                    Some(flat)
                }
                None => None,
            },
            _ => None,
        })
    }

    fn of_scan(scan: &TableScan) -> Option<Flat> {
        let provider = source_as_provider(&scan.source).ok()?;
        let table = Arc::new(provider.downcast_ref::<HypertableTable>()?.clone());
        let column = |field: &Arc<arrow::datatypes::Field>| Expr::Column(Column::new_unqualified(field.name()));
        let columns = scan.projected_schema.fields().iter().map(column).collect();
        let filters = scan.filters.iter().map(unqualified).collect();
        Some(Flat { table, scan: scan.clone(), columns, filters })
    }

    /// Whether anything may be pushed below all of the chain.
    fn check(&self) -> Result<(), Reason> {
        if self.scan.fetch.is_some() {
            return Err("a LIMIT comes first".into());
        }
        if self.filters.iter().any(|filter| self.table.obstacle(filter).is_some()) {
            return Err("a filter has to run on the access node first".into());
        }
        Ok(())
    }

    fn filter_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for filter in &self.filters {
            if let Some(why) = self.table.obstacle(filter) {
                let note = format!("filter {}: {why}", filter.human_display());
                // An inexact filter is both in the scan and above it.
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        notes
    }

    /// Positions in the hypertable of the columns that the scan returns.
    pub fn scanned_columns(&self) -> Vec<usize> {
        self.scan.projection.clone().unwrap_or_else(|| (0..self.table.schema.fields().len()).collect())
    }

    /// `plan` over a fragment that returns the scan's columns, of fewer rows.
    fn replace_scan(&self, plan: LogicalPlan, fragment: super::fragment::Fragment) -> DataFusionResult<LogicalPlan> {
        let schema = Arc::new(self.table.schema.project(&self.scanned_columns())?);
        let table = self.fragment_table(fragment, schema);
        with_scan(plan, |scan| TableScanBuilder::new(scan.table_name, provider_as_source(Arc::new(table))).build())
    }

    pub fn fragment_table(
        &self,
        fragment: super::fragment::Fragment,
        schema: arrow::datatypes::SchemaRef,
    ) -> FragmentTable {
        FragmentTable { fragment, schema, source: self.table.source.clone(), notes: Vec::new() }
    }
}

/// Rebuilds a chain with another scan at its end.
fn with_scan(
    plan: LogicalPlan,
    replace: impl FnOnce(TableScan) -> DataFusionResult<TableScan>,
) -> DataFusionResult<LogicalPlan> {
    let mut replace = Some(replace);
    let rebuilt = plan.transform_down(|node| match node {
        LogicalPlan::TableScan(scan) => {
            let replace = replace.take().expect("a chain has one scan");
            Ok(Transformed::yes(LogicalPlan::TableScan(replace(scan)?)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rebuilt.data)
}

/// The expression with each column of `schema` replaced by what computes it.
pub fn substitute(expression: &Expr, schema: &DFSchema, columns: &[Expr]) -> DataFusionResult<Expr> {
    let replaced = expression.clone().transform_down(|inner| match &inner {
        Expr::Column(column) => {
            let definition = columns[schema.index_of_column(column)?].clone();
            // What was put in is finished: its columns are of another schema.
            Ok(Transformed::new(definition, true, TreeNodeRecursion::Jump))
        }
        _ => Ok(Transformed::no(inner)),
    })?;
    Ok(replaced.data)
}

/// Columns without their table's name: a chain has one table.
pub fn unqualified(expression: &Expr) -> Expr {
    let plain = |inner: Expr| match inner {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
        other => Ok(Transformed::no(other)),
    };
    expression.clone().transform_down(plain).expect("the closure never fails").data
}

pub fn reason(error: datafusion::error::DataFusionError) -> Reason {
    error.strip_backtrace()
}
