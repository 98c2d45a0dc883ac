//! Constants and type names as SQL text that reads the same on every data node, whatever its session settings.

use crate::ids::quote_literal;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime};
use datafusion::scalar::ScalarValue;

/// Why an expression stays on the access node, as EXPLAIN prints it.
pub type Reason = String;

/// Types by how they compare: operands of one class may be compared, whatever their width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Boolean,
    Integer,
    Float,
    Decimal,
    Text,
    Bytes,
    Date,
    Timestamp,
    Timestamptz,
    Time,
    Interval,
}

/// `None` for types that no data node's SQL has.
pub fn class(data_type: &DataType) -> Option<Class> {
    Some(match data_type {
        DataType::Boolean => Class::Boolean,
        DataType::Int16 | DataType::Int32 | DataType::Int64 => Class::Integer,
        DataType::Float32 | DataType::Float64 => Class::Float,
        DataType::Decimal128(_, scale) if *scale >= 0 => Class::Decimal,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Class::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Class::Bytes,
        DataType::Date32 => Class::Date,
        DataType::Timestamp(_, None) => Class::Timestamp,
        DataType::Timestamp(_, Some(_)) => Class::Timestamptz,
        DataType::Time64(_) => Class::Time,
        DataType::Interval(IntervalUnit::MonthDayNano) => Class::Interval,
        _ => return None,
    })
}

/// The type's name in a cast.
pub fn sql_type(data_type: &DataType) -> Result<String, Reason> {
    let name = match data_type {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Float32 => "real",
        DataType::Decimal128(precision, scale) if *scale >= 0 => return Ok(format!("numeric({precision},{scale})")),
        _ => match class(data_type).ok_or_else(|| format!("type {data_type} does not exist on data nodes"))? {
            Class::Boolean => "boolean",
            Class::Integer => "bigint",
            Class::Float => "double precision",
            Class::Decimal => "numeric",
            Class::Text => "text",
            Class::Bytes => "bytea",
            Class::Date => "date",
            Class::Timestamp => "timestamp",
            Class::Timestamptz => "timestamptz",
            Class::Time => "time",
            Class::Interval => "interval",
        },
    };
    Ok(name.to_string())
}

/// A constant. Integers are bare digits, everything else says its type: `'2023-01-01'::date`.
pub fn literal(value: &ScalarValue) -> Result<String, Reason> {
    if value.is_null() {
        return match value {
            ScalarValue::Null => Ok("NULL".into()),
            _ => Ok(format!("NULL::{}", sql_type(&value.data_type())?)),
        };
    }
    match value {
        ScalarValue::Boolean(Some(truth)) => Ok(truth.to_string()),
        ScalarValue::Int16(Some(number)) => Ok(integer((*number).into())),
        ScalarValue::Int32(Some(number)) => Ok(integer((*number).into())),
        ScalarValue::Int64(Some(number)) => Ok(integer(*number)),
        ScalarValue::Float32(Some(number)) => Ok(float(f64::from(*number), format!("{number:?}"), "real")),
        ScalarValue::Float64(Some(number)) => Ok(float(*number, format!("{number:?}"), "double precision")),
        ScalarValue::Decimal128(Some(unscaled), _, scale) if *scale >= 0 => {
            let digits = decimal(*unscaled, *scale as usize);
            Ok(format!("'{digits}'::{}", sql_type(&value.data_type())?))
        }
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            text_literal(text)
        }
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes)) => {
            // `'\x…'::bytea` is a plain string to the embedded engine; decode() is the same function on both sides.
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(format!("decode('{digits}', 'hex')"))
        }
        ScalarValue::Date32(Some(days)) => Ok(format!("'{}'::date", date(*days)?)),
        ScalarValue::Time64Microsecond(Some(micros)) => Ok(format!("'{}'::time", time(*micros)?)),
        ScalarValue::Time64Nanosecond(Some(nanos)) => Ok(format!("'{}'::time", time(whole_micros(*nanos)?)?)),
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            let micros = whole_micros(interval.nanoseconds)?;
            let mut parts = Vec::new();
            if interval.months != 0 {
                parts.push(count(interval.months.into(), "month"));
            }
            if interval.days != 0 {
                parts.push(count(interval.days.into(), "day"));
            }
            if micros != 0 || parts.is_empty() {
                parts.push(duration_text(micros, false));
            }
            Ok(format!("'{}'::interval", parts.join(" ")))
        }
        _ => match timestamp_micros(value)? {
            Some((micros, true)) => Ok(format!("'{}'::timestamptz", timestamptz_text(micros)?)),
            Some((micros, false)) => Ok(format!("'{}'::timestamp", timestamp_text(micros)?)),
            None => Err(format!("a constant of type {} has no SQL text", value.data_type())),
        },
    }
}

