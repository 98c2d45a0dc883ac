//! `show_chunks`: which chunks a hypertable has.

use super::arguments::{Arguments, Constant};
use super::context::Context;
use super::invalid;
use super::rows::{Cell, Rows};
use crate::catalog::{Chunk, Hypertable};
use crate::chunk::dimension::{interval_micros, is_time};
use crate::error::{Error, Result, codes};
use crate::sql::type_names;
use datafusion::scalar::ScalarValue;
use postgres_types::Type;

const DAY_MICROS: i64 = 86_400_000_000;

/// Errors: `TS001`, `22023`.
pub fn show(context: &mut Context<'_>, arguments: &Arguments) -> Result<Rows> {
    let Some(relation) = arguments.text("relation") else { return Err(invalid("invalid hypertable: cannot be NULL")) };
    let table = context.relation(relation)?;
    let state = context.state();
    let hypertable = state.hypertable(&table.name).ok_or_else(|| no_hypertable(&table.name.name))?;
    let range = Range::read(context, arguments, hypertable)?;
    let mut rows = Rows::new(&arguments.function().columns());
    for chunk in state.chunks_of(hypertable.id).filter(|chunk| range.holds(chunk)) {
        rows.push(vec![Cell::text(shown(&chunk.table.schema) + "." + &shown(&chunk.table.name))]);
    }
    Ok(rows)
}

fn no_hypertable(name: &str) -> Error {
    Error::new(codes::TS_NOT_A_HYPERTABLE, format!("\"{name}\" is not a hypertable or a continuous aggregate"))
        .with_hint("The operation is only possible on a hypertable or continuous aggregate.")
}

/// As `regclass` prints a name: quoted only where it must be.
fn shown(name: &str) -> String {
    let plain = |c: char| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit();
    let starts = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    if starts && name.chars().all(plain) { name.to_string() } else { crate::ids::quote_identifier(name) }
}

/// Which chunks are meant: by their time range, or by when they were made.
#[derive(Debug, Default)]
struct Range {
    /// The chunk's range ends at or before it.
    older_than: Option<i64>,
    /// The chunk's range starts at or after it.
    newer_than: Option<i64>,
    created_before: Option<i64>,
    created_after: Option<i64>,
}

impl Range {
    fn read(context: &Context<'_>, arguments: &Arguments, hypertable: &Hypertable) -> Result<Range> {
        let ty = hypertable.dimensions.first().map_or(Type::TIMESTAMPTZ, |dimension| dimension.column_type());
        let bound = |name: &str, ty: &Type| arguments.any(name).map(|value| coordinate(context, value, ty)).transpose();
        let range = Range {
            older_than: bound("older_than", &ty)?,
            newer_than: bound("newer_than", &ty)?,
            created_before: bound("created_before", &Type::TIMESTAMPTZ)?,
            created_after: bound("created_after", &Type::TIMESTAMPTZ)?,
        };
        let by_time = range.older_than.is_some() || range.newer_than.is_some();
        let by_creation = range.created_before.is_some() || range.created_after.is_some();
        if by_time && by_creation {
            return Err(invalid(
                "cannot specify \"older_than\" or \"newer_than\" together with \"created_before\" or \"created_after\"",
            ));
        }
        let backwards = |from: Option<i64>, to: Option<i64>| matches!((from, to), (Some(from), Some(to)) if from > to);
        if backwards(range.newer_than, range.older_than) || backwards(range.created_after, range.created_before) {
            return Err(invalid("invalid time range").with_hint("The start of the time range must be before the end."));
        }
        Ok(range)
    }

    fn holds(&self, chunk: &Chunk) -> bool {
        let Some(time) = chunk.cube.0.first() else { return false };
        self.older_than.is_none_or(|bound| time.end <= bound)
            && self.newer_than.is_none_or(|bound| time.start >= bound)
            && self.created_before.is_none_or(|bound| chunk.created_at < bound)
            && self.created_after.is_none_or(|bound| chunk.created_at >= bound)
    }
}

/// A point of the dimension's time line; an interval counts back from now. Errors: `22023` for another type.
fn coordinate(context: &Context<'_>, constant: &Constant, ty: &Type) -> Result<i64> {
    let wrong = |given: &str| {
        let hint = format!("Try casting the argument to \"{}\".", type_names::display(ty));
        invalid(format!("invalid time argument type \"{given}\"")).with_hint(hint)
    };
    let (given, value) = match constant {
        Constant::Untyped(text) => match context.local.read(ty, text)? {
            Constant::Typed(ty, value) => (ty, value),
            _ => return Err(wrong("unknown")),
        },
        Constant::Typed(ty, value) => (ty.clone(), value.clone()),
        Constant::Null => return Err(wrong("unknown")),
    };
    let point = match value {
        ScalarValue::Int16(Some(number)) if !is_time(ty) => i64::from(number),
        ScalarValue::Int32(Some(number)) if !is_time(ty) => i64::from(number),
        ScalarValue::Int64(Some(number)) if !is_time(ty) => number,
        ScalarValue::Date32(Some(days)) if is_time(ty) => i64::from(days).saturating_mul(DAY_MICROS),
        ScalarValue::TimestampMicrosecond(Some(micros), _) if is_time(ty) => micros,
        ScalarValue::TimestampNanosecond(Some(nanos), _) if is_time(ty) => nanos.div_euclid(1_000),
        ScalarValue::IntervalMonthDayNano(Some(interval)) if is_time(ty) => {
            let length = interval_micros(interval.months, interval.days, interval.nanoseconds / 1_000)?;
            context.local.now().saturating_sub(length)
        }
        _ => return Err(wrong(&type_names::display(&given))),
    };
    Ok(point)
}
