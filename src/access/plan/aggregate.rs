//! Aggregates on the data nodes.
//!
//! *Full*: no group has rows on two nodes, so each node's groups are final. *Partial*: each node computes parts
//! (a sum, a count, …) that a smaller aggregate here merges, and a projection finishes:
//!
//! | aggregate | parts | merged by | finished as |
//! |---|---|---|---|
//! | count | count | sum | 0 instead of NULL |
//! | sum | sum | sum | cast back to its type |
//! | min, max, bool_and, bool_or, bit_and, bit_or | itself | itself | |
//! | avg of double precision | sum, count | sum, sum | sum / count |
//!
//! Standard deviation and variance go down only in full: merging them through sums of squares cancels digits. `first`,
//! `last` and DISTINCT ON shrink the rows that come up to one per group and node ([`first_rows`]).

use super::chunks::values_stay_on_one_node;
use super::fragment::{Completeness, Fragment, OrderKey, Output, Shape};
use super::literal::{Class, Reason, class, sql_type};
use super::provider::{Base, wire_field};
use super::render::{Renderer, ordered_alike};
use super::rewrite::{Flat, Top, order_key, reason, substitute};
use crate::sabotage;
use crate::sql::types::PG_TYPE;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Case, NullTreatment};
use datafusion::logical_expr::logical_plan::{Aggregate, Projection, TableScanBuilder};
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, LogicalPlan, SortExpr, cast};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Moves the aggregate down. `None` if there is nothing to ask: no chunk can match. Errors: what stays here and why.
pub fn push(aggregate: &Aggregate, flat: &Flat, top: Option<&Top>) -> Result<Option<LogicalPlan>, Reason> {
    let aggregation = |why: Reason| format!("aggregation: {why}");
    let mut base = flat.table.base(&flat.filters).map_err(aggregation)?;
    if base.assignment.is_empty() {
        return Ok(None);
    }
    let mut builder = Builder::new(aggregate, flat);
    let mut keeps_together = base.assignment.len() == 1;
    for (position, expression) in aggregate.group_expr.iter().enumerate() {
        let inner = builder.inner(expression).map_err(aggregation)?;
        let sql = group_key(&mut base.renderer, &inner)
            .map_err(|why| format!("GROUP BY {}: {why}", expression.human_display()))?;
        if let Expr::Column(column) = &inner {
            keeps_together |= values_stay_on_one_node(&flat.table.hypertable, &column.name, &base.assignment);
        }
        builder.add_group(position, &inner, sql).map_err(aggregation)?;
    }
    let completeness =
        if keeps_together || sabotage!("aggregate.full") { Completeness::Full } else { Completeness::Partial };
    for position in 0..aggregate.aggr_expr.len() {
        builder.add_call(&mut base.renderer, position, completeness)?;
    }
    let order_by = top.and_then(|top| builder.order_by(top, completeness));
    builder.plan(base, completeness, order_by, top).map(Some)
}

struct Builder<'a> {
    aggregate: &'a Aggregate,
    flat: &'a Flat,
    /// Groups first.
    outputs: Vec<Output>,
    /// Types that the plan expects of the outputs.
    fields: Vec<Field>,
    /// Merging expressions over the outputs after the groups; empty in full mode.
    merges: Vec<Expr>,
    /// How each column of the original aggregate is computed from the merged columns, by name.
    finals: Vec<Expr>,
    names: BTreeSet<String>,
}

