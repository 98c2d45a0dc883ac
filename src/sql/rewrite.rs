//! From PostgreSQL's syntax tree to one that DataFusion's planner takes the same way.
//!
//! * Output columns get PostgreSQL's names. DataFusion wants them unique within a SELECT: a repeated name carries an
//!   invisible [`MARK`] and a number, which [`client_name`] takes off again.
//! * Integer literals in output columns, and in the clauses that must match them, are `integer` where they fit, as in
//!   PostgreSQL (DataFusion: `bigint`).
//! * `x > ANY (SELECT …)` becomes `IN` where it is one, and otherwise gets a name of its own for the subquery's rows:
//!   DataFusion takes columns of one table on both sides for the same.
//! * Regular expressions and SIMILAR TO become what the `regex` crate understands the same way.
//! * Functions lose the schemas in which PostgreSQL and TimescaleDB keep them; `AT TIME ZONE`, `mod`, set-returning
//!   `generate_series` and `FETCH FIRST` become what DataFusion knows.

use super::column_names;
use super::patterns;
use super::statement::{self, Kind, fold};
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query,
    SelectItem, SetExpr, TableAliasColumnDef, TableFactor, TimezoneInfo, Value, VisitMut, VisitorMut, WindowFrameBound,
    WindowType,
};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Separates a repeated column name from the number that makes it unique. No client types this character.
pub const MARK: char = '\u{1}';

/// The name of a column as the client sees it.
pub fn client_name(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(name, _)| name)
}

pub fn query(query: &mut Query) {
    let _ = query.visit(&mut Rewriter { depth: 0, subqueries: 0 });
}

/// A scalar expression outside a query: a default, a check, a constant argument.
pub fn expression(expr: &mut Expr) {
    small(expr);
    let _ = expr.visit(&mut Rewriter { depth: 1, subqueries: 0 });
}

struct Rewriter {
    /// Queries around the current place.
    depth: usize,
    /// Subqueries that were given a name so far.
    subqueries: usize,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        fetch_to_limit(query);
        limits_are_bigint(query);
        small_values(&mut query.body);
        if let Some(OrderBy { kind: OrderByKind::Expressions(items), .. }) = &mut query.order_by {
            items.iter_mut().for_each(|item| small_unless_position(&mut item.expr));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    // Before the expressions inside: columns are named after what the user wrote, not after its rewriting.
    fn pre_visit_select(&mut self, select: &mut sqlparser::ast::Select) -> ControlFlow<()> {
        name_columns(&mut select.projection, self.depth == 1);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                series_to_rows(expr);
                small(expr);
            }
        }
        match &mut select.group_by {
            GroupByExpr::Expressions(exprs, _) => exprs.iter_mut().for_each(small_unless_position),
            GroupByExpr::All(_) => {}
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            exprs.iter_mut().for_each(small_unless_position);
        }
        if let Some(having) = &mut select.having {
            small(having);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        table_function(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.compared_with_rows(expr);
        rewrite_expression(expr);
        ControlFlow::Continue(())
    }
}

impl Rewriter {
    /// `x <op> ANY (SELECT …)` and `x <op> ALL (SELECT …)`.
    fn compared_with_rows(&mut self, expr: &mut Expr) {
        let (left, op, right, all) = match expr {
            Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, false),
            Expr::AllOp { left, compare_op, right } => (left, compare_op, right, true),
            _ => return,
        };
        let Expr::Subquery(subquery) = right.as_mut() else { return };
        match (&*op, all) {
            (BinaryOperator::Eq, false) | (BinaryOperator::NotEq, true) => {
                let (expr_, subquery) = (left.clone(), subquery.clone());
                *expr = Expr::InSubquery { expr: expr_, subquery, negated: all };
            }
            _ => {
                self.subqueries += 1;
                let name = format!("subquery{MARK}{}", self.subqueries);
                *subquery = rows_of(subquery.clone(), &name);
            }
        }
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn fetch_to_limit(query: &mut Query) {
    let Some(fetch) = &query.fetch else { return };
    if fetch.with_ties || fetch.percent {
        return;
    }
    let limit = fetch.quantity.clone().unwrap_or_else(|| number("1"));
    match &mut query.limit_clause {
        None => {
            query.limit_clause =
                Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by: Vec::new() });
        }
        Some(LimitClause::LimitOffset { limit: open @ None, .. }) => *open = Some(limit),
        Some(_) => return,
    }
    query.fetch = None;
}

