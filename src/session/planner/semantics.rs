//! PostgreSQL's meaning of expressions, given to DataFusion's plans before its own type coercion sees them.
//!
//! A string literal has no type of its own in PostgreSQL: it takes that of what it stands beside (`time >
//! '2023-01-01'`, `id IN ('1', '2')`, `'1 day'::interval`), read in the session's time zone. DataFusion would cast the
//! other side to text, or read by its own rules.

use super::conversion::{self, PgCast};
use super::temporal::{self, Operation};
use crate::sql::functions::Environment;
use crate::wire::values::Format;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Case, Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;
use sqlparser::ast::BinaryOperator;
use std::fmt;
use std::sync::Arc;

/// The rule and the expression planner, bound to one session.
#[derive(Clone)]
pub struct Semantics(pub Arc<dyn Environment>);

impl fmt::Debug for Semantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Semantics")
    }
}

impl ExprPlanner for Semantics {
    /// Also here, not only in the rule below: the types of output columns are computed while planning.
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let Some(operator) = operator(&op) else {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        };
        let Some(class) = class_of(operator) else {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        };
        let (left, right) = self.pair(class, left, right, schema)?;
        Ok(match arithmetic(operator, &left, &right, schema) {
            Some(planned) => PlannerResult::Planned(planned),
            None => {
                check_comparable(operator, &left, &right, schema)?;
                PlannerResult::Original(RawBinaryExpr { op, left, right })
            }
        })
    }
}

fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        _ => return None,
    })
}

/// Operators on times that are functions here; `None` for all others.
fn arithmetic(op: Operator, left: &Expr, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    let (left_type, right_type) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    let interval = |ty: &DataType| matches!(ty, DataType::Interval(_));
    let number = |ty: &DataType| ty.is_integer() || ty.is_floating() || conversion::is_decimal(ty);
    let call = |operation, left: &Expr, right: &Expr| {
        let arguments = vec![left.clone(), right.clone()];
        Some(Expr::ScalarFunction(ScalarFunction::new_udf(temporal::function(operation), arguments)))
    };
    match op {
        Operator::Multiply if interval(&left_type) && number(&right_type) => call(Operation::Multiply, left, right),
        Operator::Multiply if number(&left_type) && interval(&right_type) => call(Operation::Multiply, right, left),
        Operator::Divide if interval(&left_type) && number(&right_type) => call(Operation::Divide, left, right),
        Operator::Minus => match (&left_type, &right_type) {
            (DataType::Timestamp(..), DataType::Timestamp(..) | DataType::Date32)
            | (DataType::Date32, DataType::Timestamp(..)) => call(Operation::Difference, left, right),
            (DataType::Date32, DataType::Date32) => {
                let days = |expr: &Expr| Box::new(Expr::Cast(Cast::new(Box::new(expr.clone()), DataType::Int32)));
                Some(Expr::BinaryExpr(BinaryExpr::new(days(left), op, days(right))))
            }
            _ => None,
        },
        _ => None,
    }
}

/// PostgreSQL has no comparison of text with numbers or times. Errors: `42883`.
fn check_comparable(op: Operator, left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    if !matches!(op, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) {
        return Ok(());
    }
    let (Ok((_, left_field)), Ok((_, right_field))) = (left.to_field(schema), right.to_field(schema)) else {
        return Ok(());
    };
    let open = |expr: &Expr| is_untyped(expr) || matches!(expr, Expr::Placeholder(_));
    let (left_type, right_type) = (left_field.data_type(), right_field.data_type());
    let text = |ty: &DataType| *ty == DataType::Utf8;
    if open(left) || open(right) || text(left_type) == text(right_type) || left_type.is_null() || right_type.is_null() {
        return Ok(());
    }
    let name = |expr: &Expr, field: &Field| match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) if i32::try_from(*value).is_ok() => "integer".to_string(),
        _ => crate::sql::type_names::display(&crate::sql::types::pg_type(field)),
    };
    let op = if op == Operator::NotEq { "<>".to_string() } else { op.to_string() };
    let message = format!("operator does not exist: {} {op} {}", name(left, &left_field), name(right, &right_field));
    Err(crate::error::Error::new(crate::error::codes::UNDEFINED_FUNCTION, message)
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
        .into())
}

impl AnalyzerRule for Semantics {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|plan| self.plan(plan))?.data)
    }

    fn name(&self) -> &str {
        "postgresql_semantics"
    }
}

/// How an operator's unknown operand gets its type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    SameType,
    /// Beside a point in time an unknown summand is an interval.
    Plus,
}

fn class_of(op: Operator) -> Option<Class> {
    match op {
        Operator::Plus => Some(Class::Plus),
        Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => Some(Class::SameType),
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => Some(Class::SameType),
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
            Some(Class::SameType)
        }
        _ => None,
    }
}

