//! `time_bucket`: the start of the interval of fixed width that a value falls into.
//!
//! Semantics are TimescaleDB 2.13's: buckets of whole days and times are aligned to Monday 2000-01-03, month buckets
//! to January 2000; a day is 24 hours unless a time zone is named, whose local clock then counts. Values before the
//! origin floor downwards.

use super::no_such_function;
use crate::error::{Error, codes};
use crate::sql::time_zone::{from_local, naive, out_of_range, to_local};
use crate::sql::types::timestamptz;
use chrono::{Datelike, Days, Months, NaiveDate, TimeDelta};
use datafusion::arrow::array::types::{IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// Monday 2000-01-03 00:00, microseconds since 1970.
pub const ORIGIN: i64 = 946_857_600_000_000;
/// January 2000, months since year 0.
const ORIGIN_MONTH: i64 = 2000 * 12;
const DAY: i64 = 86_400_000_000;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    #[expect(clippy::new_without_default, reason = "made in one place")]
    pub fn new() -> TimeBucket {
        TimeBucket { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Of a call's types: what each argument is to become, deciding the overload.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=5).contains(&types.len()) {
            return Err(no_such_function("time_bucket", types).into());
        }
        let value = match &types[1] {
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 => types[1].clone(),
            DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(_, Some(_)) | DataType::Utf8 | DataType::Null => timestamptz(),
            _ => return Err(no_such_function("time_bucket", types).into()),
        };
        if value.is_integer() {
            let integers = types.iter().all(|ty| ty.is_integer() || ty.is_null());
            if types.len() > 3 || !integers {
                return Err(no_such_function("time_bucket", types).into());
            }
            return Ok(vec![value; types.len()]);
        }
        if !matches!(types[0], DataType::Interval(_) | DataType::Duration(_) | DataType::Utf8 | DataType::Null) {
            return Err(no_such_function("time_bucket", types).into());
        }
        let zoned = value == timestamptz();
        let mut coerced = vec![INTERVAL, value.clone()];
        match (types.len(), types.get(2)) {
            (2, _) => {}
            (3, Some(DataType::Interval(_) | DataType::Duration(_))) => coerced.push(INTERVAL),
            (3, Some(DataType::Timestamp(..) | DataType::Date32)) => coerced.push(value),
            (_, Some(DataType::Utf8 | DataType::Null)) if zoned => {
                coerced.extend([DataType::Utf8, value, INTERVAL].into_iter().take(types.len() - 2));
            }
            (3, Some(DataType::Utf8 | DataType::Null)) => coerced.push(INTERVAL),
            _ => return Err(no_such_function("time_bucket", types).into()),
        }
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.get(1).cloned().ok_or_else(|| no_such_function("time_bucket", types).into())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let value = arguments.args[1].to_array(rows)?;
        let result = if value.data_type().is_integer() {
            integers(&arguments.args, &value, rows)?
        } else {
            times(&arguments.args, &value, rows)?
        };
        // A constant call must answer with a scalar's single row and may be folded.
        if arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_))) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn integers(arguments: &[ColumnarValue], value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let ty = value.data_type();
    let wide = |column: &ArrayRef| -> Result<Int64Array> { Ok(cast(column, &DataType::Int64)?.as_primitive().clone()) };
    let (lowest, highest) = match ty {
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let widths = wide(&arguments[0].to_array(rows)?)?;
    let offsets = arguments.get(2).map(|offset| wide(&offset.to_array(rows)?)).transpose()?;
    let values = wide(value)?;
    let mut buckets = Int64Array::builder(rows);
    for row in 0..rows {
        let offset = match &offsets {
            Some(offsets) if offsets.is_null(row) => None,
            Some(offsets) => Some(offsets.value(row)),
            None => Some(0),
        };
        match offset {
            Some(offset) if !widths.is_null(row) && !values.is_null(row) => {
                let bucket = floor(values.value(row), widths.value(row), offset)?;
                if !(lowest..=highest).contains(&bucket) {
                    return Err(out_of_range().into());
                }
                buckets.append_value(bucket);
            }
            _ => buckets.append_null(),
        }
    }
    Ok(cast(&(Arc::new(buckets.finish()) as ArrayRef), ty)?)
}

/// The greatest `origin + n * width` that is not above `value`. Errors: `22023` for a width that is not positive,
/// `22008` when the bucket's start cannot be represented.
pub fn floor(value: i64, width: i64, origin: i64) -> crate::error::Result<i64> {
    if width <= 0 {
        return Err(Error::new(codes::INVALID_PARAMETER_VALUE, "period must be greater than 0"));
    }
    let shift = origin % width;
    let shifted = value.checked_sub(shift).ok_or_else(out_of_range)?;
    let start = shifted.div_euclid(width).checked_mul(width).ok_or_else(out_of_range)?;
    start.checked_add(shift).ok_or_else(out_of_range)
}

/// How wide a bucket of time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Micros(i64),
    Months(i64),
}