/// `LIMIT $1`: the parameter's type does not follow from anything else.
fn limits_are_bigint(query: &mut Query) {
    let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause else { return };
    for expr in limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value)) {
        if matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_))) {
            *expr = cast(expr.clone(), DataType::BigInt(None));
        }
    }
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.into(), false).into())
}

/// Gives every output column PostgreSQL's name. `outermost`: a wildcard's columns are unknown here, so in the
/// client's own query columns beside one are marked; nested queries keep plain names, which others may refer to.
fn name_columns(projection: &mut [SelectItem], outermost: bool) {
    let wildcard =
        projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut taken = BTreeSet::new();
    for (index, item) in projection.iter_mut().enumerate() {
        let (name, written) = match item {
            SelectItem::UnnamedExpr(expr) => (column_names::of(expr), is_column(expr)),
            SelectItem::ExprWithAlias { alias, .. } => (fold(alias), true),
            _ => continue,
        };
        let explicit = matches!(item, SelectItem::ExprWithAlias { .. });
        let unique = if taken.insert(name.clone()) && !(wildcard && outermost && !explicit) {
            if written {
                continue;
            }
            name
        } else {
            format!("{name}{MARK}{index}")
        };
        let alias = Ident::with_quote('"', unique);
        *item = match item.clone() {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                SelectItem::ExprWithAlias { expr, alias }
            }
            other => other,
        };
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident) if !is_keyword_function(ident))
        || matches!(expr, Expr::CompoundIdentifier(_))
}

/// Functions that PostgreSQL's grammar takes without parentheses and sqlparser takes for columns.
fn is_keyword_function(ident: &Ident) -> bool {
    ident.quote_style.is_none()
        && ["current_schema", "current_role", "current_catalog", "session_user", "current_user", "localtimestamp"]
            .iter()
            .any(|name| ident.value.eq_ignore_ascii_case(name))
}

/// `SELECT generate_series(1, 3)` yields rows.
fn series_to_rows(expr: &mut Expr) {
    if matches!(expr, Expr::Function(function) if function_name(function).as_deref() == Some("generate_series")) {
        let inner = std::mem::replace(expr, Expr::Value(Value::Null.into()));
        *expr = call("unnest", vec![inner]);
    }
}

