//! DataFusion's planning errors in PostgreSQL's words.

use crate::error::{Error, codes};
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;

/// As `Error::from`, with PostgreSQL's message where the error is known, and its position where the planner noted it.
pub fn polish(error: DataFusionError) -> Error {
    let position = position(&error);
    let mut polished = words(error);
    if let Some(position) = position
        && polished.position().is_none()
    {
        polished = polished.with_position(position);
    }
    polished
}

fn words(error: DataFusionError) -> Error {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => words(*inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => words(errors.remove(0)),
        DataFusionError::SchemaError(inner, _) if matches!(*inner, SchemaError::FieldNotFound { .. }) => {
            let SchemaError::FieldNotFound { field, valid_fields } = *inner else { unreachable!("just matched") };
            if let Some(relation) = &field.relation
                && !valid_fields
                    .iter()
                    .any(|valid| valid.relation.as_ref().is_some_and(|r| r.table() == relation.table()))
            {
                let message = format!("missing FROM-clause entry for table \"{}\"", relation.table());
                return Error::new(codes::UNDEFINED_TABLE, message);
            }
            Error::new(codes::UNDEFINED_COLUMN, format!("column {} does not exist", shown(&field)))
        }
        other => rephrase(Error::from(other)),
    }
}

/// PostgreSQL quotes a bare column name, not a qualified one.
fn shown(column: &Column) -> String {
    match &column.relation {
        Some(relation) => format!("{}.{}", relation.table(), column.name),
        None => format!("\"{}\"", column.name),
    }
}

/// The place of the first expression at fault; only present with `collect_spans`.
fn position(error: &DataFusionError) -> Option<u32> {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => match diagnostic.span {
            // Tokens were laid out on one line, so that a column is a position in the whole string.
            Some(span) if span.start.line == 1 => u32::try_from(span.start.column).ok(),
            _ => position(inner),
        },
        DataFusionError::Context(_, inner) => position(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(position),
        _ => None,
    }
}

/// By message: DataFusion has no codes.
pub fn rephrase(error: Error) -> Error {
    let message = error.message();
    let first_line = message.lines().next().unwrap_or_default();
    let call = between(first_line, "Invalid function '", "'")
        // What a function of ours says about its arguments, wrapped by DataFusion.
        .or_else(|| between(first_line, "External error: 42883: function ", " does not exist"));
    if let Some(call) = call {
        return Error::new(codes::UNDEFINED_FUNCTION, format!("function {call} does not exist")).with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        );
    }
    if let Some(name) = between(first_line, "table function '", "' not found") {
        return Error::new(codes::UNDEFINED_FUNCTION, format!("function {name} does not exist"));
    }
    if first_line.contains("must appear in the GROUP BY clause") || first_line.contains("must be in GROUP BY") {
        let column = between(first_line, "column \"", "\"").or_else(|| between(first_line, "expression ", " "));
        return Error::new(
            codes::GROUPING_ERROR,
            format!(
                "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                column.unwrap_or("?column?").replace('"', "")
            ),
        );
    }
    if let Some(number) = between(first_line, "Can't cast value ", " to type ") {
        let ty = first_line.rsplit(" to type ").next().unwrap_or_default();
        let name = match ty.trim() {
            "Int16" => "smallint",
            "Int32" => "integer",
            "Int64" => "bigint",
            other => other,
        };
        let _ = number;
        return Error::new(codes::NUMERIC_OUT_OF_RANGE, format!("{name} out of range"));
    }
    if first_line.to_lowercase().contains("aggregate functions are not allowed in the where clause") {
        return Error::new(codes::GROUPING_ERROR, "aggregate functions are not allowed in WHERE");
    }
    if let Some(operands) = between(first_line, "Overflow happened on: ", "\n") {
        return Error::new(codes::NUMERIC_OUT_OF_RANGE, format!("{} out of range", type_of_operands(operands)));
    }
    if first_line.contains("Timestamp out of range") || first_line.contains("timestamp overflow") {
        return Error::new(codes::DATETIME_OVERFLOW, "timestamp out of range");
    }
    if first_line.contains("more than one row") || first_line.contains("returned more than one") {
        return Error::new(
            codes::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        );
    }
    if let Some(types) = between(first_line, "Cannot infer common argument type for ", "\n") {
        return Error::new(codes::UNDEFINED_FUNCTION, format!("operator does not exist: {types}"));
    }
    error
}

/// Arrow tells an overflow's operands, not their type.
fn type_of_operands(operands: &str) -> &'static str {
    let wide = operands.split(' ').filter_map(|word| word.parse::<i64>().ok()).any(|n| i32::try_from(n).is_err());
    if wide { "bigint" } else { "integer" }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let rest = &text[text.find(before)? + before.len()..];
    match rest.find(after) {
        Some(end) => Some(&rest[..end]),
        None if after == "\n" => Some(rest),
        None => None,
    }
}