impl<'a> Builder<'a> {
    fn new(aggregate: &'a Aggregate, flat: &'a Flat) -> Builder<'a> {
        let names = flat.table.schema.fields().iter().map(|field| field.name().clone()).collect();
        let (outputs, fields, merges, finals) = Default::default();
        Builder { aggregate, flat, outputs, fields, merges, finals, names }
    }

    fn inner(&self, expression: &Expr) -> Result<Expr, Reason> {
        substitute(&expression.clone().unalias(), self.aggregate.input.schema(), &self.flat.columns).map_err(reason)
    }

    /// A column name that neither the hypertable nor the fragment has yet: `max_1`.
    fn fresh_name(&mut self, stem: &str) -> String {
        let mut number = 1;
        while self.names.contains(&format!("{stem}_{number}")) {
            number += 1;
        }
        let name = format!("{stem}_{number}");
        self.names.insert(name.clone());
        name
    }

    fn relation(&self) -> TableReference {
        self.flat.scan.table_name.clone()
    }

    fn output(&mut self, sql: String, field: Field) -> Result<(), Reason> {
        self.outputs.push(Output { sql, field: wire_field(&field)? });
        self.fields.push(field);
        Ok(())
    }

    fn add_group(&mut self, position: usize, inner: &Expr, sql: String) -> Result<(), Reason> {
        let name = match inner {
            Expr::Column(column) if self.outputs.iter().all(|output| *output.field.name() != column.name) => {
                column.name.clone()
            }
            Expr::ScalarFunction(call) => self.fresh_name(call.func.name()),
            _ => self.fresh_name("group"),
        };
        let field = self.aggregate.schema.field(position).as_ref().clone().with_name(&name);
        self.output(sql, field)?;
        self.finals.push(Expr::Column(Column::new(Some(self.relation()), name)));
        Ok(())
    }

    fn add_call(&mut self, renderer: &mut Renderer, position: usize, completeness: Completeness) -> Result<(), Reason> {
        let expression = &self.aggregate.aggr_expr[position];
        let noted = |why: Reason| format!("aggregate {}: {why}", expression.human_display());
        let inner = self.inner(expression).map_err(noted)?;
        let Expr::AggregateFunction(function) = &inner else {
            return Err(noted("it is not an aggregate function".into()));
        };
        let field = self.aggregate.schema.field(self.aggregate.group_expr.len() + position).clone();
        let call = Call::new(renderer, function, &field).map_err(noted)?;
        match completeness {
            Completeness::Full => self.add_full(call, &field),
            Completeness::Partial => self.add_parts(call, &field),
        }
        .map_err(noted)
    }

    fn add_full(&mut self, call: Call, field: &Field) -> Result<(), Reason> {
        let name = self.fresh_name(call.name);
        let sql = call.full()?;
        self.output(sql, field.clone().with_name(&name))?;
        self.finals.push(Expr::Column(Column::new(Some(self.relation()), name)));
        Ok(())
    }

    fn add_parts(&mut self, call: Call, field: &Field) -> Result<(), Reason> {
        if call.distinct {
            return Err("DISTINCT values of a group may be on several data nodes".into());
        }
        let finished = match call.name {
            "count" => {
                // A sum over no node's answer is NULL, and the plan above may count on a count being none.
                coalesce_zero(self.part(&call, "count", sum_udaf(), &DataType::Int64)?)
            }
            "avg" if *field.data_type() == DataType::Float64 && sabotage!("aggregate.average") => {
                self.part(&call, "avg", avg_udaf(), &DataType::Float64)?
            }
            "avg" if *field.data_type() == DataType::Float64 => {
                let sum = self.part(&call, "sum", sum_udaf(), &DataType::Float64)?;
                let count = self.part(&call, "count", sum_udaf(), &DataType::Int64)?;
                sum / cast(count, DataType::Float64)
            }
            "sum" => self.part(&call, "sum", sum_udaf(), field.data_type())?,
            "min" | "max" | "bool_and" | "bool_or" | "bit_and" | "bit_or" => {
                self.part(&call, call.name, call.udaf.clone(), field.data_type())?
            }
            _ => return Err("a group's rows may be on several data nodes, and it cannot be merged from parts".into()),
        };
        self.finals.push(finished);
        Ok(())
    }

    /// Asks for one part, unless another aggregate asked for the same; returns the merged column.
    fn part(
        &mut self,
        call: &Call,
        function: &'static str,
        merge: Arc<AggregateUDF>,
        data_type: &DataType,
    ) -> Result<Expr, Reason> {
        let sql = call.sql(function, data_type)?;
        let groups = self.aggregate.group_expr.len();
        if let Some(known) = self.outputs[groups..].iter().find(|output| output.sql == sql) {
            return Ok(Expr::Column(Column::new_unqualified(known.field.name())));
        }
        let name = self.fresh_name(function);
        self.output(sql, Field::new(&name, data_type.clone(), true))?;
        let part = Expr::Column(Column::new(Some(self.relation()), name.clone()));
        self.merges.push(merge.call(vec![part]).alias(&name));
        Ok(Expr::Column(Column::new_unqualified(name)))
    }

    /// The keys of ORDER BY + LIMIT, if each node may cut off the rest. In partial mode only an order by all grouping
    /// expressions will do: then a group among the first `fetch` overall is among the first `fetch` on every node that
    /// has it, and its parts are complete.
    fn order_by(&self, top: &Top, completeness: Completeness) -> Option<Vec<OrderKey>> {
        let groups = self.aggregate.group_expr.len();
        if completeness == Completeness::Partial {
            let sorted: BTreeSet<usize> = top.keys.iter().map(|key| key.0).collect();
            let reorders = groups == 0 || !(0..groups).eq(sorted);
            if reorders && !sabotage!("aggregate.limit") {
                return None;
            }
        }
        let key = |(position, ascending, nulls_first): &(usize, bool, bool)| {
            let output = &self.outputs[*position];
            let field = &self.fields[*position];
            let plain = !field.metadata().contains_key(PG_TYPE);
            let ordered = class(field.data_type()).is_some_and(|class| ordered_alike(class).is_ok());
            (plain && ordered).then(|| OrderKey {
                sql: output.sql.clone(),
                ascending: *ascending,
                nulls_first: *nulls_first,
            })
        };
        top.keys.iter().map(key).collect()
    }

    fn plan(
        self,
        base: Base,
        completeness: Completeness,
        order_by: Option<Vec<OrderKey>>,
        top: Option<&Top>,
    ) -> Result<LogicalPlan, Reason> {
        let groups = self.aggregate.group_expr.len();
        let by = self.outputs[..groups].iter().map(|output| output.sql.clone()).collect();
        let limit = order_by.as_ref().and(top).map(|top| top.fetch);
        let shape = Shape::Groups { by, completeness };
        let fragment = self.flat.table.fragment(base, self.outputs.clone(), shape, order_by.unwrap_or_default(), limit);
        self.plan_over(fragment, completeness).map_err(reason)
    }

    fn plan_over(self, fragment: Fragment, completeness: Completeness) -> datafusion::error::Result<LogicalPlan> {
        let groups = self.aggregate.group_expr.len();
        let schema = Arc::new(Schema::new(self.fields.clone()));
        let table = self.flat.fragment_table(fragment, schema);
        let scan = TableScanBuilder::new(self.relation(), provider_as_source(Arc::new(table))).build()?;
        let mut plan = LogicalPlan::TableScan(scan);
        if completeness == Completeness::Partial {
            let by = self.finals[..groups].to_vec();
            plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), by, self.merges)?);
        }
        let finished = self.finals.into_iter().zip(self.aggregate.schema.iter());
        let named = finished.map(|(expression, (qualifier, field)): (Expr, (Option<&TableReference>, &FieldRef))| {
            let expression = match expression.get_type(plan.schema())? == *field.data_type() {
                true => expression,
                false => cast(expression, field.data_type().clone()),
            };
            Ok(expression.alias_qualified(qualifier.cloned(), field.name()))
        });
        let named = named.collect::<datafusion::error::Result<Vec<_>>>()?;
        Ok(LogicalPlan::Projection(Projection::try_new(named, Arc::new(plan))?))
    }
}