fn function_name(function: &Function) -> Option<String> {
    function.name.0.last().and_then(|part| part.as_ident()).map(fold)
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A set-returning function in FROM: its one column is called as its alias, or else as the function.
fn table_function(factor: &mut TableFactor) {
    let TableFactor::Table { name, alias, args: Some(_), .. } = factor else { return };
    strip_schema(name);
    let Some(function) = name.0.last().and_then(|part| part.as_ident()).map(fold) else { return };
    if let Some(alias) = alias
        && alias.columns.is_empty()
        && function == "generate_series"
    {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}

/// PostgreSQL's and TimescaleDB's functions are all found without a schema.
fn strip_schema(name: &mut ObjectName) {
    const SCHEMAS: [&str; 4] = ["pg_catalog", "public", "timescaledb_experimental", "_timescaledb_functions"];
    if let [schema, _] = name.0.as_slice()
        && let Some(schema) = schema.as_ident()
        && SCHEMAS.contains(&fold(schema).as_str())
    {
        name.0.remove(0);
    }
}

fn rewrite_expression(expr: &mut Expr) {
    match expr {
        Expr::Identifier(ident) if is_keyword_function(ident) => *expr = call(&ident.value.to_lowercase(), Vec::new()),
        Expr::Value(value) if is_scientific(&value.value) => {
            let digits = value.value.to_string();
            *expr = cast(Expr::Value(Value::SingleQuotedString(digits).into()), DataType::DoublePrecision);
        }
        Expr::Function(function) => rewrite_function(expr_function(function), expr),
        Expr::BinaryOp { op, right, .. } if is_regex(op) => {
            **right = regex_of(right);
        }
        Expr::SimilarTo { negated, expr: text, pattern, escape_char } => {
            if let Some(regex) = similar_to_regex(pattern, escape_char.as_ref().map(|escape| &escape.value)) {
                let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
                *expr = Expr::BinaryOp { left: text.clone(), op, right: Box::new(string(regex)) };
            }
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()]);
        }
        Expr::Interval(interval)
            if interval.leading_field.is_none()
                && matches!(&*interval.value, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_))) =>
        {
            // A cast reads all of PostgreSQL's interval syntax; DataFusion's literal does not.
            *expr = cast((*interval.value).clone(), DataType::Interval { fields: None, precision: None });
        }
        _ => {}
    }
}

/// `SELECT * FROM (<query>) AS <name>`.
fn rows_of(query: Box<Query>, name: &str) -> Box<Query> {
    let parsed = statement::parse("SELECT * FROM (SELECT 1) AS q").map(|mut parsed| parsed.remove(0).kind);
    let Ok(Kind::Query(mut rows)) = parsed else { unreachable!("this is a query") };
    if let SetExpr::Select(select) = rows.body.as_mut()
        && let Some(TableFactor::Derived { subquery, alias: Some(alias), .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
    {
        *subquery = query;
        alias.name = Ident::with_quote('"', name);
    }
    rows
}

fn is_regex(op: &BinaryOperator) -> bool {
    use BinaryOperator::{PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch};
    matches!(op, PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch)
}

/// Only what is known now: a pattern that comes from a column keeps the dialect of the `regex` crate.
fn regex_of(pattern: &Expr) -> Expr {
    match literal_text(pattern) {
        Some(text) => string(patterns::posix(text)),
        None => pattern.clone(),
    }
}

fn similar_to_regex(pattern: &Expr, escape: Option<&Value>) -> Option<String> {
    let escape = match escape {
        None => Some('\\'),
        Some(Value::SingleQuotedString(text)) => text.chars().next(),
        Some(_) => return None,
    };
    patterns::similar(literal_text(pattern)?, escape)
}

fn literal_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            Value::DollarQuotedString(text) => Some(&text.value),
            _ => None,
        },
        Expr::Nested(inner) => literal_text(inner),
        _ => None,
    }
}

fn string(text: String) -> Expr {
    Expr::Value(Value::SingleQuotedString(text).into())
}

/// `1e300` is beyond the decimals that DataFusion would make of it.
fn is_scientific(value: &Value) -> bool {
    matches!(value, Value::Number(digits, _) if digits.contains(['e', 'E']) && !digits.starts_with("0x"))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(expr), data_type, array: false, format: None }
}

/// Splits the borrow: what to do is decided on the function, done on the expression.
fn expr_function(function: &mut Function) -> Option<(Expr, Expr)> {
    strip_schema(&mut function.name);
    let name = function_name(function).unwrap_or_default();
    let FunctionArguments::List(list) = &mut function.args else { return None };
    match name.as_str() {
        "mod" if list.args.len() == 2 => match (plain(&list.args[0]), plain(&list.args[1])) {
            (Some(left), Some(right)) => Some((left, right)),
            _ => None,
        },
        "time_bucket" => {
            name_time_bucket_arguments(list);
            None
        }
        "every" => {
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("bool_and"))]);
            None
        }
        "variance" => {
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("var_samp"))]);
            None
        }
        _ => None,
    }
}

