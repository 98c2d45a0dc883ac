//! Arithmetic with intervals that DataFusion does not have, or does otherwise.

use crate::error::{Error, codes};
use datafusion::arrow::array::types::{
    Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// What the function computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// interval * float8
    Multiply,
    /// interval / float8. Errors: `22012`.
    Divide,
    /// timestamp - timestamp: whole days and the rest.
    Difference,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Temporal {
    operation: Operation,
    signature: Signature,
}

pub fn function(operation: Operation) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Temporal { operation, signature: Signature::user_defined(Volatility::Immutable) }))
}

impl ScalarUDFImpl for Temporal {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Multiply => "interval_mul",
            Operation::Divide => "interval_div",
            Operation::Difference => "timestamp_mi",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The planner chose the function by its arguments' types: only their exact form is settled here.
    fn coerce_types(&self, _: &[DataType]) -> Result<Vec<DataType>> {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
        Ok(match self.operation {
            Operation::Multiply | Operation::Divide => {
                vec![DataType::Interval(IntervalUnit::MonthDayNano), DataType::Float64]
            }
            Operation::Difference => vec![instant.clone(), instant],
        })
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let (left, right) = (&columns[0], &columns[1]);
        let mut result = IntervalMonthDayNanoArray::builder(left.len());
        for row in 0..left.len() {
            if left.is_null(row) || right.is_null(row) {
                result.append_null();
                continue;
            }
            result.append_value(match self.operation {
                Operation::Difference => {
                    let (left, right) = (micros(left), micros(right));
                    difference(left.value(row), right.value(row))?
                }
                operation => {
                    let factor = right.as_primitive::<Float64Type>().value(row);
                    let factor = if operation == Operation::Divide { reciprocal(factor)? } else { factor };
                    scaled(left.as_primitive::<IntervalMonthDayNanoType>().value(row), factor)?
                }
            });
        }
        Ok(ColumnarValue::Array(Arc::new(result.finish())))
    }
}

fn micros(column: &ArrayRef) -> &TimestampMicrosecondArray {
    column.as_primitive::<TimestampMicrosecondType>()
}

fn reciprocal(value: f64) -> crate::error::Result<f64> {
    if value == 0.0 {
        return Err(Error::new(codes::DIVISION_BY_ZERO, "division by zero"));
    }
    Ok(1.0 / value)
}

fn out_of_range() -> Error {
    Error::new(codes::DATETIME_OVERFLOW, "interval out of range")
}

fn difference(left: i64, right: i64) -> crate::error::Result<IntervalMonthDayNano> {
    let micros = left.checked_sub(right).ok_or_else(out_of_range)?;
    let day = DAY_NANOS / 1000;
    let days = i32::try_from(micros / day).map_err(|_| out_of_range())?;
    Ok(IntervalMonthDayNano::new(0, days, micros % day * 1000))
}

/// As PostgreSQL's `interval_mul`: fractions of months spill into days (of 30), those of days into time.
fn scaled(interval: IntervalMonthDayNano, factor: f64) -> crate::error::Result<IntervalMonthDayNano> {
    let months = f64::from(interval.months) * factor;
    let days = f64::from(interval.days) * factor;
    let in_range = |value: f64| value.is_finite() && value.abs() <= f64::from(i32::MAX);
    if !in_range(months) || !in_range(days) {
        return Err(out_of_range());
    }
    let month_days = (months - months.trunc()) * 30.0;
    // Rounded to microseconds, lest 0.1 leave a speck.
    let speck = |value: f64| (value * 1e6).round() / 1e6;
    let month_days = speck(month_days);
    let rest_days = speck(days - days.trunc() + month_days - month_days.trunc());
    let whole_rest = rest_days.trunc();
    let nanos = interval.nanoseconds as f64 * factor + (rest_days - whole_rest) * DAY_NANOS as f64;
    if !nanos.is_finite() || nanos.abs() >= i64::MAX as f64 {
        return Err(out_of_range());
    }
    let days = days.trunc() + month_days.trunc() + whole_rest;
    Ok(IntervalMonthDayNano::new(months.trunc() as i32, days as i32, (nanos / 1000.0).round() as i64 * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_spill_downwards() {
        // SELECT interval '1 month' * 1.5, interval '1 day' * 0.5, interval '10 min' * 3
        assert_eq!(scaled(IntervalMonthDayNano::new(1, 0, 0), 1.5).unwrap(), IntervalMonthDayNano::new(1, 15, 0));
        assert_eq!(
            scaled(IntervalMonthDayNano::new(0, 1, 0), 0.5).unwrap(),
            IntervalMonthDayNano::new(0, 0, DAY_NANOS / 2)
        );
        let minutes = 60_000_000_000;
        assert_eq!(
            scaled(IntervalMonthDayNano::new(0, 0, 10 * minutes), 3.0).unwrap(),
            IntervalMonthDayNano::new(0, 0, 30 * minutes)
        );
    }

    #[test]
    fn a_difference_counts_whole_days() {
        assert_eq!(difference(DAY_NANOS / 1000 + 5, 0).unwrap(), IntervalMonthDayNano::new(0, 1, 5000));
        assert_eq!(difference(0, DAY_NANOS / 1000 + 5).unwrap(), IntervalMonthDayNano::new(0, -1, -5000));
    }
}
