//! What PostgreSQL calls an output column that was given no name (`FigureColname` in parse_target.c).

use super::statement::fold;
use sqlparser::ast::{CeilFloorKind, DataType, Expr, Query, SelectItem, SetExpr, TrimWhereField, Value};

/// The column's name; `?column?` where there is nothing to name it after.
pub fn of(expr: &Expr) -> String {
    figure(expr).map_or_else(|| "?column?".into(), |(name, _)| name)
}

/// How good a name is: a cast's type name gives way to anything better inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Weak,
    Strong,
}

fn strong(name: impl Into<String>) -> Option<(String, Strength)> {
    Some((name.into(), Strength::Strong))
}

fn figure(expr: &Expr) -> Option<(String, Strength)> {
    match expr {
        Expr::Identifier(ident) => strong(fold(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().and_then(|last| strong(fold(last))),
        Expr::CompoundFieldAccess { root, .. } => figure(root),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Function(function) => {
            function.name.0.last().and_then(|part| part.as_ident()).and_then(|n| strong(fold(n)))
        }
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some((name, Strength::Strong)) => strong(name),
            _ => Some((type_name(data_type), Strength::Weak)),
        },
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), Strength::Weak)),
        Expr::Interval(_) => Some(("interval".into(), Strength::Weak)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, Strength::Strong)) => strong(name),
            _ => Some(("case".into(), Strength::Weak)),
        },
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Subquery(query) => of_query(query),
        Expr::Array(_) => strong("array"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Ceil { field: CeilFloorKind::DateTimeField(_), .. } => strong("ceil"),
        Expr::Floor { field: CeilFloorKind::DateTimeField(_), .. } => strong("floor"),
        Expr::Tuple(_) => strong("row"),
        Expr::Value(value) if matches!(value.value, Value::DollarQuotedString(_)) => None,
        _ => None,
    }
}

fn of_query(query: &Query) -> Option<(String, Strength)> {
    match &*query.body {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(expr) => figure(expr),
            SelectItem::ExprWithAlias { alias, .. } => strong(fold(alias)),
            _ => None,
        },
        SetExpr::Query(inner) => of_query(inner),
        SetExpr::Values(_) => strong("column1"),
        _ => None,
    }
}

/// The internal name, as `int4` for `integer`.
fn type_name(sql: &DataType) -> String {
    match super::type_names::declared(sql) {
        Ok(declared) => declared.ty.name().trim_start_matches('_').to_string(),
        Err(_) => sql.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_postgresql_names_them() {
        // Checked against PostgreSQL 15.
        for (sql, name) in [
            ("1", "?column?"),
            ("count(*)", "count"),
            ("t.Abc", "abc"),
            ("\"Abc\"", "Abc"),
            ("v::int", "v"),
            ("'1'::int", "int4"),
            ("'x'::varchar", "varchar"),
            ("now()::date", "now"),
            ("date '2020-01-01'", "date"),
            ("interval '1 day'", "interval"),
            ("CASE WHEN a THEN 1 ELSE b END", "b"),
            ("CASE WHEN a THEN 1 ELSE 2 END", "case"),
            ("coalesce(a, b)", "coalesce"),
            ("a + b", "?column?"),
            ("-a", "?column?"),
            ("true", "?column?"),
            ("EXTRACT(hour FROM t)", "extract"),
            ("(SELECT max(x) FROM t)", "max"),
            ("EXISTS (SELECT 1)", "exists"),
            ("ARRAY[1, 2]", "array"),
            ("t AT TIME ZONE 'UTC'", "timezone"),
            ("trim(a)", "btrim"),
            ("current_date", "current_date"),
            ("pg_catalog.version()", "version"),
            ("(a)", "a"),
            ("ceil(a)", "ceil"),
        ] {
            let expr = crate::sql::statement::parse_expression(sql).unwrap();
            assert_eq!(of(&expr), name, "{sql}: {expr:?}");
        }
    }
}