impl Width {
    pub(super) fn of(interval: IntervalMonthDayNano) -> crate::error::Result<Width> {
        if interval.months != 0 {
            if interval.days != 0 || interval.nanoseconds != 0 {
                return Err(Error::unsupported("month intervals cannot have day or time component"));
            }
            return Ok(Width::Months(i64::from(interval.months)));
        }
        Ok(Width::Micros(i64::from(interval.days) * DAY + interval.nanoseconds / 1000))
    }

    /// Start of the bucket of `value`; `origin` replaces the default one. All in microseconds of the same clock.
    fn bucket(self, value: i64, origin: Option<i64>) -> crate::error::Result<i64> {
        match self {
            // Infinity lies in a bucket of its own.
            _ if matches!(value, i64::MAX | i64::MIN) => Ok(value),
            Width::Micros(width) => floor(value, width, origin.unwrap_or(ORIGIN)),
            Width::Months(width) => {
                let origin = origin.map_or(Ok(ORIGIN_MONTH), month)?;
                let start = floor(month(value)?, width, origin)?;
                let year = i32::try_from(start.div_euclid(12)).map_err(|_| out_of_range())?;
                let month = u32::try_from(start.rem_euclid(12) + 1).expect("below thirteen");
                let date = NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(out_of_range)?;
                Ok(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
            }
        }
    }
}

/// Months since year 0.
fn month(micros: i64) -> crate::error::Result<i64> {
    let date = naive(micros)?;
    Ok(i64::from(date.year()) * 12 + i64::from(date.month0()))
}

/// `value + interval`, as PostgreSQL adds: months first (clamped to the month's end), then days, then time.
pub fn add(value: i64, interval: IntervalMonthDayNano, negative: bool) -> crate::error::Result<i64> {
    let sign = if negative { -1 } else { 1 };
    let months = interval.months * sign;
    let mut at = naive(value)?;
    let months_abs = Months::new(months.unsigned_abs());
    at = if months < 0 { at.checked_sub_months(months_abs) } else { at.checked_add_months(months_abs) }
        .ok_or_else(out_of_range)?;
    let days = i64::from(interval.days) * i64::from(sign);
    let days_abs = Days::new(days.unsigned_abs());
    at = if days < 0 { at.checked_sub_days(days_abs) } else { at.checked_add_days(days_abs) }
        .ok_or_else(out_of_range)?;
    let micros = TimeDelta::microseconds(interval.nanoseconds / 1000 * i64::from(sign));
    Ok(at.checked_add_signed(micros).ok_or_else(out_of_range)?.and_utc().timestamp_micros())
}

/// The optional arguments of one row.
#[derive(Clone, Copy, Default)]
struct Frame {
    zone: Option<chrono_tz::Tz>,
    origin: Option<i64>,
    offset: Option<IntervalMonthDayNano>,
}

fn bucket_at(width: Width, value: i64, frame: &Frame) -> crate::error::Result<i64> {
    let local = frame.zone.map_or(Ok(value), |zone| to_local(value, zone))?;
    let shifted = frame.offset.map_or(Ok(local), |offset| add(local, offset, true))?;
    let origin = match (frame.origin, frame.zone) {
        (Some(origin), Some(zone)) => Some(to_local(origin, zone)?),
        (origin, _) => origin,
    };
    let start = width.bucket(shifted, origin)?;
    let start = frame.offset.map_or(Ok(start), |offset| add(start, offset, false))?;
    frame.zone.map_or(Ok(start), |zone| from_local(start, zone))
}

fn times(arguments: &[ColumnarValue], value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let ty = value.data_type().clone();
    let values = as_micros(value)?;
    let widths = arguments[0].to_array(rows)?;
    let widths = as_intervals(&widths)?;
    if ty == DataType::Date32 {
        refuse_parts_of_a_day(&widths)?;
    }
    let buckets: TimestampMicrosecondArray = match (&arguments[0], arguments.len()) {
        // The common case: one width, nothing else. NULL rows are skipped by the kernel.
        (ColumnarValue::Scalar(_), 2) if rows > 0 && !widths.is_null(0) => {
            let width = Width::of(widths.value(0))?;
            values.try_unary::<_, TimestampMicrosecondType, Error>(|value| width.bucket(value, None))?
        }
        _ => general(arguments, &values, &widths, rows)?,
    };
    let buckets: ArrayRef = match &ty {
        DataType::Timestamp(_, Some(zone)) => Arc::new(buckets.with_timezone(zone.clone())),
        _ => Arc::new(buckets),
    };
    Ok(if buckets.data_type() == &ty { buckets } else { cast(&buckets, &ty)? })
}

fn general(
    arguments: &[ColumnarValue],
    values: &TimestampMicrosecondArray,
    widths: &PrimitiveArray<IntervalMonthDayNanoType>,
    rows: usize,
) -> Result<TimestampMicrosecondArray> {
    let extra = arguments[2..].iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
    let mut buckets = TimestampMicrosecondArray::builder(rows);
    for row in 0..rows {
        if widths.is_null(row) || values.is_null(row) {
            buckets.append_null();
            continue;
        }
        match frame(&extra, row)? {
            Some(frame) => buckets.append_value(bucket_at(Width::of(widths.value(row))?, values.value(row), &frame)?),
            None => buckets.append_null(),
        }
    }
    Ok(buckets.finish())
}

/// `None`: the call's result is NULL. In the five-argument form a NULL origin or offset means "none".
fn frame(extra: &[ArrayRef], row: usize) -> Result<Option<Frame>> {
    let mut frame = Frame::default();
    for (index, column) in extra.iter().enumerate() {
        if column.is_null(row) {
            if index == 0 {
                return Ok(None);
            }
            continue;
        }
        match column.data_type() {
            DataType::Utf8 => frame.zone = Some(crate::sql::time_zone::named(column.as_string::<i32>().value(row))?),
            DataType::Interval(_) => frame.offset = Some(as_intervals(column)?.value(row)),
            _ => frame.origin = Some(as_micros(column)?.value(row)),
        }
    }
    Ok(Some(frame))
}

fn refuse_parts_of_a_day(widths: &PrimitiveArray<IntervalMonthDayNanoType>) -> Result<()> {
    let day = DAY * 1000;
    if widths.iter().flatten().any(|width| width.nanoseconds % day != 0) {
        return Err(Error::new(codes::INVALID_PARAMETER_VALUE, "interval must not have sub-day precision").into());
    }
    Ok(())
}

pub(super) fn as_micros(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let column = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    Ok(column.as_primitive::<TimestampMicrosecondType>().clone())
}

pub(super) fn as_intervals(column: &ArrayRef) -> Result<PrimitiveArray<IntervalMonthDayNanoType>> {
    match column.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => Ok(column.as_primitive().clone()),
        other => exec_err!("a width is of type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap().and_utc().timestamp_micros()
    }

    fn width(months: i32, days: i32, seconds: i64) -> Width {
        Width::of(IntervalMonthDayNano::new(months, days, seconds * 1_000_000_000)).unwrap()
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let value = at("2023-01-05 12:34:56");
        assert_eq!(width(0, 7, 0).bucket(value, None).unwrap(), at("2023-01-02 00:00:00"));
        assert_eq!(width(0, 0, 3600).bucket(value, None).unwrap(), at("2023-01-05 12:00:00"));
        assert_eq!(width(3, 0, 0).bucket(at("2023-02-28 01:00:00"), None).unwrap(), at("2023-01-01 00:00:00"));
        assert_eq!(width(12, 0, 0).bucket(at("1999-02-28 01:00:00"), None).unwrap(), at("1999-01-01 00:00:00"));
        assert_eq!(width(0, 7, 0).bucket(value, Some(at("2023-01-01 00:00:00"))).unwrap(), at("2023-01-01 00:00:00"));
    }

    #[test]
    fn negative_integers_floor_downwards() {
        assert_eq!(floor(-1, 10, 0).unwrap(), -10);
        assert_eq!(floor(-10, 10, 0).unwrap(), -10);
        assert_eq!(floor(9, 10, 0).unwrap(), 0);
        assert_eq!(floor(1, 10, 2).unwrap(), -8);
    }

    #[test]
    fn bad_widths_are_refused_as_in_timescaledb() {
        assert_eq!(floor(1, 0, 0).unwrap_err().message(), "period must be greater than 0");
        let mixed = Width::of(IntervalMonthDayNano::new(1, 1, 0)).unwrap_err();
        assert_eq!(mixed.message(), "month intervals cannot have day or time component");
        assert_eq!(floor(i64::MIN, 10, 3).unwrap_err().code(), codes::DATETIME_OVERFLOW);
    }

    #[test]
    fn a_day_in_a_time_zone_follows_its_wall_clock() {
        let frame = Frame { zone: Some(chrono_tz::Europe::Berlin), ..Frame::default() };
        let day = width(0, 1, 0);
        // Summer time begins on 2023-03-26 at 01:00 UTC: the day starts at 23:00 UTC before, and at 22:00 UTC after.
        assert_eq!(bucket_at(day, at("2023-03-26 12:00:00"), &frame).unwrap(), at("2023-03-25 23:00:00"));
        assert_eq!(bucket_at(day, at("2023-03-27 12:00:00"), &frame).unwrap(), at("2023-03-26 22:00:00"));
        let offset = Frame { offset: Some(IntervalMonthDayNano::new(0, 0, 3_600_000_000_000)), ..frame };
        assert_eq!(bucket_at(day, at("2023-01-05 12:00:00"), &offset).unwrap(), at("2023-01-05 00:00:00"));
    }

    proptest! {
        #[test]
        fn a_bucket_contains_its_value(value in -1i64 << 60..1i64 << 60, width in 1i64..1i64 << 50, origin: i64) {
            let start = floor(value, width, origin).unwrap();
            prop_assert!(start <= value && value - start < width);
            prop_assert_eq!(floor(start, width, origin).unwrap(), start);
        }
    }
}