impl Semantics {
    fn plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = match &plan {
            LogicalPlan::TableScan(scan) => scan.projected_schema.as_ref().clone(),
            plan => merge_schema(&plan.inputs()),
        };
        let names = NamePreserver::new(&plan);
        let rewritten = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(|expr| self.expression(expr, &schema))?.update_data(|expr| name.restore(expr)))
        })?;
        // A child's changed types reach its parents only by computing their schemas anew.
        rewritten.map_data(LogicalPlan::recompute_schema)
    }

    /// A whole expression over `schema`.
    pub fn rewrite(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        Ok(expr.transform_up(|expr| self.expression(expr, schema))?.data)
    }

    fn expression(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let Some(class) = class_of(op) else {
                    return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
                };
                let (left, right) = self.pair(class, *left, *right, schema)?;
                Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))))
            }
            Expr::Between(Between { expr, negated, low, high }) => {
                let [expr, low, high] = self.unify([*expr, *low, *high], schema)?;
                Ok(Transformed::yes(Expr::Between(Between::new(
                    Box::new(expr),
                    negated,
                    Box::new(low),
                    Box::new(high),
                ))))
            }
            Expr::InList(InList { expr, list, negated }) => {
                let mut all = self.unify_all(std::iter::once(*expr).chain(list).collect(), schema)?.into_iter();
                let expr = all.next().expect("the tested expression comes first");
                Ok(Transformed::yes(Expr::InList(InList::new(Box::new(expr), all.collect(), negated))))
            }
            Expr::Case(case) => self.case(case, schema),
            Expr::Cast(cast) => self.cast(cast, schema),
            Expr::ScalarFunction(function) => self.function(function, schema),
            other => Ok(Transformed::no(other)),
        }
    }

    fn pair(&self, class: Class, left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
        if is_untyped(&left) {
            let left = self.beside(class, left, &right, schema)?;
            return Ok((left, right));
        }
        if is_untyped(&right) {
            let right = self.beside(class, right, &left, schema)?;
            return Ok((left, right));
        }
        Ok((left, right))
    }

    fn beside(&self, class: Class, literal: Expr, other: &Expr, schema: &DFSchema) -> Result<Expr> {
        let Ok(ty) = other.get_type(schema) else { return Ok(literal) };
        let temporal = matches!(ty, DataType::Timestamp(..) | DataType::Date32);
        let target = if class == Class::Plus && temporal { INTERVAL } else { ty };
        self.typed(literal, &target)
    }

    fn unify<const N: usize>(&self, exprs: [Expr; N], schema: &DFSchema) -> Result<[Expr; N]> {
        let unified = self.unify_all(exprs.into(), schema)?;
        Ok(unified.try_into().unwrap_or_else(|_| unreachable!("as many come out as went in")))
    }

    /// Gives untyped literals the type of the first expression that has one.
    fn unify_all(&self, exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
        if !exprs.iter().any(is_untyped) {
            return Ok(exprs);
        }
        let typed = exprs
            .iter()
            .filter(|expr| !is_untyped(expr))
            .find_map(|expr| expr.get_type(schema).ok().filter(|ty| !ty.is_null()));
        let Some(ty) = typed else { return Ok(exprs) };
        exprs.into_iter().map(|expr| if is_untyped(&expr) { self.typed(expr, &ty) } else { Ok(expr) }).collect()
    }

    /// An untyped literal as a value of `ty`; anything else, and what has no better type, as it is.
    fn typed(&self, literal: Expr, ty: &DataType) -> Result<Expr> {
        let target = match ty {
            DataType::Decimal128(..) | DataType::Decimal256(..) => {
                DataType::Decimal128(38, crate::sql::types::NUMERIC_SCALE)
            }
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            DataType::Time64(_) | DataType::Time32(_) => DataType::Time64(TimeUnit::Microsecond),
            DataType::Interval(_) => INTERVAL,
            DataType::Boolean | DataType::Date32 | DataType::Binary | DataType::List(_) => ty.clone(),
            ty if ty.is_integer() || ty.is_floating() => ty.clone(),
            _ => return Ok(literal),
        };
        match literal {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                let value = conversion::read_constant(&text, &Field::new("", target, true), &self.format())?;
                Ok(Expr::Literal(value, None))
            }
            // A decimal constant beside a float is a float: decimal arithmetic would make the column decimal.
            Expr::Literal(value, _) if target.is_floating() && conversion::is_decimal(&value.data_type()) => {
                Ok(Expr::Literal(value.cast_to(&target)?, None))
            }
            other => Ok(other),
        }
    }

    fn format(&self) -> Format {
        Format { time_zone: self.0.time_zone() }
    }

    fn case(&self, case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let Case { expr, when_then_expr, else_expr } = case;
        let (whens, thens): (Vec<Expr>, Vec<Expr>) = when_then_expr.into_iter().map(|(w, t)| (*w, *t)).unzip();
        let (expr, whens) = match expr {
            Some(expr) => {
                let mut all = self.unify_all(std::iter::once(*expr).chain(whens).collect(), schema)?;
                (Some(Box::new(all.remove(0))), all)
            }
            None => (None, whens),
        };
        let branches = thens.len();
        let mut results = self.unify_all(thens.into_iter().chain(else_expr.map(|e| *e)).collect(), schema)?;
        let otherwise = (results.len() > branches).then(|| results.remove(branches)).map(Box::new);
        let pairs = whens.into_iter().zip(results).map(|(w, t)| (Box::new(w), Box::new(t))).collect();
        Ok(Transformed::yes(Expr::Case(Case::new(expr, pairs, otherwise))))
    }

    fn cast(&self, cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let target = cast.field.data_type();
        match cast.expr.as_ref() {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                // Strings stay casts, which keep the type's name (uuid, varchar); their text is checked all the same.
                let value = conversion::read_constant(text, &cast.field, &self.format())?;
                if *target != DataType::Utf8 {
                    return Ok(Transformed::yes(Expr::Literal(value, None)));
                }
                return Ok(Transformed::no(Expr::Cast(cast)));
            }
            Expr::Literal(value @ ScalarValue::Int64(Some(_)), _) if target.is_integer() => {
                let value = value.cast_to(target).map_err(|_| conversion::out_of_range(&cast.field))?;
                return Ok(Transformed::yes(Expr::Literal(value, None)));
            }
            Expr::Literal(value, _) if value.is_null() => return Ok(Transformed::no(Expr::Cast(cast))),
            _ => {}
        }
        let Ok(source) = cast.expr.get_type(schema) else { return Ok(Transformed::no(Expr::Cast(cast))) };
        if !conversion::differs(&source, target, self.0.time_zone()) {
            return Ok(Transformed::no(Expr::Cast(cast)));
        }
        Ok(Transformed::yes(self.converted(*cast.expr, cast.field)))
    }

    fn converted(&self, expr: Expr, to: FieldRef) -> Expr {
        let udf = Arc::new(ScalarUDF::from(PgCast::new(to, self.0.time_zone())));
        Expr::ScalarFunction(ScalarFunction::new_udf(udf, vec![expr]))
    }

    fn function(&self, function: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let ScalarFunction { func, mut args } = function;
        match func.name() {
            "coalesce" | "nullif" | "greatest" | "least" => args = self.unify_all(args, schema)?,
            "time_bucket" | "date_bin" if args.len() >= 2 => self.bucket_arguments(func.name(), &mut args, schema)?,
            "date_trunc" | "date_part" if args.len() == 2 && self.0.time_zone() != chrono_tz::UTC => {
                return self.on_the_wall_clock(func, args, schema);
            }
            _ => {
                return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction::new_udf(func, args))));
            }
        }
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(func, args))))
    }

    /// The width is an interval unless the value is an integer; origins are of the value's type.
    fn bucket_arguments(&self, name: &str, args: &mut [Expr], schema: &DFSchema) -> Result<()> {
        let value = args[1].get_type(schema).unwrap_or(DataType::Utf8);
        if value.is_integer() {
            return Ok(());
        }
        let value = if value == DataType::Utf8 { crate::sql::types::timestamptz() } else { value };
        let zoned = value == crate::sql::types::timestamptz();
        let targets = match (name, args.len(), zoned) {
            ("date_bin", ..) => vec![INTERVAL, value.clone(), value],
            // The third argument of the time zone's overload is its name.
            (_, 3.., true) => vec![INTERVAL, value.clone(), DataType::Utf8, value, INTERVAL],
            _ => vec![INTERVAL, value, INTERVAL],
        };
        for (argument, target) in args.iter_mut().zip(targets) {
            if is_untyped(argument) {
                *argument = self.typed(argument.clone(), &target)?;
            }
        }
        Ok(())
    }

    /// Days, hours and months of a timestamptz are those of the session's wall clock.
    fn on_the_wall_clock(
        &self,
        func: Arc<ScalarUDF>,
        mut args: Vec<Expr>,
        schema: &DFSchema,
    ) -> Result<Transformed<Expr>> {
        let zoned = matches!(args[1].get_type(schema), Ok(DataType::Timestamp(_, Some(_))));
        let epoch = matches!(&args[0], Expr::Literal(ScalarValue::Utf8(Some(field)), _)
            if field.eq_ignore_ascii_case("epoch"));
        if !zoned || epoch {
            return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction::new_udf(func, args))));
        }
        let local: FieldRef = Arc::new(Field::new("", DataType::Timestamp(TimeUnit::Microsecond, None), true));
        let value = args.remove(1);
        args.push(self.converted(value, local));
        let back = func.name() == "date_trunc";
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(func, args));
        let instant: FieldRef = Arc::new(Field::new("", crate::sql::types::timestamptz(), true));
        Ok(Transformed::yes(if back { self.converted(call, instant) } else { call }))
    }
}

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// String constants, and decimal ones, which adapt to a float beside them.
fn is_untyped(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(_)), _) => true,
        Expr::Literal(value, _) => conversion::is_decimal(&value.data_type()),
        _ => false,
    }
}
