//! `timezone(zone, time)`, which `time AT TIME ZONE zone` stands for: an instant becomes what the clock on the wall
//! shows there, and what a clock shows becomes the instant.

use crate::sql::time_zone;
use crate::sql::types::timestamptz;
use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct AtTimeZone {
    signature: Signature,
}

impl AtTimeZone {
    #[expect(clippy::new_without_default, reason = "made in one place")]
    pub fn new() -> AtTimeZone {
        AtTimeZone { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, DataType::Timestamp(_, None)] => Ok(vec![DataType::Utf8, timestamp()]),
            [_, DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8 | DataType::Null] => {
                Ok(vec![DataType::Utf8, timestamptz()])
            }
            _ => plan_err!("No function matches timezone with {types:?}"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(if matches!(types.get(1), Some(DataType::Timestamp(_, None))) { timestamptz() } else { timestamp() })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let (zones, times) = (arguments.args[0].to_array(rows)?, arguments.args[1].to_array(rows)?);
        let (zones, times) = (zones.as_string::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
        let to_instant = matches!(times.data_type(), DataType::Timestamp(_, None));
        let mut known: Option<(String, chrono_tz::Tz)> = None;
        let mut result = TimestampMicrosecondArray::builder(times.len());
        for row in 0..times.len() {
            if zones.is_null(row) || times.is_null(row) {
                result.append_null();
                continue;
            }
            let name = zones.value(row);
            let zone = match &known {
                Some((last, zone)) if last == name => *zone,
                _ => known.insert((name.to_string(), time_zone::named(name)?)).1,
            };
            let time = times.value(row);
            result.append_value(if to_instant {
                time_zone::from_local(time, zone)?
            } else {
                time_zone::to_local(time, zone)?
            });
        }
        let result = result.finish();
        let result = if to_instant { result.with_timezone(crate::sql::types::UTC) } else { result };
        Ok(ColumnarValue::Array(Arc::new(result)))
    }
}