/// `operands`: of a `mod(left, right)`, which becomes an operator.
fn rewrite_function(operands: Option<(Expr, Expr)>, expr: &mut Expr) {
    if let Some((left, right)) = operands {
        let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
        let modulo = Expr::BinaryOp { left: nested(left), op: BinaryOperator::Modulo, right: nested(right) };
        *expr = Expr::Nested(Box::new(modulo));
    }
}

fn plain(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// `time_bucket(width, ts, origin => …, "offset" => …, timezone => …)`: named arguments to their positions. Without a
/// time zone the overloads take either an origin or an offset as third argument; UTC stands in where both are given.
fn name_time_bucket_arguments(list: &mut FunctionArgumentList) {
    let mut positional: Vec<FunctionArg> = Vec::new();
    let mut named: [Option<Expr>; 3] = [None, None, None];
    for argument in &list.args {
        let (name, value) = match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => (fold(name), value),
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(value), .. } => {
                (fold(name), value)
            }
            other => {
                positional.push(other.clone());
                continue;
            }
        };
        match name.as_str() {
            "bucket_width" if positional.is_empty() => positional.push(unnamed(value.clone())),
            "ts" if positional.len() == 1 => positional.push(unnamed(value.clone())),
            "timezone" => named[0] = Some(value.clone()),
            // As a bare string the third argument would be taken for the name of a time zone.
            "origin" => named[1] = Some(typed(value, DataType::Timestamp(None, TimezoneInfo::Tz))),
            "offset" => named[2] = Some(typed(value, DataType::Interval { fields: None, precision: None })),
            _ => return,
        }
    }
    let null = || Expr::Value(Value::Null.into());
    match named {
        [None, None, None] => {}
        [None, Some(origin), None] if positional.len() == 2 => positional.push(unnamed(origin)),
        [None, None, Some(offset)] if positional.len() == 2 => positional.push(unnamed(offset)),
        [zone, origin, offset] => {
            if positional.len() == 2 {
                let utc = Expr::Value(Value::SingleQuotedString("UTC".into()).into());
                positional.push(unnamed(zone.unwrap_or(utc)));
            }
            if positional.len() == 3 {
                positional.push(unnamed(origin.unwrap_or_else(null)));
            }
            if positional.len() == 4 {
                positional.push(unnamed(offset.unwrap_or_else(null)));
            }
        }
    }
    list.args = positional;
}

fn typed(value: &Expr, data_type: DataType) -> Expr {
    match value {
        Expr::Value(constant) if matches!(constant.value, Value::SingleQuotedString(_)) => {
            cast(value.clone(), data_type)
        }
        other => other.clone(),
    }
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn small(expr: &mut Expr) {
    let _ = expr.visit(&mut SmallIntegers { depth: 0 });
}

/// For GROUP BY, ORDER BY and DISTINCT ON, where a bare number counts output columns.
fn small_unless_position(expr: &mut Expr) {
    match expr {
        Expr::Value(_) => {}
        Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => {
            sets.iter_mut().flatten().for_each(small_unless_position);
        }
        _ => small(expr),
    }
}

/// Casts integer literals to `integer` where they fit. Not inside subqueries, whose own output columns are theirs.
struct SmallIntegers {
    depth: usize,
}

impl VisitorMut for SmallIntegers {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            plain_frame_bounds(function);
        }
        if self.depth == 0
            && let Expr::Value(value) = expr
            && let Value::Number(digits, _) = &value.value
            && digits.parse::<i32>().is_ok()
        {
            *expr = cast(expr.clone(), DataType::Integer(None));
        }
        ControlFlow::Continue(())
    }
}

