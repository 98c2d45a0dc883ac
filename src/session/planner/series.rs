//! `generate_series` in FROM, over integers and over time.

use crate::error::{Error, codes};
use crate::limits;
use crate::sql::functions::time_bucket;
use crate::sql::time_zone;
use async_trait::async_trait;
use datafusion::arrow::array::types::IntervalMonthDayNano;
use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Series {
    schema: SchemaRef,
    /// `None`: an argument is NULL, so there are no rows.
    range: Option<Range>,
    zone: chrono_tz::Tz,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    next: i64,
    stop: i64,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Integer(i64),
    Interval(IntervalMonthDayNano),
}

impl Series {
    /// Of constant arguments. Errors: `42883`, `22023` for a step of zero.
    pub fn new(arguments: &[ScalarValue], zone: chrono_tz::Tz) -> crate::error::Result<Series> {
        let no_function = || {
            Error::new(codes::UNDEFINED_FUNCTION, "function generate_series with these arguments does not exist")
                .with_hint("It takes two or three integers, or two timestamps and an interval, all constant.")
        };
        let arguments = typed(arguments, zone)?;
        let (Some(start), Some(stop)) = (arguments.first(), arguments.get(1)) else { return Err(no_function()) };
        let ty = match start.data_type() {
            DataType::Null => stop.data_type(),
            ty => ty,
        };
        let ty = match ty {
            ty if ty.is_integer() => {
                let wide = arguments.iter().any(|value| value.data_type() == DataType::Int64 && !fits(value));
                if wide { DataType::Int64 } else { DataType::Int32 }
            }
            DataType::Timestamp(_, Some(_)) | DataType::Date32 => crate::sql::types::timestamptz(),
            DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ => return Err(no_function()),
        };
        let schema = Arc::new(Schema::new(vec![Field::new("generate_series", ty.clone(), true)]));
        if arguments.iter().any(ScalarValue::is_null) {
            return Ok(Series { schema, range: None, zone });
        }
        let bounds = if ty.is_integer() { DataType::Int64 } else { ty.clone() };
        let bound = |value: &ScalarValue| match value.cast_to(&bounds) {
            Ok(ScalarValue::Int64(Some(value)) | ScalarValue::TimestampMicrosecond(Some(value), _)) => Ok(value),
            _ => Err(no_function()),
        };
        let step = match arguments.get(2) {
            None if ty.is_integer() => Step::Integer(1),
            Some(value) if ty.is_integer() => Step::Integer(bound(value)?),
            Some(ScalarValue::IntervalMonthDayNano(Some(interval))) if arguments.len() == 3 => {
                Step::Interval(*interval)
            }
            _ => return Err(no_function()),
        };
        let zero = match step {
            Step::Integer(step) => step == 0,
            Step::Interval(step) => step.months == 0 && step.days == 0 && step.nanoseconds == 0,
        };
        if zero {
            return Err(Error::new(codes::INVALID_PARAMETER_VALUE, "step size cannot equal zero"));
        }
        Ok(Series { schema, range: Some(Range { next: bound(start)?, stop: bound(stop)?, step }), zone })
    }
}

/// String constants take the type of the other bound; beside times the step is an interval.
fn typed(arguments: &[ScalarValue], zone: chrono_tz::Tz) -> crate::error::Result<Vec<ScalarValue>> {
    let bounds = arguments.iter().take(2).map(ScalarValue::data_type);
    let known = bounds.into_iter().find(|ty| !matches!(ty, DataType::Utf8 | DataType::Null));
    let format = crate::wire::values::Format { time_zone: zone };
    let read = |index: usize, value: &ScalarValue| match (value, &known) {
        (ScalarValue::Utf8(Some(text)), Some(ty)) => {
            let ty = match ty {
                ty if index == 2 && !ty.is_integer() => DataType::Interval(IntervalUnit::MonthDayNano),
                DataType::Date32 => crate::sql::types::timestamptz(),
                ty => ty.clone(),
            };
            super::conversion::read_constant(text, &Field::new("", ty, true), &format)
        }
        _ => Ok(value.clone()),
    };
    arguments.iter().enumerate().map(|(index, value)| read(index, value)).collect()
}

fn fits(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Int64(Some(value)) if i32::try_from(*value).is_ok())
}

impl Range {
    fn finished(&self) -> bool {
        match self.step {
            Step::Integer(step) => {
                if step > 0 {
                    self.next > self.stop
                } else {
                    self.next < self.stop
                }
            }
            Step::Interval(step) => {
                // Months and days dominate the sign, as in PostgreSQL's comparison with zero.
                let span = i128::from(step.months) * 30 * 86_400_000_000_000
                    + i128::from(step.days) * 86_400_000_000_000
                    + i128::from(step.nanoseconds);
                if span > 0 { self.next > self.stop } else { self.next < self.stop }
            }
        }
    }

    /// The next value; `None` past the end, which includes where numbers end.
    fn take(&mut self, zone: Option<chrono_tz::Tz>) -> crate::error::Result<Option<i64>> {
        if self.finished() {
            return Ok(None);
        }
        let value = self.next;
        match self.step {
            Step::Integer(step) => match value.checked_add(step) {
                Some(next) => self.next = next,
                None => {
                    // Past the largest integer: make the range finished.
                    self.stop = if step > 0 { i64::MIN } else { i64::MAX };
                }
            },
            Step::Interval(step) => {
                self.next = match zone {
                    Some(zone) => {
                        let local = time_zone::to_local(value, zone)?;
                        time_zone::from_local(time_bucket::add(local, step, false)?, zone)?
                    }
                    None => time_bucket::add(value, step, false)?,
                };
            }
        }
        Ok(Some(value))
    }
}

fn batch(schema: &SchemaRef, range: &mut Range, zone: chrono_tz::Tz) -> crate::error::Result<Option<RecordBatch>> {
    let ty = schema.field(0).data_type();
    let zoned = matches!(ty, DataType::Timestamp(_, Some(_))).then_some(zone);
    let mut values = Vec::new();
    while values.len() < limits::BATCH_ROWS_MAX {
        match range.take(zoned)? {
            Some(value) => values.push(value),
            None => break,
        }
    }
    if values.is_empty() {
        return Ok(None);
    }
    let column: ArrayRef = match ty {
        DataType::Int32 => {
            let narrow = values.iter().map(|value| i32::try_from(*value).ok());
            Arc::new(narrow.collect::<Int32Array>())
        }
        DataType::Timestamp(_, Some(zone)) => {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone(zone.clone()))
        }
        DataType::Timestamp(_, None) => Arc::new(TimestampMicrosecondArray::from(values)),
        _ => Arc::new(Int64Array::from(values)),
    };
    Ok(Some(RecordBatch::try_new(schema.clone(), vec![column])?))
}

impl PartitionStream for Series {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, zone) = (self.schema.clone(), self.zone);
        let batches = futures::stream::unfold(self.range, move |range| {
            let next = range.and_then(|mut range| match batch(&schema, &mut range, zone) {
                Ok(Some(batch)) => Some((Ok(batch), Some(range))),
                Ok(None) => None,
                Err(error) => Some((Err(error.into()), None)),
            });
            futures::future::ready(next)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

#[async_trait]
impl TableProvider for Series {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(self.clone())];
        Ok(Arc::new(StreamingTableExec::try_new(self.schema.clone(), partitions, projection, vec![], false, limit)?))
    }
}
