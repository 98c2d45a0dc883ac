//! Arguments as expressions: literals and casts of literals are read here, without planning a query.

use super::arguments::{Constant, array_elements};
use super::placeholder;
use crate::error::{Error, Result, codes};
use crate::sql::type_names;
use crate::sql::types;
use crate::wire::Parameter;
use crate::wire::values::{self, BatchBuilder, Format};
use arrow::datatypes::{DataType, Schema};
use datafusion::scalar::ScalarValue;
use postgres_types::Type;
use sqlparser::ast::{self, Expr, UnaryOperator, Value};
use std::sync::Arc;

/// What literals are read by: the session's settings and the statement's parameters.
pub struct Reader<'a> {
    pub format: &'a Format,
    pub types: &'a [Type],
    pub parameters: &'a [Parameter],
}

impl Reader<'_> {
    /// The value of a simple expression; `None` for one that must be computed. Errors: `22P02` and the like for a
    /// literal that does not read as the type it is cast to; `42P02` for a parameter that is not there.
    pub fn simple(&self, expression: &Expr) -> Result<Option<Constant>> {
        if let Some(index) = placeholder(expression) {
            return self.parameter(index).map(Some);
        }
        match expression {
            Expr::Nested(inner) => self.simple(inner),
            Expr::Value(value) => literal(&value.value),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
                Expr::Value(value) => match &value.value {
                    Value::Number(digits, _) => Ok(number(&format!("-{digits}"))),
                    _ => Ok(None),
                },
                _ => Ok(None),
            },
            Expr::Cast { expr, data_type, .. } => self.cast(expr, data_type),
            Expr::TypedString(typed) => match literal(&typed.value.value)? {
                Some(Constant::Untyped(text)) => self.read_as(&text, &typed.data_type).map(Some),
                _ => Ok(None),
            },
            Expr::Interval(interval) => self.interval(interval),
            Expr::Array(array) => self.array(&array.elem),
            _ => Ok(None),
        }
    }

    /// `'text'::type`. A cast of anything but a literal is left to the planner, but for those that only say how a name
    /// is meant.
    fn cast(&self, inner: &Expr, data_type: &ast::DataType) -> Result<Option<Constant>> {
        match self.simple(inner)? {
            Some(Constant::Untyped(text)) => self.read_as(&text, data_type).map(Some),
            Some(Constant::Null) => Ok(Some(Constant::Null)),
            Some(Constant::Typed(_, value)) => match type_names::declared(data_type)?.ty {
                ty @ (Type::REGCLASS | Type::NAME | Type::TEXT | Type::NAME_ARRAY | Type::TEXT_ARRAY)
                    if matches!(value, ScalarValue::Utf8(_) | ScalarValue::List(_)) =>
                {
                    Ok(Some(Constant::Typed(ty, value)))
                }
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }

    fn read_as(&self, text: &str, data_type: &ast::DataType) -> Result<Constant> {
        self.read(&type_names::declared(data_type)?.ty, text)
    }

    /// Reads a literal as a value of `ty`.
    pub fn read(&self, ty: &Type, text: &str) -> Result<Constant> {
        let value = match *ty {
            Type::NAME_ARRAY | Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => names(&array_elements(text)?),
            _ => {
                let array = values::parse_text(&types::field("", ty, true)?, Some(text), self.format)?;
                ScalarValue::try_from_array(&array, 0)?
            }
        };
        Ok(Constant::Typed(ty.clone(), value))
    }

    fn interval(&self, interval: &ast::Interval) -> Result<Option<Constant>> {
        let Some(Constant::Untyped(text)) = self.simple(&interval.value)? else { return Ok(None) };
        let text = match &interval.leading_field {
            // `interval '3' day`
            Some(unit) if text.trim().parse::<f64>().is_ok() => format!("{text} {unit}"),
            _ => text,
        };
        self.read(&Type::INTERVAL, &text).map(Some)
    }

    /// An array of names; any other array is no argument of ours.
    fn array(&self, elements: &[Expr]) -> Result<Option<Constant>> {
        let mut texts = Vec::with_capacity(elements.len());
        for element in elements {
            match self.simple(element)? {
                Some(Constant::Untyped(text)) => texts.push(text),
                Some(Constant::Typed(_, ScalarValue::Utf8(Some(text)))) => texts.push(text),
                _ => return Ok(None),
            }
        }
        Ok(Some(Constant::Typed(Type::TEXT_ARRAY, names(&texts))))
    }

    fn parameter(&self, index: usize) -> Result<Constant> {
        let no_such = || Error::new(codes::UNDEFINED_PARAMETER, format!("there is no parameter ${}", index + 1));
        let parameter = self.parameters.get(index).ok_or_else(no_such)?;
        let Some(bytes) = &parameter.bytes else { return Ok(Constant::Null) };
        let ty = self.types.get(index).cloned().unwrap_or(Type::UNKNOWN);
        if !parameter.binary {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| Error::new(codes::INVALID_TEXT, format!("parameter ${} is not UTF-8", index + 1)))?;
            // Text parameters may take the type of their place, as literals do.
            return match ty {
                Type::UNKNOWN | Type::TEXT | Type::VARCHAR | Type::NAME => Ok(Constant::Untyped(text.to_string())),
                ty => self.read(&ty, text),
            };
        }
        let schema = Schema::new(vec![types::field("", &ty, true)?]);
        let mut builder = BatchBuilder::new(Arc::new(schema), self.format.clone());
        builder.push_binary(0, Some(bytes))?;
        builder.end_row();
        let value = ScalarValue::try_from_array(builder.finish()?.column(0), 0)?;
        match (&ty, value) {
            (&(Type::UNKNOWN | Type::TEXT | Type::VARCHAR | Type::NAME), ScalarValue::Utf8(Some(text))) => {
                Ok(Constant::Untyped(text))
            }
            (_, value) => Ok(Constant::Typed(ty, value)),
        }
    }
}