/// `ROWS BETWEEN 1 PRECEDING …` takes bare numbers only: takes the casts off again.
fn plain_frame_bounds(function: &mut Function) {
    let Some(WindowType::WindowSpec(spec)) = &mut function.over else { return };
    let Some(frame) = &mut spec.window_frame else { return };
    for bound in std::iter::once(&mut frame.start_bound).chain(frame.end_bound.as_mut()) {
        if let WindowFrameBound::Preceding(Some(expr)) | WindowFrameBound::Following(Some(expr)) = bound
            && let Expr::Cast { expr: inner, data_type: DataType::Integer(None), .. } = expr.as_mut()
        {
            *expr = inner.clone();
        }
    }
}

/// `VALUES` rows, too, are `integer` where they fit.
fn small_values(body: &mut SetExpr) {
    if let SetExpr::Values(values) = body {
        for row in &mut values.rows {
            let _ = row.visit(&mut SmallIntegers { depth: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::{Kind, parse};

    fn rewritten(sql: &str) -> String {
        let Kind::Query(mut parsed) = parse(sql).unwrap().remove(0).kind else { panic!("{sql}") };
        query(&mut parsed);
        parsed.to_string().replace(MARK, "#")
    }

    #[test]
    fn output_columns_are_named_and_unique() {
        assert_eq!(rewritten("SELECT a, count(*) FROM t"), "SELECT a, count(*) AS \"count\" FROM t");
        assert_eq!(rewritten("SELECT v::int, v::bigint FROM t"), "SELECT v::INT AS \"v\", v::BIGINT AS \"v#1\" FROM t");
        assert_eq!(rewritten("SELECT *, a FROM t"), "SELECT *, a AS \"a#1\" FROM t");
        assert_eq!(
            rewritten("SELECT q.count FROM (SELECT count(*) FROM t) q"),
            "SELECT q.count FROM (SELECT count(*) AS \"count\" FROM t) q"
        );
    }

    #[test]
    fn small_integers_are_integers_in_output_columns_and_what_must_match_them() {
        assert_eq!(
            rewritten("SELECT 1, a + 1 FROM t GROUP BY 1 ORDER BY 2 LIMIT 3"),
            "SELECT 1::INTEGER AS \"?column?\", a + 1::INTEGER AS \"?column?#1\" FROM t GROUP BY 1 ORDER BY 2 LIMIT 3"
        );
        assert_eq!(rewritten("SELECT 3000000000 AS x"), "SELECT 3000000000 AS x");
        assert_eq!(
            rewritten("SELECT a % 3 AS x FROM t WHERE a > 1 GROUP BY a % 3, 1 HAVING a % 3 > 0 ORDER BY a % 3, 1"),
            "SELECT a % 3::INTEGER AS x FROM t WHERE a > 1 GROUP BY a % 3::INTEGER, 1 \
             HAVING a % 3::INTEGER > 0::INTEGER ORDER BY a % 3::INTEGER, 1"
        );
    }

    #[test]
    fn what_datafusion_does_not_know_is_replaced() {
        assert_eq!(rewritten("SELECT pg_catalog.version() AS v"), "SELECT version() AS v");
        assert_eq!(rewritten("SELECT mod(a, b) AS m FROM t"), "SELECT ((a) % (b)) AS m FROM t");
        assert_eq!(rewritten("SELECT a FROM t FETCH FIRST 2 ROWS ONLY"), "SELECT a FROM t LIMIT 2");
        assert_eq!(
            rewritten("SELECT g FROM generate_series(1, 3) AS g"),
            "SELECT g FROM generate_series(1, 3) AS g (g)"
        );
        assert_eq!(
            rewritten("SELECT time_bucket('1 day', t, origin => '2020-01-01') AS b FROM x"),
            "SELECT time_bucket('1 day', t, '2020-01-01'::TIMESTAMPTZ) AS b FROM x"
        );
        assert_eq!(rewritten("SELECT t AT TIME ZONE 'UTC' AS x FROM y"), "SELECT timezone('UTC', t) AS x FROM y");
    }
}
