//! `date_bin(stride, value, origin)`: the start of the stride that a timestamp falls into, counted from the origin.
//!
//! DataFusion's own counts in nanoseconds and gives NULL outside the years 1677 to 2262.

use super::time_bucket::{Width, as_intervals, as_micros};
use crate::error::{Error, codes};
use crate::sql::types::timestamptz;
use datafusion::arrow::array::TimestampMicrosecondArray;
use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DateBin {
    signature: Signature,
}

impl DateBin {
    #[expect(clippy::new_without_default, reason = "made in one place")]
    pub fn new() -> DateBin {
        DateBin { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        "date_bin"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Both timestamps with a time zone if one of them has one, as PostgreSQL resolves the two overloads.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        let [DataType::Interval(_) | DataType::Duration(_) | DataType::Utf8 | DataType::Null, value, origin] = types
        else {
            return Err(super::no_such_function("date_bin", types).into());
        };
        let is_time =
            |ty: &DataType| matches!(ty, DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8 | DataType::Null);
        if !is_time(value) || !is_time(origin) {
            return Err(super::no_such_function("date_bin", types).into());
        }
        let is_local = |ty: &DataType| matches!(ty, DataType::Timestamp(_, None));
        let is_zoned = |ty: &DataType| matches!(ty, DataType::Timestamp(_, Some(_)));
        let local = (is_local(value) || is_local(origin)) && !is_zoned(value) && !is_zoned(origin);
        let time = if local { DataType::Timestamp(TimeUnit::Microsecond, None) } else { timestamptz() };
        Ok(vec![interval, time.clone(), time])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.get(1).cloned().ok_or_else(|| super::no_such_function("date_bin", types).into())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let constant = |index: usize| matches!(arguments.args[index], ColumnarValue::Scalar(_));
        let column = |index: usize| arguments.args[index].to_array(rows);
        let value = column(1)?;
        let (strides, values, origins) = (as_intervals(&column(0)?)?, as_micros(&value)?, as_micros(&column(2)?)?);
        let strided = constant(0) && constant(2) && rows > 0 && !strides.is_null(0) && !origins.is_null(0);
        let bins: TimestampMicrosecondArray = if strided {
            let (stride, origin) = (stride(Width::of(strides.value(0)))?, origins.value(0));
            values.try_unary::<_, TimestampMicrosecondType, Error>(|value| bin(stride, value, origin))?
        } else {
            let row = |row: usize| -> Result<Option<i64>> {
                if strides.is_null(row) || values.is_null(row) || origins.is_null(row) {
                    return Ok(None);
                }
                let stride = stride(Width::of(strides.value(row)))?;
                Ok(Some(bin(stride, values.value(row), origins.value(row))?))
            };
            (0..rows).map(row).collect::<Result<_>>()?
        };
        let bins: ArrayRef = match value.data_type() {
            DataType::Timestamp(_, Some(zone)) => Arc::new(bins.with_timezone(zone.clone())),
            _ => Arc::new(bins),
        };
        // A constant call must answer with a scalar's single row and may be folded.
        if (0..3).all(constant) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&bins, 0)?));
        }
        Ok(ColumnarValue::Array(bins))
    }
}

/// In microseconds.
fn stride(width: crate::error::Result<Width>) -> crate::error::Result<i64> {
    match width {
        Ok(Width::Micros(micros)) if micros > 0 => Ok(micros),
        Ok(Width::Micros(_)) => Err(Error::new(codes::DATETIME_OVERFLOW, "stride must be greater than zero")),
        // Months, alone or mixed with days.
        Ok(Width::Months(_)) | Err(_) => {
            Err(Error::unsupported("timestamps cannot be binned into intervals containing months or years"))
        }
    }
}

fn bin(stride: i64, value: i64, origin: i64) -> crate::error::Result<i64> {
    if matches!(value, i64::MAX | i64::MIN) {
        // Infinity lies in a stride of its own.
        return Ok(value);
    }
    super::time_bucket::floor(value, stride, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_count_both_ways_from_the_origin_and_keep_infinity() {
        assert_eq!(bin(10, 25, 3).unwrap(), 23);
        assert_eq!(bin(10, -1, 3).unwrap(), -7);
        assert_eq!(bin(10, 13, 33).unwrap(), 13);
        assert_eq!(bin(10, i64::MAX, 3).unwrap(), i64::MAX);
        assert_eq!(bin(10, i64::MIN + 1, 3).unwrap_err().code(), codes::DATETIME_OVERFLOW);
    }
}
