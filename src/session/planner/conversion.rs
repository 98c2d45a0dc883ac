//! Conversions that mean something else in PostgreSQL than in Arrow, as functions on columns and as `pg_cast`.
//!
//! Float and numeric to integer round instead of truncating; anything to text prints as PostgreSQL prints it; text
//! to anything reads as PostgreSQL reads it; between timestamps with and without time zone lies the session's zone.

use crate::error::{Error, Result, codes};
use crate::sql::{time_zone, type_names, types};
use crate::wire::values::{self, BatchBuilder, Format};
use bytes::BytesMut;
use datafusion::arrow::array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringBuilder, TimestampMicrosecondArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// Whether [`convert`] must be used instead of Arrow's own cast.
pub fn differs(from: &DataType, to: &DataType, zone: chrono_tz::Tz) -> bool {
    let zoned = |ty: &DataType| matches!(ty, DataType::Timestamp(_, Some(_)));
    let local = |ty: &DataType| matches!(ty, DataType::Timestamp(_, None) | DataType::Date32);
    match (from, to) {
        (from, to) if from == to || from.is_null() => false,
        (DataType::Utf8, _) | (_, DataType::Utf8) => true,
        (from, to) if to.is_integer() => from.is_floating() || is_decimal(from),
        (from, to) if zone != chrono_tz::UTC => (zoned(from) && local(to)) || (local(from) && zoned(to)),
        _ => false,
    }
}

pub fn is_decimal(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Decimal64(..) | DataType::Decimal32(..)
    )
}

/// One column converted as PostgreSQL's casts do. Errors: `22003`, `22P02`, `22007` and what the reader says.
pub fn convert(column: &ArrayRef, from: &Field, to: &Field, format: &Format) -> Result<ArrayRef> {
    let (source, target) = (column.data_type().clone(), to.data_type().clone());
    let zone = format.time_zone;
    if source == target {
        return Ok(column.clone());
    }
    let zoned = |ty: &DataType| matches!(ty, DataType::Timestamp(_, Some(_)));
    match (&source, &target) {
        _ if source.is_null() => arrow(column, to),
        (DataType::Utf8, _) => read(column, to, format),
        // The cast spells the words out; only a result column prints t and f.
        (DataType::Boolean, DataType::Utf8) => arrow(column, to),
        (_, DataType::Utf8) => print(column, from, format),
        _ if target.is_integer() && source.is_floating() => round(column, to),
        _ if target.is_integer() && is_decimal(&source) => {
            let rounded = arrow(column, &Field::new("", DataType::Decimal128(38, 0), true))?;
            arrow(&rounded, to)
        }
        (_, DataType::Timestamp(_, None) | DataType::Date32) if zoned(&source) && zone != chrono_tz::UTC => {
            let local =
                micros(column)?.try_unary::<_, TimestampMicrosecondType, Error>(|at| time_zone::to_local(at, zone))?;
            arrow(&(Arc::new(local) as ArrayRef), to)
        }
        (DataType::Timestamp(_, None) | DataType::Date32, _) if zoned(&target) && zone != chrono_tz::UTC => {
            let instant = micros(column)?
                .try_unary::<_, TimestampMicrosecondType, Error>(|at| time_zone::from_local(at, zone))?;
            arrow(&(Arc::new(instant.with_timezone(types::UTC)) as ArrayRef), to)
        }
        _ => arrow(column, to),
    }
}

fn micros(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
    Ok(arrow(column, &Field::new("", plain, true))?.as_primitive::<TimestampMicrosecondType>().clone())
}

/// Arrow's cast; what does not fit is an error named as PostgreSQL names it.
fn arrow(column: &ArrayRef, to: &Field) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, to.data_type(), &options).map_err(|_| out_of_range(to))
}

pub fn out_of_range(to: &Field) -> Error {
    let message = match to.data_type() {
        DataType::Decimal128(..) => "numeric field overflow".to_string(),
        _ => format!("{} out of range", type_names::display(&types::pg_type(to))),
    };
    Error::new(codes::NUMERIC_OUT_OF_RANGE, message)
}

/// Halves go to the even neighbour, as the processor rounds and PostgreSQL's `rint` does.
fn round(column: &ArrayRef, to: &Field) -> Result<ArrayRef> {
    let wide = arrow(column, &Field::new("", DataType::Float64, true))?;
    // 2^63 is exactly representable, i64::MAX is not: hence "below", not "up to".
    let limit = -(i64::MIN as f64);
    let rounded: Int64Array = wide.as_primitive::<Float64Type>().try_unary::<_, Int64Type, Error>(|value| {
        let value = value.round_ties_even();
        if value >= -limit && value < limit { Ok(value as i64) } else { Err(out_of_range(to)) }
    })?;
    arrow(&(Arc::new(rounded) as ArrayRef), to)
}

fn print(column: &ArrayRef, from: &Field, format: &Format) -> Result<ArrayRef> {
    let schema = types::client_schema(&Schema::new(vec![from.clone()]))?;
    let column = types::narrow(
        &datafusion::arrow::record_batch::RecordBatch::try_new(
            Arc::new(Schema::new(vec![Field::new("", column.data_type().clone(), true)])),
            vec![column.clone()],
        )?,
        &Arc::new(Schema::new(vec![schema.field(0).clone().with_nullable(true)])),
    )?
    .column(0)
    .clone();
    let mut texts = StringBuilder::new();
    let mut buffer = BytesMut::new();
    for row in 0..column.len() {
        buffer.clear();
        if values::write_text(&column, schema.field(0), row, format, &mut buffer)? {
            let text = std::str::from_utf8(&buffer).map_err(|e| Error::internal(e.to_string()))?;
            texts.append_value(text);
        } else {
            texts.append_null();
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn read(column: &ArrayRef, to: &Field, format: &Format) -> Result<ArrayRef> {
    let texts = column.as_string::<i32>();
    let schema = Arc::new(Schema::new(vec![to.clone().with_nullable(true)]));
    let mut builder = BatchBuilder::new(schema, format.clone());
    for text in texts {
        builder.push_text(0, text)?;
        builder.end_row();
    }
    Ok(builder.finish()?.column(0).clone())
}

/// A string constant as a value of `to`.
pub fn read_constant(text: &str, to: &Field, format: &Format) -> Result<ScalarValue> {
    let column = values::parse_text(to, Some(text), format)?;
    Ok(ScalarValue::try_from_array(&column, 0)?)
}

/// `expression::type` where [`differs`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PgCast {
    to: FieldRef,
    zone: chrono_tz::Tz,
    signature: Signature,
}

impl PgCast {
    pub fn new(to: FieldRef, zone: chrono_tz::Tz) -> PgCast {
        PgCast { to, zone, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for PgCast {
    fn name(&self) -> &str {
        "pg_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(self.to.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> datafusion::common::Result<FieldRef> {
        Ok(Arc::new(self.to.as_ref().clone().with_name("pg_cast").with_nullable(true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let format = Format { time_zone: self.zone };
        let constant = matches!(&arguments.args[0], ColumnarValue::Scalar(_));
        let column = arguments.args[0].to_array(if constant { 1 } else { arguments.number_rows })?;
        let converted = convert(&column, &arguments.arg_fields[0], &self.to, &format)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&converted, 0)?)
        } else {
            ColumnarValue::Array(converted)
        })
    }
}