/// What `coalesce(count, 0)` is simplified to. Our rule runs last: what it writes must need no other rule.
fn coalesce_zero(count: Expr) -> Expr {
    let zero = Expr::Literal(ScalarValue::Int64(Some(0)), None);
    let known = (Box::new(count.clone().is_not_null()), Box::new(count));
    Expr::Case(Case::new(None, vec![known], Some(Box::new(zero))))
}

/// A grouping expression: its values must be equal on one node exactly when they are on another.
fn group_key(renderer: &mut Renderer, inner: &Expr) -> Result<String, Reason> {
    if matches!(inner, Expr::GroupingSet(_)) {
        return Err("grouping sets are computed on the access node".into());
    }
    if inner.column_refs().is_empty() {
        return Err("it is a constant".into());
    }
    if let Expr::Column(column) = inner {
        return distinct_column(renderer, column);
    }
    let class = renderer.class_of(inner)?;
    if class == Class::Interval {
        return Err("intervals compare differently".into());
    }
    typed(renderer.expression(inner)?, class, &renderer.type_of(inner)?)
}

fn distinct_column(renderer: &mut Renderer, column: &Column) -> Result<String, Reason> {
    match renderer.tag(column) {
        None | Some("varchar" | "name" | "uuid") => {}
        Some(tag) => return Err(format!("type {tag} has no common equality")),
    }
    if renderer.class_of(&Expr::Column(column.clone()))? == Class::Interval {
        return Err("intervals compare differently".into());
    }
    renderer.column(column)
}

