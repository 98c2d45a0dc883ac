//! Time buckets: `time_bucket`, `date_bin` and `date_trunc` as the one function both backends have, `date_bin`
//! (PostgreSQL 14 and later), with its origin always written out.

use super::literal::{Class, Reason, duration_text, literal, timestamp_micros, timestamp_text, timestamptz_text};
use super::render::Renderer;
use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

const SECOND_MICROS: i64 = 1_000_000;
const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;

/// 2000-01-03 00:00 UTC in microseconds since 1970: a Monday, so that weeks begin as ISO 8601 has it. TimescaleDB's
/// default origin for buckets without months.
const MONDAY_MICROS: i64 = 946_857_600 * SECOND_MICROS;

/// `name` is one of `time_bucket`, `date_bin`, `date_trunc`.
pub fn render(renderer: &mut Renderer, name: &str, arguments: &[Expr]) -> Result<String, Reason> {
    let [first, source, rest @ ..] = arguments else { return Err(format!("{name} needs two arguments")) };
    let class = renderer.class_of(source)?;
    match (name, class, rest) {
        ("date_trunc", _, []) => truncated(renderer, first, source, class),
        ("time_bucket", Class::Integer, []) => integer_bucket(renderer, first, source),
        (_, Class::Date | Class::Timestamp | Class::Timestamptz, _) => {
            let default = if name == "date_bin" { 0 } else { MONDAY_MICROS };
            binned(renderer, width_micros(first)?, source, class, origin_micros(rest, default)?)
        }
        _ => Err(format!("{name} is known for time columns only")),
    }
}

fn binned(renderer: &mut Renderer, width: i64, source: &Expr, class: Class, origin: i64) -> Result<String, Reason> {
    let width_text = duration_text(width, true);
    let source = renderer.expression(source)?;
    match class {
        Class::Timestamptz => {
            Ok(format!("date_bin(INTERVAL '{width_text}', {source}, TIMESTAMPTZ '{}')", timestamptz_text(origin)?))
        }
        Class::Timestamp => {
            Ok(format!("date_bin(INTERVAL '{width_text}', {source}, TIMESTAMP '{}')", timestamp_text(origin)?))
        }
        _ if width % DAY_MICROS == 0 && origin % DAY_MICROS == 0 => {
            let origin = timestamp_text(origin)?;
            Ok(format!("(date_bin(INTERVAL '{width_text}', {source}::timestamp, TIMESTAMP '{origin}')::date)"))
        }
        _ => Err("a bucket of dates that is no whole number of days".into()),
    }
}

/// Rounds towards minus infinity, as TimescaleDB does; `%` alone would round towards zero.
fn integer_bucket(renderer: &mut Renderer, width: &Expr, source: &Expr) -> Result<String, Reason> {
    let positive = match width {
        Expr::Literal(ScalarValue::Int16(Some(width)), _) => *width > 0,
        Expr::Literal(ScalarValue::Int32(Some(width)), _) => *width > 0,
        Expr::Literal(ScalarValue::Int64(Some(width)), _) => *width > 0,
        _ => false,
    };
    let (Expr::Literal(value, _), true) = (width, positive) else {
        return Err("the bucket's width is not a positive constant".into());
    };
    let (width, source) = (literal(value)?, renderer.expression(source)?);
    Ok(format!("({source} - ((({source} % {width}) + {width}) % {width}))"))
}

/// `date_trunc` of a timestamptz works in the session's time zone; we mean UTC, and up to a week that is a bucket.
fn truncated(renderer: &mut Renderer, unit: &Expr, source: &Expr, class: Class) -> Result<String, Reason> {
    let unit = match unit {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_ascii_lowercase),
        _ => None,
    }
    .ok_or("the unit of date_trunc is not a constant")?;
    let fixed = match unit.as_str() {
        "second" => SECOND_MICROS,
        "minute" => 60 * SECOND_MICROS,
        "hour" => 3_600 * SECOND_MICROS,
        "day" => DAY_MICROS,
        "week" => 7 * DAY_MICROS,
        "month" | "quarter" | "year" => 0,
        _ => return Err(format!("date_trunc to {unit} is not known to mean the same on every data node")),
    };
    match class {
        Class::Timestamp => Ok(format!("date_trunc('{unit}', {})", renderer.expression(source)?)),
        Class::Timestamptz if fixed > 0 => binned(renderer, fixed, source, class, MONDAY_MICROS),
        Class::Timestamptz => Err(format!("a {unit} depends on the session's time zone")),
        _ => Err("date_trunc is known for timestamps only".into()),
    }
}

/// Errors: not a constant, not positive, or of no fixed length.
pub fn width_micros(width: &Expr) -> Result<i64, Reason> {
    let Expr::Literal(value, _) = width else { return Err("the bucket's width is not a constant".into()) };
    let (months, days, nanos) = match value {
        ScalarValue::IntervalMonthDayNano(Some(width)) => (width.months, width.days, width.nanoseconds),
        ScalarValue::IntervalDayTime(Some(width)) => (0, width.days, i64::from(width.milliseconds) * 1_000_000),
        _ => {
            let text = value.try_as_str().flatten().ok_or("the bucket's width is not an interval")?;
            let width = parse_interval_month_day_nano(text).map_err(|error| error.to_string())?;
            (width.months, width.days, width.nanoseconds)
        }
    };
    if months != 0 {
        return Err("a month has no fixed length".into());
    }
    let micros = i64::from(days).checked_mul(DAY_MICROS).and_then(|whole| whole.checked_add(nanos / 1_000));
    match micros {
        Some(micros) if micros > 0 && nanos % 1_000 == 0 => Ok(micros),
        _ => Err("the bucket's width is not a positive number of microseconds".into()),
    }
}

fn origin_micros(rest: &[Expr], default: i64) -> Result<i64, Reason> {
    match rest {
        [] => Ok(default),
        [Expr::Literal(value, _)] => match (timestamp_micros(value)?, value) {
            (Some((micros, _)), _) => Ok(micros),
            (None, ScalarValue::Date32(Some(days))) => Ok(i64::from(*days) * DAY_MICROS),
            _ => Err("the bucket's third argument is not an origin".into()),
        },
        _ => Err("the bucket's origin is not a constant".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_read_from_text_and_never_counts_months() {
        let width = |text: &str| width_micros(&Expr::Literal(ScalarValue::Utf8(Some(text.into())), None));
        assert_eq!(width("60 s"), Ok(60 * SECOND_MICROS));
        assert_eq!(width("1 day"), Ok(DAY_MICROS));
        assert!(width("1 month").unwrap_err().contains("month"));
        assert!(width("-1 hour").is_err());
    }

    #[test]
    fn the_default_origin_is_a_monday() {
        use chrono::{DateTime, Datelike, Weekday};
        assert_eq!(DateTime::from_timestamp_micros(MONDAY_MICROS).unwrap().weekday(), Weekday::Mon);
    }
}
