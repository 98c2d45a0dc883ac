//! Dimensions: the columns that a hypertable is partitioned by, and the lengths of their slices.

use crate::error::{Error, Notice, Result, codes};
use crate::ids::DimensionId;
use postgres_types::Type;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    pub id: DimensionId,
    pub column: String,
    /// PostgreSQL type oid of the column.
    pub type_oid: u32,
    pub kind: DimensionKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DimensionKind {
    /// Interval in the column's coordinate unit: microseconds for date and timestamps, else the integer itself.
    Open {
        interval: i64,
    },
    Closed {
        partitions: u16,
    },
}

impl Dimension {
    pub fn is_open(&self) -> bool {
        matches!(self.kind, DimensionKind::Open { .. })
    }

    /// The column's type; `unknown` for an oid that is no built-in type.
    pub fn column_type(&self) -> Type {
        Type::from_oid(self.type_oid).unwrap_or(Type::UNKNOWN)
    }
}

/// Most partitions of a closed dimension (a smallint in TimescaleDB's catalog).
pub const PARTITIONS_MAX: u16 = i16::MAX as u16;

const SECOND_MICROS: i64 = 1_000_000;
const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;

/// First and last timestamp that PostgreSQL can hold, in microseconds since 1970: 4714-11-24 BC and 294276-12-31.
/// A date may lie beyond; TimescaleDB, and so we, take dates only within the same bounds.
const TIMESTAMPS_MICROS: RangeInclusive<i64> = -210_866_803_200_000_000..=9_223_371_331_199_999_999;

/// The length of an open dimension's slices, as a user states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalArgument {
    /// In coordinate units: microseconds for time types.
    Integer(i64),
    /// As PostgreSQL's interval has it; a month counts as 30 days.
    Interval { months: i32, days: i32, micros: i64 },
}

/// All coordinates that a value of an open dimension's type can have.
/// Errors: `42809` for a type that has no time line.
pub fn coordinate_bounds(column: &str, ty: &Type) -> Result<RangeInclusive<i64>> {
    Ok(match *ty {
        Type::INT2 => i64::from(i16::MIN)..=i64::from(i16::MAX),
        Type::INT4 => i64::from(i32::MIN)..=i64::from(i32::MAX),
        Type::INT8 => i64::MIN..=i64::MAX,
        Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ => TIMESTAMPS_MICROS,
        _ => {
            return Err(Error::new(codes::WRONG_OBJECT_TYPE, format!("invalid type for dimension \"{column}\""))
                .with_hint("Use an integer, timestamp, or date type."));
        }
    })
}

/// Whether the type counts in microseconds.
pub fn is_time(ty: &Type) -> bool {
    matches!(*ty, Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ)
}

/// Slice length of an open dimension in coordinate units, the type's default when none is given.
/// Errors: `42809` for a type without a time line, `22023` for a length that does not fit the type.
pub fn slice_interval(column: &str, ty: &Type, argument: Option<IntervalArgument>) -> Result<(i64, Vec<Notice>)> {
    let bounds = coordinate_bounds(column, ty)?;
    let mut notices = Vec::new();
    let interval = match argument {
        None => default_interval(ty),
        Some(IntervalArgument::Integer(units)) => {
            let longest = if is_time(ty) { i64::MAX } else { *bounds.end() };
            check_interval(units, longest)?;
            if is_time(ty) && units < SECOND_MICROS {
                let notice =
                    Notice::warning(codes::AMBIGUOUS_PARAMETER, "unexpected interval: smaller than one second");
                notices.push(with_hint(notice, "The interval is specified in microseconds."));
            }
            units
        }
        Some(IntervalArgument::Interval { .. }) if !is_time(ty) => {
            let message = format!("invalid interval type for {} dimension", sql_name(ty));
            return Err(
                Error::new(codes::INVALID_PARAMETER_VALUE, message).with_hint("Use an interval of type integer.")
            );
        }
        Some(IntervalArgument::Interval { months, days, micros }) => {
            let micros = interval_micros(months, days, micros)?;
            check_interval(micros, i64::MAX)?;
            micros
        }
    };
    if *ty == Type::DATE && interval % DAY_MICROS != 0 {
        return Err(Error::new(codes::INVALID_PARAMETER_VALUE, "invalid interval for date dimension")
            .with_hint("Use an interval that is a multiple of one day."));
    }
    Ok((interval, notices))
}

fn default_interval(ty: &Type) -> i64 {
    match *ty {
        Type::INT2 => 10_000,
        Type::INT4 => 100_000,
        Type::INT8 => 1_000_000,
        _ => 7 * DAY_MICROS,
    }
}

fn check_interval(units: i64, longest: i64) -> Result<()> {
    if (1..=longest).contains(&units) {
        return Ok(());
    }
    let message = format!("invalid interval: must be between 1 and {longest}");
    Err(Error::new(codes::INVALID_PARAMETER_VALUE, message))
}

fn with_hint(notice: Notice, hint: &str) -> Notice {
    Notice { severity: notice.severity, error: notice.error.with_hint(hint) }
}

fn sql_name(ty: &Type) -> &str {
    match *ty {
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        _ => ty.name(),
    }
}