/// PostgreSQL widens numbers by its own rules: say which type comes back.
fn typed(sql: String, class: Class, data_type: &DataType) -> Result<String, Reason> {
    match class {
        Class::Integer | Class::Float | Class::Decimal => Ok(format!("{sql}::{}", sql_type(data_type)?)),
        _ => Ok(sql),
    }
}

/// One aggregate function call, its arguments rendered.
struct Call {
    name: &'static str,
    udaf: Arc<AggregateUDF>,
    distinct: bool,
    argument: String,
    /// The same to `count`, and to the sum that an average is made of.
    counted: String,
    averaged: String,
    /// ` FILTER (WHERE …)`, or nothing.
    filter: String,
    result: DataType,
}

/// Aggregates that are known to mean the same on every data node.
const KNOWN: [&str; 13] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
];

impl Call {
    fn new(renderer: &mut Renderer, function: &AggregateFunction, field: &Field) -> Result<Call, Reason> {
        let known = KNOWN.into_iter().find(|name| *name == function.func.name());
        let name = known.ok_or("it is not known to mean the same on every data node")?;
        let params = &function.params;
        if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
            return Err("IGNORE NULLS does not exist in PostgreSQL".into());
        }
        let [argument] = params.args.as_slice() else { return Err("it has not exactly one argument".into()) };
        let filter = match &params.filter {
            Some(condition) => format!(" FILTER (WHERE {})", renderer.expression(condition)?),
            None => String::new(),
        };
        Ok(Call {
            name,
            udaf: function.func.clone(),
            distinct: params.distinct,
            counted: counted_sql(renderer, argument)?,
            averaged: averaged_sql(renderer, name, argument)?,
            argument: argument_sql(renderer, name, argument, params.distinct)?,
            filter,
            result: field.data_type().clone(),
        })
    }

    fn full(&self) -> Result<String, Reason> {
        match (self.name, &self.result) {
            ("avg", DataType::Float64) => self.sql("avg", &DataType::Float64),
            ("avg", other) => Err(format!("an average of type {other} is rounded differently")),
            ("stddev", _) => self.sql("stddev_samp", &DataType::Float64),
            ("var", _) => self.sql("var_samp", &DataType::Float64),
            (name, result) => self.sql(name, result),
        }
    }

    fn sql(&self, function: &str, data_type: &DataType) -> Result<String, Reason> {
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        let argument = match (self.name, function) {
            ("avg", "count") => &self.counted,
            ("avg", "sum") => &self.averaged,
            _ => &self.argument,
        };
        let sql = format!("{function}({distinct}{argument}){}", self.filter);
        match (function, data_type) {
            // PostgreSQL sums bigint as numeric, and numeric without a scale.
            ("sum", DataType::Int64 | DataType::UInt64) => Ok(format!("{sql}::bigint")),
            ("sum", DataType::Decimal128(..)) => Ok(format!("{sql}::{}", sql_type(data_type)?)),
            _ => Ok(sql),
        }
    }
}

/// What was cast is NULL exactly when its cast is.
fn counted_sql(renderer: &mut Renderer, argument: &Expr) -> Result<String, Reason> {
    match argument {
        Expr::Cast(cast) => counted_sql(renderer, &cast.expr),
        other => argument_sql(renderer, "count", other, false),
    }
}

fn averaged_sql(renderer: &mut Renderer, name: &str, argument: &Expr) -> Result<String, Reason> {
    let sql = argument_sql(renderer, name, argument, false)?;
    let narrow = |inner: &Expr| renderer.class_of(inner) == Ok(Class::Integer);
    match argument {
        // DataFusion names a column without its casts: beside a sum of the same column the name would be taken.
        Expr::Cast(cast) if narrow(&cast.expr) => Ok(format!("{sql} + 0")),
        other if narrow(other) => Ok(format!("{sql} + 0")),
        _ => Ok(sql),
    }
}