fn literal(value: &Value) -> Result<Option<Constant>> {
    Ok(match value {
        Value::Null => Some(Constant::Null),
        Value::Boolean(value) => Some(Constant::Typed(Type::BOOL, ScalarValue::Boolean(Some(*value)))),
        Value::Number(digits, _) => number(digits),
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) | Value::UnicodeStringLiteral(text) => {
            Some(Constant::Untyped(text.clone()))
        }
        Value::DollarQuotedString(text) => Some(Constant::Untyped(text.value.clone())),
        _ => None,
    })
}

/// An integer literal: `integer` where it fits, else `bigint`, as in PostgreSQL.
fn number(digits: &str) -> Option<Constant> {
    if let Ok(number) = digits.parse::<i32>() {
        return Some(Constant::Typed(Type::INT4, ScalarValue::Int32(Some(number))));
    }
    let number = digits.parse::<i64>().ok()?;
    Some(Constant::Typed(Type::INT8, ScalarValue::Int64(Some(number))))
}

fn names(elements: &[String]) -> ScalarValue {
    let elements: Vec<ScalarValue> = elements.iter().map(|text| ScalarValue::Utf8(Some(text.clone()))).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&elements, &DataType::Utf8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::parse_expression;

    fn value(sql: &str) -> Result<Option<Constant>> {
        let format = Format::default();
        let reader = Reader { format: &format, types: &[], parameters: &[] };
        reader.simple(&parse_expression(sql).unwrap())
    }

    fn int(number: i32) -> Option<Constant> {
        Some(Constant::Typed(Type::INT4, ScalarValue::Int32(Some(number))))
    }

    fn text(text: &str) -> Option<Constant> {
        Some(Constant::Untyped(text.into()))
    }

    #[test]
    fn literals_are_read_without_a_plan() {
        assert_eq!(value("'dn1'").unwrap(), text("dn1"));
        assert_eq!(value("(NULL)").unwrap(), Some(Constant::Null));
        assert_eq!(value("5432").unwrap(), int(5432));
        assert_eq!(value("-1").unwrap(), int(-1));
        assert_eq!(
            value("3000000000").unwrap(),
            Some(Constant::Typed(Type::INT8, ScalarValue::Int64(Some(3_000_000_000))))
        );
        assert_eq!(value("true").unwrap(), Some(Constant::Typed(Type::BOOL, ScalarValue::Boolean(Some(true)))));
    }

    #[test]
    fn arrays_and_casts_of_literals_too() {
        let list = Some(Constant::Typed(Type::TEXT_ARRAY, names(&["a".into(), "b".into()])));
        assert_eq!(value("ARRAY['a', 'b']").unwrap(), list);
        let list = Some(Constant::Typed(Type::NAME_ARRAY, names(&["a".into(), "b".into()])));
        assert_eq!(value("'{a,b}'::name[]").unwrap(), list);
        assert_eq!(value("NULL::integer").unwrap(), Some(Constant::Null));
        let Some(Constant::Typed(Type::REGCLASS, ScalarValue::Utf8(Some(name)))) =
            value("'conditions'::regclass").unwrap()
        else {
            panic!("a regclass is text")
        };
        assert_eq!(name, "conditions");
    }

    #[test]
    fn what_must_be_computed_is_left_to_the_planner() {
        assert_eq!(value("now() - interval '1 day'").unwrap(), None);
        assert_eq!(value("1 + 1").unwrap(), None);
        assert_eq!(value("ARRAY[now()]").unwrap(), None);
    }

    #[test]
    fn parameters_are_literals_of_their_types() {
        let format = Format::default();
        let parameter = |text: &'static str| Parameter { binary: false, bytes: Some(text.into()) };
        let parameters = [parameter("dn1"), parameter("5433"), Parameter { binary: false, bytes: None }];
        let types = [Type::NAME, Type::INT4, Type::TEXT];
        let reader = Reader { format: &format, types: &types, parameters: &parameters };
        let read = |sql: &str| reader.simple(&parse_expression(sql).unwrap());
        assert_eq!(read("$1").unwrap(), text("dn1"));
        assert_eq!(read("$2").unwrap(), int(5433));
        assert_eq!(read("$3").unwrap(), Some(Constant::Null));
        assert_eq!(read("$4").unwrap_err().code(), codes::UNDEFINED_PARAMETER);
    }
}