/// A length of time in the largest unit that divides it: `1 hour`, `90 seconds`. `days`: a day counts as 24 hours.
pub fn duration_text(micros: i64, days: bool) -> String {
    const UNITS: [(i64, &str); 6] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ];
    let mut units = UNITS.into_iter().skip(if days { 0 } else { 1 });
    let (unit, name) = units.find(|(unit, _)| micros % unit == 0).expect("one microsecond divides all");
    count(micros / unit, name)
}

fn count(number: i64, unit: &str) -> String {
    if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
}

/// Parenthesised when negative: `x - -5` and `-5::bigint` read otherwise than meant.
fn integer(number: i64) -> String {
    match number {
        // The digits alone are beyond bigint, and the minus sign is an operator.
        i64::MIN => format!("'{number}'::bigint"),
        _ if number < 0 => format!("({number})"),
        _ => number.to_string(),
    }
}

/// `shortest` is Rust's shortest text that reads back as the very same bits. Quoted, for bare digits with a point are
/// numeric to PostgreSQL and decimal to the engine, with bounds of their own.
fn float(number: f64, shortest: String, ty: &str) -> String {
    if number.is_nan() {
        return format!("'NaN'::{ty}");
    }
    if number.is_infinite() {
        return format!("'{}Infinity'::{ty}", if number < 0.0 { "-" } else { "" });
    }
    format!("'{shortest}'::{ty}")
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

pub fn text_literal(text: &str) -> Result<String, Reason> {
    if text.contains('\0') {
        return Err("PostgreSQL text cannot hold a NUL character".into());
    }
    Ok(quote_literal(text))
}

fn whole_micros(nanos: i64) -> Result<i64, Reason> {
    if nanos % 1_000 != 0 {
        return Err("the constant is finer than a microsecond".into());
    }
    Ok(nanos / 1_000)
}

/// Microseconds since 1970 and whether it is a timestamptz; `None` if the value is no timestamp at all.
/// Errors: finer than a microsecond, or out of range.
pub fn timestamp_micros(value: &ScalarValue) -> Result<Option<(i64, bool)>, Reason> {
    let scaled = |count: i64, factor: i64| count.checked_mul(factor).ok_or("the timestamp is out of range".to_string());
    Ok(match value {
        ScalarValue::TimestampSecond(Some(count), zone) => Some((scaled(*count, 1_000_000)?, zone.is_some())),
        ScalarValue::TimestampMillisecond(Some(count), zone) => Some((scaled(*count, 1_000)?, zone.is_some())),
        ScalarValue::TimestampMicrosecond(Some(count), zone) => Some((*count, zone.is_some())),
        ScalarValue::TimestampNanosecond(Some(count), zone) => Some((whole_micros(*count)?, zone.is_some())),
        _ => None,
    })
}

/// Years of four digits only: both sides write the others differently.
fn four_digits(year: i32) -> Result<(), Reason> {
    if (1..=9999).contains(&year) { Ok(()) } else { Err(format!("year {year} has no common text form")) }
}

fn date(days: i32) -> Result<NaiveDate, Reason> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("1970 is a year");
    let date = epoch
        .checked_add_signed(chrono::TimeDelta::days(days.into()))
        .ok_or_else(|| "the date is out of range".to_string())?;
    four_digits(date.year())?;
    Ok(date)
}