fn argument_sql(renderer: &mut Renderer, name: &str, argument: &Expr, distinct: bool) -> Result<String, Reason> {
    if name == "count" {
        return match argument {
            Expr::Literal(value, _) if !value.is_null() && !distinct => Ok("*".into()),
            Expr::Column(column) if distinct => distinct_column(renderer, column),
            Expr::Column(column) => renderer.column(column),
            other => renderer.expression(other),
        };
    }
    if let ("sum", Expr::Cast(cast)) = (name, argument)
        && (renderer.class_of(argument)?, renderer.class_of(&cast.expr)?) == (Class::Integer, Class::Integer)
    {
        // Both sides add up smaller integers as bigint anyway.
        return argument_sql(renderer, name, &cast.expr, distinct);
    }
    let data_type = renderer.type_of(argument)?;
    let class = renderer.class_of(argument)?;
    match (name, class) {
        ("min" | "max", Class::Boolean | Class::Bytes) => return Err(format!("PostgreSQL has no {name} of that type")),
        ("min" | "max", _) => ordered_alike(class)?,
        ("bool_and" | "bool_or", Class::Boolean) | ("bit_and" | "bit_or", Class::Integer) => {}
        ("sum" | "avg" | "stddev" | "stddev_pop" | "var" | "var_pop", Class::Float) => {}
        ("sum", Class::Integer | Class::Decimal) => {}
        // The engine averages integers as floats, PostgreSQL as numerics.
        ("avg" | "stddev" | "stddev_pop" | "var" | "var_pop", Class::Integer) => {
            return Ok(format!("{}::double precision", renderer.expression(argument)?));
        }
        _ => return Err(format!("{name} of type {data_type} is not computed alike everywhere")),
    }
    let sql = renderer.expression(argument)?;
    // PostgreSQL would add up reals in single precision.
    Ok(if data_type == DataType::Float32 && !matches!(name, "min" | "max") {
        format!("{sql}::double precision")
    } else {
        sql
    })
}

/// For an aggregate of nothing but `first_value`, `last_value`, `first` and `last` in one and the same order: the scan's
/// columns of only those rows, on each node, that come first in their group. The aggregate itself stays.
pub fn first_rows(aggregate: &Aggregate, flat: &Flat) -> Result<Option<Fragment>, Reason> {
    let call = |expression: &Expr| match expression.clone().unalias() {
        Expr::AggregateFunction(function) => Some(function),
        _ => None,
    };
    let Some(calls) = aggregate.aggr_expr.iter().map(call).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let picks = |call: &AggregateFunction| matches!(call.func.name(), "first_value" | "last_value" | "first" | "last");
    if calls.is_empty() || !calls.iter().any(picks) {
        return Ok(None);
    }
    let noted = |why: Reason| format!("aggregate {}: {why}", aggregate.aggr_expr[0].human_display());
    if !calls.iter().all(picks) {
        return Err(noted("other aggregates of the same query need all rows".into()));
    }
    first_rows_of(aggregate, flat, &calls).map_err(noted)
}

fn first_rows_of(aggregate: &Aggregate, flat: &Flat, calls: &[AggregateFunction]) -> Result<Option<Fragment>, Reason> {
    let mut base = flat.table.base(&flat.filters)?;
    if base.assignment.is_empty() {
        return Ok(None);
    }
    let inner = |expression: &Expr| substitute(expression, aggregate.input.schema(), &flat.columns).map_err(reason);
    let orders = calls.iter().map(order_of).collect::<Result<Vec<_>, _>>()?;
    if orders.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err("the aggregates pick different rows".into());
    }
    let mut by = Vec::new();
    for group in &aggregate.group_expr {
        by.push(group_key(&mut base.renderer, &inner(&group.clone().unalias())?)?);
    }
    let mut order_by: Vec<OrderKey> =
        by.iter().map(|sql| OrderKey { sql: sql.clone(), ascending: true, nulls_first: false }).collect();
    for key in &orders[0] {
        // Within a group, what it is grouped by says nothing.
        if aggregate.group_expr.iter().all(|group| group.clone().unalias() != key.expr) {
            order_by.push(order_key(&mut base.renderer, &inner(&key.expr)?, key)?);
        }
    }
    let columns = flat.scanned_columns();
    flat.table.rows(base, &columns, Shape::FirstRows(by), order_by, None).map(Some)
}

/// The order in which the picked row is the first.
fn order_of(call: &AggregateFunction) -> Result<Vec<SortExpr>, Reason> {
    let params = &call.params;
    if params.filter.is_some() || params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        return Err("it does not look at all rows of its group".into());
    }
    match (call.func.name(), params.args.as_slice()) {
        ("first_value", _) => Ok(params.order_by.clone()),
        ("last_value", _) => {
            let reversed = |key: &SortExpr| SortExpr::new(key.expr.clone(), !key.asc, !key.nulls_first);
            Ok(params.order_by.iter().map(reversed).collect())
        }
        // TimescaleDB passes over rows whose time is NULL.
        (name, [_, time]) => Ok(vec![SortExpr::new(time.clone(), name == "first", false)]),
        _ => Err("it has not exactly two arguments".into()),
    }
}