/// Length of a PostgreSQL interval in microseconds; a month counts as 30 days. Errors: `22008` beyond 292,000 years.
pub fn interval_micros(months: i32, days: i32, micros: i64) -> Result<i64> {
    let days = i64::from(months) * 30 + i64::from(days);
    days.checked_mul(DAY_MICROS)
        .and_then(|whole_days| whole_days.checked_add(micros))
        .ok_or_else(|| Error::new(codes::DATETIME_OVERFLOW, "interval out of range"))
}

/// Reads an interval such as `7 days`, `1 month` or `1 day 12:00`; a bare number counts seconds. Errors: `22007`.
pub fn parse_interval(text: &str) -> Result<IntervalArgument> {
    use arrow::compute::kernels::cast_utils::{
        IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config,
    };
    // Arrow reads PostgreSQL's units but no clock time.
    let words: Vec<String> = text.split_whitespace().map(clock_in_units).collect();
    let config = IntervalParseConfig::new(IntervalUnit::Second);
    let parsed = parse_interval_month_day_nano_config(&words.join(" "), config).map_err(|_| {
        Error::new(codes::INVALID_DATETIME, format!("invalid input syntax for type interval: \"{text}\""))
    })?;
    Ok(IntervalArgument::Interval { months: parsed.months, days: parsed.days, micros: parsed.nanoseconds / 1_000 })
}

/// `-02:30` as `-02 hours -30 minutes`; any other word as it is.
fn clock_in_units(word: &str) -> String {
    if !word.contains(':') {
        return word.to_string();
    }
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let parts: Vec<&str> = digits.split(':').collect();
    match parts[..] {
        [hours, minutes] => format!("{sign}{hours} hours {sign}{minutes} minutes"),
        [hours, minutes, seconds] => {
            format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds")
        }
        _ => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(ty: Type, text: &str) -> Result<i64> {
        slice_interval("t", &ty, Some(parse_interval(text)?)).map(|(interval, _)| interval)
    }

    #[test]
    fn default_intervals_follow_the_type() {
        for (ty, expected) in [
            (Type::TIMESTAMPTZ, 604_800_000_000),
            (Type::DATE, 604_800_000_000),
            (Type::INT2, 10_000),
            (Type::INT4, 100_000),
            (Type::INT8, 1_000_000),
        ] {
            assert_eq!(slice_interval("t", &ty, None), Ok((expected, vec![])));
        }
        let error = slice_interval("t", &Type::TEXT, None).unwrap_err();
        assert_eq!((error.code(), error.message()), (codes::WRONG_OBJECT_TYPE, "invalid type for dimension \"t\""));
    }

    #[test]
    fn intervals_read_as_in_postgres_with_months_of_thirty_days() {
        let day = DAY_MICROS;
        for (text, expected) in [
            ("1 day", day),
            ("7 days", 7 * day),
            ("1 week", 7 * day),
            ("1 month", 30 * day),
            ("1 month 1 day", 31 * day),
            ("1 hour", day / 24),
            ("02:00:00", day / 12),
            ("1 day 12:00", day + day / 2),
            ("90 minutes", 5_400_000_000),
            ("00:00:01.5", 1_500_000),
            ("3600", 3_600_000_000),
        ] {
            assert_eq!(interval(Type::TIMESTAMPTZ, text), Ok(expected), "{text}");
        }
        for text in ["soon", "1:2:3:4", "", "12 moons"] {
            assert_eq!(interval(Type::TIMESTAMPTZ, text).unwrap_err().code(), codes::INVALID_DATETIME, "{text}");
        }
        let backwards = IntervalArgument::Interval { months: 0, days: 1, micros: -9_000_000_000 };
        assert_eq!(parse_interval("1 day -02:30"), Ok(backwards));
    }

    #[test]
    fn lengths_that_do_not_fit_the_type_are_refused() {
        let code = |ty: Type, units| {
            slice_interval("t", &ty, Some(IntervalArgument::Integer(units))).map_err(|error| error.code())
        };
        assert_eq!(code(Type::INT2, 40_000), Err(codes::INVALID_PARAMETER_VALUE));
        assert_eq!(code(Type::INT8, 0), Err(codes::INVALID_PARAMETER_VALUE));
        assert_eq!(code(Type::DATE, 1_000_000), Err(codes::INVALID_PARAMETER_VALUE));
        assert_eq!(interval(Type::INT4, "1 day").unwrap_err().code(), codes::INVALID_PARAMETER_VALUE);
        assert_eq!(interval(Type::TIMESTAMP, "-1 day").unwrap_err().code(), codes::INVALID_PARAMETER_VALUE);
        let huge = IntervalArgument::Interval { months: i32::MAX, days: 0, micros: 0 };
        assert_eq!(slice_interval("t", &Type::TIMESTAMP, Some(huge)).unwrap_err().code(), codes::DATETIME_OVERFLOW);
        let (_, notices) = slice_interval("t", &Type::TIMESTAMP, Some(IntervalArgument::Integer(7))).unwrap();
        assert_eq!(notices[0].error.code(), codes::AMBIGUOUS_PARAMETER);
    }
}