fn time(micros: i64) -> Result<NaiveTime, Reason> {
    let nanos = (micros.rem_euclid(1_000_000) * 1_000) as u32;
    u32::try_from(micros.div_euclid(1_000_000))
        .ok()
        .and_then(|seconds| NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos))
        .ok_or_else(|| "the time of day is out of range".to_string())
}

/// `2023-01-01 00:00:00`, with a fraction only where there is one.
pub fn timestamp_text(micros: i64) -> Result<String, Reason> {
    let moment = DateTime::from_timestamp_micros(micros).ok_or_else(|| "the timestamp is out of range".to_string())?;
    four_digits(moment.year())?;
    let fraction = if micros % 1_000_000 == 0 { "" } else { "%.6f" };
    Ok(moment.format(&format!("%Y-%m-%d %H:%M:%S{fraction}")).to_string())
}

/// As [`timestamp_text`], with its offset: what it means does not depend on the session's time zone.
pub fn timestamptz_text(micros: i64) -> Result<String, Reason> {
    Ok(format!("{}+00", timestamp_text(micros)?))
}

/// Whether values of the type keep every microsecond (a cast to it loses nothing).
pub fn keeps_micros(unit: &TimeUnit) -> bool {
    matches!(unit, TimeUnit::Microsecond | TimeUnit::Nanosecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::IntervalMonthDayNano;

    fn text(value: ScalarValue) -> String {
        literal(&value).unwrap()
    }

    #[test]
    fn a_constant_says_its_type() {
        assert_eq!(text(ScalarValue::Int64(Some(-5))), "(-5)");
        assert_eq!(text(ScalarValue::Int64(Some(i64::MIN))), "'-9223372036854775808'::bigint");
        assert_eq!(text(ScalarValue::Float64(Some(90.0))), "'90.0'::double precision");
        assert_eq!(text(ScalarValue::Float64(Some(-0.1))), "'-0.1'::double precision");
        assert_eq!(text(ScalarValue::Float64(Some(f64::NEG_INFINITY))), "'-Infinity'::double precision");
        assert_eq!(text(ScalarValue::Decimal128(Some(-5), 10, 2)), "'-0.05'::numeric(10,2)");
        assert_eq!(text(ScalarValue::Utf8(Some("it's".into()))), "'it''s'");
        assert_eq!(text(ScalarValue::Date32(Some(19358))), "'2023-01-01'::date");
        assert_eq!(text(ScalarValue::Int64(None)), "NULL::bigint");
        let interval = IntervalMonthDayNano::new(1, 2, 3_000);
        let interval = ScalarValue::IntervalMonthDayNano(Some(interval));
        assert_eq!(text(interval), "'1 month 2 days 3 microseconds'::interval");
    }

    #[test]
    fn a_width_is_written_in_its_largest_whole_unit() {
        assert_eq!(duration_text(3_600_000_000, true), "1 hour");
        assert_eq!(duration_text(-90_000_000, true), "-90 seconds");
        assert_eq!(duration_text(14 * 86_400_000_000, true), "14 days");
        assert_eq!(duration_text(86_400_000_000, false), "24 hours");
        assert_eq!(duration_text(1_500, true), "1500 microseconds");
    }

    #[test]
    fn a_timestamp_does_not_depend_on_the_session_time_zone() {
        let zone = Some("+00:00".into());
        let midnight = ScalarValue::TimestampNanosecond(Some(1_672_531_200_000_000_000), zone.clone());
        assert_eq!(text(midnight), "'2023-01-01 00:00:00+00'::timestamptz");
        let fraction = ScalarValue::TimestampMicrosecond(Some(-1), None);
        assert_eq!(text(fraction), "'1969-12-31 23:59:59.999999'::timestamp");
        assert!(literal(&ScalarValue::TimestampNanosecond(Some(1), zone)).unwrap_err().contains("microsecond"));
        assert!(literal(&ScalarValue::TimestampMicrosecond(Some(i64::MAX), None)).is_err());
    }
}
